"""When a row that must be tried again is due: a pure decision, and the heap of waiting rows.

To change the policy, change `delay`.  Backoff is exponential with full jitter: a uniform draw
between nothing and the doubled delay
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), so that rows that
failed together do not come back together.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Annotated, Generic, TypeVar

import msgspec

from batch.outcome import TryAgain

Item = TypeVar("Item")


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[retry]` of a job.  Delays are seconds."""

    max_attempts: Annotated[int, msgspec.Meta(ge=1)] = 8
    max_maybe_billed: Annotated[int, msgspec.Meta(ge=1)] = 2
    schema_attempts: Annotated[int, msgspec.Meta(ge=1)] = 3
    first_delay: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    max_delay: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    max_wait: Annotated[float, msgspec.Meta(ge=0)] = 900.0


MOST_AT_ONCE = 3
"""Kept-alive sockets that a row may find closed before that counts as failing."""

MOST_TURNED_AWAY = 3
"""Times a row may be turned away (403, 404) while others are answered."""

MOST_REFUSED = 20
"""Times a row may be refused (429) while others are answered."""


class Chances(msgspec.Struct, frozen=True, gc=False):
    """What a row has used up of its chances.  `refused` ones (429 and its like) are counted apart,
    those of them that came while others were answered once more; `goods` is how many answers there
    had been when it first failed, `since` the moment of that.
    """

    counted: int = 0
    maybe_billed: int = 0
    refused: int = 0
    refused_alone: int = 0
    at_once: int = 0
    once: int = 0
    turned_away: int = 0
    mismatches: int = 0
    goods: int | None = None
    since: float = 0.0

    def and_then(self, outcome: TryAgain, others_succeed: bool = False) -> Chances:
        """The chances used after one more attempt that ended so."""
        if outcome.refused:
            alone = self.refused_alone + others_succeed
            return msgspec.structs.replace(self, refused=self.refused + 1, refused_alone=alone)
        if outcome.mismatch:
            return msgspec.structs.replace(self, mismatches=self.mismatches + 1)
        if outcome.at_once and self.at_once < MOST_AT_ONCE:
            return msgspec.structs.replace(self, at_once=self.at_once + 1)
        return msgspec.structs.replace(
            self,
            counted=self.counted + 1,
            once=self.once + outcome.once,
            maybe_billed=self.maybe_billed + outcome.maybe_billed,
        )


def delay(
    policy: Retry,
    chances: Chances,
    outcome: TryAgain,
    jitter: float,
    others_succeed: bool = False,
) -> float | None:
    """Seconds until the row is tried again, None when its chances are used up.

    `chances` include the attempt that ended in `outcome`; `jitter` is a uniform draw from [0, 1);
    `others_succeed` tells that the server has room for other rows.
    """
    if chances.counted >= policy.max_attempts or chances.maybe_billed >= policy.max_maybe_billed:
        return None
    if chances.once > 1:
        return None
    if outcome.refused and chances.refused_alone >= MOST_REFUSED:
        return None
    if outcome.mismatch:
        return 0.0 if chances.mismatches < policy.schema_attempts else None
    if outcome.at_once:
        return 0.0
    failures = max(1, chances.refused if outcome.refused else chances.counted)
    if outcome.refused and others_succeed:  # how fast all may send is decided for all
        failures = min(failures, 2)
    return (outcome.wait or 0.0) + backoff(policy, failures, jitter)


def backoff(policy: Retry, failures: int, jitter: float) -> float:
    """Seconds to wait after so many failures in a row (at least 1)."""
    return jitter * min(policy.max_delay, policy.first_delay * 2.0 ** min(failures - 1, 60))


MOST_BUDGET = 500.0
COST, COST_BILLED = 2.0, 4.0
REFILL = 10.0
"""What the budget of a run holds at most, what a retry takes (where an answer may have been billed
without being seen, more), and what a second gives; a success gives 1.
"""


class Budget:
    """What retries of a whole run may cost, so that they never multiply a failure.

    While few attempts fail it is full.  When more than a third do, it runs out; then rows wait, one
    behind the other, and never fail for it.  (The idea is that of the retry quota in the AWS SDKs.)
    """

    def __init__(self) -> None:
        self._level = MOST_BUDGET
        self._at = 0.0

    def earn(self, now: float) -> None:
        """An attempt succeeded."""
        self._refill(now, 1.0)

    def wait(self, outcome: TryAgain, now: float, longest: float) -> float:
        """Take the cost of one retry; seconds until it is covered, at most `longest`."""
        self._refill(now, 0.0)
        cost = COST_BILLED if outcome.maybe_billed else COST
        self._level = max(self._level - cost, -longest * REFILL)
        return max(0.0, -self._level / REFILL)

    def _refill(self, now: float, earned: float) -> None:
        elapsed, self._at = max(0.0, now - self._at), now
        self._level = min(MOST_BUDGET, self._level + earned + REFILL * elapsed)


class Waiting(Generic[Item]):
    """Rows that wait for another try.  They hold no slot and no task, only a place in a heap."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, due: float, item: Item) -> None:
        """Let `item` wait until the moment `due` of the monotonic clock."""
        heapq.heappush(self._heap, (due, next(self._order), item))

    def pop_due(self, now: float) -> Item | None:
        """The item that has been due for longest, None when none is."""
        if not self._heap or self._heap[0][0] > now:
            return None
        return heapq.heappop(self._heap)[2]

    def next_due(self) -> float | None:
        """When the next item is due."""
        return self._heap[0][0] if self._heap else None
