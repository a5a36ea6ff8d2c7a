"""What a person sees while a run is under way: a bar on a terminal, a plain line every 30 s
elsewhere.

Counts what is durable.  Nothing here decides anything.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TextIO

from tqdm import tqdm

from batch import words
from batch.model import Result
from batch.usage import Summary, Totals

PLAIN_SECONDS = 30.0
BAR_SECONDS = 0.5
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]{postfix}"


class Progress:
    """Counts of one run and how they are shown.  `tick` is to be called now and then; it is cheap."""

    def __init__(
        self,
        before: Summary,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        """`before` is what the run held when it was opened; without a stream, stderr is told."""
        self.asked_now = Totals()
        self.retries = 0
        self._total: Callable[[], int | None] = lambda: None
        self._state: Callable[[], str] = lambda: ""
        self._stream = stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._began = self._shown = time.monotonic()
        self._bar: tqdm[Any] | None = None
        self._held = before.totals()
        self._held_priced = _priced(self._held)
        if not quiet and stream.isatty():
            self._bar = tqdm(
                initial=self.done,
                unit="row",
                file=stream,
                dynamic_ncols=True,
                smoothing=0.1,
                mininterval=BAR_SECONDS,
                bar_format=BAR,
            )

    def expect(self, total: Callable[[], int | None]) -> None:
        """`total` gives the number of rows, as far as it is known."""
        self._total = total

    def waits_for(self, words: Callable[[], str]) -> None:
        """`words` gives what the run waits for, nothing when it does not."""
        self._state = words

    @property
    def failed(self) -> int:
        return self._held.rows_failed + self.asked_now.rows_failed

    @property
    def done(self) -> int:
        return self._held.rows_ok + self.asked_now.rows_ok + self.failed

    def add(self, results: list[Result]) -> None:
        """Count rows that have become durable."""
        for result in results:
            self.asked_now.add(result)
        self.tick()

    def take_back(self, summary: Summary) -> None:
        """Rows that had a result are asked again: they are not done any more; what they used
        stays used.
        """
        totals = summary.totals()
        self._held.rows_ok -= totals.rows_ok
        self._held.rows_failed -= totals.rows_failed
        if self._bar is not None:
            self._bar.initial = self._bar.n = self.done

    def tick(self) -> None:
        """Show the state of things, if it is time."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.total = self._total()
            self._bar.set_postfix_str(self._words(), refresh=False)
            drawn = self._bar.update(self.done - self._bar.n)
            if not drawn and now - self._shown >= BAR_SECONDS:  # it stands, but its words may not
                self._bar.refresh()
                drawn = True
            self._shown = now if drawn else self._shown
        elif now - self._shown >= PLAIN_SECONDS:
            self._shown = now
            self.say(self._line())

    def say(self, text: str) -> None:
        """Print one line, above the bar if there is one."""
        if self._quiet:
            return
        text = words.one_line(text)
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            words.remark(text, self._stream)

    def close(self) -> None:
        """Take the bar away, its last state staying on the screen."""
        if self._bar is not None:
            self.tick()
            self._bar.refresh()
            self._bar.close()

    def elapsed(self) -> float:
        """Seconds since the run was opened."""
        return time.monotonic() - self._began

    def _words(self) -> str:
        held, now = self._held, self.asked_now
        read, written = held.input_tokens + now.input_tokens, held.output_tokens + now.output_tokens
        said = [
            f"{self.failed:,} failed" if self.failed else "",
            f"{self.retries:,} retries" if self.retries else "",
            f"{short(read)}→{short(written)} tok",
            self._money(),
            self._state(),
        ]
        return words.one_line(", ".join(each for each in said if each))

    def _money(self) -> str:
        """What is spent, and what all rows will come to at the cost of those that were answered; of
        rows without a price nothing is known.
        """
        held, now = self._held, self.asked_now
        spent, unpriced = held.cost_usd + now.cost_usd, held.unpriced_rows + now.unpriced_rows
        if not spent:
            return "cost unknown" if unpriced else ""
        least = "≥ " if unpriced else ""
        total, done, priced = self._total(), self.done, self._held_priced + _priced(now)
        if total is None or total <= done or not priced:
            return f"{least}{money(spent)}"
        projected = spent * (1 + (total - done) / priced)
        return f"{least}{money(spent)} of about {money(projected)}"

    def _line(self) -> str:
        total = self._total()
        rate = self.asked_now.rows_ok + self.asked_now.rows_failed
        per_second = rate / max(self.elapsed(), 1e-9)
        of = f"/{total:,}" if total is not None else ""
        left = (
            ""
            if total is None or not per_second
            else f", {duration((total - self.done) / per_second)} left"
        )
        return f"{self.done:,}{of} rows, {per_second:.1f}/s{left}, {self._words()}"


def _priced(totals: Totals) -> int:
    """Rows whose cost is known."""
    rows = totals.rows_ok + totals.rows_failed
    return max(0, rows - totals.rows_reused - totals.unpriced_rows)


def short(count: int) -> str:
    """1234567 -> 1.23M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def money(usd: float | Decimal | None) -> str:
    """12.3 -> $12.30, 0.00123456 -> $0.00123: cents, and below a dollar three digits of at most
    six decimals.
    """
    if usd is None:
        return "unknown"
    if 0 < usd < 1e-6:
        return "<$0.000001"
    decimals = 2 if usd == 0 or usd >= 1 else min(6, max(2, 2 - math.floor(math.log10(usd))))
    whole, _, cents = f"{usd:,.{decimals}f}".partition(".")
    return f"${whole}.{cents[:2]}{cents[2:].rstrip('0')}"


def duration(seconds: float) -> str:
    """3725.4 -> 1 h 2 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"
