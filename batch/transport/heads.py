"""Heads of answers as gateways send them: long ones, and such as give a length beside chunks.

aiohttp refuses a line beyond 8 KiB, and a Content-Length beside `Transfer-Encoding: chunked`.  What came
that way is paid for, so it is read as curl reads it: chunks make the length void (RFC 9112, 6.3).
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage

READ_AHEAD = 1 << 16
"""Bytes of an answer that may have come and not been taken; aiohttp lets it be twice that."""
LONGEST_LINE = 1 << 16
"""Bytes of one header."""
MOST_LINES = 1000
"""Headers of one answer."""
LONGEST_HEAD = 1 << 18
"""Bytes of a head that are looked at together."""

CHUNKED = re.compile(rb"\ntransfer-encoding:[^\n]*\bchunked[ \t]*\r?\n", re.I)
LENGTH = re.compile(rb"(?<=\n)content-length:[^\n]*\n", re.I)
INTERIM = re.compile(rb"HTTP/1\.\d 1\d\d")
END = re.compile(rb"\r?\n\r?\n")

Fed = tuple[Any, bool, bytes]
"""Messages, whether the connection is no HTTP any more, and then what came behind."""
NOTHING: Fed = (), False, b""


class Parser(Protocol):
    """What a connection asks of its parser."""

    def feed_data(self, data: bytes) -> Fed:
        """What is whole now."""

    def feed_eof(self) -> Any:
        """Nothing comes any more."""

    def pause_reading(self) -> None:
        """Hold what comes."""


def expect(protocol: ResponseHandler) -> None:
    """Let a new connection read answers."""
    protocol.set_response_params(
        read_until_eof=True,
        read_bufsize=READ_AHEAD,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
        max_headers=MOST_LINES,
    )
    protocol._parser = _Lenient(protocol._parser)  # type: ignore[assignment, arg-type]


class _Lenient:
    """A parser that sees each head when it is whole, and without a length that is void."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._head = b""
        self._content: aiohttp.StreamReader = aiohttp.EMPTY_PAYLOAD
        self.pause_reading = parser.pause_reading

    def feed_data(self, data: bytes) -> Fed:
        if self._content.is_eof():
            if not data:  # aiohttp says so after every answer
                return NOTHING
            data = self._head + data if self._head else data
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 or data[9:10] == b"1":  # as hardly any
                end = _end(data)
            if end == 0 and b"HTTP/".startswith(data[:5]) and len(data) < LONGEST_HEAD:
                self._head = data
                return NOTHING
            self._head = b""
            if data.find(b"hunked", 0, end) >= 0 or data.find(b"HUNKED", 0, end) >= 0:
                data = _without_length(data, end)
        fed = self._parser.feed_data(data)
        messages: list[tuple[RawResponseMessage, aiohttp.StreamReader]] = fed[0]
        if messages:
            self._content = messages[-1][1]
        return fed

    def feed_eof(self) -> Any:
        if self._head:
            self._parser.feed_data(self._head)
        return self._parser.feed_eof()


def _end(data: bytes) -> int:
    """Where the head of an answer ends, with those of interim ones (103) before it; 0 where not yet."""
    start = 0
    while end := _next_end(data, start):
        is_last = INTERIM.match(data, start) is None or end == len(data)
        if is_last:
            return end
        start = end
    return 0


def _next_end(data: bytes, start: int) -> int:
    if (at := data.find(b"\r\n\r\n", start)) >= 0:
        return at + 4
    end = END.search(data, start)
    return 0 if end is None else end.end()


def _without_length(data: bytes, end: int) -> bytes:
    """An answer, whose head goes to `end`, without Content-Length where it comes in chunks."""
    head = data[:end]
    if CHUNKED.search(head) is None:
        return data
    return LENGTH.sub(b"", head) + data[end:]
