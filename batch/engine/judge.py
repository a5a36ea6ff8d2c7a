"""What follows from an attempt: its row is done, waits for another try, or the run stops.

Pure: no clock, no socket, no file.  Time and chance come in, decisions come out, in the order in
which they are to be carried out.  What a server's answer means is `outcome`'s; what follows from it
for the row, for the endpoint and for the run is decided here: `_accepted`, `_again`, `_pause`,
`_rejected`, a function for each kind of outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from batch import apis, outcome, results
from batch.apis import APIS
from batch.engine import retry, stop_reasons
from batch.engine.feed import Task
from batch.engine.retry import Chances, Retry
from batch.engine.sanity import (
    EMPTY_WINDOW,
    INVALID_WINDOW,
    First,
    HeldBack,
    Invalid,
    Refusal,
    Timeouts,
)
from batch.errors import BatchError
from batch.limits.circuit_breaker import FIRST_PROBE
from batch.limits.limiter import Limiter
from batch.model import Attempt, Completion, Request, Result, Usage
from batch.outcome import Accept, Outcome, Pause, Reject, TryAgain
from batch.results import Error, Maker, Try
from batch.structured.validator import Checker

ALONE = {403: "blocked", 404: "invalid_request"}
"""Error class of a row that alone is turned away so, time and again, while others are answered."""

WHY_LENGTH = 60
"""Characters of a server's words that are said of a wait."""

SHORT_WAIT = 0.1
"""Seconds; a server that names less and answers nobody does not mean it."""

START_PATIENCE = 30.0
"""Seconds in which an endpoint that has never answered must come up."""


class Standing(msgspec.Struct, frozen=True):
    """How a run stands when a start begins: whether it holds answers already, and whether a person
    has said that mostly empty, invalid or unfitting answers are all right.
    """

    succeeded: bool = False
    accepts_all: bool = False


class Done(msgspec.Struct, frozen=True):
    """A row has its result."""

    result: Result


class Wait(msgspec.Struct, frozen=True):
    """The row, with the tries it has behind it now, is to be tried again after so many seconds."""

    task: Task
    seconds: float


class Held(msgspec.Struct, frozen=True):
    """A try of a row that makes no result yet, and perhaps never will."""

    row: int
    done: Try


class Stop(msgspec.Struct, frozen=True):
    """Nothing more is to be asked."""

    reason: BatchError


class Remark(msgspec.Struct, frozen=True):
    """What holds for many rows, and is said once."""

    text: str


Decision = Done | Wait | Held | Stop | Remark


