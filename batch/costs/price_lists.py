"""The public price lists of the package genai-prices: dated, by service tier, length of the prompt and
hour of the day, with no network.

The package is imported late: 0.3 s and 40 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

from batch.model import Usage
from batch.usage import NO_PARTS, Reading

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

MILLION = 1_000_000


class Rates(NamedTuple):
    """USD per million tokens of each kind, and USD per request."""

    request: Decimal
    plain: Decimal
    cached: Decimal
    written: Decimal
    output: Decimal
    reasoning: Decimal

    def cost(self, used: Usage) -> Decimal:
        """USD of one request."""
        cached, written = used.cached_tokens or 0, used.cache_write_tokens or 0
        reasoning = used.reasoning_tokens or 0
        tokens = (
            ((used.input_tokens or 0) - cached - written) * self.plain
            + ((used.output_tokens or 0) - reasoning) * self.output
        )  # fmt: skip
        if cached or written or reasoning:
            tokens += cached * self.cached + written * self.written + reasoning * self.reasoning
        return self.request + tokens / MILLION


FREE = Rates(*[Decimal(0)] * 6)


class Listed(NamedTuple):
    """A model in a list.  `rates` is None where the price of a token depends on the request."""

    provider: Provider
    model: ModelInfo
    tier: dict[str, str] | None
    rates: Rates | None


@cache
def snapshot() -> str:
    """The lists in use: the package that holds them, and its version."""
    return f"genai-prices {metadata.version('genai-prices')}"


def check_provider(name: str) -> None:
    """Raises ValueError, naming near ones, when there is no list of that provider."""
    import difflib

    from genai_prices import data_snapshot

    providers = data_snapshot.get_snapshot().providers
    if data_snapshot.find_provider_by_id(providers, name) is None:
        known = [provider.id for provider in providers]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
        raise ValueError(f"provider: no price list of {name!r} (known: {', '.join(near)})")


def is_known(model: str) -> bool:
    """Whether a list has a model of exactly that name, perhaps with its vendor before it."""
    return not _known_names().isdisjoint(name.casefold() for name in spellings((model,)))


@lru_cache(1)
def _known_names() -> frozenset[str]:
    from genai_prices import data_snapshot

    providers = data_snapshot.get_snapshot().providers
    return frozenset(model.id.casefold() for each in providers for model in each.models)


def spellings(names: tuple[str | None, ...]) -> Iterator[str]:
    """Each name, and without the vendor that some gateways put before it."""
    for name in names:
        if name:
            yield name
            if "/" in name:
                yield name.rpartition("/")[2]


def find(name: str, provider: str | None) -> tuple[Provider, ModelInfo] | None:
    from genai_prices import data_snapshot

    try:
        return data_snapshot.get_snapshot().find_provider_model(name, None, provider, None)
    except LookupError:
        return None


def context(tier: str | None) -> dict[str, str] | None:
    """How the lists call a service tier; batches are no tier there."""
    if tier is None:
        return None
    return {"processing": "batch"} if tier == "batch" else {"service_tier": tier}


def tiers(model: ModelInfo) -> list[dict[str, str]]:
    return [dict(variant.when) for variant in model.price_variants or ()]


def linear(listed: Listed, at: float) -> Rates | None:
    """The rates of a model whose prices do not depend on the length of a request: found by asking
    the list what a million tokens of each kind cost.
    """
    from genai_prices.types import TieredPrices

    prices = listed.model.get_prices(_moment(at), listed.tier)
    if any(isinstance(price, TieredPrices) for price in vars(prices).values()):
        return None
    million, nothing = MILLION, Usage(0, output_tokens=0)
    asked = (
        nothing,
        Usage(million, output_tokens=0),
        Usage(million, million, output_tokens=0),
        Usage(million, None, million, output_tokens=0),
        Usage(0, output_tokens=million),
        Usage(0, output_tokens=million, reasoning_tokens=million),
    )
    found = [listed_cost(listed, Reading(used), at) for used in asked]
    request, *rest = found
    if request is None or None in rest:
        return None
    return Rates(request, *(price - request for price in rest if price is not None))


def priced(listed: Listed, reading: Reading, at: float) -> Decimal | None:
    if listed.rates is not None and reading.parts == NO_PARTS and reading.usage is not None:
        return listed.rates.cost(reading.usage)
    return listed_cost(listed, reading, at)


def listed_cost(listed: Listed, reading: Reading, at: float) -> Decimal | None:
    """USD by the list's own reckoning, 40 to 100 us; None where it would have to know more (which
    of the cached tokens are sound, say).
    """
    from genai_prices.types import Usage as Counts

    used, parts = reading.usage or Usage(), reading.parts
    counts: dict[str, Any] = {
        "input_tokens": used.input_tokens,
        "cache_read_tokens": used.cached_tokens,
        "cache_write_tokens": used.cache_write_tokens,
        "output_tokens": used.output_tokens,
        "output_reasoning_tokens": used.reasoning_tokens,
        "input_audio_tokens": parts.input_audio,
        "input_image_tokens": parts.input_image,
        "cache_audio_read_tokens": parts.cached_audio,
        "cache_image_read_tokens": parts.cached_image,
        "cache_write_1h_tokens": parts.cache_write_1h,
        "output_audio_tokens": parts.output_audio,
        "output_image_tokens": parts.output_image,
        "web_searches": parts.web_searches,
    }
    try:
        return listed.model.calc_price(
            Counts(**counts),
            listed.provider,
            genai_request_timestamp=_moment(at),
            price_context=listed.tier,
        ).total_price
    except ValueError:
        return None


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
