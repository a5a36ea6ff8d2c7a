"""What a job could pay less: rows that ask the same asked once, and the cheaper service tier."""

from __future__ import annotations

import time

import msgspec

from batch import apis
from batch.costs import forecast
from batch.costs.forecast import Forecast, Forecaster
from batch.model import Request
from batch.planning.prepare import Prepared

MOST_HELD = 1_000_000
"""Different questions that are remembered: 100 MB.  Among later ones only equals of these are found."""

FLEX = "flex"


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """One way to pay less.  `kind` is dedupe or flex; `requests` that are not sent for it, and `usd`
    that are not paid, None where no price is known; of the input alone (`input_only`) where nobody
    knows yet how long answers are.  `is_on`: the estimate reckons with it already; else `key` is what
    to set.
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


def of(
    prepared: Prepared, total: Forecast, forecaster: Forecaster, repeats: Repeats
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
