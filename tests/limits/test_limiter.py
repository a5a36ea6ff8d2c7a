"""The limiter before servers of every kind, under a clock of its own: see scenarios.toml."""

from __future__ import annotations

import asyncio
import math
import random
import tomllib
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batch.engine import retry
from batch.engine.retry import Retry, Waiting
from batch.limits.limiter import Limiter
from batch.limits.limits import Limits
from batch.limits.rates import HEADROOM
from batch.limits.token_bucket import MOST_CREDIT
from batch.limits.token_reservations import TooLarge
from batch.model import Request, Usage
from tests.virtual import play

SCENARIOS = tomllib.loads((Path(__file__).parent.parent / "scenarios.toml").read_text())["scenario"]


def request(row: int, size: int = 100, output_cap: int | None = None) -> Request:
    return Request(row, None, "chat", "m", b"x" * size, "", output_cap=output_cap)


class Answer(msgspec.Struct, frozen=True):
    """`wait` is what a refusal names."""

    status: int
    headers: dict[str, str] = {}
    wait: float | None = None


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at: float
    latency: float
    spread: float = 0.0
    slots: int | None = None
    room: int | None = None
    per_second: float | None = None
    burst: float = 0.0
    wait: float | str | None = None
    announces: bool = False
    down: bool = False
    failing: float = 0.0
    tokens: int = 10
    tokens_per_second: float | None = None


