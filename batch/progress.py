"""What a person sees while a run is under way: a bar on a terminal and in a notebook, a plain line
with the time every 30 s elsewhere.

A consumer of the run's events.  Counts what is durable; nothing here decides anything.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

from batch import meter, words
from batch.engine.events import Ended, Event, Fetching, Notice, Opened, Progressed, Waiting, WentOn
from batch.meter import Meter
from batch.totals import Totals
from batch.words import at_least, duration, money, short

FETCHING = "fetching the embedded model, once"
PLAIN_SECONDS = 30.0
BAR_SECONDS = 0.5
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]{postfix}"


class Bar(tqdm):  # type: ignore[type-arg]  # it is generic only to type checkers
    """A bar that says all that matters in the width of a terminal."""

    now: Progressed | None = None

    def __str__(self) -> str:
        return super().__str__() if self.now is None else self._meter(self.now)

    def _meter(self, now: Progressed) -> str:
        drawn = self.format_dict
        elapsed, rate = drawn["elapsed"], drawn["rate"]
        if rate is None and elapsed:
            rate = (now.done - drawn["initial"]) / elapsed
        left = None if now.rows is None or not rate else max(0, now.rows - now.done) / rate
        done = min(1.0, now.done / now.rows) if now.rows else None
        said = Meter(
            count=f"{now.done:,}/{'?' if now.rows is None else f'{now.rows:,}'}",
            done=done,
            marks=meter.ASCII if drawn["ascii"] else meter.BLOCKS,
            share="" if done is None else f"{done:4.0%}",
            elapsed=self.format_interval(elapsed),
            left="?" if left is None else self.format_interval(left),
            rate=_pace(rate) if rate else "",
            **_said(now),
        )
        return said.within(drawn["ncols"])


class Progress:
    """Shows the events of one run on a stream; `close` it, or let `Ended` do it."""

    def __init__(
        self,
        stream: TextIO | None = None,
        bars: type[tqdm[Any]] | None = None,
        moment: Callable[[], float] = time.time,
    ) -> None:
        """Without a stream, stderr is told.  `bars` is what draws, wherever that is; without it a Bar
        is drawn on a terminal, and nothing elsewhere.  `moment` is what plain lines tell of the time.
        """
        self._stream = sys.stderr if stream is None else stream
        self._bars = bars if bars is not None or not self._stream.isatty() else Bar
        self._moment = moment
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
                    self._tell(why)
            case WentOn("down", seconds):
                self._tell(f"the endpoint is back after {duration(seconds)}")
            case Ended():
                self.close()

    def say(self, text: str) -> None:
        """Print one line, above the bar if there is one."""
        text = words.one_line(text)
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            words.remark(text, self._stream)

    def _tell(self, text: str) -> None:
        """What happens at a moment: a plain line says when."""
        if self._bars is None:
            text = f"{time.strftime('%H:%M:%S', time.localtime(self._moment()))}  {text}"
        self.say(text)

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
            if isinstance(self._bar, Bar):
                self._bar.now = now
            else:
                self._bar.set_postfix_str(_words(now), refresh=False)
            if now.done < self._bar.n:  # rows are asked again
                self._bar.initial = self._bar.n = now.done
            if not self._bar.update(now.done - self._bar.n):  # it stands, but its words may not
                self._bar.refresh()
        elif now.seconds - self._shown >= PLAIN_SECONDS:
            self._shown = now.seconds
            self._tell(_line(now))

    def _set_total(self, bar: tqdm[Any], rows: int | None) -> None:
        """A bar of a notebook has to be told apart."""
        if bar.total != rows and hasattr(bar, "container"):
            done, began = bar.n, bar.start_t
            bar.reset(rows)
            bar.n, bar.start_t = done, began
        bar.total = rows


def _said(now: Progressed) -> dict[str, str]:
    """What is said of it besides rows and times, by the names of Meter, in their order."""
    held, asked = now.held, now.asked
    read, written = held.input_tokens + asked.input_tokens, held.output_tokens + asked.output_tokens
    return {
        "failed": f"{now.failed:,} failed" if now.failed else "",
        "retries": f"{now.retries:,} retries" if now.retries else "",
        "tokens": f"{short(read)}→{short(written)} tok",
        "money": _money(now, "about "),
        "sum": _money(now, "~"),
        "cap": "" if now.cap_left is None else f"cap left {money(now.cap_left)}",
        "waiting": words.one_line(now.waiting),
    }


def _words(now: Progressed) -> str:
    return ", ".join(each for name, each in _said(now).items() if each and name != "sum")


def _pace(per_second: float) -> str:
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{60 * per_second:.1f}/min"


def _money(now: Progressed, about: str) -> str:
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
    return f"{said} of {about}{money(projected)}"


def _line(now: Progressed) -> str:
    of = f"/{now.rows:,}" if now.rows is not None else ""
    left = "" if now.seconds_left is None else f", {duration(now.seconds_left)} left"
    return f"{now.done:,}{of} rows, {_pace(now.per_second)}{left}, {_words(now)}"


def _priced(totals: Totals) -> int:
    """Rows whose cost is known."""
    rows = totals.rows_ok + totals.rows_failed
    return max(0, rows - totals.rows_reused - totals.unpriced_rows)
