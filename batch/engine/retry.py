"""When a row that must be tried again is due: a pure decision, and the heap of waiting rows.

A retry rule is a line in `RULES`.  Backoff is exponential with full jitter: a uniform draw between
nothing and the doubled delay
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), so that rows that
failed together do not come back together.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Annotated, Generic, TypeVar

import msgspec

from batch.outcome import TryAgain

Item = TypeVar("Item")


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[retry]` of a job.  Delays are seconds.  `flex_fallback`: a row for which the flex tier has no
    room is asked in the standard tier in the end.
    """

    max_attempts: Annotated[int, msgspec.Meta(ge=1)] = 8
    max_maybe_billed: Annotated[int, msgspec.Meta(ge=1)] = 2
    schema_attempts: Annotated[int, msgspec.Meta(ge=1)] = 3
    first_delay: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    max_delay: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    max_wait: Annotated[float, msgspec.Meta(ge=0)] = 900.0
    flex_fallback: bool = False


MOST_AT_ONCE = 3
"""Kept-alive sockets that a row may find closed before that counts as failing."""

LAST_TRIES = 3
"""Tries of a row that is left over at the end of a run, where all the others were answered."""

MOST_TURNED_AWAY = 3
"""Times a row may be turned away (403, 404) while others are answered."""

MOST_REFUSED = 20
"""Times a row may be refused (429) while others are answered."""


FLEX_TRIES = 3
"""Times a row is asked in the flex tier where that has no room, before it leaves it."""


class Rule(msgspec.Struct, frozen=True):
    """How a row is tried again after a failure of one kind.  Failures are counted under `kind`.

    `applies` sees the failure and how many of its kind the row has had.  `most` failures end the
    row; None means that any number may come.  `backs_off`: the row waits, longer each time.
    """

    kind: str
    applies: Callable[[TryAgain, int], bool]
    most: Callable[[Retry], int] | None = None
    backs_off: bool = True


RULES = (
    Rule("refused", lambda again, _: again.refused),
    Rule("mismatch", lambda again, _: again.mismatch, lambda our: our.schema_attempts, False),
    Rule("at_once", lambda again, had: again.at_once and had < MOST_AT_ONCE, backs_off=False),
    Rule("failed", lambda again, _: again.at_once, lambda our: our.max_attempts, False),
    Rule("failed", lambda again, _: True, lambda our: our.max_attempts),
)
"""What is done about a failure: the first rule that applies.  To add one, add a line."""


class Limit(msgspec.Struct, frozen=True):
    """Failures of which so many end a row, whichever rule applies to them.  `applies` sees the
    failure, and whether other rows succeed.
    """

    kind: str
    applies: Callable[[TryAgain, bool], bool]
    most: Callable[[Retry], int]


LIMITS = (
    Limit("maybe_billed", lambda again, _: again.maybe_billed, lambda our: our.max_maybe_billed),
    Limit("once", lambda again, _: again.once, lambda _: 2),
    Limit("alone", lambda again, others: again.refused and others, lambda _: MOST_REFUSED),
)


class FirstFailure(msgspec.Struct, frozen=True):
    """How many answers an endpoint had given when a row first failed there, and the moment of that."""

    answers_before: int
    at: float


class Chances(msgspec.Struct, frozen=True, gc=False):
    """What a row has used up of its chances: its failures, counted by kind.

    `firsts` are its first failures at each endpoint, by the number of that.
    """

    used: dict[str, int] = {}
    firsts: dict[int, FirstFailure] = {}

    def of(self, kind: str) -> int:
        """The failures of one kind."""
        return self.used.get(kind, 0)

    def plus(self, *kinds: str) -> Chances:
        """One more failure, which is of these kinds."""
        more = {kind: self.of(kind) + 1 for kind in kinds}
        return msgspec.structs.replace(self, used={**self.used, **more})

    def after(self, again: TryAgain, others_succeed: bool = False) -> Chances:
        """The chances used after one more attempt that ended in `again`."""
        limits = [limit.kind for limit in LIMITS if limit.applies(again, others_succeed)]
        return self.plus(_rule(again, self).kind, *limits)

    def forgiven(self, before: Chances) -> Chances:
        """The chances used, if the last failure was not the row's: those used `before`, and what may
        have been billed.
        """
        used = {**before.used, "maybe_billed": self.of("maybe_billed")}
        return msgspec.structs.replace(self, used=used)


