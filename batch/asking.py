"""The loop of a run: workers take rows from the feed, ask, judge, and write results or put rows
back.

One TaskGroup of as many workers as requests may be in flight.  What stops a run (a bad key, a full
disk, a signal) stops the feed; what is in flight is waited for, so that nothing that was paid for
is lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

import msgspec

from batch import apis, outcome, results, retry, signals, stops, tokens
from batch.apis import APIS
from batch.budget import Boundless, Purse
from batch.checker import Checker
from batch.client import Client
from batch.doubts import EMPTY_WINDOW, INVALID_WINDOW, First, HeldBack, Invalid, Refusal, Timeouts
from batch.errors import BatchError, InputError, Interrupted, StorageError
from batch.feed import Feed, Task
from batch.health import FIRST_PROBE
from batch.job import Job
from batch.limiter import Limiter, TooLarge
from batch.model import Attempt, Completion, Request, Result, Row, Usage
from batch.outcome import Accept, Outcome, Pause, Reject, Stop, TryAgain
from batch.preflight import Bounds
from batch.prices import Pricer
from batch.progress import Progress
from batch.prompts import BadRow, Prompter
from batch.results import Error, Try
from batch.retry import Chances
from batch.store.log import Log
from batch.store.reuse import Reuse
from batch.store.writer import Store
from batch.watching import watching

DRAIN_SECONDS = 20.0
"""How long an interrupted run waits for the answers that are on their way."""

ALONE = {403: "blocked", 404: "invalid_request"}
"""Error class of a row that alone is turned away so, time and again, while others are answered."""

WHY_LENGTH = 60
"""Characters of a server's words that are said of a wait."""

SHORT_WAIT = 0.1
"""Seconds; a server that names less and answers nobody does not mean it."""

START_PATIENCE = 30.0
"""Seconds in which an endpoint that has never answered must come up."""


