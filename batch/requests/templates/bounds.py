"""How much one rendering may take, whatever else the machine does: steps of loops, calls, and text.

Every thread counts for itself: a rendering holds no other, and rows with pictures are made in
threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, MappingView, Sized
from typing import Any

MOST_STEPS = 1_000_000
MOST_CALLS = 100_000
MOST_TEXT = 16 << 20
"""Of what is put out, and of any text that is made on the way."""
MOST_MADE = 8 * MOST_TEXT
"""Of all that is made on the way, together."""
EACH = 32
"""What anything that is made counts at least: four millions of them are too many."""
MOST_BITS = 1 << 16
"""Of a whole number.  Python writes none of more than 4,300 digits."""
PLACE = 8
"""Bytes that a list takes for an item."""


class TooMuch(Exception):
    """A template that takes more than one row may."""


class _Taken(threading.local):
    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.steps = self.calls = self.put = self.made = 0
        self.weights: dict[
            int, tuple[int, Any]
        ] = {}  # the value, too, so that its id stays its own


_taken = _Taken()
begin = _taken.begin
"""A rendering begins."""


def step(count: int = 1) -> None:
    """Loops go so many steps further."""
    _taken.steps += count
    if _taken.steps > MOST_STEPS:
        raise TooMuch(f"it takes more than {MOST_STEPS:,} steps for one row")


def call() -> None:
    """A part of the template is called, which may go into itself."""
    _taken.calls += 1
    if _taken.calls > MOST_CALLS:
        raise TooMuch(f"it calls its own parts more than {MOST_CALLS:,} times for one row")


def make(size: int) -> None:
    """A text of `size` characters is going to be made, or a list of so many bytes."""
    _taken.made += EACH + max(size, 0)
    if size > MOST_TEXT:
        raise _too_long()
    if _taken.made > MOST_MADE:
        raise TooMuch(
            "it works too much for one row (128 MiB of texts and lists, made or gone through)"
        )


def read(size: int) -> None:
    """So many characters are looked through, which is quicker than making them."""
    make(size >> 6)


def put(size: int) -> None:
    """So many characters are put out."""
    _taken.put += size
    if _taken.put > MOST_TEXT:
        raise _too_long()


def _too_long() -> TooMuch:
    return TooMuch(f"it makes more than {MOST_TEXT >> 20} MiB of text for one row")


def whole(number: int) -> int:
    """`number`, unless nobody could write it down."""
    if number.bit_length() > MOST_BITS:
        raise TooMuch(f"it makes a number of more than {MOST_BITS:,} bits")
    return number


def span(*of: int) -> range:
    """`range` of templates."""
    made = range(*of)
    if len(made) > MOST_STEPS:
        raise TooMuch(f"it takes more than {MOST_STEPS:,} steps for one row")
    return made


def drawn(values: Any) -> Any:
    """`values`, to be gone through: every item is a step."""
    if isinstance(values, Sized):
        step(len(values))
        return values
    return _counted(values)


def _counted(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        step()
        yield value


def concatenated(pieces: Iterable[str]) -> str:
    made, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > MOST_TEXT:
            raise _too_long()
        made.append(piece)
    return "".join(made)


def written(text: str) -> str:
    """`text`, unless it is too long when it is sent, or cannot be: a lone surrogate is no text."""
    if len(text.encode()) > MOST_TEXT:
        raise _too_long()
    return text


def weigh(value: Any) -> int:
    """About how many characters of JSON a value makes.  A template can put one list into another
    over and over, so that going through it would never end: a list is weighed once.
    """
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, Mapping):
        inside: Iterable[Any] = [*value, *value.values()]
    elif isinstance(value, list | tuple):
        inside = value
    else:
        return PLACE * len(value) if isinstance(value, range | MappingView) else PLACE
    known = _taken.weights.get(id(value))
    if known is None:
        known = (2 + sum(map(weigh, inside)), value)
        if known[0] > MOST_TEXT:
            raise _too_long()
        _taken.weights[id(value)] = known
    return known[0]


def look(value: Any) -> None:
    """`value` is compared, or gone through: item by item, or as one text, which is quicker."""
    make(weigh(value) >> (6 if isinstance(value, str) else 3))
