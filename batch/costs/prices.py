"""What usage costs: the job's own prices, the public price list of whoever sells, or what the
server says.

The lists are those of the package genai-prices: dated, by service tier, length of the prompt and
hour of the day, with no network.  It is imported late: 0.3 s and 40 MB.  An unknown price is None,
never $0, and nobody's list holds for a server of one's own.  Nothing here changes but caches, so
threads may share a Pricer.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from batch import headers, usage
from batch.costs import price_lists
from batch.costs.price_lists import FREE, Listed, Rates
from batch.model import Attempt, Parts, Usage
from batch.usage import Reading

if TYPE_CHECKING:
    pass

USD = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]

MINUTE = 60
"""Seconds; no list changes its prices at another moment than a full minute."""


OPENROUTER = "openrouter"
ROUTER = re.compile(
    r"https?://(?:[^/]+\.)?(?:openrouter\.ai|ai-gateway\.vercel\.sh|router\.huggingface\.co"
    r"|gateway\.ai\.cloudflare\.com|requesty\.ai|portkey\.ai|nano-gpt\.com|aimlapi\.com)(?:[:/]|$)",
    re.I,
)
"""Hosts that pass requests on to who sells.  A LiteLLM of one's own says its charge in a header."""


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model in `[prices]` of a job: USD per million tokens.  Cached input costs as much as any
    where `cached_input` is not given, and so does what is written to a cache without `cache_write`.
    """

    input: USD
    output: USD
    cached_input: USD | None = None
    cache_write: USD | None = None


class Seller(msgspec.Struct, frozen=True):
    """Whose prices hold: those in the list of `provider`; for an unknown public host (`unknown`)
    those of whoever sells a model of that name; none for the embedded model, which is free
    (`local`), and for a server of one's own.  A `router` buys from whom it likes, so that it knows
    better than its list what an answer costs.
    """

    provider: str | None = None
    unknown: bool = False
    local: bool = False
    router: bool = False


class Cost(NamedTuple):
    """What one attempt cost, and where that comes from: `job`, `list`, `server`, `assumed`,
    `local`.
    """

    usd: Decimal
    source: str


def seller(url: str, provider: str | None, *, private: bool, local: bool) -> Seller:
    """Who sells at the base URL `url`; `provider` is who the job says it is."""
    if local:
        return Seller(local=True)
    router = provider == OPENROUTER or ROUTER.match(url) is not None
    if provider is not None:
        return Seller(provider, router=router)
    if private:
        return Seller()
    from genai_prices import data_snapshot

    try:
        found = data_snapshot.get_snapshot().find_provider(None, None, url)
    except LookupError:
        return Seller(unknown=True)
    return Seller(found.id, router=router)


class Quote(NamedTuple):
    """The price of one model at one moment: straight `rates`, or `listed`, which depends on the
    request.
    """

    source: str
    rates: Rates | None
    listed: Listed | None = None

    def cost(self, used: Usage, at: float) -> Decimal | None:
        """USD of a request at the moment `at`."""
        if self.rates is not None or self.listed is None:
            return None if self.rates is None else self.rates.cost(used)
        return price_lists.listed_cost(self.listed, Reading(used), at)


class Pricer:
    """Prices attempts of one run at one endpoint: `prices` are the job's own, by the exact name of the
    model that was served, else asked for.
    """

    def __init__(self, prices: dict[str, Price], seller: Seller, model: str | None = None) -> None:
        """`model` is what the endpoint calls every model that it is asked for, if the job says so."""
        self._model = model
        self._own = {name: _rates(price) for name, price in prices.items()}
        self._seller = seller
        self._listed = lru_cache(4096)(self._look_up)
        is_listed = seller.provider is not None or seller.unknown
        self._knows_none = not (prices or seller.local or is_listed)

    @property
    def provider(self) -> str | None:
        """Whose price list holds, as that calls them; None where that is unknown."""
        return self._seller.provider

    def cost(
        self, attempt: Attempt, reading: Reading, asked: str | None, said: float | None
    ) -> Cost | None:
        """What an attempt cost, `asked` being the model of its request; None when its usage or
        price is unknown.

        What the server `said` itself counts where it is a router, and where only the model's name
        would tell.
        """
        if said is None and self._knows_none:
            return None
        served = attempt.answer.get("model") if isinstance(attempt.answer, dict) else None
        names = self._names(served if isinstance(served, str) else None, asked)
        assumed = None
        used = reading.usage
        if reading.known and used is not None:
            for name in names:
                if name in self._own:
                    return Cost(self._own[name].cost(used), "job")
            if self._seller.local:
                return Cost(Decimal(0), "local")
            if said is not None and (charged := self._charged(attempt, said)) is not None:
                return Cost(charged, "server")
            priced = self._list_price(attempt, reading, names)
            if priced is not None and not self._seller.unknown:
                return Cost(priced, "list")
            assumed = None if priced is None else Cost(priced, "assumed")
        return assumed if said is None else Cost(Decimal(repr(said)), "server")

    def _charged(self, attempt: Attempt, said: float) -> Decimal | None:
        """What a router has charged, which it `said`; None where that is not all, as the upstream's key
        is one's own.
        """
        used = attempt.answer.get("usage") if isinstance(attempt.answer, dict) else None
        own_key = isinstance(used, dict) and used.get("is_byok") is True
        if own_key or not (self._seller.router or headers.reported_cost(attempt.headers)):
            return None
        return Decimal(repr(said))

    def _list_price(
        self, attempt: Attempt, reading: Reading, names: tuple[str | None, ...]
    ) -> Decimal | None:
        if self._seller.provider is None and not self._seller.unknown:
            return None
        tier = usage.tier(attempt.answer)
        found = self._listed(names, tier, int(attempt.started_at // MINUTE))
        return None if found is None else price_lists.priced(found, reading, attempt.started_at)

    def quote(self, names: tuple[str | None, ...], tier: str | None, at: float) -> Quote | None:
        """The price of the first of `names` that has one at the moment `at`; the last is what was asked
        for.
        """
        names = self._names(*names)
        for name in names:
            if name in self._own:
                return Quote("job", self._own[name])
        if self._seller.local:
            return Quote("local", FREE)
        found = self._listed(names, tier, int(at // MINUTE))
        if found is None:
            return None
        return Quote("assumed" if self._seller.unknown else "list", found.rates, found)

    def at_most(
        self, model: str | None, input_tokens: int, output_tokens: int, at: float
    ) -> Decimal | None:
        """USD that a request for `model` at the moment `at` can cost with so many tokens at most:
        at the dearest service tier, everything written to a cache, thought, or all of it sound or
        pictures, where that is dearer.  None when the price is unknown.
        """
        used = Usage(input_tokens, output_tokens=output_tokens)
        written = msgspec.structs.replace(used, cache_write_tokens=input_tokens)
        names = self._names(None, model)
        for name in names:
            if name in self._own:
                return max(self._own[name].cost(used), self._own[name].cost(written))
        if self._seller.local:
            return Decimal(0)
        found = self._listed(names, None, int(at // MINUTE))
        if found is None:
            return None
        hour = Parts(cache_write_1h=input_tokens)
        sound = Parts(input_audio=input_tokens, output_audio=output_tokens)
        seen = Parts(input_image=input_tokens, output_image=output_tokens)
        thought = msgspec.structs.replace(used, reasoning_tokens=output_tokens)
        read = (Reading(used), Reading(used, sound), Reading(used, seen))
        worst = (*read, Reading(written), Reading(written, hour), Reading(thought))
        prices = [
            price_lists.listed_cost(found._replace(tier=tier), reading, at)
            for tier in (None, *price_lists.tiers(found.model))
            for reading in worst
        ]
        return max((price for price in prices if price is not None), default=None)

    def _names(self, *names: str | None) -> tuple[str | None, ...]:
        """`names`, and before what was asked for what the endpoint calls that."""
        return names if self._model is None else (*names[:-1], self._model, *names[-1:])

    def _look_up(
        self, names: tuple[str | None, ...], tier: str | None, minute: int
    ) -> Listed | None:
        """The first of `names` that the seller lists.  0.1 to 1 ms."""
        if self._seller.provider is None and not self._seller.unknown:
            return None
        at = minute * MINUTE
        for name in price_lists.spellings(names):
            found = price_lists.find(name, self._seller.provider)
            if found is not None:
                listed = Listed(*found, price_lists.context(tier), None)
                return listed._replace(rates=price_lists.linear(listed, at))
        return None


def _rates(price: Price) -> Rates:
    plain, output = Decimal(repr(price.input)), Decimal(repr(price.output))
    cached = plain if price.cached_input is None else Decimal(repr(price.cached_input))
    written = plain if price.cache_write is None else Decimal(repr(price.cache_write))
    return Rates(Decimal(0), plain, cached, written, output, output)