class Judge:
    """Knows how the run and its endpoint have fared so far."""

    def __init__(
        self,
        policy: Retry,
        limiter: Limiter,
        maker: Maker,
        standing: Standing,
        checker: Checker | None = None,
        jitter: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """`limiter` hears what becomes of attempts, and knows whether the endpoint is there; `checker`
        holds answers to the job's schema, if it has one; `jitter` draws from [0, 1).
        """
        self._policy = policy
        self._limiter = limiter
        self._maker = maker
        self._checker = checker
        self._jitter = jitter
        self._succeeded = standing.succeeded
        self._answered = False  # in this start: a key refused before that is wrong, and no outage
        self._refused_since: float | None = None
        self._stopping = False
        self._budget = retry.Budget()
        self._held_back = HeldBack()
        self._invalid = Invalid(standing.accepts_all)
        self._first = First(standing.accepts_all)
        self._timeouts = Timeouts()
        self._remarks: set[str] = set()

    def outcome(self, request: Request, attempt: Attempt) -> Outcome:
        """What an attempt means by itself."""
        now = attempt.started_at + attempt.latency_s
        judged = outcome.judge(attempt, APIS[request.api].parse, now, self._answered)
        return judged if self._checker is None else self._checker.judge(judged)

    def decide(
        self, task: Task, attempt: Attempt, judged: Outcome, now: float
    ) -> Iterator[Decision]:
        """What follows, at the moment `now` of the monotonic clock; `task` holds its request."""
        request = requested(task)
        if self._timeouts.many(attempt.fault == "timeout", now):
            yield from self._remark("timeouts", MANY_TIMEOUTS)
        match judged:
            case Accept(completion):
                yield from self._accepted(request, (*task.tries, Try(attempt)), completion, now)
            case TryAgain():
                yield from self._again(task, attempt, judged, now)
            case Pause():
                yield from self._pause(task, attempt, judged, now)
            case Reject(stream_options=True) if request.stream_options:
                yield from self._without_options(task, attempt)
            case Reject(error_class, message, code):
                tries = (*task.tries, Try(attempt, error_class, attempt.maybe_billed))
                error = Error(error_class, message, code, judged.completion)
                yield from self._rejected(Refusal(request, tries, error))
            case outcome.Stop(error_class, message, code):
                yield Held(request.row, Try(attempt, error_class))
                yield self._stop(stop_reasons.refused(error_class, message, attempt))

    def unsendable(self, task: Task, error: Error) -> Iterator[Decision]:
        """A row whose request may never leave."""
        yield from self._failed(Refusal(requested(task), task.tries, error))

    def at_the_end(self) -> Iterator[Decision]:
        """All rows have been asked: what was held back is decided."""
        if not self._stopping:
            yield from self._settle(self._held_back.at_the_end())

    def stop(self) -> None:
        """Somebody else has stopped the run: a row whose last chance is gone stays pending."""
        self._stopping = True

    def _accepted(
        self, request: Request, tries: tuple[Try, ...], completion: Completion, now: float
    ) -> Iterator[Decision]:
        usage, took = completion.usage or Usage(), tries[-1].attempt.latency_s
        self._limiter.accepted(request, usage, took)
        self._budget.earn(now)
        self._refused_since = None
        if not self._succeeded:
            yield from self._settle("rows")  # others succeed: what was refused was the rows' fault
        self._succeeded = self._answered = True
        result = self._maker.accepted(request, tries, completion)
        yield Done(result)
        if "model_differs" in result.flags:
            text = MODEL_DIFFERS.format(served=result.served_model, asked=result.model)
            yield from self._remark("model_differs", text)
        self._invalid.mostly(False)
        if self._first.mostly_empty("empty" in completion.flags):
            yield self._stop(stop_reasons.mostly_empty(EMPTY_WINDOW))

    def _again(
        self, task: Task, attempt: Attempt, again: TryAgain, now: float
    ) -> Iterator[Decision]:
        tries = (*task.tries, Try(attempt, again.error_class, again.maybe_billed))
        others = self._refused_since is None
        chances = task.chances.and_then(again, others)
        if chances.goods is None:
            goods = self._limiter.health.goods
            chances = msgspec.structs.replace(chances, goods=goods, since=now)
        if again.mismatch:  # what does not fit was answered all the same
            self._refused_since, self._answered, others = None, True, True
        delay = retry.delay(self._policy, chances, again, self._jitter(), others)
        down = self._is_down(task.row.index, again, chances, attempt.latency_s, now, delay is None)
        if down:  # an outage: the row has done nothing wrong and stays pending
            yield from self._impatient(now)
            billed = task.chances.maybe_billed + again.maybe_billed
            since = {"goods": chances.goods, "since": chances.since}
            chances = msgspec.structs.replace(task.chances, maybe_billed=billed, **since)
            delay = retry.delay(self._policy, chances, again, self._jitter(), others)
        if again.refused or again.wait:
            yield from self._hold(again, attempt, others, now)
        if delay is None and not self._stopping:
            error = Error(again.error_class, again.message, again.code, again.completion)
            conclude = self._rejected if again.once else self._failed
            yield from conclude(Refusal(requested(task), tries, error))
            return
        delay = delay or 0.0
        if not (again.refused or again.at_once or down):
            delay = max(delay, self._budget.wait(again, now, self._policy.max_delay))
        yield Wait(msgspec.structs.replace(task, tries=tries, chances=chances), delay)

    def _without_options(self, task: Task, attempt: Attempt) -> Iterator[Decision]:
        """The endpoint takes no `stream_options`: the row, which has done nothing wrong, is asked
        again at once, without.
        """
        self._limiter.answered(attempt.latency_s)
        yield from self._remark("stream_options", NO_STREAM_OPTIONS)
        tries = (*task.tries, Try(attempt, "invalid_request"))
        lighter = apis.without_stream_options(requested(task))
        yield Wait(msgspec.structs.replace(task, request=lighter, tries=tries), 0.0)

    def _is_down(
        self, row: int, again: TryAgain, chances: Chances, took: float, now: float, last: bool
    ) -> bool:
        """Whether the endpoint is (or turns out now to be) down, so that this was no fault of a row.

        A row that failed before, while others were answered, is no evidence.  When the `last`
        chance of one is gone, and rows that did not fail with it, it is the endpoint.
        """
        if again.refused or again.at_once:
            return False
        if again.once or again.mismatch:
            self._limiter.answered(took)
            return False
        health = self._limiter.health
        fresh = chances.goods == health.goods
        innocent = fresh or health.speaks(chances.since, now)
        why = " ".join(again.message.split())[:WHY_LENGTH]
        down = self._limiter.failed(
            row, why, took, unreachable=again.unreachable, innocent=innocent, fresh=fresh
        )
        if not down and last and self._answered and health.fails_for_many(now):
            self._limiter.turned_away(why)
            return True
        return down

    def _pause(self, task: Task, attempt: Attempt, pause: Pause, now: float) -> Iterator[Decision]:
        """What was taken before is turned away: wait for it, unless it is this row alone, which
        shows when others are answered in between.
        """
        tries = (*task.tries, Try(attempt, pause.error_class))
        times = task.chances.turned_away + (self._limiter.health.since is None)
        of_row = ALONE.get(attempt.status or 0)
        if of_row is not None and times >= retry.MOST_TURNED_AWAY:
            yield from self._failed(
                Refusal(requested(task), tries, Error(of_row, pause.message, pause.code))
            )
            return
        why = f"{pause.error_class}, HTTP {attempt.status}"
        self._limiter.turned_away(why, attempt.latency_s)
        yield from self._impatient(now)
        chances = msgspec.structs.replace(task.chances, turned_away=times)
        yield Wait(msgspec.structs.replace(task, tries=tries, chances=chances), FIRST_PROBE)

    def _impatient(self, now: float) -> Iterator[Decision]:
        """Stop when the endpoint has been down for too long; sooner when it never was up."""
        health = self._limiter.health
        longest = self._policy.max_wait
        if not self._answered:
            longest = min(longest, START_PATIENCE)
        if health.since is not None and now - health.since >= longest:
            yield self._stop(stop_reasons.down(health.why, now - health.since))

    def _hold(
        self, refusal: TryAgain, attempt: Attempt, others: bool, now: float
    ) -> Iterator[Decision]:
        """The server has no room: nobody sends before it said so (or, where it does not say and
        answers no other, before a backoff), and the run ends when that takes too long.
        """
        wait, policy = refusal.wait, self._policy
        if refusal.refused:
            self._refused_since = self._refused_since or now
        waited = now - (self._refused_since or now)
        if (wait or 0.0) > policy.max_wait or waited > policy.max_wait:
            longest = wait or refusal.reset or 0.0
            yield self._stop(stop_reasons.out_of_patience(longest, refusal.message))
            return
        said = " ".join(refusal.message.split())[:WHY_LENGTH].rstrip(". ")
        reason = f"{attempt.status} {said}"
        limiter = self._limiter
        if not refusal.refused:  # it failed, and says when to come back
            limiter.close_until(now + (wait or 0.0), reason)
            return
        limiter.refused(wait, refusal.reset, attempt.latency_s, reason)
        if not others and (wait or 0.0) < SHORT_WAIT:
            closed = retry.backoff(policy, max(1, limiter.refusals), self._jitter())
            limiter.close_until(now + closed, reason)

    def _rejected(self, refusal: Refusal) -> Iterator[Decision]:
        """Before the first success an invalid request may be the job's fault: it is held back
        until that is known.
        """
        self._limiter.answered(refusal.tries[-1].attempt.latency_s)
        if refusal.error.error_class != "invalid_request" or self._succeeded:
            yield from self._failed(refusal)
            return
        yield Held(refusal.request.row, refusal.tries[-1])
        yield from self._settle(self._held_back.add(refusal))

    def _settle(self, fault: Literal["job", "rows"] | None) -> Iterator[Decision]:
        """What was held back was the fault of the job, or that of its rows, or nobody knows yet."""
        if fault is None:
            return
        held = self._held_back.take()
        if fault == "job":
            last = held[-1]
            status = last.tries[-1].attempt.status
            yield self._stop(stop_reasons.all_invalid(status, last.error.message))
            return
        for refusal in held:
            yield from self._failed(refusal)

    def _failed(self, refusal: Refusal) -> Iterator[Decision]:
        request, error = refusal.request, refusal.error
        yield Done(self._maker.failed(request, refusal.tries, error))
        if self._invalid.mostly(error.error_class == "invalid_request"):
            yield self._stop(stop_reasons.mostly_invalid(INVALID_WINDOW, error.message))
        misfit = error.error_class == "schema_mismatch"
        if misfit and self._first.mostly_empty(True):
            why = stop_reasons.perhaps_unheeded(request.api, error.message)
            yield self._stop(stop_reasons.mostly_misfits(EMPTY_WINDOW, why))

    def _stop(self, reason: BatchError) -> Stop:
        self._stopping = True
        return Stop(reason)

    def _remark(self, kind: str, text: str) -> Iterator[Decision]:
        if kind not in self._remarks:
            self._remarks.add(kind)
            yield Remark(text)


MANY_TIMEOUTS = (
    "many requests get no answer in time, and each may be charged for: raise endpoint.total_timeout,"
    " or lower limits.concurrency"
)
MODEL_DIFFERS = "the server answers as {served} where {asked} was asked for (flag model_differs)"
NO_STREAM_OPTIONS = (
    "the server takes no stream_options: streams go without them, and their usage may be unknown"
)


def lighter(task: Task, reads_files: bool) -> Task:
    """A row that waits holds no body of an answer, nor pictures: they are read again."""
    if reads_files and task.request is not None:
        task = msgspec.structs.replace(
            task, request=msgspec.structs.replace(task.request, body=b"")
        )
    *earlier, last = task.tries
    last = msgspec.structs.replace(last, attempt=results.remembered(last.attempt))
    return msgspec.structs.replace(task, tries=(*earlier, last))


def requested(task: Task) -> Request:
    """The request that was sent for a row."""
    assert task.request is not None
    return task.request
