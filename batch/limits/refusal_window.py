"""How many of the requests that were sent in some span of time were refused.

Pure: moments come in.  A request counts by the moment it was sent: refusals are quick and overtake
answers.  One that is still away, though a later one has been refused, was not refused.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque

MOST = 512
"""Requests that are remembered."""
SMOOTHING = 0.1
"""How much the latest answer counts for what is usual."""
SHORTEST = 1.0
"""Seconds that are lately, at least; and twice as long as an answer takes."""


class RefusalWindow:
    """Hears when requests were sent, and which of them were refused."""

    def __init__(self) -> None:
        self._sends: deque[float] = deque(maxlen=MOST)
        self.sent = self._sends.append
        """A request leaves at this moment."""
        self._refused: list[float] = []  # when those left that were refused, in order
        self._latency = 0.0  # seconds an answer takes
        self._answered = -math.inf  # when the latest request left that was answered

    def answered(self, sent: float, now: float) -> None:
        """A request was answered."""
        if sent > self._answered:
            self._answered = sent
        took = now - sent
        self._latency += (SMOOTHING if self._latency else 1.0) * (took - self._latency)

    def refused(self, sent: float) -> None:
        """A request was refused."""
        insort(self._refused, sent)
        del self._refused[:-MOST]

    def take_back(self, sent: float) -> None:
        """What was said of a request that was refused does not count."""
        self._refused.remove(sent)

    @property
    def lately(self) -> float:
        """Seconds in which requests are of the same moment."""
        return max(SHORTEST, 2 * self._latency)

    def counted(self, since: float, until: float) -> tuple[int, int]:
        """The requests that were sent in this span, and how many of them were refused."""
        refused = bisect_right(self._refused, until) - bisect_left(self._refused, since)
        sent = bisect_right(self._sends, until) - bisect_left(self._sends, since)
        return max(sent, refused), refused

    def last(self, most: int, until: float) -> float:
        """When the first of the last `most` requests left that were sent up to `until`."""
        end = bisect_right(self._sends, until)
        return self._sends[max(0, end - most)] if end else until

    def answers_some(self, now: float) -> bool:
        """Whether a request was answered that had left after one that was refused lately."""
        first = bisect_left(self._refused, now - 2 * self.lately)
        return first < len(self._refused) and self._answered > self._refused[first]
