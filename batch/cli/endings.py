"""What is said when a start of a run has ended: in lines, in one, or as the last event."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from batch.cli import say
from batch.cli.manner import Manner
from batch.reports import summary
from batch.reports.summary import Ended, Step

if TYPE_CHECKING:
    from batch.outputs.form import File


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """`file` is what the results were to be written to, if anything, and `notices` tell of that;
    `prices` are the models for which the job has some; `ways` to start anew, where the input has changed;
    `step` is what to do next.
    """

    ended: Ended
    exit_code: int
    file: File | None
    notices: tuple[str, ...]
    prices: tuple[str, ...]
    ways: tuple[str, ...]
    step: Step | None

    @property
    def path(self) -> Path | None:
        """The file that was written."""
        return None if self.file is None or self.ended.stopped is not None else self.file.path


def tell(ending: Ending, manner: Manner) -> None:
    """Say how it went, and what to do next."""
    if manner.as_json:
        _as_json(ending, quiet=manner.quiet)
    elif manner.quiet:
        if lines := [*_error(ending), *([str(ending.step)] if ending.step else [])]:
            say("; ".join(lines))
    else:
        for line in _lines(ending):
            say(line)


def _lines(ending: Ending) -> list[str]:
    lines = [*ending.notices, *summary.lines(ending.ended, ending.path)]
    lines += [*reversed(_error(ending)), *ending.ways, *summary.prices(ending.ended, ending.prices)]
    return [*lines, str(ending.step)] if ending.step else lines


def _error(ending: Ending) -> list[str]:
    """Why it stopped, and what was not written for that."""
    ended, file = ending.ended, ending.file
    if ended.stopped is None:
        return []
    why = f"error: {summary.reason(ended.stopped, ended.run)}"
    return [why] if file is None else [why, summary.unwritten(ended, file.path)]


def _as_json(ending: Ending, *, quiet: bool) -> None:
    from batch.cli.json_lines import Counts, Lines
    from batch.cli.json_lines import Ended as LastLine

    ended, stopped, step = ending.ended, ending.ended.stopped, ending.step
    lines = Lines(sys.stderr)
    for text in () if quiet else (*ending.notices, *summary.prices(ended, ending.prices)):
        lines.notice(text)
    results = ending.path or ended.run.completions
    lines.write(
        LastLine(
            time=lines.now(),
            exit_code=ending.exit_code,
            run=str(ended.run.path.absolute()),
            rows=ended.rows,
            counts=Counts.of(ended.whole.totals()),
            asked=Counts.of(ended.now),
            seconds=round(ended.seconds, 3),
            flags=dict(ended.whole.flags),
            failures=dict(ended.whole.failures),
            cap_left_usd=None if ended.cap_left is None else float(ended.cap_left),
            results=str(results.absolute()),
            error=None if stopped is None else str(stopped),
            hint=None if stopped is None else stopped.hint,
            next=None if step is None else ("batchmill", *step.command),
            next_says=None if step is None else step.says,
        )
    )
