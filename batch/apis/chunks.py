"""The events of a stream, as far as all APIs agree on them: `[DONE]`, comments, errors, JSON.

A stream is complete only at a terminal signal; one that just ends is cut off.  An error in
mid-stream wins over what came before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from batch.error_bodies import says_nothing
from batch.event_stream import Event
from batch.lenient_json import decode_piece, mended
from batch.outcome import BadAnswer


class Chunks(ABC):
    """Base of a Fold: a subclass takes each chunk in and tells the answer so far."""

    def __init__(self) -> None:
        self.complete = False  # the answer is whole
        self.ended = False  # nothing more is to be read
        self.repaired = False  # broken text in a chunk was mended
        self.started = False  # a token of content, reasoning or a tool call has come
        self._error: Any = None
        self._torn = False  # a chunk held half a character

    def add(self, event: Event) -> None:
        """Take one event in.  Raises BadAnswer for a chunk that is broken."""
        data = event.data.strip()
        if data[:1] != b"{":
            if data == b"[DONE]":
                self.complete = self.ended = True
                return
            if data.startswith(b":") or not data:  # a comment some gateway wrapped in a data line
                return
        chunk, repaired, torn = decode_piece(data)
        if not isinstance(chunk, dict):
            raise BadAnswer("a chunk of the stream is broken: no JSON object")
        self.repaired = self.repaired or repaired
        self._torn = self._torn or torn
        if _is_error(event, chunk):
            self._error = chunk.get("error") or chunk
            self.complete = self.ended = True
            return
        self._take(chunk)

    def answer(self) -> dict[str, Any]:
        """What has come so far, in the blocking shape.  Only now `repaired` tells of a character
        whose other half never came.
        """
        answer = self._folded() if self._error is None else {"error": self._error}
        if self._torn:
            answer, repaired = mended(answer)
            self.repaired = self.repaired or repaired
        return answer

    @abstractmethod
    def _take(self, chunk: dict[str, Any]) -> None:
        """Take one chunk in."""

    @abstractmethod
    def _folded(self) -> dict[str, Any]:
        """The answer as far as it has come, in the blocking shape."""


def _is_error(event: Event, chunk: dict[str, Any]) -> bool:
    error = chunk.get("error")
    named = event.name == "error" or chunk.get("type") == "error"
    return named or (bool(error) and not says_nothing(error))


def merged(before: Any, piece: Any, texts: frozenset[str] = frozenset()) -> Any:
    """`before` (which may be changed) with `piece` after it: lists go on, objects field by field,
    texts only in the fields `texts`; anything else is replaced.  Null says nothing.
    """
    if piece is None or before is None:
        return before if piece is None else piece
    if isinstance(before, list) and isinstance(piece, list):
        before.extend(piece)
        return before
    if not isinstance(before, dict) or not isinstance(piece, dict):
        return piece
    for key, value in piece.items():
        known = before.get(key)
        if key in texts and isinstance(known, str) and isinstance(value, str):
            before[key] = known + value
        else:
            before[key] = merged(known, value, texts)
    return before
