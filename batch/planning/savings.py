"""What a job could pay less: rows that ask the same asked once, several texts in one request, prompts
that begin alike one after the other, and the cheaper service tier.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from batch import apis
from batch.apis import APIS
from batch.costs import forecast
from batch.costs.forecast import Forecast, Forecaster, Price
from batch.costs.prompt_caches import Cache
from batch.costs.token_bounds import PRIOR_BYTES, PRIOR_TOKENS
from batch.engine import pack_limits, prefixes
from batch.model import Request, Usage
from batch.planning.prepare import Prepared

MOST_HELD = 1_000_000
"""Different questions that are remembered: 100 MB.  Among later ones only equals of these are found."""

FLEX = "flex"


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """One way to pay less.  `kind` is dedupe, packing, cache or flex; `requests` that are not sent for
    it, and `usd` that are not paid, None where no price is known or nothing is paid less; of the input
    alone (`input_only`) where nobody knows yet how long answers are.  `is_on`: the job does so; the
    forecast reckons with it, but for the cache, of which only rows done tell.  Else `key` is what to
    set.
    """

    kind: str
    requests: int
    usd: float | None
    input_only: bool
    is_on: bool
    key: str


class Repeats:
    """Rows that ask what a row before them asks."""

    def __init__(self, dedupe: object, forecaster: Forecaster) -> None:
        """`dedupe` is the job's; `forecaster` has what is learnt."""
        self._dedupe = dedupe
        self._seen: set[int] = set()
        self.shared = forecaster.sibling()
        """Those that get the answer of another."""
        self.asked = forecaster.sibling()
        """Those that are asked all the same."""

    def shares(self, request: Request) -> bool:
        """Take in a request that is to be sent.  Whether it is not, as another row asks the same."""
        key = int(request.hash[:16], 16)
        if key not in self._seen:
            if len(self._seen) < MOST_HELD:
                self._seen.add(key)
            return False
        one_answer = self._dedupe is True or apis.gives_one_answer(request)
        is_shared = one_answer and self._dedupe is not False
        (self.shared if is_shared else self.asked).add(request)
        return is_shared


class Beginnings:
    """What prompts read from a cache that another row has had written."""

    def __init__(self, cache_of: Callable[[str | None], Cache | None] | None) -> None:
        self._cache_of = cache_of
        self._seen: set[bytes] = set()
        self.rows = 0
        self.bytes: Counter[str] = Counter()
        """Bytes of text by model."""

    def add(self, request: Request) -> None:
        """Take in a request that is to be sent."""
        cache = None if self._cache_of is None else self._cache_of(request.model)
        if cache is None:
            return
        found = prefixes.beginnings(request, cache.least_bytes, marked=cache.mark is not None)
        read = max((each.size for each in found if each.digest in self._seen), default=0)
        if read:
            self.rows += 1
            self.bytes[request.model or ""] += read
        if len(self._seen) < MOST_HELD:
            self._seen.update(each.digest for each in found)

    def usd(self, price: Price) -> float | None:
        """What reading costs less than the input itself, by the price list."""
        found = 0.0
        for model, size in self.bytes.items():
            tokens = size * PRIOR_TOKENS // PRIOR_BYTES
            whole = price(model, Usage(tokens, output_tokens=0))
            cached = price(model, Usage(tokens, tokens, output_tokens=0))
            if whole is None or cached is None:
                return None
            found += float(whole.usd - cached.usd)
        return found


def _packing(prepared: Prepared, total: Forecast) -> Saving | None:
    """The requests that texts spare which share one."""
    asked = prepared.asked
    if APIS[asked.request.api].OUTPUT_CAPS or asked.is_pooled or total.rows < 2:
        return None
    inputs, known = asked.limits.inputs_per_request, pack_limits.host(prepared.base_url)
    most = min(known.texts, inputs) if isinstance(inputs, int) and inputs > 1 else known.texts
    packs = max(math.ceil(total.rows / most), math.ceil(total.input_tokens / known.tokens))
    if packs >= total.rows:
        return None
    return Saving(
        kind="packing",
        requests=total.rows - packs,
        usd=None,
        input_only=True,
        is_on=inputs != 1,
        key='limits.inputs_per_request = "auto"',
    )


def of(
    prepared: Prepared,
    total: Forecast,
    forecaster: Forecaster,
    repeats: Repeats,
    beginnings: Beginnings,
) -> list[Saving]:
    """What each way saves, or would, where it saves anything."""
    sent = prepared.asked.request.sent
    tier = sent.get("service_tier")
    price = forecast.by(prepared.pricer, time.time(), tier)
    found = []
    for rows, is_on in ((repeats.shared, True), (repeats.asked, False)):
        if rows.rows:
            spared = forecast.total(rows.forecasts(price))
            found.append(_saving("dedupe", "dedupe = true", spared, _usd(spared), is_on=is_on))
    if (packing := _packing(prepared, total)) is not None:
        found.append(packing)
    if beginnings.rows and (usd := beginnings.usd(price)):
        is_on = prepared.asked.prompt.cache != "off"
        found.append(
            Saving(
                kind="cache",
                requests=0,
                usd=round(usd, 12),
                input_only=True,
                is_on=is_on,
                key='prompt.cache = "auto"',
            )
        )
    if tier in (None, "auto", "default") and total.rows:
        flex = forecast.total(forecaster.forecasts(forecast.by(prepared.pricer, time.time(), FLEX)))
        before, after = _usd(total), _usd(flex)
        if before is not None and after is not None and after < before:
            key = f'request.service_tier = "{FLEX}"'
            found.append(_saving(FLEX, key, flex, round(before - after, 12)))
    return found


def _saving(
    kind: str, key: str, total: Forecast, usd: float | None, *, is_on: bool = False
) -> Saving:
    return Saving(
        kind=kind,
        requests=0 if kind == FLEX else total.rows,
        usd=usd,
        input_only=total.cost_likely_usd is None,
        is_on=is_on,
        key=key,
    )


def _usd(total: Forecast) -> float | None:
    """What is likely, or else the input alone."""
    return total.cost_input_usd if total.cost_likely_usd is None else total.cost_likely_usd
