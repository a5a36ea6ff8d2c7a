"""Keeps keys out of everything that is stored or printed, also when a server echoes them.

It finds the key itself, its base64, URL-encoded and JSON forms, and any slice of these that has SLICE
characters or more.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import quote

SLICE = 12
"""Characters; a shorter slice of a random key gives nothing away that matters."""
MASK = "•••"
_BLOCK = 4
_STRIDE = SLICE - _BLOCK + 1
"""Characters from one block to the next, so that every slice holds a whole one."""
URL_SAFE = str.maketrans("+/", "-_")


class Scrubber:
    """Knows the secrets of one run; `clean` takes them out of a text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        self._blocks = [
            form[at : at + _BLOCK].encode()
            for form in forms
            for at in range(0, max(1, len(form) - _BLOCK + 1), _STRIDE)
        ]
        slices = {
            form[at : at + SLICE] for form in forms for at in range(max(1, len(form) - SLICE + 1))
        }
        pattern = "|".join(map(re.escape, sorted(slices, key=len, reverse=True)))
        self._pattern = re.compile(f"(?=({pattern}))") if slices else None

    def suspects(self, data: bytes) -> bool:
        """Whether `data` may hold a secret.  A no is certain: every slice of SLICE characters holds one of
        the blocks that are looked for.  Takes about 50 ns a block.
        """
        return any(map(data.__contains__, self._blocks))

    def clean(self, text: str) -> str:
        """`text` with every secret, and every long slice of one, masked."""
        if self._pattern is None:
            return text
        kept, end = [], 0
        for start, stop in _joined(match.span(1) for match in self._pattern.finditer(text)):
            kept += [text[end:start], MASK]
            end = stop
        return "".join([*kept, text[end:]])

    def clean_bytes(self, data: bytes) -> bytes:
        """The same for bytes that are text in UTF-8, more or less."""
        if not self.suspects(data):
            return data
        return self.clean(data.decode("utf-8", "surrogateescape")).encode(
            "utf-8", "surrogateescape"
        )


def _forms(secret: str) -> Iterable[str]:
    """The ways in which a secret of four characters or more is written."""
    if len(secret) < 4:
        return
    yield secret
    yield quote(secret)
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
    for before in range(3):  # within a longer text, its base64 depends on where it stands
        encoded = b64encode(b"\0" * before + secret.encode()).decode().rstrip("=")
        whole = encoded[(before * 8 + 5) // 6 : -1]
        if len(whole) >= SLICE:
            yield whole
            yield whole.translate(URL_SAFE)


def _joined(spans: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """Overlapping spans as one."""
    current: tuple[int, int] | None = None
    for start, stop in spans:
        if current is not None and start <= current[1]:
            current = (current[0], max(stop, current[1]))
            continue
        if current is not None:
            yield current
        current = (start, stop)
    if current is not None:
        yield current