def delay(
    policy: Retry,
    chances: Chances,
    again: TryAgain,
    jitter: float,
    others_succeed: bool = False,
) -> float | None:
    """Seconds until the row is tried again, None when its chances are used up.

    `chances` include the attempt that ended in `again`; `jitter` is a uniform draw from [0, 1);
    `others_succeed` tells that the server has room for other rows.
    """
    if _used_up(policy, chances):
        return None
    rule = _rule(again, chances)
    if not rule.backs_off:
        return 0.0
    failures = max(1, chances.of(rule.kind))
    if again.refused and others_succeed:  # how fast all may send is decided for all
        failures = min(failures, 2)
    return (again.wait or 0.0) + backoff(policy, failures, jitter)


def _rule(again: TryAgain, chances: Chances) -> Rule:
    return next(rule for rule in RULES if rule.applies(again, chances.of(rule.kind)))


def _used_up(policy: Retry, chances: Chances) -> bool:
    return any(
        kind.most is not None and chances.of(kind.kind) >= kind.most(policy)
        for kind in (*RULES, *LIMITS)
    )


def backoff(policy: Retry, failures: int, jitter: float) -> float:
    """Seconds to wait after so many failures in a row (at least 1)."""
    return jitter * min(policy.max_delay, policy.first_delay * 2.0 ** min(failures - 1, 60))


MOST_BUDGET = 500.0
"""What the retry budget of a run holds at most."""
COST, COST_BILLED = 2.0, 4.0
"""What a retry takes of it, and what one takes where an unseen answer may have been billed."""
REFILL = 10.0
"""What a second adds to it; a success adds 1."""


class Budget:
    """The retry budget of a run: it keeps retries from multiplying a failure.

    While few attempts fail it is full.  When more than a third fail it runs out.  Then rows wait one
    behind the other, and no row fails for it.  (The retry quota of the AWS SDKs works so.)
    """

    def __init__(self, share: float = 1.0) -> None:
        """Of several workers, each has a `share`: together they retry no more than one.  It may be set
        anew.
        """
        self.share = share
        self._level = MOST_BUDGET * share
        self._at = 0.0

    def earn(self, now: float) -> None:
        """An attempt succeeded."""
        if self._level >= MOST_BUDGET * self.share:  # as nearly always
            self._at = now
        else:
            self._refill(now, 1.0)

    def wait(self, again: TryAgain, now: float, longest: float) -> float:
        """Take the cost of one retry; seconds until it is covered, at most `longest`."""
        self._refill(now, 0.0)
        cost = COST_BILLED if again.maybe_billed else COST
        refill = REFILL * self.share
        self._level = max(self._level - cost, -longest * refill)
        return max(0.0, -self._level / refill)

    def _refill(self, now: float, earned: float) -> None:
        elapsed, self._at = max(0.0, now - self._at), now
        gained = earned + REFILL * self.share * elapsed
        self._level = min(MOST_BUDGET * self.share, self._level + gained)


class Waiting(Generic[Item]):
    """Rows that wait for another try, in a heap.  They hold no slot and no asyncio task."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Item]] = []
        """When each is due, its number, and it; the first that is due stands first."""
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self.heap)

    def push(self, due: float, item: Item) -> None:
        """Let `item` wait until the moment `due` of the monotonic clock."""
        heapq.heappush(self.heap, (due, next(self._order), item))

    def pop_due(self, now: float) -> Item | None:
        """The item that has been due for longest, None when none is."""
        if not self.heap or self.heap[0][0] > now:
            return None
        return heapq.heappop(self.heap)[2]

    def hurry(self, now: float) -> None:
        """Let all items be due, in the order in which they would have been."""
        waiting = sorted(self.heap)
        self.heap = [(min(due, now), next(self._order), item) for due, _, item in waiting]

    def next_due(self) -> float | None:
        """When the next item is due."""
        return self.heap[0][0] if self.heap else None
