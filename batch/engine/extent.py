"""How many rows a run has, as far as that is known."""

from __future__ import annotations

from collections.abc import Callable

from batch.engine.feed import Feed


class Extent:
    """Of a run whose feed goes through its input."""

    def __init__(self, feed: Feed, rows: int | None, limit: int | None, *, is_whole: bool) -> None:
        """`rows` is what is known of the input beforehand, `limit` how many of them are asked at most;
        `is_whole` tells that the feed goes to the input's end or the limit.
        """
        self._feed = feed
        self._rows = rows
        self._limit = limit
        self._is_whole = is_whole

    def of_input(self, kept: int | None) -> int | None:
        """The rows of the input: `kept` from earlier starts, unless its end has been read."""
        rows = self._feed.rows
        is_below_limit = self._limit is None or rows < self._limit
        return rows if self._feed.ended and self._is_whole and is_below_limit else kept

    def to_ask(self) -> int | None:
        """The rows to ask; before the input's end by the share of its bytes read, or else the limit."""
        rows = self._rows
        if self._feed.ended:
            rows = self._feed.rows
        elif rows is None:
            rows = self._feed.rows_by_share()
        return self._limit if rows is None else min(rows, self._limit or rows)


class Planned:
    """Of a run whose parts were planned: all rows are known from the start."""

    def __init__(self, rows: int) -> None:
        """`rows` are to be asked, of the parts that this process has."""
        self._rows = rows

    def of_input(self, kept: int | None) -> int | None:
        """The rows that are this process's."""
        return self._rows

    def to_ask(self) -> int | None:
        """The same: the limit is known, too."""
        return self._rows


class Lent:
    """Of a worker that is lent parts one by one."""

    def __init__(self, rows: Callable[[], int]) -> None:
        """`rows` tells those of the parts that have come."""
        self._rows = rows

    def of_input(self, kept: int | None) -> int | None:
        """The rows of the input, which were counted before."""
        return kept

    def to_ask(self) -> int | None:
        """The rows that are known by now to be this worker's."""
        return self._rows()
