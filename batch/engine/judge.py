"""What follows from an attempt: its row is done, waits for another try, or the run stops.

Pure: no clock, no socket, no file.  Time and chance come in, decisions come out, in the order in which
they are to be carried out.  `outcome` says what an answer means; here is what follows, in a function for
each kind of outcome, by the rules of `retry` (how often and when a row is tried), `second_opinions` (and
where), `refusals` (the server has no room), `outages` (it is down), `sanity` (the job is wrong).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from batch import apis, outcome
from batch.apis import APIS, packs
from batch.engine import notices, retry, stop_reasons
from batch.engine.decisions import Decision, Done, Held, Leave, Stop, Wait
from batch.engine.events import Notice
from batch.engine.health import Health, Healths
from batch.engine.retry import Retry
from batch.engine.sanity import (
    EMPTY_WINDOW,
    INVALID_WINDOW,
    Failure,
    Fault,
    FirstAnswers,
    HeldBack,
    InvalidRows,
    Timeouts,
)
from batch.engine.second_opinions import SecondOpinions
from batch.engine.standing import Standing
from batch.engine.task import Task
from batch.errors import BatchError
from batch.limits.circuit_breaker import FIRST_PROBE
from batch.limits.limiter import Limiter
from batch.model import Attempt, Completion, Request, Usage
from batch.outcome import Accept, Outcome, Pause, Reject, TryAgain, Unaccepted
from batch.results import Error, Maker
from batch.structured.validator import Checker
from batch.tries import Try

ALONE = {403: "blocked", 404: "invalid_request"}
"""Status -> error class of a row that is turned away again and again while others are answered."""


class Judge:
    """Decides about attempts, and remembers how the run has fared so far."""

    def __init__(
        self,
        policy: Retry,
        limiters: Sequence[Limiter],
        maker: Maker,
        standing: Standing,
        checker: Checker | None = None,
        jitter: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """`limiters`, one an endpoint, hear what becomes of attempts; `checker` holds answers to the
        job's schema, if it has one; `jitter` draws from [0, 1).
        """
        self._policy = policy
        self._maker = maker
        self._checker = checker
        self._jitter = jitter
        self._stopping = False
        self._healths = Healths(
            policy, limiters, jitter, succeeded=standing.succeeded, patience=standing.patience
        )
        self._opinions = SecondOpinions(self._healths, policy.max_delay)
        self._budget = retry.Budget(standing.share)
        self._held_back = HeldBack(standing.succeeded, standing.doubted, standing.accepts_all)
        self._invalid_rows = InvalidRows(standing.accepts_all)
        self._first_answers = FirstAnswers(standing.accepts_all)
        self._timeouts = Timeouts()
        self._notices: set[str] = set()

    @property
    def doubted(self) -> frozenset[str]:
        """The fingerprints of refusals for which this start or an earlier one stopped."""
        return self._held_back.doubted

    def ended(self, request: Request, attempt: Attempt) -> tuple[Try, Outcome]:
        """What an attempt used and cost, and what it means by itself."""
        now = attempt.started_at + attempt.latency_s
        succeeded = self._healths.of(attempt.member).outages.has_answered
        parse = APIS[request.api].parse
        if request.packed:
            parse = partial(packs.parse, texts=len(request.packed))
        judged = outcome.judge(attempt, parse, now, succeeded, request.body)
        if self._checker is not None:
            judged = self._checker.judge(judged)
        return self._maker.ended(request, attempt, judged), judged

    def tried(self, request: Request, attempt: Attempt, judged: Outcome) -> Try:
        """What an attempt used and cost that means so much by itself."""
        return self._maker.ended(request, attempt, judged)

    def decide(self, task: Task, done: Try, judged: Outcome, now: float) -> Sequence[Decision]:
        """What follows from a try at the request of `task`; `now` is of the monotonic clock."""
        task = msgspec.structs.replace(task, tries=(*task.tries, done))
        follows: list[Decision] = []
        if self._timeouts.many(done.attempt.fault == "timeout", now):
            follows += self._notice("timeouts", notices.MANY_TIMEOUTS)
        if isinstance(judged, Accept):
            self.heard(task.asked, done.attempt, judged.completion, now)
            follows += self._accepted(task, judged.completion, now)
        else:
            follows += self._unaccepted(task, done, judged, now)
        return follows

    def _unaccepted(
        self, task: Task, done: Try, judged: Unaccepted, now: float
    ) -> Iterator[Decision]:
        request, attempt = task.asked, done.attempt
        match judged:
            case TryAgain("overloaded") if self._policy.flex_fallback and apis.is_flex(request):
                yield from self._no_flex(task, attempt, judged)
            case TryAgain():
                yield from self._again(task, attempt, judged, now)
            case Pause():
                yield from self._pause(task, attempt, judged, now)
            case Reject(stream_options=True) if request.stream_options:
                plain = msgspec.structs.replace(task, request=apis.without_stream_options(request))
                yield from self._without(plain, attempt, notices.NO_STREAM_OPTIONS)
            case Reject(cache_marks=True) if attempt.marked:
                yield from self._without(task, attempt, notices.NO_CACHE_MARKS)
            case Reject() if elsewhere := self._opinions.wanted(task, attempt, judged):
                yield Wait(*elsewhere)
            case Reject(error_class, message, code):
                error = Error(error_class, message, code, judged.completion)
                yield from self._rejected(Failure(request, task.tries, error), now)
            case outcome.Stop(error_class, message, code):
                reason = stop_reasons.refused(error_class, message, attempt)
                if self._healths.others_are_there(attempt.member):
                    yield Leave(attempt.member, reason)
                    yield Wait(task, 0.0)
                else:
                    yield Held(request.row, done)
                    yield self._stop(reason)

    def heard(self, request: Request, attempt: Attempt, completion: Completion, now: float) -> None:
        """The endpoint has answered a request, well."""
        took, at = attempt.latency_s, self._healths.of(attempt.member)
        at.limiter.accepted(request, completion.usage or Usage(), took)
        self._budget.earn(now)
        at.answered(now, took)

    def answered(self, task: Task, done: Try, completion: Completion, now: float) -> list[Decision]:
        """What follows for a row of a request of which has been `heard`."""
        task = msgspec.structs.replace(task, tries=(*task.tries, done))
        return self._accepted(task, completion, now)

    def refused_together(
        self, request: Request, done: Try, error: Error, now: float
    ) -> Iterator[Decision]:
        """A request about many rows is refused; before the first success the job may be at fault."""
        attempt = done.attempt
        self._healths.of(attempt.member).limiter.answered(attempt.latency_s)
        failure = Failure(request, (done,), error)
        if not self._held_back.succeeded and self._held_back.holds(failure):
            yield from self._settle(self._held_back.add(failure, now))

    @property
    def has_succeeded(self) -> bool:
        """Whether the run holds an answer."""
        return self._held_back.succeeded

    def is_down(self, endpoint: int) -> bool:
        """Whether nothing but probes goes to an endpoint."""
        return self._healths.of(endpoint).outages.is_down

    def may_be_the_rows(self, now: float) -> bool:
        """Whether the endpoints, which seem to be down, may be there, and the rows that are left fail
        always: worth a question, if they are few.
        """
        return all(each.outages.may_be_the_rows(now) for each in self._healths.there())

    def try_the_last(self) -> None:
        """An endpoint is there: the rows that are left are asked a last time, and fail."""
        for each in self._healths.there():
            each.outages.try_the_last()

    def unsendable(self, task: Task, error: Error) -> Iterator[Decision]:
        """A row whose request may never leave."""
        yield from self._failed(Failure(task.asked, task.tries, error))

    def at_the_end(self) -> Iterator[Decision]:
        """All rows have been asked: what was held back is decided."""
        if not self._stopping:
            yield from self._settle(self._held_back.at_the_end())

    def stop(self) -> None:
        """Somebody else has stopped the run: a row without chances stays pending now."""
        self._stopping = True

    def _accepted(self, task: Task, completion: Completion, now: float) -> list[Decision]:
        request, attempt = task.asked, task.tries[-1].attempt
        result = self._maker.accepted(request, task.tries, completion)
        follows: list[Decision] = []
        for failure in self._held_back.answered(now - attempt.latency_s):
            follows += self._failed(failure)
        follows.append(Done(result))
        if task.chances.used:
            follows += self._opinions.answered(task)
        if "model_differs" in result.flags:
            text = notices.MODEL_DIFFERS.format(served=result.served_model, asked=result.model)
            follows += self._notice("model_differs", text)
        self._invalid_rows.mostly(False)
        first = self._first_answers
        if first.left and first.mostly_empty("empty" in completion.flags):
            follows.append(self._stop(stop_reasons.mostly_empty(EMPTY_WINDOW)))
        return follows

    def _no_flex(self, task: Task, attempt: Attempt, again: TryAgain) -> Iterator[Decision]:
        """The flex tier has no room, which says nothing of the endpoint: after some tries the row is
        asked in the standard tier.
        """
        self._healths.of(attempt.member).limiter.answered(attempt.latency_s)
        chances = task.chances.plus("flex")
        times = chances.of("flex")
        delay = 0.0
        if times < retry.FLEX_TRIES:
            delay = (again.wait or 0.0) + retry.backoff(self._policy, times, self._jitter())
        yield Wait(msgspec.structs.replace(task, chances=chances), delay)

    def _again(
        self, task: Task, attempt: Attempt, again: TryAgain, now: float
    ) -> Iterator[Decision]:
        at = self._healths.of(attempt.member)
        refusals, outages = at.refusals, at.outages
        if again.mismatch:  # what does not fit the schema was answered all the same
            at.answered(now, attempt.latency_s)
        again = refusals.read(again, attempt.latency_s)
        others_succeed = refusals.others_succeed
        last_try = outages.last_tries and len(task.tries) >= retry.LAST_TRIES
        if again.refused or again.wait:
            held = refusals.hold(again, attempt, now)
            yield from self._give_up(at, held.reason)
            others_succeed = others_succeed or not held.back
            again = self._not_waiting_here(again, attempt.member)
        chances = outages.noted(task.chances.after(again, others_succeed), now)
        delay = retry.delay(self._policy, chances, again, self._jitter(), others_succeed)
        down = outages.is_outage(
            task.row.index, again, chances, attempt.latency_s, now, last=delay is None
        )
        if down:
            yield from self._give_up(at, outages.out_of_patience(now))
            chances = chances.forgiven(task.chances)
            delay = retry.delay(self._policy, chances, again, self._jitter(), others_succeed)
        if last_try and outages.last_tries and not again.refused:
            delay = None
        if delay is None and not self._stopping:
            error = Error(again.error_class, again.message, again.code, again.completion)
            failure = Failure(task.asked, task.tries, error)
            # one that was to be tried just once more is rejected now
            yield from self._rejected(failure, now) if again.once else self._failed(failure)
            return
        delay = delay or 0.0
        if not (again.refused or again.at_once or down or outages.last_tries):
            delay = max(delay, self._budget.wait(again, now, self._policy.max_delay))
        yield Wait(msgspec.structs.replace(task, chances=chances), delay)

    def _not_waiting_here(self, again: TryAgain, member: int) -> TryAgain:
        """`again` for the row: it waits no longer than until another endpoint takes requests, and not for
        long where that is unknown.
        """
        if again.wait is None or not self._healths.others_are_there(member):
            return again
        elsewhere = self._healths.held_up_elsewhere({member})
        most = elsewhere if math.isfinite(elsewhere) else self._policy.max_delay
        wait = min(again.wait, most)
        return msgspec.structs.replace(again, wait=wait)

    def _without(self, task: Task, attempt: Attempt, notice: str) -> Iterator[Decision]:
        """The endpoint takes no field that the row can do without: the row is asked again at once."""
        self._healths.of(attempt.member).limiter.answered(attempt.latency_s)
        yield from self._notice(notice, notice)
        yield Wait(task, 0.0)

    def _pause(self, task: Task, attempt: Attempt, pause: Pause, now: float) -> Iterator[Decision]:
        """What was taken before is turned away: the row waits for the endpoint.  One that is turned
        away again and again while others are answered fails.
        """
        at, chances = self._healths.of(attempt.member), task.chances
        if not at.outages.is_down:
            chances = chances.plus("turned_away")
        of_row = ALONE.get(attempt.status or 0)
        if of_row is not None and chances.of("turned_away") >= retry.MOST_TURNED_AWAY:
            error = Error(of_row, pause.message, pause.code)
            yield from self._failed(Failure(task.asked, task.tries, error))
            return
        why = f"{pause.error_class}, HTTP {attempt.status}"
        at.outages.turned_away(why, attempt.latency_s)
        yield from self._give_up(at, at.outages.out_of_patience(now))
        yield Wait(msgspec.structs.replace(task, chances=chances), FIRST_PROBE)

    def _rejected(self, failure: Failure, now: float) -> Iterator[Decision]:
        """A refusal that may be the job's fault, or the account's, is held back until that is known."""
        last = failure.tries[-1].attempt
        self._healths.of(last.member).limiter.answered(last.latency_s)
        if not self._held_back.holds(failure):
            yield from self._failed(failure)
            return
        yield Held(failure.request.row, failure.tries[-1])
        yield from self._settle(self._held_back.add(failure, now))

    def _settle(self, fault: Fault | None) -> Iterator[Decision]:
        """Decide about what was held back, if it is known whose fault it was."""
        if fault is None:
            return
        held = self._held_back.take()
        if fault == "rows":
            for failure in held:
                yield from self._failed(failure)
            return
        status, message = held[-1].tries[-1].attempt.status, held[-1].error.message
        why = stop_reasons.all_invalid if fault == "job" else stop_reasons.alike
        yield self._stop(why(status, message))

    def _failed(self, failure: Failure) -> Iterator[Decision]:
        request, error = failure.request, failure.error
        if request.packed:  # its rows are asked in other company
            return
        yield Done(self._maker.failed(request, failure.tries, error))
        if self._invalid_rows.mostly(error.error_class == "invalid_request"):
            yield self._stop(stop_reasons.mostly_invalid(INVALID_WINDOW, error.message))
        if error.error_class == "schema_mismatch" and self._first_answers.mostly_empty(True):
            why = stop_reasons.perhaps_unheeded(request.api, error.message)
            yield self._stop(stop_reasons.mostly_misfits(EMPTY_WINDOW, why))

    def _give_up(self, at: Health, reason: BatchError | None) -> Iterator[Decision]:
        """Stop for what would end the run, were this endpoint the only one, if it holds for all."""
        if reason is None:
            return
        at.hopeless = reason
        if self._healths.all_hopeless():
            yield self._stop(reason)

    def _stop(self, reason: BatchError) -> Stop:
        self._stopping = True
        return Stop(reason)

    def _notice(self, kind: str, text: str) -> Iterator[Decision]:
        if kind not in self._notices:
            self._notices.add(kind)
            yield Notice(text)