class Expected(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    start: float
    end: float
    in_flight: tuple[float, float] | None = None
    rate: tuple[float, float] | None = None
    refused: int | None = None
    sent: int | None = None


class Server:
    """A server as a scenario's phases say, and what it saw."""

    def __init__(self, phases: list[Phase]) -> None:
        self._later = iter(phases)
        self._phase, self._next = next(self._later), next(self._later, None)
        self._chance = random.Random(1)
        self._time = asyncio.get_running_loop().time
        self._began = self._time()
        self._has_slots = any(phase.slots for phase in phases)
        self._slots = asyncio.Condition()
        self._busy = 0
        self._in_service = 0
        self._left: dict[str, float] = {}
        self._at: dict[str, float] = {}
        self.sent: list[float] = []
        self.answered: list[float] = []
        self.refused: list[float] = []
        self.in_flight: list[tuple[float, int]] = []

    @property
    def now(self) -> float:
        return self._time() - self._began

    @property
    def phase(self) -> Phase:
        now = self.now + 1e-9
        while self._next is not None and self._next.at <= now:
            self._phase, self._next = self._next, next(self._later, None)
        return self._phase

    async def ask(self) -> Answer:
        phase = self.phase
        self.sent.append(self.now)
        self._in_service += 1
        self.in_flight.append((self.now, self._in_service))
        try:
            return await self._answer(phase)
        finally:
            self._in_service -= 1
            self.in_flight.append((self.now, self._in_service))

    async def _answer(self, phase: Phase) -> Answer:
        chance = self._chance
        latency = phase.latency * (chance.lognormvariate(0, phase.spread) if phase.spread else 1)
        if phase.down or (phase.failing and chance.random() < phase.failing):
            await asyncio.sleep(phase.latency if phase.down else 0.01)
            return Answer(503)
        waits = [self._short("requests", 1, phase.per_second, phase.burst)]
        burst = phase.burst * phase.tokens
        waits.append(self._short("tokens", phase.tokens, phase.tokens_per_second, burst))
        if max(waits) > 0 or (phase.room is not None and self._in_service > phase.room):
            self.refused.append(self.now)
            await asyncio.sleep(0.01)
            wait = max(waits) if phase.wait == "next" else phase.wait
            return Answer(429, self._said(phase), wait if isinstance(wait, float) else None)
        for what in self._left:
            self._left[what] -= 1 if what == "requests" else phase.tokens
        async with self._slot() if self._has_slots else nullcontext():
            await asyncio.sleep(latency)
        self.answered.append(self.now)
        return Answer(200, self._said(phase))

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        async with self._slots:
            await self._slots.wait_for(lambda: self._busy < (self.phase.slots or math.inf))
            self._busy += 1
        yield
        async with self._slots:
            self._busy -= 1
            self._slots.notify()

    def _short(self, what: str, amount: float, rate: float | None, burst: float) -> float:
        """Seconds until there is enough."""
        if rate is None:
            self._left.pop(what, None)
            return 0.0
        since = self.now - self._at.get(what, self.now)
        self._left[what] = min(max(burst, amount), self._left.get(what, burst) + since * rate)
        self._at[what] = self.now
        return max(0.0, (amount - self._left[what]) / rate)

    def _said(self, phase: Phase) -> dict[str, str]:
        if not phase.announces:
            return {}
        said = {}
        for what, rate in (("requests", phase.per_second), ("tokens", phase.tokens_per_second)):
            if rate is not None:
                used = max(1.0, phase.burst - self._left[what])
                said[f"x-ratelimit-limit-{what}"] = str(rate * 60)
                said[f"x-ratelimit-remaining-{what}"] = str(rate * 60 - used)
                said[f"x-ratelimit-reset-{what}"] = f"{used / rate}s"
        return said


async def work(
    limiter: Limiter, server: Server, usage: Callable[[], Usage], output_cap: int
) -> None:
    """Rows without end, by as many workers as may be in flight; one that failed comes back."""
    loop, rows, waiting = asyncio.get_running_loop(), iter(range(10**9)), Waiting[int]()
    others_succeed, refused, chance = True, Counter[int](), random.Random(2)

    async def worker() -> None:
        nonlocal others_succeed
        while True:
            async with limiter.gate:
                row = waiting.pop_due(loop.time())
                asked = request(next(rows) if row is None else row, output_cap=output_cap)
                await limiter.admit(asked)
            began = loop.time()
            answer = await server.ask()
            took = loop.time() - began
            limiter.read_headers(answer.headers, 0.0)
            if answer.status == 200:
                used = usage()
                limiter.release(asked, (used.input_tokens or 0) + (used.output_tokens or 0))
                limiter.accepted(asked, used, took)
                others_succeed = True
                continue
            limiter.release(asked, 0)
            refused[asked.row] += answer.status == 429
            limit = answer.status == 429 and limiter.refused(answer.wait, None, took, "429")
            failures = min(refused[asked.row], 2 if others_succeed or not limit else 8)
            backoff = retry.backoff(Retry(), max(1, failures), chance.random())
            waiting.push(loop.time() + (answer.wait or 0.0) + backoff, asked.row)
            if answer.status == 503:
                limiter.failed(asked.row, "503", took)
                continue
            if not limit:
                continue
            if not others_succeed and answer.wait is None:
                closed = retry.backoff(Retry(), max(1, limiter.refusals), chance.random())
                limiter.pause_until(loop.time() + closed, "429")
            others_succeed = False

    async with asyncio.TaskGroup() as group:
        for _ in range(limiter.most):
            group.create_task(worker())


async def observe(scenario: dict[str, Any]) -> Server:
    keys = ("requests_per_minute", "tokens_per_minute", "concurrency")
    limits = msgspec.convert({key: scenario[key] for key in keys if key in scenario}, Limits)
    loop = asyncio.get_running_loop()
    limiter = Limiter(limits, limits.most(), clock=loop.time)
    server = Server(msgspec.convert(scenario["phase"], list[Phase]))

    def usage() -> Usage:
        return Usage(input_tokens=server.phase.tokens - 5, output_tokens=5)

    try:
        async with asyncio.timeout(scenario["seconds"]):
            await work(limiter, server, usage, scenario.get("output_cap", 100))
    except TimeoutError:
        return server
    raise AssertionError("rows without end have ended")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each["name"] for each in SCENARIOS])
