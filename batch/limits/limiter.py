"""How fast requests leave: rates, requests in flight, pauses, and whether the endpoint is there.

One request at a time waits at the gate, so they leave in the order in which rows are taken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from batch.costs.token_bounds import Estimate
from batch.limits.circuit_breaker import FAULTS, FAULTS_OF_ONE, CircuitBreaker
from batch.limits.concurrency import START, Concurrency
from batch.limits.crossing import Crossing, Obstacle
from batch.limits.limits import Limits
from batch.limits.rates import Rates
from batch.limits.refusals import RefusalCauses
from batch.limits.tickets import Ticket
from batch.limits.token_reservations import NOTHING, TokenReservations
from batch.model import Request, Usage

MARGIN = 0.005
"""Seconds beyond the moment that a server names: it may have rounded down."""
SHORT_LOOK = 0.05
"""At most so many seconds nothing leaves after a refusal of which nobody knows what it tells."""
FIRST_RESET, LONGEST_RESET = 1.0, 60.0
"""At most so many seconds of an announced reset are waited for where a refusal names no wait: at
first, and when nothing has been answered since the refusal before.
"""


class Limiter:
    """Lets requests out, one at a time, when they may go: `admit`, and `release` afterwards."""

    def __init__(
        self,
        limits: Limits,
        most: int,
        *,
        known_slots: bool = False,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda _: None,
        crossing: Crossing | None = None,
        workers: int = 1,
    ) -> None:
        """`most` requests may be in flight; `known_slots` says that the endpoint takes just those.
        Several endpoints have one `crossing`.  Of several `workers`, this is the share of one.
        """
        self.most = most
        self.now = self._clock = clock
        """The moment on its clock."""
        faults = FAULTS if crossing is None else FAULTS_OF_ONE
        crossing = crossing or Crossing()
        self.gate = crossing.gate
        self.is_gone = False
        """Whether the endpoint is asked no more."""
        self.circuit = CircuitBreaker(faults)
        self.in_flight = 0
        self.refusals = 0  # episodes since the last answer
        self._causes = RefusalCauses()
        self._unsure_of: float | None = None  # when it left whose refusal alone made the pause
        of_requests, of_tokens = limits.requests_per_minute, limits.tokens_per_minute
        self._rates = Rates(of_requests, of_tokens, clock, say, workers)
        self.tokens = TokenReservations()
        fixed = known_slots or isinstance(limits.concurrency, int)
        start = max(START, _in_flight(of_requests or 0.0))
        self._concurrency = Concurrency(most, start, fixed=fixed)
        self._paused_until = 0.0
        self._reason, self._episode_began = "", 0.0
        self._changed = crossing.changed
        self._ticket = Ticket(self._rates, self._changed)
        self._waiting: asyncio.Timeout | None = None  # of the request that waits at the gate
        self._closed = False

    # What is learnt

    def accepted(self, request: Request, usage: Usage, took: float) -> None:
        """The endpoint has given a good answer, after so many seconds."""
        now = self.answered(took)
        self.refusals = 0
        self.tokens.learn(request, usage)
        work = usage.output_tokens or len(request.packed) or 1
        self._concurrency.answered(work, self.in_flight + 1, now)
        sent, causes = now - took, self._causes
        causes.window.answered(sent, now)
        if causes.trial is not None and (found := causes.trial_ended(sent, now)) is not None:
            self._rates.end_trial(now, found)
        elif self._rates.answered(now):
            causes.raised(now)
        if causes.learnt and not self._rates.adapts:
            causes.forgotten()
        if self._unsure_of is not None and sent > self._unsure_of:
            self._unsure_of, self._paused_until = None, now
            self._wake()

    def answered(self, took: float) -> float:
        """The endpoint has answered, if only with an error of the row: it is there.  Gives the moment."""
        now = self._clock()
        if self.circuit.answered(now, now - took):
            self._concurrency.came_back(now)
            self._wake()
        return now

    def refused(self, wait: float | None, reset: float | None, took: float, reason: str) -> bool:
        """The server had no room for a request, which it said after `took` seconds.  Whether that
        tells of a limit; else it is about this request or a replica, and nobody else waits.

        It may have said how long to `wait`, or in how many seconds the whole limit is there again.
        """
        now = self.answered(took)
        sent = now - took
        cause = self._causes.refused(sent)
        if cause == "scattered":
            self._bear(sent, now)
            if not self._causes.is_known:  # what was sent with it is about to be refused, or not
                self.pause_until(now + min(took, SHORT_LOOK), reason)
            return False
        if cause == "limit":
            self._concurrency.refused(now, wait or 0.0)
            if self._rates.refused(now):
                self._causes.slowed(now, sent)
                if self._causes.background:
                    self._rates.hurry()
        if sent >= self._episode_began:  # it was sent after the refusals before
            self.refusals += 1
            self._episode_began = now
        if wait is None and reset is not None:
            wait = min(reset, FIRST_RESET if self.refusals < 2 else LONGEST_RESET)
        if wait:
            self._unsure_of = sent if cause == "unsure" and self._paused_until <= now else None
            self.pause_until(now + wait + MARGIN, reason)
        return True

    def lacks_room(self, took: float) -> bool:
        """Whether a failure that names no wait (503) is a refusal: others are answered meanwhile, and
        it tells of a limit.
        """
        now = self._clock()
        sent, causes = now - took, self._causes
        if causes.window.answers_some(now) and causes.would_be_limit(sent):
            return True
        if causes.refused(sent) == "scattered":
            self._bear(sent, now)
        return False

    def failed(
        self,
        row: int,
        why: str,
        took: float,
        *,
        unreachable: bool = False,
        is_evidence: bool = True,
        unanswered: bool = True,
    ) -> bool:
        """The endpoint failed.  Whether it is down.

        A row that failed before, while others were answered, is no evidence of that.  `unanswered`
        says that nothing was answered since the row first failed.
        """
        self._concurrency.failed()
        if not is_evidence:
            self.circuit.ignore_failure()
            return self.circuit.open_since is not None
        now = self._clock()
        sent = now - took
        down = self.circuit.failed(
            row, why, now, sent, unreachable=unreachable, unanswered=unanswered
        )
        if down:
            self._concurrency.went_down()
        return down

    def turned_away(self, why: str, took: float = 0.0) -> None:
        """The endpoint refuses what it took before."""
        now = self._clock()
        self.circuit.refused(why, now, now - took)
        if self.circuit.open_since is not None:
            self._concurrency.went_down()

    def rows_fail(self) -> None:
        """The endpoint is there, and the rows that are left fail: they need not wait for probes."""
        self.circuit.close()
        self._concurrency.came_back(self._clock())
        self._wake()

    def starved(self) -> None:
        """Fewer requests came than might have left, which says nothing of the endpoint."""
        self._concurrency.starved(self.in_flight, self._clock())

    def read_headers(self, answered: Mapping[str, str], wall_time: float) -> None:
        """Keep to the limits that the headers of an answer announce."""
        if announced := self._rates.read(answered, wall_time):
            self._concurrency.at_least(_in_flight(announced))

    def keep_to(
        self, requests_per_minute: float | None, tokens_per_minute: float | None, slots: int
    ) -> None:
        """The share of this worker is another one from now on, for whoever waits, too."""
        self._rates.keep_to(requests_per_minute, tokens_per_minute)
        self._concurrency.allow(slots)
        self._wake()

    def pause_until(self, moment: float, reason: str) -> None:
        """Let nothing out before `moment` of the monotonic clock."""
        if moment > self._paused_until:
            self._paused_until, self._reason = moment, reason

    def _bear(self, sent: float, now: float) -> None:
        """A refusal tells of no limit.  Such refusals are looked into when there are many."""
        if self._causes.background:
            self._rates.answered(now)
        else:
            self._concurrency.disturbed()
        if rate := self._causes.wants_trial(now, sent):
            self._rates.try_out(rate)

    # What may go

    async def admit(self, request: Request) -> bool:
        """Wait inside the `gate` until this request may leave; False when `close` came.  Raises TooLarge."""
        if self.at_once(request):
            return True
        needed = self._needed(request)
        if self._closed:
            return False
        try:
            async with asyncio.timeout(None) as self._waiting:
                await self._wait_at_the_gate(needed)
        except TimeoutError:
            return False
        finally:
            self._waiting = None
        self._let_out(request, needed, self._clock())
        return True

    def at_once(self, request: Request) -> bool:
        """Whether this request leaves now, as there is nothing to wait for, which is asked in the `gate`."""
        now, here = self._clock(), not (self._closed or self.is_gone)
        is_there = here and self.circuit.open_since is None and now >= self._paused_until
        if not (is_there and self._rates.unlimited() and self._has_slot()):
            return False
        self._let_out(request, NOTHING, now)
        return True

    def when(self, request: Request) -> float | None:
        """Seconds until this request may leave, 0 where it may now; None where that takes a change of
        which the `crossing` hears.  For whoever chooses among endpoints, and then `take`s.  Raises
        TooLarge.
        """
        needed = self._needed(request)
        wait = self._wait(needed)
        return None if wait == 0 and not self._ticket.is_paid(needed.likely) else wait

    def take(self, request: Request) -> None:
        """The request leaves, which it may."""
        needed = self._needed(request)
        self._ticket.use(needed.likely)
        self._let_out(request, needed, self._clock())

    def _let_out(self, request: Request, needed: Estimate, now: float) -> None:
        if needed is not NOTHING:
            self.tokens.reserve(request.row, needed)
        self.in_flight += 1
        self.circuit.sent(now)
        self._causes.window.sent(now)

    def close(self) -> None:
        """Let nothing out any more.  Whatever waits at the gate gets False."""
        self._closed = True
        self._ticket.close()
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())
            self._waiting = None

    def release(self, request: Request, used: int | None) -> None:
        """The request is not in flight any more; it used so many tokens, None if nobody knows."""
        self._rates.give_back(self.tokens.release(request.row, used))
        self.in_flight -= 1
        if self.gate.is_taken:
            self._wake()

    @property
    def held_up(self) -> float:
        """Seconds for which nothing leaves but probes; infinite where nobody knows."""
        there = not self.is_gone and self.circuit.open_since is None
        return max(0.0, self._paused_until - self._clock()) if there else float("inf")

    def obstacle(self) -> Obstacle | None:
        """What requests wait for; None when they do not."""
        if self.circuit.open_since is not None:
            return Obstacle.down(self.circuit.why, self._clock() - self.circuit.open_since)
        if (wait := self.held_up) > 0:
            return Obstacle.refused(self._reason, wait)
        rate = self._rates.waited_for()
        return None if rate is None else Obstacle.used_up(rate)

    def words(self) -> str:
        """`obstacle` in words, empty when there is none."""
        return "" if (found := self.obstacle()) is None else found.words

    def _needed(self, request: Request) -> Estimate:
        per_minute = self._rates.tokens_per_minute
        if per_minute is None:
            return NOTHING
        needed = self.tokens.needed(request, self._rates.all_tokens_per_minute or per_minute)
        self._concurrency.at_least(_in_flight(per_minute / needed.likely))
        return needed

    async def _wait_at_the_gate(self, needed: Estimate) -> None:
        await self._pass(needed)
        await self._rates.take(needed.likely)
        await self._pass(needed)

    async def _pass(self, needed: Estimate) -> None:
        """Return when no pause, no open circuit and no lack of room is in the way."""
        while (wait := self._wait(needed)) != 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _wait(self, needed: Estimate) -> float | None:
        """Seconds until the request may leave, None when it takes a release."""
        now = self._clock()
        wait = max(self._paused_until - now, self.circuit.wait(now))
        if wait > 0:
            return wait
        if self.circuit.open_since is not None or not self.in_flight:
            return 0.0  # what hangs does not stop a probe
        per_minute = self._rates.tokens_per_minute
        has_room = self._has_slot() and self.tokens.fits(needed, per_minute)
        return 0.0 if has_room else None

    def _has_slot(self) -> bool:
        """A server that refuses one after the other is asked by one at a time."""
        return (
            not self.in_flight if self.refusals >= 2 else self._concurrency.has_room(self.in_flight)
        )

    def _wake(self) -> None:
        self._changed.set()


def _in_flight(per_minute: float) -> int:
    """A rate that is known protects the server: half a minute's worth may be in flight at once."""
    return round(per_minute / 2)