class Asking:
    """Asks every row the feed gives; `stopped` is why it ended early, None when it did not."""

    def __init__(
        self,
        job: Job,
        prompter: Prompter,
        client: Client,
        limiter: Limiter,
        feed: Feed,
        store: Store,
        progress: Progress,
        log: Log,
        jitter: Callable[[], float] = random.random,
        *,
        pricer: Pricer,
        purse: Purse | None = None,
        reuse: Reuse | None = None,
        checker: Checker | None = None,
        holds_vectors: bool = True,
        succeeded: bool = False,
        accept_empty: bool = False,
        bounds: Bounds | None = None,
    ) -> None:
        """`purse` holds what may be spent, if that is capped; `checker` holds answers to the job's
        schema, if it has one; `holds_vectors` tells that the output has a column for them;
        `succeeded` tells that the run holds answers already; `accept_empty` that the person knows
        that many of them are empty. Rows are held to `bounds`, if there are any.
        """
        self._job = job
        self._prompter = prompter
        self._client = client
        self._limiter = limiter
        self._feed = feed
        self._store = store
        self._progress = progress
        self._log = log
        self._jitter = jitter
        self._pricer = pricer
        self._purse = purse
        self._reuse = reuse
        self._bounds = bounds
        self._checker = checker
        self._holds_vectors = holds_vectors
        self._succeeded = succeeded
        self._answered = False  # in this start: a key refused before that is wrong, and no outage
        self._refused_since: float | None = None
        self._held_back = HeldBack()
        self._invalid = Invalid(accept_empty)
        self._timeouts = Timeouts()
        self._noticed: set[str] = set()
        self._first = First(accept_empty)
        self._budget = retry.Budget()
        self._interrupted = False
        self._workers: list[asyncio.Task[None]] = []
        self.stopped: BatchError | None = None

    async def run(self, workers: int) -> None:
        """Return when every row has its result, or the run has stopped and nothing is in flight."""
        async with watching(self._limiter, self._progress, self._log), asyncio.TaskGroup() as group:
            self._workers = [group.create_task(self._work()) for _ in range(workers)]
        if self.stopped is None:
            self._settle(self._held_back.at_the_end())

    async def _work(self) -> None:
        try:
            while (asked := await self._next()) is not None:
                task, request = asked
                request = self._client.adapted(request)
                most = tokens.most_input(request)
                self._store.sent(request.row, request.model, most, tokens.most_output(request))
                self._conclude(task, request, await self._client.send(request))
                await self._store.room()
        except (StorageError, InputError) as error:
            self._stop(error)

    async def _next(self) -> tuple[Task, Request] | None:
        """The next request, when it may leave; None when there will be no more.

        One worker at a time is in here, so that rows leave in the order of the feed.
        """
        async with self._limiter.turn:
            while (task := await self._feed.take()) is not None:
                request = task.request
                if request is None or not request.body:
                    request = await self._request(task)
                if request is None:
                    await self._store.room()
                elif await self._admitted(task, request):
                    return task, request
        return None

    async def _admitted(self, task: Task, request: Request) -> bool:
        """Wait until the request may leave.  False when it never may, or the run has stopped."""
        if self._purse is None or await self._affordable(self._purse, request, task):
            try:
                if await self._limiter.admit(request):
                    return True
            except TooLarge as error:
                self._record(Refusal(request, task.tries, Error("too_large", str(error))))
            if self._purse is not None:
                self._purse.give_back(request)
        self._feed.finish(task)
        return False

    async def _affordable(self, purse: Purse, request: Request, task: Task) -> bool:
        """Reserve what the request may cost.  False when the cap does not allow it, which stops the
        run, or nobody can say what it may cost.
        """
        try:
            if await purse.reserve(request):
                return True
        except Boundless as fault:
            message = f"limits.max_cost_usd: {fault}"
            self._record(Refusal(request, task.tries, Error("invalid_row", message)))
            return False
        self._stop(stops.cap_reached(purse.budget.cap, purse.budget.spent, purse.wanted))
        return False

    async def _request(self, task: Task) -> Request | None:
        """The row's question; None when it has been answered without asking, or cannot be asked.

        A picture is read and turned into base64 in a thread: 20 MiB take 150 ms, 200 KiB 1 ms.
        """
        try:
            if self._prompter.reads_files:
                request = await asyncio.to_thread(self._built, task.row)
            else:
                request = self._built(task.row)
        except BadRow as fault:
            message = f"{task.row.where}: {fault}"
            if task.request is not None:  # its file has gone since it was tried
                self._record(Refusal(task.request, task.tries, Error("invalid_row", message)))
                self._feed.finish(task)
                return None
            result = results.invalid(task.row.index, message)
        else:
            first = self._reuse is not None and task.request is None
            known = self._known(request) if first else None
            if known is None:
                return request
            result = known
        self._write(result)
        self._feed.finish(task)
        return None

    def _built(self, row: Row) -> Request:
        question = self._prompter.question(row)
        return apis.bounded(question, self._job.request, row.index, self._bounds)

    def _known(self, request: Request) -> Result | None:
        """An earlier run's answer; what was parsed of it then may be of another type."""
        if self._reuse is None:
            return None
        known = self._reuse.take(request.row, request.custom_id, request.hash)
        return known if known is None or self._checker is None else self._checker.again(known)

    def _conclude(self, task: Task, request: Request, attempt: Attempt) -> None:
        parse, now = APIS[request.api].parse, time.time()
        judged = outcome.judge(attempt, parse, now, self._answered)
        self._limiter.release(request, _tokens(attempt, judged))
        if self._purse is not None:
            billed = isinstance(judged, TryAgain) and judged.maybe_billed
            self._purse.settle(request, attempt, results.reading(attempt, judged), billed)
        self._limiter.hear(attempt.headers, now)
        if self._timeouts.many(attempt.fault == "timeout", time.monotonic()):
            self._notice(
                "timeouts",
                "many requests get no answer in time, and each may be charged for: raise"
                " endpoint.total_timeout, or lower limits.concurrency",
            )
        if self._checker is not None:
            judged = self._checker.judge(judged)
        match judged:
            case Accept(completion):
                self._accepted(request, (*task.tries, Try(attempt)), completion)
                self._feed.finish(task)
            case TryAgain():
                self._again(task, request, attempt, judged)
            case Pause():
                self._pause(task, request, attempt, judged)
            case Reject(stream_options=True) if request.stream_options:
                self._ask_without_options(task, request, attempt)
            case Reject(error_class, message, code):
                tries = (*task.tries, Try(attempt, error_class, attempt.maybe_billed))
                error = Error(error_class, message, code, judged.completion)
                self._rejected(Refusal(request, tries, error))
                self._feed.finish(task)
            case Stop(error_class, message, code):
                self._drop(Try(attempt, error_class), request.row)
                self._stop(stops.refused(error_class, message, attempt))
                self._feed.finish(task)

    def _accepted(self, request: Request, tries: tuple[Try, ...], completion: Completion) -> None:
        self._limiter.accepted(request, completion.usage or Usage(), tries[-1].attempt.latency_s)
        self._budget.earn(time.monotonic())
        self._refused_since = None
        if not self._succeeded:
            self._settle("rows")  # others succeed: what was refused was the rows' own fault
        self._succeeded = self._answered = True
        keep = self._job.output.response
        result = results.accepted(
            request, tries, completion, keep, self._pricer, holds_vectors=self._holds_vectors
        )
        self._write(result)
        if "model_differs" in result.flags:
            self._notice(
                "model_differs",
                f"the server answers as {result.served_model} where {result.model} was asked for"
                " (flag model_differs)",
            )
        self._invalid.mostly(False)
        if self._first.mostly_empty("empty" in completion.flags):
            self._stop(stops.mostly_empty(EMPTY_WINDOW))

    def _again(self, task: Task, request: Request, attempt: Attempt, again: TryAgain) -> None:
        tries = (*task.tries, Try(attempt, again.error_class, again.maybe_billed))
        others = self._refused_since is None
        chances = task.chances.and_then(again, others)
        if chances.goods is None:
            goods = self._limiter.health.goods
            chances = msgspec.structs.replace(chances, goods=goods, since=time.monotonic())
        if again.mismatch:  # what does not fit was answered all the same
            self._refused_since, self._answered, others = None, True, True
        delay = retry.delay(self._job.retry, chances, again, self._jitter(), others)
        down = self._is_down(task.row.index, again, chances, attempt.latency_s, delay is None)
        if down:  # an outage: the row has done nothing wrong and stays pending
            billed = task.chances.maybe_billed + again.maybe_billed
            since = {"goods": chances.goods, "since": chances.since}
            chances = msgspec.structs.replace(task.chances, maybe_billed=billed, **since)
            delay = retry.delay(self._job.retry, chances, again, self._jitter(), others)
        if again.refused or again.wait:
            self._hold(again, attempt, others)
        if delay is None and self.stopped is None:
            error = Error(again.error_class, again.message, again.code, again.completion)
            conclude = self._rejected if again.once else self._record
            conclude(Refusal(request, tries, error))
            self._feed.finish(task)
            return
        delay = delay or 0.0
        if not (again.refused or again.at_once or down):
            longest = self._job.retry.max_delay
            delay = max(delay, self._budget.wait(again, time.monotonic(), longest))
        self._put_back(Task(task.row, request, tries, chances), delay)

    def _ask_without_options(self, task: Task, request: Request, attempt: Attempt) -> None:
        """The endpoint takes no `stream_options`: nobody sends them any more, and the row, which
        has done nothing wrong, is asked at once.
        """
        self._limiter.answered(attempt.latency_s)
        self._client.takes_stream_options = False
        self._notice(
            "stream_options",
            "the server takes no stream_options: streams go without them, and their usage may be"
            " unknown",
        )
        tries = (*task.tries, Try(attempt, "invalid_request"))
        lighter = apis.without_stream_options(request)
        self._put_back(Task(task.row, lighter, tries, task.chances), 0.0)

    def _notice(self, kind: str, text: str) -> None:
        """Say once a run what holds for many rows."""
        if kind not in self._noticed:
            self._noticed.add(kind)
            self._progress.say(text)

    def _put_back(self, task: Task, delay: float) -> None:
        self._drop(task.tries[-1], task.row.index)
        if self.stopped is not None:
            self._feed.finish(task)
            return
        self._progress.retries += 1
        self._feed.put_back(_lighter(task, self._prompter.reads_files), delay)

    def _is_down(
        self, row: int, again: TryAgain, chances: Chances, took: float, last: bool
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
        now = time.monotonic()
        fresh = chances.goods == health.goods
        innocent = fresh or health.speaks(chances.since, now)
        why = " ".join(again.message.split())[:WHY_LENGTH]
        down = self._limiter.failed(
            row, why, took, unreachable=again.unreachable, innocent=innocent, fresh=fresh
        )
        if not down and last and self._answered and health.fails_for_many(now):
            self._limiter.turned_away(why)
            down = True
        if down:
            self._lose_patience(now)
        return down

    def _pause(self, task: Task, request: Request, attempt: Attempt, pause: Pause) -> None:
        """What was taken before is turned away: wait for it, unless it is this row alone, which
        shows when others are answered in between.
        """
        tries = (*task.tries, Try(attempt, pause.error_class))
        health = self._limiter.health
        times = task.chances.turned_away + (health.since is None)
        of_row = ALONE.get(attempt.status or 0)
        if of_row is not None and times >= retry.MOST_TURNED_AWAY:
            self._record(Refusal(request, tries, Error(of_row, pause.message, pause.code)))
            self._feed.finish(task)
            return
        why = f"{pause.error_class}, HTTP {attempt.status}"
        self._limiter.turned_away(why, attempt.latency_s)
        self._lose_patience(time.monotonic())
        chances = msgspec.structs.replace(task.chances, turned_away=times)
        self._put_back(Task(task.row, request, tries, chances), FIRST_PROBE)

    def _lose_patience(self, now: float) -> None:
        """Stop when the endpoint has been down for too long; sooner when it never was up."""
        health = self._limiter.health
        longest = self._job.retry.max_wait
        if not self._answered:
            longest = min(longest, START_PATIENCE)
        if health.since is not None and now - health.since >= longest:
            self._stop(stops.down(health.why, now - health.since))

    def _hold(self, refusal: TryAgain, attempt: Attempt, others: bool) -> None:
        """The server has no room: nobody sends before it said so (or, where it does not say and
        answers no other, before a backoff), and the run ends when that takes too long.
        """
        now, wait, policy = time.monotonic(), refusal.wait, self._job.retry
        if refusal.refused:
            self._refused_since = self._refused_since or now
        waited = now - (self._refused_since or now)
        if (wait or 0.0) > policy.max_wait or waited > policy.max_wait:
            self._stop(stops.out_of_patience(wait or refusal.reset or 0.0, refusal.message))
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

    def _rejected(self, refusal: Refusal) -> None:
        """Before the first success an invalid request may be the job's fault: it is held back
        until that is known.
        """
        self._limiter.answered(refusal.tries[-1].attempt.latency_s)
        if refusal.error.error_class != "invalid_request" or self._succeeded:
            self._record(refusal)
            return
        self._drop(refusal.tries[-1], refusal.request.row)
        self._settle(self._held_back.add(refusal))

    def _settle(self, fault: Literal["job", "rows"] | None) -> None:
        """What was held back was the fault of the job, or that of its rows, or nobody knows yet."""
        if fault is None:
            return
        held = self._held_back.take()
        if fault == "job":
            last = held[-1]
            status = last.tries[-1].attempt.status
            self._stop(stops.all_invalid(status, last.error.message))
            return
        for refusal in held:
            self._record(refusal)

    def _drop(self, done: Try, row: int) -> None:
        """A try that makes no result yet, and perhaps never will."""
        if results.cost_nothing(done):
            self._store.cost_nothing(row)

    def _write(self, result: Result) -> None:
        """Take a row's result, which bears what was sent for it before a kill."""
        if lost := self._store.lost(result.row):
            result = results.bearing(result, lost, self._pricer)
        self._store.write(result)

    def _record(self, refusal: Refusal) -> None:
        """Write a row that has failed."""
        keep = self._job.output.response
        request, tries, error = refusal.request, refusal.tries, refusal.error
        self._write(results.failed(request, tries, error, keep, self._pricer))
        if self._invalid.mostly(error.error_class == "invalid_request"):
            self._stop(stops.mostly_invalid(INVALID_WINDOW, error.message))
        misfit = error.error_class == "schema_mismatch"
        if misfit and self._first.mostly_empty(True):
            why = stops.perhaps_unheeded(refusal.request.api, error.message)
            self._stop(stops.mostly_misfits(EMPTY_WINDOW, why))

    def _stop(self, reason: BatchError) -> None:
        """Give out nothing more; the first reason counts."""
        if self.stopped is None:
            self.stopped = reason
        self._feed.stop()
        self._limiter.close()

    def _cut_short(self) -> None:
        """Give up what is in flight."""
        for worker in self._workers:
            worker.cancel()

    def signals(self) -> AbstractContextManager[None]:
        """Meanwhile a signal stops the run in good order; what is sealed then, is sealed to its end."""
        return signals.heard(self._interrupt)

    def _interrupt(self, name: str) -> None:
        """The first signal waits for what is in flight, the second does not."""
        if self._interrupted:
            self._cut_short()
            return
        self._interrupted = True
        flying = self._limiter.in_flight
        self._progress.say(
            f"{name}: waiting up to {DRAIN_SECONDS:.0f} s for {flying} answers; once more to stop at once"
        )
        self._stop(Interrupted("interrupted", exit_code=signals.EXIT_CODES[name]))
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._cut_short)


def _tokens(attempt: Attempt, judged: Outcome) -> int | None:
    """What an attempt took of the tokens per minute; None when nobody knows."""
    if isinstance(judged, Accept):
        usage = judged.completion.usage
        if usage is None or usage.input_tokens is None or usage.output_tokens is None:
            return None
        return usage.input_tokens + usage.output_tokens
    return None if attempt.maybe_billed or attempt.status == 200 else 0


def _lighter(task: Task, reads_files: bool) -> Task:
    """A row that waits holds no body of an answer, nor pictures: they are read again."""
    if reads_files and task.request is not None:
        task = msgspec.structs.replace(
            task, request=msgspec.structs.replace(task.request, body=b"")
        )
    *earlier, last = task.tries
    last = msgspec.structs.replace(last, attempt=results.remembered(last.attempt))
    return msgspec.structs.replace(task, tries=(*earlier, last))