def test_the_limiter_finds_the_speed_of(scenario: dict[str, Any]) -> None:
    server = play(observe(scenario))

    for expected in msgspec.convert(scenario["expect"], list[Expected]):
        start, end = expected.start, expected.end

        def between(moments: list[float], start: float = start, end: float = end) -> int:
            return bisect_left(moments, end) - bisect_left(moments, start)

        rate = between(server.answered) / (end - start)
        in_flight = mean(server.in_flight, start, end)
        sent, refused = between(server.sent), between(server.refused)
        shown = f"{start}-{end} s: {rate:.1f}/s, {in_flight:.1f} in flight, {sent=}, {refused=}"
        if expected.rate is not None:
            assert expected.rate[0] <= rate <= expected.rate[1], shown
        if expected.in_flight is not None:
            assert expected.in_flight[0] <= in_flight <= expected.in_flight[1], shown
        if expected.refused is not None:
            assert refused <= expected.refused, shown
        if expected.sent is not None:
            assert sent <= expected.sent, shown


def mean(steps: list[tuple[float, int]], start: float, end: float) -> float:
    """The mean of a step function between two moments."""
    total, at, value = 0.0, start, 0
    for moment, now in steps:
        if moment > end:
            break
        if moment > at:
            total, at = total + value * (moment - at), moment
        value = now
    return (total + value * (end - at)) / (end - start)


def limiter(most: int = 8, **limits: Any) -> Limiter:
    """In a coroutine: a limiter under the loop's time."""
    loop = asyncio.get_running_loop()
    return Limiter(Limits(concurrency=most, **limits), most, clock=loop.time)


async def leave(limiter: Limiter, *requests: Request) -> list[float]:
    """When each of the requests left, in seconds from now; all queue at once, in this order."""
    loop = asyncio.get_running_loop()
    began, left = loop.time(), dict[int, float]()

    async def go(asked: Request) -> None:
        async with limiter.gate:
            if await limiter.admit(asked):
                left[asked.row] = loop.time() - began
                limiter.release(asked, None)

    await asyncio.gather(*(go(asked) for asked in requests))
    return [left[asked.row] for asked in requests if asked.row in left]


def test_requests_leave_evenly_and_in_order() -> None:
    async def story() -> list[float]:
        return await leave(limiter(requests_per_minute=60 / HEADROOM), *map(request, range(5)))

    assert play(story()) == pytest.approx([0, 1, 2, 3, 4], abs=0.01)


def test_large_requests_are_not_starved_by_small_ones() -> None:
    async def story() -> list[float]:
        small = [request(row, 4, output_cap=9) for row in range(100)]
        large = request(1_000, 4, output_cap=899)
        return await leave(limiter(tokens_per_minute=60_000), *small, large, *small)

    left = play(story())
    assert left[100] == pytest.approx((100 * 10 + 900) / 1_000 / HEADROOM, abs=0.1)


def test_a_request_larger_than_a_minutes_tokens_is_too_large_at_once() -> None:
    async def story() -> list[float]:
        return await leave(limiter(tokens_per_minute=1_000), request(0, 400, output_cap=901))

    with pytest.raises(TooLarge, match="may take 1,001 tokens, and 1,000 a minute"):
        play(story())


def test_tokens_that_were_not_used_let_others_go() -> None:
    async def story() -> tuple[float, float]:
        limits, loop = limiter(tokens_per_minute=60_000), asyncio.get_running_loop()
        began, moments = loop.time(), []
        for row in range(3):
            asked = request(row, 4, output_cap=999)
            await limits.admit(asked)
            moments.append(loop.time() - began)
            limits.release(asked, 0 if row == 0 else None)
        return moments[1] - moments[0], moments[2] - moments[1]

    given_back, used = play(story())
    assert given_back == pytest.approx((1 - MOST_CREDIT) / HEADROOM, abs=0.1)
    assert used == pytest.approx((1 - (1 - MOST_CREDIT) * MOST_CREDIT) / HEADROOM, abs=0.3)


