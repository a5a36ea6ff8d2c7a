"""Bytes of an event stream -> events, by the WHATWG rules, whatever way the bytes are cut.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream Works on
bytes: U+2028 and U+0085 inside a text are no line ends, and a character may be split over two
chunks.
"""

from __future__ import annotations

import msgspec

MAX_EVENT = 16 << 20
"""Bytes one event may have; a server that sends more is not answering."""

DATA = b"data: "


class Event(msgspec.Struct, frozen=True, gc=False):
    """`name` is the event's type, "message" where the server gives none."""

    name: str
    data: bytes


class TooLarge(ValueError):
    """One event has more than MAX_EVENT bytes."""


class EventReader:
    """Feed it chunks, get the events that they complete; `close` gives a last one that lacks its
    blank line.
    """

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max_event = max_event
        self._tail: list[bytes] = []  # pieces of an event whose end has not come yet
        self._size = 0  # bytes in them
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that end in `chunk`.  Raises TooLarge."""
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[Event] = []
        if b"\n\n" in chunk or (chunk[:1] == b"\n" and self._tail and self._tail[-1][-1:] == b"\n"):
            *blocks, chunk = b"".join((*self._tail, chunk)).split(b"\n\n")
            self._tail, self._size = [], 0
            for block in blocks:
                if block.startswith(DATA) and b"\n" not in block:  # as most do
                    self._at_start = False
                    events.append(Event("message", block[len(DATA) :]))
                elif (event := self._event(block)) is not None:
                    events.append(event)
        if chunk:
            self._tail.append(chunk)
            self._size += len(chunk)
        if self._size > self._max_event:
            raise TooLarge(f"one event has more than {self._max_event} bytes")
        return events

    def close(self) -> list[Event]:
        """What is left at the end of the stream: the last event where its blank line is missing."""
        event = self._event(b"".join(self._tail))
        self._tail, self._size = [], 0
        return [] if event is None else [event]

    def _event(self, block: bytes) -> Event | None:
        """What the lines between two blank ones say."""
        if self._at_start:
            self._at_start = False
            block = block.removeprefix(b"\xef\xbb\xbf")
        name, data = "", []
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.decode("utf-8", "replace")
            elif field == b"error":  # not in the standard: llama.cpp sends its errors so
                name = "error"
                data.append(value)
        return Event(name or "message", b"\n".join(data)) if data else None
