"""One line that says how far something is, in the width that there is for it.

Money, what is left of a cap and what is waited for stay whole as long as anything else can go: first
the bar, then the rate, and so on.
"""

from __future__ import annotations

import msgspec
from tqdm.utils import disp_len

BLOCKS, ASCII = "▏▎▍▌▋▊▉█", "123456789#"
"""What a bar is drawn with: the part of a column that is full, and a whole one last."""

USUAL_BAR, LEAST_BAR = 10, 4
"""Characters of a bar where nobody knows the width, and below which it is none."""

GIVES_WAY = (
    "bar", "rate", "tokens", "retries", "elapsed", "money", "failed", "left", "share", "count",
)  # fmt: skip
"""What leaves the line, one after the other; `money` leaves its longer words alone."""


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said, each part in words, or empty.  `done` is the share of the bar that is full,
    None where that is unknown; `marks` are what it is drawn with; `sum` is `money` in fewer letters.
    """

    count: str
    done: float | None = None
    marks: str = BLOCKS
    share: str = ""
    elapsed: str = ""
    left: str = ""
    rate: str = ""
    failed: str = ""
    retries: str = ""
    tokens: str = ""
    money: str = ""
    sum: str = ""
    cap: str = ""
    waiting: str = ""

    def within(self, width: int | None) -> str:
        """The line, of so many columns at most; None is any width."""
        if width is None:
            return self._line(USUAL_BAR)
        room = width - disp_len(self._line(0)) - 2  # the two strokes around the bar
        if room >= LEAST_BAR:
            return self._line(room)
        said = self
        for part in GIVES_WAY[1:]:
            if disp_len(line := said._line(0)) <= width:
                return line
            less = {"money": said.sum} if part == "money" else {part: ""}
            said = msgspec.structs.replace(said, **less)
        return _cut(said._line(0), width)

    def _line(self, bar: int) -> str:
        head = self.share
        if bar and self.done is not None:
            head += f"|{_bar(self.done, bar, self.marks)}|"
        words = (self.failed, self.retries, self.tokens, self.money, self.cap, self.waiting)
        first = " ".join(part for part in (head, self.count, self._times()) if part)
        return ", ".join(part for part in (first, *words) if part)

    def _times(self) -> str:
        times = f"{self.elapsed}<{self.left}" if self.elapsed else self.left and f"{self.left} left"
        inside = ", ".join(part for part in (times, self.rate) if part)
        return f"[{inside}]" if inside else ""


def _bar(done: float, width: int, marks: str) -> str:
    whole, part = divmod(int(done * width * len(marks)), len(marks))
    return (marks[-1] * whole + marks[part - 1 : part]).ljust(width)


def _cut(line: str, width: int) -> str:
    """As many of its words as there is room for."""
    if disp_len(line) <= width:
        return line
    kept = line.split(" ")
    while len(kept) > 1 and disp_len(" ".join(kept)) >= width:
        kept.pop()
    return f"{' '.join(kept).rstrip(',')}…"
