"""Which rows go first, so that those with the same beginning can read it from the server's prompt cache.

Of rows that begin alike one leads, and the others wait until it is answered, but none longer than
the patience.  Where the leader fails, the next of them leads.  Pure: requests and moments come in.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from batch.costs.prompt_caches import Cache
from batch.engine import prefixes
from batch.model import Request

Item = TypeVar("Item")

MOST_PREFIXES = 10_000
"""Beginnings that are remembered."""
TRIED = 20
"""Rows that waited for a leader, of which one must have read from the cache, or none waits any more."""


class _Prefix(Generic[Item]):
    """A beginning of prompts."""

    __slots__ = ("answered", "due", "given_up", "led", "until", "waiting")

    def __init__(self) -> None:
        self.led = 0  # requests with it under way
        self.answered = 0
        self.until = math.inf  # when the cache forgets it
        self.given_up = False
        self.waiting: list[Item] = []
        self.due = math.inf  # when the first of them waits no longer


class CacheLeaders(Generic[Item]):
    """What is known of the beginnings of prompts; an Item is a row that waits."""

    def __init__(self, cache_of: Callable[[str | None], Cache | None], patience: float) -> None:
        """`cache_of` tells of a model what its cache is like, as far as is known by now; no row waits
        longer than `patience`.
        """
        self._cache_of = cache_of
        self._patience = patience
        self._known: OrderedDict[bytes, _Prefix[Item]] = OrderedDict()
        self._next: dict[int, tuple[bytes, ...]] = {}  # row whose turn it is -> its beginnings
        self._under_way: dict[int, tuple[bytes, ...]] = {}
        self._since: dict[int, float] = {}  # row that has waited -> from when on
        self._followed: set[int] = set()  # rows under way that have waited for what they read
        self._read = self._tried = 0

    @property
    def helps(self) -> bool:
        """Whether those who waited have read anything, as far as that is known."""
        return self._read > 0 or self._tried < TRIED

    def leader_of(self, request: Request, now: float) -> bytes | None:
        """The beginning for whose leader the request has to wait; None where it may leave."""
        cache = self._cache_of(request.model)
        if cache is None or not self.helps:
            return None
        found = prefixes.shared(request, cache.least_bytes, marked=cache.mark is not None)
        row = request.row
        if found and now - self._since.get(row, now) < self._patience:
            for each in found:
                prefix = self._known.get(each)
                if prefix is not None and _is_being_written(prefix, cache, now):
                    return each
        if found:
            self._next[row] = found
        return None

    def wait(self, item: Item, row: int, beginning: bytes, now: float) -> float:
        """Let a row wait; the moment at which those that wait for the same are `overdue`."""
        prefix = self._known[beginning]
        prefix.waiting.append(item)
        prefix.due = min(prefix.due, self._since.setdefault(row, now) + self._patience)
        return prefix.due

    def left(self, row: int) -> None:
        """The request of a row, which `leader_of` let go, is under way."""
        found = self._next.pop(row, None)
        if found is None:
            return
        for each in found:
            self._remembered(each).led += 1
        self._under_way[row] = found
        if self._since.pop(row, None) is not None:
            self._followed.add(row)

    def begun(self, request: Request, now: float) -> list[Item]:
        """Who waits no more, now that the answer to a request has begun."""
        cache = self._cache_of(request.model)
        if cache is None or not cache.begins:
            return []
        return self._settled(request.row, cache, True, now)

    def ended(self, request: Request, answered: bool, cached: int | None, now: float) -> list[Item]:
        """Who waits no more, now that a request is not under way any more, or will not be: it was
        `answered`, and the server says how much of it was `cached`, or not.
        """
        row = request.row
        self._next.pop(row, None)
        self._since.pop(row, None)
        cache = self._cache_of(request.model)
        if row in self._followed:
            self._followed.discard(row)
            if answered and cached is not None:
                self._tried += 1
                self._read += cached > 0
        freed = [] if cache is None else self._settled(row, cache, answered, now)
        return freed if self.helps else freed + self._all()

    def _settled(self, row: int, cache: Cache, answered: bool, now: float) -> list[Item]:
        freed: list[Item] = []
        for each in self._under_way.pop(row, ()):
            if (prefix := self._known.get(each)) is not None:
                freed += _ended(prefix, cache, answered, now)
        return freed

    def overdue(self, beginning: bytes, now: float) -> list[Item]:
        """Who has waited long enough for a leader; then others with this beginning do not wait, either,
        until one is answered.
        """
        prefix = self._known.get(beginning)
        if prefix is None or now < prefix.due:
            return []
        prefix.given_up = True
        return _freed(prefix)

    def due(self, beginning: bytes) -> float:
        """When those who wait for a beginning are overdue; infinite where nobody waits."""
        prefix = self._known.get(beginning)
        return math.inf if prefix is None else prefix.due

    def _remembered(self, beginning: bytes) -> _Prefix[Item]:
        prefix = self._known.get(beginning)
        if prefix is not None:
            self._known.move_to_end(beginning)
            return prefix
        if len(self._known) >= MOST_PREFIXES:
            oldest, had = self._known.popitem(last=False)
            if had.led or had.waiting:
                self._known[oldest] = had
        return self._known.setdefault(beginning, _Prefix())

    def _all(self) -> list[Item]:
        return [item for prefix in self._known.values() for item in _freed(prefix)]


def _is_being_written(prefix: _Prefix[Item], cache: Cache, now: float) -> bool:
    """Whether enough are under way to write it, and have not ended."""
    if now >= prefix.until:
        prefix.answered, prefix.until = 0, math.inf
    if prefix.given_up or prefix.answered >= cache.leaders:
        return False
    return prefix.led > 0 and prefix.led + prefix.answered >= cache.leaders


def _ended(prefix: _Prefix[Item], cache: Cache, answered: bool, now: float) -> list[Item]:
    """A request with this beginning has ended."""
    prefix.led -= 1
    if answered:
        prefix.answered += 1
        prefix.until = now + cache.lifetime
        prefix.given_up = False
    if prefix.answered >= cache.leaders:
        return _freed(prefix)
    prefix.given_up = prefix.given_up and prefix.led > 0
    if prefix.waiting and prefix.led + prefix.answered < cache.leaders:
        return [prefix.waiting.pop(0)]
    return []


def _freed(prefix: _Prefix[Item]) -> list[Item]:
    freed, prefix.waiting, prefix.due = prefix.waiting, [], math.inf
    return freed