def test_what_was_used_before_a_limit_was_announced_does_not_count_against_it() -> None:
    async def story() -> list[float]:
        limits = limiter()
        for row in range(1_000):
            await limits.admit(request(row))
            limits.release(request(row), 1_000)
        said = {
            "x-ratelimit-limit-tokens": "60000",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "60s",
        }
        limits.read_headers(said, 0.0)
        limits.read_headers(said, 0.0)
        return await leave(limits, request(1_000, 4, output_cap=99))

    assert play(story())[0] < 1


def test_a_rate_may_change_while_it_is_waited_for_and_brings_no_burst() -> None:
    async def story() -> list[float]:
        limits, loop = limiter(most=400, requests_per_minute=6_000), asyncio.get_running_loop()
        for at in range(10):  # announced anew each time, always a little less
            said = {
                "x-ratelimit-limit-requests": str(600 - at),
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "60s",
            }
            loop.call_later(2 * at, limits.read_headers, said, 0.0)
            loop.call_later(2 * at, limits.read_headers, said, 0.0)
        await asyncio.sleep(0.01)
        return await leave(limits, *map(request, range(200)))

    left = play(story())
    assert left[199] == pytest.approx(200 / 10 / HEADROOM, rel=0.05)


def test_nothing_leaves_before_the_moment_that_a_server_named() -> None:
    async def story() -> list[float]:
        limits = limiter()
        limits.refused(wait=20.0, reset=None, took=0.1, reason="429 no room")
        assert limits.words().startswith("429 no room: until ")
        return await leave(limits, *map(request, range(3)))

    assert min(play(story())) == pytest.approx(20, abs=0.01)


def test_a_refusal_that_only_tells_its_reset_is_believed_the_second_time() -> None:
    async def story() -> tuple[float, float]:
        limits = limiter()
        limits.refused(wait=None, reset=40.0, took=0.1, reason="429")
        (first,) = await leave(limits, request(0))
        limits.refused(wait=None, reset=40.0, took=0.1, reason="429")
        (second,) = await leave(limits, request(1))
        return first, second

    assert play(story()) == pytest.approx((1, 40), abs=0.01)


def test_a_run_that_stops_waits_for_no_limit() -> None:
    async def story() -> list[float]:
        limits = limiter(requests_per_minute=1)
        asyncio.get_running_loop().call_later(3, limits.close)
        return await leave(limits, request(0), request(1))

    assert play(story()) == pytest.approx([0], abs=0.01)


def test_a_clock_that_jumps_makes_no_burst() -> None:
    async def story() -> list[float]:
        limits, loop = limiter(requests_per_minute=600), asyncio.get_running_loop()
        await leave(limits, request(0))
        loop.clock.now += 3_600  # type: ignore[attr-defined]
        return await leave(limits, *map(request, range(100)))

    left = play(story())
    assert sum(moment < 1 for moment in left) <= 10 + 1


def test_says_what_is_waited_for() -> None:
    async def story() -> list[str]:
        limits, said = limiter(tokens_per_minute=6_000), []
        loop = asyncio.get_running_loop()
        loop.call_later(1, lambda: said.append(limits.words()))
        await leave(limits, *(request(row, 4, output_cap=99) for row in range(5)))
        limits.turned_away("auth, HTTP 401")
        await asyncio.sleep(40)
        return [*said, limits.words()]

    assert play(story()) == [
        "tokens/min used up",
        "endpoint down for 40 s, probing (auth, HTTP 401)",
    ]


def said(kind: str, per_minute: float) -> dict[str, str]:
    """Headers that announce a rate."""
    return {
        f"x-ratelimit-limit-{kind}": str(per_minute),
        f"x-ratelimit-remaining-{kind}": "0",
        f"x-ratelimit-reset-{kind}": "60s",
    }


