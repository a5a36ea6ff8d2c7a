"""A prompt cache of a server: what it has read once it need not read again.

It holds whole blocks of how requests begin, or, with `breakpoints`, what stands before a mark in them, as
GPT-5.6 does.  A request that reads nothing writes.  What is written can be read when the answer
has ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

BLOCK = 256
"""Bytes of a block."""
PER_TOKEN = 4
MARKS = ("prompt_cache_breakpoint", "cache_control")


@dataclass
class _Written:
    """Bytes that one request wrote, and how far of them others have read."""

    start: int
    end: int
    reached: int = 0

    @property
    def unread(self) -> int:
        return max(0, self.end - max(self.start, self.reached))


@dataclass
class FakeCache:
    """`least` tokens are cached at least.  `writes`, `reads` count requests, the tokens beside them."""

    least: int = 1_024
    lifetime: float = 300.0
    breakpoints: bool = False
    second: bool = False
    writes: int = 0
    reads: int = 0
    written_tokens: int = 0
    read_tokens: int = 0
    _until: dict[bytes, float] = field(default_factory=dict)
    _seen: set[bytes] = field(default_factory=set)
    _under_way: dict[int, list[bytes]] = field(default_factory=dict)
    _written: dict[bytes, list[_Written]] = field(default_factory=dict)

    def asked(self, n: int, body: dict[str, Any], now: float) -> tuple[int, int, int]:
        """The tokens of a request, and those of them that are read and written."""
        pieces = list(_pieces(body))
        size = sum(len(text) for text, _ in pieces)
        begins = {} if self.breakpoints and not self.second else self._blocks(pieces)
        held = self._marked(pieces, body) if self.breakpoints else begins
        held = {key: end for key, end in held.items() if end >= self.least * PER_TOKEN}
        read = max((end for key, end in held.items() if self._until.get(key, 0) > now), default=0)
        written = max(held.values(), default=read) - read
        self._note(held, read, written)
        if self.second:  # what another has begun with, too, is found out now
            held = {key: end for key, end in held.items() if key in self._seen}
            self._seen.update(begins)
        self._under_way[n] = list(held)
        if read:
            self.reads += 1
        elif written:
            self.writes += 1
        self.read_tokens += read // PER_TOKEN
        self.written_tokens += written // PER_TOKEN
        return size // PER_TOKEN, read // PER_TOKEN, written // PER_TOKEN

    def ended(self, n: int, answered: bool, now: float) -> None:
        """A request has been answered, or has not."""
        for key in self._under_way.pop(n, []) if answered else []:
            self._until[key] = now + self.lifetime

    @property
    def unread_tokens(self) -> int:
        """Tokens that were written and have never been read."""
        records = {id(each): each for same in self._written.values() for each in same}
        return sum(each.unread // PER_TOKEN for each in records.values())

    def _note(self, held: dict[bytes, int], read: int, written: int) -> None:
        for key, end in held.items():
            if end <= read:
                for each in self._written.get(key, []):
                    each.reached = max(each.reached, end)
        if written:
            record = _Written(read, read + written)
            for key in held:
                self._written.setdefault(key, []).append(record)

    def cost(self, price: float) -> float:
        """What reading and writing has cost."""
        return price * (1.25 * self.written_tokens + 0.1 * self.read_tokens)

    def _blocks(self, pieces: list[tuple[bytes, bool]]) -> dict[bytes, int]:
        said = b"".join(text for text, _ in pieces)
        hashed = hashlib.blake2b(digest_size=16)
        found = {}
        for end in range(BLOCK, len(said) + 1, BLOCK):
            hashed.update(said[end - BLOCK : end])
            found[hashed.digest()] = end
        return found

    def _marked(self, pieces: list[tuple[bytes, bool]], body: dict[str, Any]) -> dict[bytes, int]:
        """What stands before each mark; without one, all of it, unless that is not wanted."""
        hashed, size, found = hashlib.blake2b(digest_size=16), 0, {}
        for text, marked in pieces:
            hashed.update(text)
            size += len(text)
            if marked:
                found[hashed.digest()] = size
        if (body.get("prompt_cache_options") or {}).get("mode") != "explicit":
            found[hashed.digest()] = size
        return found


def _pieces(body: dict[str, Any]) -> Iterator[tuple[bytes, bool]]:
    """The texts of a request, and whether a mark stands behind each."""
    if "instructions" in body:
        yield b"system:" + body["instructions"].encode(), False
    asked = body.get("messages", body.get("input", body.get("prompt")))
    for message in asked if isinstance(asked, list) else [{"role": "user", "content": asked}]:
        yield f"\0{message['role']}:".encode(), False
        content = message["content"]
        for part in content if isinstance(content, list) else [{"text": content}]:
            yield str(part.get("text")).encode(), any(mark in part for mark in MARKS)
