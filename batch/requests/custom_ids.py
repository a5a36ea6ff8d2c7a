"""Labels that more than one row bears: harmless here, where rows are told apart by their place, and
not where answers are joined by them, as in OpenAI's batch format.
"""

from __future__ import annotations

import msgspec

MOST_KEPT = 1_000_000
"""Labels that are remembered, as numbers of 8 bytes; later ones are only compared with these."""
MOST_NAMED = 5


class Duplicate(msgspec.Struct, frozen=True):
    """A label and the place of the first row that bears it after another one."""

    custom_id: str
    where: str


class CustomIds:
    """Takes the label of every row; `duplicates` are the first that came twice, `count` all of them."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self.count = 0
        self.duplicates: list[Duplicate] = []

    def note(self, custom_id: str | None, where: str) -> None:
        """Take the label of one row."""
        if custom_id is None:
            return
        digest = hash(custom_id)
        if digest in self._seen:
            self.count += 1
            if len(self.duplicates) < MOST_NAMED:
                self.duplicates.append(Duplicate(custom_id, where))
        elif len(self._seen) < MOST_KEPT:
            self._seen.add(digest)

    def words(self) -> str | None:
        """One line, None where every label is a row's own."""
        if not self.count:
            return None
        named = ", ".join(f"{each.custom_id!r} ({each.where})" for each in self.duplicates)
        more = " …" if self.count > len(self.duplicates) else ""
        rows = "1 row bears" if self.count == 1 else f"{self.count:,} rows bear"
        return f"{rows} a custom_id that an earlier row bears: {named}{more}"
