"""The loop of a run: workers take rows from the feed, ask, judge, and write results or put rows
back.

One TaskGroup of as many workers as requests may be in flight.  What stops a run (a bad key, a full
disk, a signal) stops the feed; what is in flight is waited for, so that nothing that was paid for
is lost.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from batch import apis, outcome, preflight, results, retry
from batch.apis import APIS
from batch.checker import Checker
from batch.client import Client
from batch.errors import BatchError, Interrupted, Stopped, StorageError
from batch.feed import Feed, Task
from batch.health import FIRST_PROBE
from batch.job import Job
from batch.limiter import Limiter, TooLarge
from batch.model import Attempt, Completion, Request, Result, Row, Usage
from batch.outcome import Accept, Outcome, Pause, Reject, Stop, TryAgain
from batch.prices import Pricer
from batch.progress import Progress
from batch.prompts import BadRow, Prompter
from batch.results import Error, Try
from batch.store.log import Log
from batch.store.reuse import Reuse
from batch.store.writer import Store
from batch.watching import watching

DRAIN_SECONDS = 20.0
"""How long an interrupted run waits for the answers that are on their way."""

SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}

EMPTY_WINDOW = 50

HELD_BACK = 20
"""So many requests refused as invalid, alike and before any success, mean that the job is wrong
and not the rows.
"""


MOST_HELD_BACK = 200

ALONE = {403: "blocked", 404: "invalid_request"}
"""Error class of a row that alone is turned away so, time and again, while others are answered."""

START_PATIENCE = 30.0
"""Seconds in which an endpoint that has never answered must come up."""


class Refusal(msgspec.Struct, frozen=True):
    """A row that failed, before it is written."""

    request: Request
    tries: tuple[Try, ...]
    error: Error

    def fingerprint(self) -> str:
        """What makes two refusals alike: the words without their numbers."""
        return f"{self.error.code} {re.sub(r'[0-9]+', '#', self.error.message)}"


class First:
    """The first answers of a start: when half of them are empty, something is wrong with the job."""

    def __init__(self, accept_empty: bool) -> None:
        self._left = 0 if accept_empty else EMPTY_WINDOW
        self._empty = 0

    def mostly_empty(self, empty: bool) -> bool:
        """Count one answer.  True once: at the last of the window, when half of it is empty."""
        if self._left == 0:
            return False
        self._left -= 1
        self._empty += empty
        return self._left == 0 and self._empty * 2 >= EMPTY_WINDOW


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
        reuse: Reuse | None = None,
        checker: Checker | None = None,
        succeeded: bool = False,
        accept_empty: bool = False,
        host: str | None = None,
    ) -> None:
        """`checker` holds answers to the job's schema, if it has one; `succeeded` tells that the run
        holds answers already; `accept_empty` that the person knows that many of them are empty.
        Rows are held to the bounds of the server `host`, if one is named.
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
        self._reuse = reuse
        self._host = host
        self._checker = checker
        self._succeeded = succeeded
        self._answered = False  # in this start: a key refused before that is wrong, and no outage
        self._refused_since: float | None = None
        self._held_back: list[Refusal] = []
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
        if self.stopped is None and self._held_back:
            self._settle_held_back()

    async def _work(self) -> None:
        try:
            while (asked := await self._next()) is not None:
                task, request = asked
                request = self._client.adapted(request)
                attempt = await self._client.send(request)
                self._conclude(task, request, attempt)
                await self._store.room()
        except StorageError as error:
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
        try:
            if await self._limiter.admit(request):
                return True
        except TooLarge as error:
            self._record(Refusal(request, task.tries, Error("too_large", str(error))))
        self._feed.finish(task)
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
            known = self._known(request) if task.request is None else None
            if known is None:
                return request
            result = known
        self._store.write(result)
        self._feed.finish(task)
        return None

    def _built(self, row: Row) -> Request:
        request = apis.build(self._prompter.question(row), self._job.request, row.index)
        if self._host is not None:
            preflight.check(request, self._host)
        return request

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
        self._limiter.hear(attempt.headers, now)
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
                self._rejected(Refusal(request, tries, Error(error_class, message, code)))
                self._feed.finish(task)
            case Stop(error_class, message, code):
                self._stop(_stopped(error_class, message, attempt))
                self._feed.finish(task)

    def _accepted(self, request: Request, tries: tuple[Try, ...], completion: Completion) -> None:
        self._limiter.accepted(request, completion.usage or Usage(), tries[-1].attempt.latency_s)
        self._budget.earn(time.monotonic())
        self._refused_since = None
        self._succeeded = self._answered = True
        for held in self._held_back:  # others succeed: these were the rows' own fault
            self._record(held)
        self._held_back.clear()
        keep = self._job.output.response
        result = results.accepted(request, tries, completion, keep, self._pricer)
        self._store.write(result)
        if "model_differs" in result.flags:
            self._notice(
                "model_differs",
                f"the server answers as {result.served_model} where {result.model} was asked for"
                " (flag model_differs)",
            )
        if self._first.mostly_empty("empty" in completion.flags):
            self._stop(_mostly_empty())

    def _again(self, task: Task, request: Request, attempt: Attempt, again: TryAgain) -> None:
        tries = (*task.tries, Try(attempt, again.error_class, again.maybe_billed))
        chances = task.chances.and_then(again)
        down = self._is_down(task, again, attempt.latency_s)
        if down:  # an outage: the row has done nothing wrong and stays pending
            billed = task.chances.maybe_billed + again.maybe_billed
            chances = msgspec.structs.replace(task.chances, maybe_billed=billed)
        if again.mismatch:  # what does not fit was answered all the same
            self._refused_since, self._answered = None, True
        others = self._refused_since is None
        delay = retry.delay(self._job.retry, chances, again, self._jitter(), others)
        if again.refused:
            self._hold(again, attempt, others)
        if delay is None and self.stopped is None:
            error = Error(again.error_class, again.message, again.code)
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
        if self.stopped is not None:
            self._feed.finish(task)
            return
        self._progress.retries += 1
        self._feed.put_back(_lighter(task, self._prompter.reads_files), delay)

    def _is_down(self, task: Task, again: TryAgain, took: float) -> bool:
        """Whether the endpoint is (or turns out now to be) down, so that this was no fault of a row."""
        if again.refused or again.at_once:
            return False
        if again.once or again.mismatch:
            self._limiter.answered(took)
            return False
        why, unreachable = again.message, again.unreachable
        down = self._limiter.failed(task.row.index, why, took, unreachable=unreachable)
        if down:
            self._lose_patience(time.monotonic())
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
        self._limiter.turned_away(f"{pause.error_class}, HTTP {attempt.status}")
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
            self._stop(_down(health.why, now - health.since))

    def _hold(self, refusal: TryAgain, attempt: Attempt, others: bool) -> None:
        """The server has no room: nobody sends before it said so (or, where it does not say and
        answers no other, before a backoff), and the run ends when that takes too long.
        """
        now, wait, policy = time.monotonic(), refusal.wait, self._job.retry
        self._refused_since = self._refused_since or now
        if (wait or 0.0) > policy.max_wait or now - self._refused_since > policy.max_wait:
            self._stop(_out_of_patience(wait or refusal.reset or 0.0, refusal.message))
            return
        reason = f"{attempt.status} {refusal.message[:60]}"
        limiter = self._limiter
        limiter.refused(wait, refusal.reset, attempt.latency_s, reason)
        if wait is None and not others:
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
        self._held_back.append(refusal)
        alike = [held for held in self._held_back if held.fingerprint() == refusal.fingerprint()]
        if len(alike) >= HELD_BACK:
            self._stop(_all_invalid(alike))
        elif len(self._held_back) >= MOST_HELD_BACK:  # each for a reason of its own
            self._settle_held_back()

    def _settle_held_back(self) -> None:
        """Nothing succeeded: when all were refused alike the job is wrong, else the rows are."""
        held = self._held_back
        if len({each.fingerprint() for each in held}) == 1:
            self._stop(_all_invalid(held))
            return
        for each in held:
            self._record(each)
        held.clear()

    def _record(self, refusal: Refusal) -> None:
        """Write a row that has failed."""
        keep = self._job.output.response
        request, tries, error = refusal.request, refusal.tries, refusal.error
        self._store.write(results.failed(request, tries, error, keep, self._pricer))
        misfit = refusal.error.error_class == "schema_mismatch"
        if misfit and self._first.mostly_empty(True):
            self._stop(_mostly_misfits(refusal.error.message))

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

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Meanwhile a signal stops the run in good order; what is sealed then, is sealed to its end."""
        loop = asyncio.get_running_loop()
        names = [name for name in SIGNALS if _handled(name)]
        for name in names:
            loop.add_signal_handler(getattr(signal, name), self._interrupt, name)
        try:
            yield
        finally:
            for name in names:
                loop.remove_signal_handler(getattr(signal, name))

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
        self._stop(Interrupted("interrupted", exit_code=SIGNALS[name]))
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


def _down(why: str, seconds: float) -> Stopped:
    return Stopped(
        f"the endpoint has been down for {seconds:.0f} s: {why}",
        hint="check base_url and the server; rows that were not answered stay pending",
    )


def _mostly_empty() -> Stopped:
    return Stopped(
        f"at least half of the first {EMPTY_WINDOW} answers are empty",
        hint="look at them (batchmill show RUN --flag empty), then go on with --yes",
    )


def _mostly_misfits(message: str) -> Stopped:
    return Stopped(
        f"at least half of the first {EMPTY_WINDOW} rows have no answer that fits the schema: {message}",
        hint="look at them (batchmill show RUN --failed), then go on with --yes",
    )


@contextmanager
def interruptible() -> Iterator[None]:
    """Meanwhile SIGTERM and SIGHUP raise Interrupted, as SIGINT raises KeyboardInterrupt, so that what
    was opened is closed.
    """
    names = [name for name in SIGNALS if name != "SIGINT" and _handled(name)]
    if threading.current_thread() is not threading.main_thread():
        names = []
    before = {name: signal.signal(getattr(signal, name), _interrupted) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _interrupted(number: int, _: object) -> None:
    raise Interrupted("interrupted", exit_code=SIGNALS[signal.Signals(number).name])


def _handled(name: str) -> bool:
    number = getattr(signal, name, None)
    return number is not None and not (
        name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN
    )


def _stopped(error_class: str, message: str, attempt: Attempt) -> Stopped:
    said = {
        "auth": f"{attempt.endpoint} refuses the key (HTTP {attempt.status}): {message}",
        "quota": f"{attempt.endpoint} says the account has no credit: {message}",
        "not_found": f"{attempt.endpoint} has no such model or path (HTTP {attempt.status}): {message}",
    }
    hints = {
        "auth": "check the key's environment variable (api_key_env) and base_url",
        "quota": "top up the account or choose another endpoint",
        "not_found": "check `model` and base_url",
        "redirect": "set base_url to where the API really is",
    }
    return Stopped(said.get(error_class, message), hint=hints.get(error_class))


def _out_of_patience(wait: float, message: str) -> Stopped:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + wait))
    return Stopped(
        f"the server has no room and retry.max_wait is over: {message}",
        hint=f"come back after {when}",
    )


def _all_invalid(held: list[Refusal]) -> Stopped:
    status = held[0].tries[-1].attempt.status
    return Stopped(
        f"the server rejects every request (HTTP {status}): {held[0].error.message}",
        hint="change the parameter it names in [request]; no row was recorded as failed",
    )
