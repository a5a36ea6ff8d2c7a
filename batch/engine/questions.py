"""A row -> the request it asks, or what is known of it without asking."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from batch import apis, results
from batch.apis import Parameters
from batch.engine.duplicates import NOTHING, Duplicates, Follower, Settled
from batch.engine.task import Task
from batch.model import Request, Result, Row
from batch.requests.preflight import Bounds
from batch.requests.prompts import BadRow, Prompter
from batch.results import Error

if TYPE_CHECKING:
    from batch.store.reuse import Reuse
    from batch.structured.validator import Checker


class Refused(Exception):
    """A row that was tried before cannot be asked again: a file that it names is gone."""

    def __init__(self, request: Request, error: Error) -> None:
        super().__init__(error.message)
        self.request = request
        self.error = error


class Questions:
    """Makes the request of every row, by one job's prompts and parameters."""

    def __init__(
        self,
        prompter: Prompter,
        parameters: Parameters,
        bounds: Bounds | None = None,
        reuse: Reuse | None = None,
        checker: Checker | None = None,
        duplicates: Duplicates | None = None,
    ) -> None:
        """Requests must keep to `bounds`, if there are any.  `reuse` holds the answers of an earlier
        run, and `checker` holds those to the schema.  `duplicates` knows what is asked already, where
        rows that ask the same share an answer.
        """
        self._prompter = prompter
        self._parameters = parameters
        self._bounds = bounds
        self._reuse = reuse
        self._checker = checker
        self._duplicates = duplicates
        self.may_know = _never if duplicates is None else duplicates.shares
        """Whether another row may have asked what a request asks, which `of` tells."""

    @property
    def reads_files(self) -> bool:
        """Whether requests hold the contents of files: those are read again rather than kept."""
        return self._prompter.reads_files

    def built(self, task: Task) -> Request | None:
        """What a new row asks, where that is made at once; None where `of` tells."""
        if task.request is not None or self._reuse is not None or self._prompter.reads_files:
            return None
        try:
            return self._built(task.row)
        except BadRow:
            return None

    async def of(self, task: Task, built: Request | None = None) -> Request | Result | Follower:
        """What the row asks; or its result, if another run or row has answered it or it cannot be asked;
        or that it waits for another row, which asks the same.  Raises Refused.  Its request may have been
        `built` before.

        A picture is read and turned into base64 in a thread: 20 MiB take 150 ms, 200 KiB 1 ms.
        """
        try:
            if built is not None:
                request = built
            elif self._prompter.reads_files:
                request = await asyncio.to_thread(self._built, task.row)
            else:
                request = self._built(task.row)
        except BadRow as fault:
            message = f"{task.row.where}: {fault}"
            if task.request is not None:
                raise Refused(task.request, Error("invalid_row", message)) from None
            return results.invalid(task.row.index, message)
        if task.request is not None:
            return request
        known: Result | Follower | None = None
        if self._reuse is not None:
            known = self._known(self._reuse, request)
        if self._duplicates is not None:
            if known is None:
                known = await self._duplicates.claim(task, request)
            else:
                await self._duplicates.leads(request)
        return request if known is None else known

    def is_awaited(self, row: int) -> bool:
        """Whether the result of a row may be that of others, which ask the same."""
        return self._duplicates is not None and row in self._duplicates.leading

    def failed(self, row: int) -> Settled:
        """What follows for others that ask the same where a row has failed, or may have."""
        return NOTHING if self._duplicates is None else self._duplicates.failed(row)

    def settled(self, result: Result, part: int) -> Settled:
        """What follows from the result of a row, which lies in a part, for others that ask the same."""
        return NOTHING if self._duplicates is None else self._duplicates.settled(result, part)

    def close(self) -> None:
        """Let go of what was looked up."""
        if self._duplicates is not None:
            self._duplicates.close()

    def _built(self, row: Row) -> Request:
        question = self._prompter.question(row)
        return apis.bounded(question, self._parameters, row.index, self._bounds)

    def _known(self, reuse: Reuse, request: Request) -> Result | None:
        """An earlier run's answer, parsed again: the schema may be another one now."""
        known = reuse.take(request.row, request.custom_id, request.hash)
        return known if known is None or self._checker is None else self._checker.again(known)


def _never(request: Request) -> bool:
    """Nobody looks."""
    return False
