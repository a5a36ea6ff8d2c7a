"""The loop of a run: workers take rows from the feed, ask, judge, and write results or put rows
back.

One TaskGroup of as many workers as requests may be in flight.  What stops a run (a bad key, a full
disk, a signal) stops the feed; what is in flight is waited for, so that nothing that was paid for
is lost.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from batch import apis, outcome, results, retry
from batch.apis import APIS
from batch.client import Client
from batch.errors import BatchError, Interrupted, Stopped, StorageError
from batch.feed import Feed, Task
from batch.job import Job
from batch.limiter import Limiter
from batch.model import Attempt, Completion, Request
from batch.outcome import Accept, Reject, Stop, TryAgain
from batch.progress import Progress
from batch.prompts import BadRow, Prompter
from batch.results import Error, Try
from batch.store.reuse import Reuse
from batch.store.writer import Store

DRAIN_SECONDS = 20.0
"""How long an interrupted run waits for the answers that are on their way."""

SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}

HELD_BACK = 20
"""So many requests refused as invalid, alike and before any success, mean that the job is wrong
and not the rows.
"""


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
        jitter: Callable[[], float] = random.random,
        reuse: Reuse | None = None,
    ) -> None:
        self._job = job
        self._prompter = prompter
        self._client = client
        self._limiter = limiter
        self._feed = feed
        self._store = store
        self._progress = progress
        self._jitter = jitter
        self._reuse = reuse
        self._succeeded = False
        self._refused_since: float | None = None
        self._held_back: list[tuple[Task, Request, tuple[Try, ...], Error]] = []
        self._queueing = 0  # workers that wait for their turn, nothing being in flight for them
        self._interrupted = False
        self.stopped: BatchError | None = None

    async def run(self, workers: int) -> None:
        """Return when every row has its result, or the run has stopped and nothing is in flight."""
        self._stopping = asyncio.get_running_loop().create_future()
        with self._signals():
            self._group = asyncio.gather(*(self._work() for _ in range(workers)))
            try:
                await self._group
            except asyncio.CancelledError:
                if self.stopped is None:
                    raise
        if self.stopped is None and self._held_back:
            self._stop(_all_invalid(self._held_back))

    async def _work(self) -> None:
        try:
            while (task := await self._feed.take()) is not None:
                await self._ask(task)
                await self._store.room()
        except StorageError as error:
            self._stop(error)

    async def _ask(self, task: Task) -> None:
        request = task.request or self._request(task)
        if request is None:
            return
        await self._turn()
        if self.stopped is not None:  # while it waited for its turn
            self._feed.finish(task)
            return
        attempt = await self._client.send(request)
        self._conclude(task, request, attempt)

    async def _turn(self) -> None:
        """Return when a request may leave, or when the run stops: that waits for no limit."""
        if self._limiter.is_open():
            await self._limiter.admit()
            return
        admitted = asyncio.create_task(self._limiter.admit())
        self._queueing += 1
        try:
            await asyncio.wait({admitted, self._stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            admitted.cancel()
            self._queueing -= 1

    def _request(self, task: Task) -> Request | None:
        """The row's question; None when it has been answered without asking, or cannot be asked."""
        try:
            question = self._prompter.question(task.row)
            request = apis.build(question, self._job.request, task.row.index)
        except BadRow as fault:
            result = results.invalid(task.row.index, f"{task.row.where}: {fault}")
        else:
            known = self._reuse and self._reuse.take(request.row, request.custom_id, request.hash)
            if not known:
                return request
            result = known
        self._store.write(result)
        self._feed.finish(task)
        return None

    def _conclude(self, task: Task, request: Request, attempt: Attempt) -> None:
        judged = outcome.judge(attempt, APIS[request.api].parse, time.time())
        match judged:
            case Accept(completion):
                self._accepted(request, (*task.tries, Try(attempt)), completion)
            case TryAgain():
                self._again(task, request, attempt, judged)
                return
            case Reject(error_class, message, code):
                tries = (*task.tries, Try(attempt, error_class))
                self._rejected(task, request, tries, Error(error_class, message, code))
                return
            case Stop(error_class, message, code):
                self._stop(_stopped(error_class, message, attempt))
        self._feed.finish(task)

    def _accepted(self, request: Request, tries: tuple[Try, ...], completion: Completion) -> None:
        self._refused_since = None
        self._succeeded = True
        self._release()
        self._store.write(results.accepted(request, tries, completion, self._job.output.response))

    def _again(self, task: Task, request: Request, attempt: Attempt, again: TryAgain) -> None:
        tries = (*task.tries, Try(attempt, again.error_class))
        chances = task.chances.and_then(again)
        delay = retry.delay(self._job.retry, chances, again, self._jitter())
        if again.refused:
            self._hold(again)
        if self.stopped is not None:
            self._feed.finish(task)
        elif delay is None:
            error = Error(again.error_class, again.message, again.code)
            self._store.write(results.failed(request, tries, error, self._job.output.response))
            self._feed.finish(task)
        else:
            self._progress.retries += 1
            self._feed.put_back(Task(task.row, request, tries, chances), delay)

    def _hold(self, refusal: TryAgain) -> None:
        """The server has no room: nobody sends before it said so, and the run ends when that
        takes too long.
        """
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        wait = refusal.wait or 0.0
        longest = self._job.retry.max_wait
        if wait > longest or now - self._refused_since > longest:
            self._stop(_out_of_patience(wait, refusal.message))
        elif wait:
            self._limiter.close_until(now + wait, f"{refusal.error_class}: {refusal.message}"[:80])

    def _rejected(self, task: Task, request: Request, tries: tuple[Try, ...], error: Error) -> None:
        """Before the first success an invalid request may be the job's fault: it is held back
        until that is known.
        """
        if error.error_class == "invalid_request" and not self._succeeded:
            self._held_back.append((task, request, tries, error))
            alike = [held for held in self._held_back if held[3].message == error.message]
            if len(alike) >= HELD_BACK:
                self._stop(_all_invalid(alike))
            self._feed.finish(task)
            return
        self._store.write(results.failed(request, tries, error, self._job.output.response))
        self._feed.finish(task)

    def _release(self) -> None:
        """Record what was held back, now that others succeed."""
        held, self._held_back = self._held_back, []
        for _, request, tries, error in held:
            self._store.write(results.failed(request, tries, error, self._job.output.response))

    def _stop(self, reason: BatchError) -> None:
        """Give out nothing more; the first reason counts."""
        if self.stopped is None:
            self.stopped = reason
            self._stopping.set_result(None)
        self._feed.stop()

    @contextmanager
    def _signals(self) -> Iterator[None]:
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
            self._group.cancel()
            return
        self._interrupted = True
        flying = self._feed.in_flight - self._queueing
        self._progress.say(
            f"{name}: waiting up to {DRAIN_SECONDS:.0f} s for {flying} answers; once more to stop at once"
        )
        self._stop(Interrupted("interrupted", exit_code=SIGNALS[name]))
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._group.cancel)


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


def _all_invalid(held: list[tuple[Task, Request, tuple[Try, ...], Error]]) -> Stopped:
    status = held[0][2][-1].attempt.status
    return Stopped(
        f"the server rejects every request (HTTP {status}): {held[0][3].message}",
        hint="change the parameter it names in [request]; no row was recorded as failed",
    )
