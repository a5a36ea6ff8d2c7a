"""A row on its way through the engine."""

from __future__ import annotations

import msgspec

from batch import apis
from batch.engine.retry import FLEX_TRIES, Chances
from batch.limits.pool import NEW, Past
from batch.model import Request, Row
from batch.outcome import GENERATED
from batch.tries import Try

ELSEWHERE = "elsewhere"
"""The chance of a row that is refused at one endpoint: to be asked at another."""
OF_ONE = frozenset({"invalid_request", "blocked", "context_length", "too_large"})
"""Error classes of what one endpoint refuses and another may answer."""


class Task(msgspec.Struct, frozen=True, gc=False):
    """A row, its request once that is made, and the tries it has behind it.

    `bound` is how many rows its next request may have at most, 0 where nothing has told.  One that
    stands for several `packed` rows has their request, and what the first of them has behind it; about so
    many bytes are `expected` of their answer.  `owed` are requests that were no try of any row, and are
    counted with the next one.
    """

    row: Row
    request: Request | None = None
    tries: tuple[Try, ...] = ()
    chances: Chances = Chances()
    bound: int = 0
    packed: tuple[Task, ...] = ()
    expected: int = 0
    owed: int = 0

    @property
    def asked(self) -> Request:
        """The request of a row that has one, as it is to be sent now."""
        request = self.request
        assert request is not None
        if not self.chances.used:
            return request
        return apis.in_standard_tier(request) if self._leaves_flex else request

    @property
    def past(self) -> Past:
        """Where it was."""
        if not self.tries:
            return NEW
        refused: frozenset[int] = frozenset()
        if self.chances.of(ELSEWHERE):
            members = [each.attempt.member for each in self.tries if each.error_class in OF_ONE]
            refused = frozenset(members)
        return Past(self.tries[-1].attempt.member, refused)

    @property
    def _leaves_flex(self) -> bool:
        return self.chances.of("flex") >= FLEX_TRIES

    @property
    def unwanted(self) -> int:
        """How many tries ended in a whole answer, so that another is wanted; what was refused, or perhaps
        got lost, may be asked for again as it was, unless that is in another tier.
        """
        return self._leaves_flex + sum(
            done.error_class in GENERATED
            or (done.attempt.status == 200 and done.attempt.fault in (None, "bad_response"))
            for done in self.tries
        )

    def lighter(self, reads_files: bool) -> Task:
        """The task without the body of its last answer, to be kept while it waits.  A request that
        holds the contents of files goes, too: they are read again.
        """
        request = self.request
        if reads_files and request is not None:
            request = msgspec.structs.replace(request, body=b"")
        if not self.tries:
            return msgspec.structs.replace(self, request=request)
        *earlier, last = self.tries
        return msgspec.structs.replace(self, request=request, tries=(*earlier, last.lighter()))
