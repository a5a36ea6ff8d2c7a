"""What a person sees while a run is under way: a bar on a terminal and in a notebook, a plain line
every 30 s elsewhere.

A consumer of the run's events.  Counts what is durable; nothing here decides anything.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

from batch import words
from batch.engine.events import Ended, Event, Fetching, Notice, Opened, Progressed, Waiting, WentOn
from batch.totals import Totals
from batch.words import at_least, duration, money, short

FETCHING = "fetching the embedded model, once"
PLAIN_SECONDS = 30.0
BAR_SECONDS = 0.5
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]{postfix}"


class Progress:
    """Shows the events of one run on a stream; `close` it, or let `Ended` do it."""

    def __init__(self, stream: TextIO | None = None, bars: type[tqdm[Any]] | None = None) -> None:
        """Without a stream, stderr is told.  `bars` is what draws, wherever that is; without it tqdm
        draws on a terminal, and nothing elsewhere.
        """
        self._stream = sys.stderr if stream is None else stream
        self._bars = bars if bars is not None or not self._stream.isatty() else tqdm
        self._bar: tqdm[Any] | None = None
        self._download: tqdm[Any] | None = None
        self._shown = 0.0
        self._fetches = False

    def __call__(self, event: Event) -> None:
        """Show an event.  Raises OSError and ValueError where the stream is gone."""
        match event:
            case Opened(held=held):
                self._open(held.rows_ok + held.rows_failed)
            case Progressed():
                self._draw(event)
            case Notice(text):
                self.say(text)
            case Fetching(there, whole):
                self.fetching(there, whole)
            case Waiting(kind, why, again):
                if kind != "rate" and not again:  # a limit that is used up is how it should be
                    self.say(why)
            case WentOn("down", seconds):
                self.say(f"the endpoint is back after {duration(seconds)}")
            case Ended():
                self.close()

    def say(self, text: str) -> None:
        """Print one line, above the bar if there is one."""
        text = words.one_line(text)
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            words.remark(text, self._stream)

    def fetching(self, there: int, whole: int) -> None:
        """Show how much of the embedded model is there."""
        begins, self._fetches = not self._fetches, there < whole
        if begins and self._bars is None:
            self.say(f"{FETCHING} ({whole / 1e6:.0f} MB) …")
        elif begins and self._bars is not None:
            self._download = self._bars(
                total=whole,
                desc=FETCHING,
                unit="B",
                unit_scale=True,
                leave=False,
                file=self._stream,
            )
        if self._download is not None:
            self._download.update(max(0, there - self._download.n))
        if not self._fetches:
            self._let_go_of_download()

    def close(self) -> None:
        """Take the bar away, its last state staying on the screen."""
        self._let_go_of_download()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.refresh()
            bar.close()

    def _let_go_of_download(self) -> None:
        download, self._download = self._download, None
        if download is not None:
            download.close()

    def _open(self, done: int) -> None:
        if self._bars is not None:
            self._bar = self._bars(
                initial=done,
                unit="row",
                file=self._stream,
                dynamic_ncols=True,
                smoothing=0.1,
                mininterval=BAR_SECONDS,
                bar_format=BAR,
            )

    def _draw(self, now: Progressed) -> None:
        if self._bar is not None:
            self._set_total(self._bar, now.rows)
            self._bar.set_postfix_str(_words(now), refresh=False)
            if now.done < self._bar.n:  # rows are asked again
                self._bar.initial = self._bar.n = now.done
            if not self._bar.update(now.done - self._bar.n):  # it stands, but its words may not
                self._bar.refresh()
        elif now.seconds - self._shown >= PLAIN_SECONDS:
            self._shown = now.seconds
            self.say(_line(now))

    def _set_total(self, bar: tqdm[Any], rows: int | None) -> None:
        """A bar of a notebook has to be told apart."""
        if bar.total != rows and hasattr(bar, "container"):
            done, began = bar.n, bar.start_t
            bar.reset(rows)
            bar.n, bar.start_t = done, began
        bar.total = rows


def _words(now: Progressed) -> str:
    held, asked = now.held, now.asked
    read, written = held.input_tokens + asked.input_tokens, held.output_tokens + asked.output_tokens
    said = [
        f"{now.failed:,} failed" if now.failed else "",
        f"{now.retries:,} retries" if now.retries else "",
        f"{short(read)}→{short(written)} tok",
        _money(now),
        now.waiting,
    ]
    return words.one_line(", ".join(each for each in said if each))


def _money(now: Progressed) -> str:
    """What is spent, and what all rows will come to at the cost of those that were answered; of
    rows without a price nothing is known.
    """
    held, asked = now.held, now.asked
    spent, unpriced = held.cost_usd + asked.cost_usd, held.unpriced_rows + asked.unpriced_rows
    if not spent:
        return "cost unknown" if unpriced else ""
    said = at_least(spent) if unpriced else money(spent)
    priced = _priced(held) + _priced(asked)
    if now.rows is None or now.rows <= now.done or not priced:
        return said
    projected = spent * (1 + (now.rows - now.done) / priced)
    return f"{said} of about {money(projected)}"


def _line(now: Progressed) -> str:
    asked = now.asked.rows_ok + now.asked.rows_failed
    per_second = asked / max(now.seconds, 1e-9)
    of = f"/{now.rows:,}" if now.rows is not None else ""
    left = (
        ""
        if now.rows is None or not per_second
        else f", {duration((now.rows - now.done) / per_second)} left"
    )
    return f"{now.done:,}{of} rows, {per_second:.1f}/s{left}, {_words(now)}"


def _priced(totals: Totals) -> int:
    """Rows whose cost is known."""
    rows = totals.rows_ok + totals.rows_failed
    return max(0, rows - totals.rows_reused - totals.unpriced_rows)
