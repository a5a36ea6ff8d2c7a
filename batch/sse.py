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
        self._tail: list[bytes] = []  # pieces of a line whose end has not come yet
        self._size = 0  # bytes held in _tail and _data
        self._data: list[bytes] = []
        self._name = ""
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
        if b"\n" not in chunk:
            self._tail.append(chunk)
            self._size += len(chunk)
            events: list[Event] = []
        else:
            *lines, tail = b"".join((*self._tail, chunk)).split(b"\n")
            self._tail = [tail] if tail else []
            events = []
            for line in lines:
                if line.startswith(DATA):  # as most do
                    self._at_start = False
                    self._data.append(line[len(DATA) :])
                elif not line and len(self._data) == 1 and not self._name:
                    events.append(Event("message", self._data.pop()))
                elif (event := self._take(line)) is not None:
                    events.append(event)
            self._size = len(tail) + sum(map(len, self._data))
        if self._size > self._max_event:
            raise TooLarge(f"one event has more than {self._max_event} bytes")
        return events

    def close(self) -> list[Event]:
        """What is left at the end of the stream: the last event where its blank line is missing."""
        line = b"".join(self._tail)
        self._tail = []
        events = [event for part in (line, b"") if (event := self._take(part)) is not None]
        self._size = 0
        return events

    def _take(self, line: bytes) -> Event | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif field == b"error":  # not in the standard: llama.cpp sends its errors so
            self._name = "error"
            self._data.append(value)
        return None

    def _dispatch(self) -> Event | None:
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        return Event(name, b"\n".join(data)) if data else None
