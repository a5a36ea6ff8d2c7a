"""A row that one of several endpoints refuses is asked at another before that counts: it may be the
endpoint that is set up wrong.

Pure, as the judge is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from batch.engine import stop_reasons
from batch.engine.decisions import Leave
from batch.engine.health import Healths
from batch.engine.task import ELSEWHERE, OF_ONE, Task
from batch.model import Attempt
from batch.outcome import Reject

OF_ALL = ("invalid_request", "blocked")
"""Error classes that tell of an endpoint which is set up wrong; others tell how large a request is."""


class SecondOpinions:
    """Knows what endpoints have refused alone."""

    def __init__(self, healths: Healths, longest: float) -> None:
        """A row waits for another endpoint for `longest` seconds at most."""
        self._healths = healths
        self._longest = longest

    def wanted(self, task: Task, attempt: Attempt, refusal: Reject) -> tuple[Task, float] | None:
        """The task as it is asked elsewhere, and after how many seconds; None where the refusal counts:
        another endpoint has refused it, too, and this one answers other rows.
        """
        at = self._healths.of(attempt.member)
        if refusal.error_class not in OF_ONE or refusal.completion is not None:
            return None
        if task.chances.of(ELSEWHERE) and at.outages.has_answered:
            return None
        again = msgspec.structs.replace(task, chances=task.chances.plus(ELSEWHERE))
        wait = self._healths.held_up_elsewhere(again.past.refused)
        if wait == math.inf or wait > self._longest:
            return None
        at.refusal = refusal.message
        at.limiter.answered(attempt.latency_s)
        return again, wait

    def answered(self, task: Task) -> Iterator[Leave]:
        """The row is answered: endpoints that refuse what others answer are asked no more."""
        if not task.chances.of(ELSEWHERE):
            return
        *earlier, last = task.tries
        for done in earlier:
            attempt = done.attempt
            alone = attempt.member != last.attempt.member and done.error_class in OF_ALL
            at = self._healths.of(attempt.member)
            if alone and at.refused_alone() and self._healths.others_are_there(attempt.member):
                yield Leave(attempt.member, stop_reasons.refused_alone(attempt.status, at.refusal))
