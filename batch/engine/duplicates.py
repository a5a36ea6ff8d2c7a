"""Rows that ask what another row of the run asks: one of them is asked, and the others get its answer.

The first to come leads.  The rows that follow it wait outside the engine's window until it has its
result; a failure is nobody else's, so the next of them leads then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal

import msgspec

from batch import apis, results
from batch.columns import DUPLICATE
from batch.engine.task import Task
from batch.model import Request, Result
from batch.store.own_answers import OwnAnswers, Place
from batch.totals import USAGE_SHARED

NOT_SHARED = (DUPLICATE, USAGE_SHARED)
"""Flags of an answer that say nothing of the rows it is shared with."""

Dedupe = Literal["auto"] | bool
"""Whether equal questions are asked once: `auto` where asking twice would give the same answer."""


class Follower(msgspec.Struct, frozen=True):
    """A row that waits for the answer to its question."""

    task: Task
    request: Request

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return 2 * len(self.request.body)

    @property
    def leading(self) -> Task:
        """The same row, to be asked itself."""
        return msgspec.structs.replace(self.task, request=self.request)


class Settled(msgspec.Struct, frozen=True):
    """What follows from a result: those that waited for it have these `results`, or one of them leads
    now.
    """

    waited: tuple[Follower, ...] = ()
    results: tuple[Result, ...] = ()
    leads: Follower | None = None


NOTHING = Settled()


class Duplicates:
    """Which questions are on their way, and who waits for them."""

    def __init__(self, answers: OwnAnswers, *, every: bool = False) -> None:
        """With `every` no question is asked twice; else those are not that have one answer."""
        self._answers = answers
        self._all = every
        self.leading: dict[int, str] = {}
        """Rows for whose answer others may wait, and their questions."""
        self._waiting: dict[str, deque[Follower]] = {}  # by question: behind its leader

    async def claim(self, task: Task, request: Request) -> Result | Follower | None:
        """The answer to what a row asks, where it is known; the row as it waits for that; or None, where
        the row is to ask itself.
        """
        if not self.shares(request):
            return None
        if (waiting := self._waiting.get(request.hash)) is not None:
            follower = Follower(task, request)
            waiting.append(follower)
            return follower
        await self._open()
        known = self._answers.find(request.hash)
        if isinstance(known, Place):
            known = await asyncio.to_thread(self._answers.read, known)
        if known is not None:
            return shared(known, request.row, request.custom_id)
        self._lead(request, deque())
        return None

    async def leads(self, request: Request) -> None:
        """Whoever asks the same gets what this row is about to be given."""
        if request.hash not in self._waiting and self.shares(request):
            await self._open()
            self._lead(request, deque())

    def settled(self, result: Result, part: int) -> Settled:
        """What follows from the result of a row."""
        if result.status != "ok":
            return self.failed(result.row)
        question = self.leading.pop(result.row, None)
        if question is None:
            return NOTHING
        self._answers.add(result, part)
        waiting = self._waiting.pop(question)
        results = [shared(result, each.request.row, each.request.custom_id) for each in waiting]
        return Settled(tuple(waiting), tuple(results))

    def failed(self, row: int) -> Settled:
        """What follows where a row has failed, or may have: nobody waits for it any more."""
        question = self.leading.pop(row, None)
        if question is None:
            return NOTHING
        waiting = self._waiting.pop(question)
        if not waiting:
            return NOTHING
        leads = waiting.popleft()
        self._lead(leads.request, waiting)
        return Settled(leads=leads)

    def close(self) -> None:
        """Let the index go."""
        self._answers.close()

    def _lead(self, request: Request, waiting: deque[Follower]) -> None:
        self.leading[request.row] = request.hash
        self._waiting[request.hash] = waiting

    def shares(self, request: Request) -> bool:
        """Whether what it asks is to be asked once."""
        return self._all or apis.gives_one_answer(request)

    async def _open(self) -> None:
        if not self._answers.is_open:
            await asyncio.to_thread(self._answers.open)


def shared(known: Result, row: int, custom_id: str | None) -> Result:
    """An answer as that of another row with the same question: it was paid for once, so that what it
    used and cost stands there.
    """
    return results.given_again(
        known,
        row,
        custom_id,
        [*(each for each in known.flags if each not in NOT_SHARED), DUPLICATE],
        input_tokens=None,
        cached_tokens=None,
        cache_write_tokens=None,
        output_tokens=None,
        reasoning_tokens=None,
        usage_json=None,
        latency_s=None,
        ttft_s=None,
        request_id=None,
    )
