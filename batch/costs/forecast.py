"""How many tokens the requests of a job will take from each model, and what they will cost.  Pure.

Input tokens are counted where a tokenizer can.  Elsewhere they are the bytes of the request times a
ratio: that of earlier answers to the same job, else a quarter token a byte.  Output is at most what
caps allow, and likely what earlier answers took.  Retries are not in it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from batch.costs.prices import Cost, Pricer
from batch.costs.token_bounds import PRIOR_BYTES, PRIOR_TOKENS, text_bytes
from batch.model import Attempt, Request, Usage
from batch.usage import Reading

if TYPE_CHECKING:
    from batch.costs.tokenizer import Count

STEPS = 8
"""Groups of sizes for each doubling of a request's size: some models price long requests apart."""

HELD = 1 << 20
"""Bytes of requests that are given to the tokenizer at once."""

Price = Callable[[str, Usage], Cost | None]
"""A model and the usage of one request -> its cost; None when that is not known."""


def by(pricer: Pricer, at: float, tier: Any = None) -> Price:
    """The prices of a Pricer at the moment `at`, in the service tier that the requests name."""
    asked = Attempt("", at, 0.0, answer={"service_tier": tier})
    return lambda model, used: pricer.cost(asked, Reading(used), model, None)


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens and the cost of requests to one model, or to all.

    `input_from` says where the input tokens of how many rows come from: `counted`, `learnt` (from
    earlier answers) or `default` (a quarter a byte).  `*_likely` is None before the first answer,
    `*_most` where some rows set no cap (`uncapped_rows`).  `cost_input_usd` is the input alone.
    Costs are USD, None where the price is unknown.
    """

    model: str | None
    rows: int
    input_tokens: int
    input_from: dict[str, int]
    output_tokens_likely: int | None
    output_tokens_most: int | None
    uncapped_rows: int
    cost_input_usd: float | None
    cost_likely_usd: float | None
    cost_most_usd: float | None
    cost_source: str | None


class _Asked(msgspec.Struct):
    """Requests of about one size to one model.  `text` is the bytes of those that were not counted."""

    rows: int = 0
    counted: int = 0
    counted_tokens: int = 0
    text: int = 0
    cap: int = 0


class _Learnt(msgspec.Struct):
    """Usage of earlier answers of one model.  `text` is the bytes of their requests, `outputs` how
    many of them say their output tokens.
    """

    input_tokens: int = 0
    text: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    outputs: int = 0

    @property
    def cached(self) -> Decimal:
        """The share of input that was cached."""
        return Decimal(self.cached_tokens) / self.input_tokens if self.input_tokens else Decimal(0)

    def tokens(self, text: int) -> int:
        """Input tokens of so many bytes."""
        if self.input_tokens:
            return round(text * self.input_tokens / self.text)
        return round(text * PRIOR_TOKENS / PRIOR_BYTES)


class Forecaster:
    """Takes the requests that are to be sent and the answers that came, and makes forecasts."""

    def __init__(self, count: Count | None = None) -> None:
        self.rows = 0
        self._count = count
        self._uncounted: list[tuple[Request, _Asked]] = []
        self._held = 0
        self._asked: defaultdict[tuple[str, bool, int], _Asked] = defaultdict(_Asked)
        self._learnt: defaultdict[str, _Learnt] = defaultdict(_Learnt)

    def sibling(self) -> Forecaster:
        """One for other requests, which learns what this one learns."""
        other = Forecaster(self._count)
        other._learnt = self._learnt
        return other

    def add(self, request: Request) -> None:
        """Take in a request that is to be sent."""
        text = text_bytes(request.body)
        cap = request.output_cap
        size = round(STEPS * math.log2(max(1, text)))
        asked = self._asked[request.model or "", cap is not None, size]
        asked.rows += 1
        asked.cap += cap or 0
        self.rows += 1
        if self._count is None:
            asked.text += text
            return
        self._uncounted.append((request, asked))
        self._held += len(request.body)
        if self._held > HELD:
            self._count_held()

    def learn(self, request: Request, used: Usage) -> None:
        """Take in an answer that came at the first attempt."""
        learnt = self._learnt[request.model or ""]
        if used.input_tokens is not None:
            learnt.input_tokens += used.input_tokens
            learnt.text += text_bytes(request.body)
            learnt.cached_tokens += used.cached_tokens or 0
        if used.output_tokens is not None:
            learnt.output_tokens += used.output_tokens
            learnt.outputs += 1

    def forecasts(self, price: Price, uncapped: int | None = None) -> list[Forecast]:
        """One for each model, most rows first.  Answers without a cap count `uncapped` tokens at most."""
        self._count_held()
        models = {model for model, _, _ in self._asked}
        made = [self._forecast(model, price, uncapped) for model in models]
        return sorted(made, key=lambda each: (-each.rows, each.model))

    def _count_held(self) -> None:
        held, self._uncounted, self._held = self._uncounted, [], 0
        if self._count is None or not held:
            return
        counts = self._count([request for request, _ in held])
        for (request, asked), tokens in zip(held, counts, strict=True):
            if tokens is None:
                asked.text += text_bytes(request.body)
            else:
                asked.counted += 1
                asked.counted_tokens += tokens

    def _forecast(self, model: str, price: Price, uncapped: int | None) -> Forecast:
        learnt = self._learnt.get(model, _Learnt())
        groups = [(key[1], asked) for key, asked in self._asked.items() if key[0] == model]
        by_ratio = "learnt" if learnt.input_tokens else "default"
        inputs = [asked.counted_tokens + learnt.tokens(asked.text) for _, asked in groups]
        most = [_most(capped, asked, uncapped) for capped, asked in groups]
        likely = [_likely(learnt, capped, asked) for capped, asked in groups]
        rows = [asked.rows for _, asked in groups]
        counted = sum(asked.counted for _, asked in groups)
        from_ = {"counted": counted, by_ratio: sum(rows) - counted}

        def usd(outputs: Iterable[int | None], cached: Decimal = Decimal(0)) -> float | None:
            sums = zip(rows, inputs, outputs, strict=True)
            return _added(_cost(price, model, *each, cached) for each in sums)

        one = price(model, Usage(1, output_tokens=1))
        free = [0] * len(rows) if one is not None and not one.usd else None
        return Forecast(
            model=model,
            rows=sum(rows),
            input_tokens=sum(inputs),
            input_from={name: number for name, number in from_.items() if number},
            output_tokens_likely=_sum(likely),
            output_tokens_most=_sum(most),
            uncapped_rows=sum(asked.rows for capped, asked in groups if not capped),
            cost_input_usd=usd([0] * len(rows)),
            cost_likely_usd=usd(free or likely, learnt.cached),
            cost_most_usd=usd(free or most),
            cost_source=None if one is None else one.source,
        )


def _most(capped: bool, asked: _Asked, uncapped: int | None) -> int | None:
    if capped:
        return asked.cap
    return None if uncapped is None else asked.rows * uncapped


def _likely(learnt: _Learnt, capped: bool, asked: _Asked) -> int | None:
    if capped and not asked.cap:  # embeddings put out nothing
        return 0
    if not learnt.outputs:
        return None
    likely = round(asked.rows * learnt.output_tokens / learnt.outputs)
    return min(likely, asked.cap) if capped else likely


def _cost(
    price: Price, model: str, rows: int, input_: int, output: int | None, cached: Decimal
) -> Decimal | None:
    """USD of `rows` requests that take `input_` and `output` tokens in all.

    That is `rows` times the price of the mean request, its tokens rounded down, and what each of
    the remaining tokens adds to it.
    """
    if output is None:
        return None
    mean_input, mean_output = input_ // rows, output // rows

    def usd(more_input: int = 0, more_output: int = 0) -> Decimal | None:
        hit = int(mean_input * cached) or None
        used = Usage(mean_input + more_input, hit, output_tokens=mean_output + more_output)
        cost = price(model, used)
        return None if cost is None else cost.usd

    base, longer, wordier = usd(), usd(1), usd(0, 1)
    if base is None or longer is None or wordier is None:
        return None
    left = (input_ % rows) * (longer - base) + (output % rows) * (wordier - base)
    return rows * base + left


def total(forecasts: list[Forecast]) -> Forecast:
    """All models together.  Costs are those of the models that have a price, None where none has."""
    priced = [each for each in forecasts if each.cost_source is not None]
    sources = {each.cost_source for each in priced}
    from_: dict[str, int] = {}
    for each in forecasts:
        for name, rows in each.input_from.items():
            from_[name] = from_.get(name, 0) + rows
    return Forecast(
        model=None,
        rows=sum(each.rows for each in forecasts),
        input_tokens=sum(each.input_tokens for each in forecasts),
        input_from=from_,
        output_tokens_likely=_sum([each.output_tokens_likely for each in forecasts]),
        output_tokens_most=_sum([each.output_tokens_most for each in forecasts]),
        uncapped_rows=sum(each.uncapped_rows for each in forecasts),
        cost_input_usd=_usd([each.cost_input_usd for each in priced]),
        cost_likely_usd=_usd([each.cost_likely_usd for each in priced]),
        cost_most_usd=_usd([each.cost_most_usd for each in priced]),
        cost_source=sources.pop() if len(sources) == 1 else None,
    )


def _sum(numbers: list[int | None]) -> int | None:
    """The sum; None where a part of it is unknown."""
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _usd(costs: list[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return round(sum(known), 12) if known and len(known) == len(costs) else None


def _added(costs: Iterable[Decimal | None]) -> float | None:
    all_ = list(costs)
    known = [cost for cost in all_ if cost is not None]
    return float(sum(known, Decimal(0))) if len(known) == len(all_) else None