def announce(limits: Limiter, kind: str, per_minute: float) -> None:
    for _ in range(2):  # what is said once is not believed
        limits.read_headers(said(kind, per_minute), 0.0)


def share(kind: str, per_minute: float) -> tuple[float | None, float | None]:
    return (per_minute, None) if kind == "requests" else (None, per_minute)


SLOW = {"requests": 6, "tokens": 600}
"""At which a request of 100 tokens waits 10 s."""


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("by", ["headers", "share"])
def test_who_waits_hears_at_once_of_a_rate_that_is_raised(kind: str, by: str) -> None:
    async def story() -> list[float]:
        loop = asyncio.get_running_loop()
        if by == "headers":
            limits = limiter(most=400)
            announce(limits, kind, SLOW[kind])
            loop.call_later(2, announce, limits, kind, 10_000 * SLOW[kind])
        else:
            limits = limiter(most=400, **{f"{each}_per_minute": SLOW[each] for each in [kind]})
            rate = 10_000 * SLOW[kind]
            loop.call_later(2, limits.keep_to, *share(kind, rate), 400)
        return await leave(limits, *(request(row, 4, output_cap=99) for row in range(50)))

    left = play(story())
    assert left == sorted(left)
    assert sum(moment < 2 for moment in left) <= 1
    assert left[-1] <= 2.1


@pytest.mark.parametrize("kind", SLOW)
def test_a_rate_that_is_lowered_counts_at_once(kind: str) -> None:
    async def story() -> list[float]:
        limits = limiter(most=400, **{f"{kind}_per_minute": 100 * SLOW[kind]})
        loop = asyncio.get_running_loop()
        loop.call_later(2.05, limits.keep_to, *share(kind, SLOW[kind]), 400)
        return await leave(limits, *(request(row, 4, output_cap=99) for row in range(26)))

    left = play(story())
    assert sum(2.05 < moment < 12.05 for moment in left) <= 2
    assert 40 < left[-1] < 70


def test_a_worker_without_a_share_lets_nothing_out_until_it_has_one() -> None:
    async def story() -> list[float]:
        limits = limiter(requests_per_minute=60_000)
        await leave(limits, request(0))
        limits.keep_to(0.0, None, 8)
        asyncio.get_running_loop().call_later(100, limits.keep_to, 60_000.0, None, 8)
        return await leave(limits, request(1), request(2))

    assert play(story()) == pytest.approx([100, 100], abs=0.01)


def test_a_worker_with_more_slots_uses_them_at_once() -> None:
    async def story() -> float:
        limits, loop = limiter(most=1), asyncio.get_running_loop()
        await limits.admit(request(0))
        loop.call_later(5, limits.keep_to, None, None, 2)
        began = loop.time()
        async with limits.gate:
            await limits.admit(request(1))
        return loop.time() - began

    assert play(story()) == pytest.approx(5, abs=0.01)


def test_what_is_too_large_for_a_worker_alone_is_not_too_large() -> None:
    async def story() -> list[float]:
        loop = asyncio.get_running_loop()
        share = Limits(tokens_per_minute=250, concurrency=8)
        limits = Limiter(share, 8, clock=loop.time, workers=4)
        with pytest.raises(TooLarge, match="and 1,000 a minute"):
            await limits.admit(request(0, 400, output_cap=901))
        return await leave(limits, request(1, 400, output_cap=400))

    assert play(story())[0] == pytest.approx(60 * 500 / 250 / HEADROOM, rel=0.02)


def test_a_worker_takes_its_part_of_what_is_announced_for_all() -> None:
    async def story() -> list[float]:
        loop, limits = asyncio.get_running_loop(), Limits(concurrency=8)
        shared = Limiter(limits, 8, clock=loop.time, workers=4)
        announce(shared, "requests", 240 / HEADROOM)
        return await leave(shared, *map(request, range(5)))

    assert play(story()) == pytest.approx([0, 1, 2, 3, 4], abs=0.01)
