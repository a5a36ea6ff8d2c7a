"""`batchmill report`: what runs cost."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch import renderers
from batch.cli import options, put, say
from batch.errors import UsageError

if TYPE_CHECKING:
    from batch.reports.aggregate import Period
    from batch.reports.counts import Costing

BELOW = Path("runs")
"""Where runs lie unless somebody says otherwise."""


@click.command()
@click.argument("runs", metavar="[RUN...]", nargs=-1, type=options.path)
@click.option("--by", metavar="KEY", multiple=True, default=("model",), show_default=True,
              help="model, endpoint, status, hour, day, week, month, run, a tag or a column;"
              " repeatable.")  # fmt: skip
@click.option("--since", metavar="WHEN",
              help="Only rows sent from then on: 2026-11, 2026-11-05, yesterday, 7d (days ago), 24h, a"
              " moment; UTC.")  # fmt: skip
@click.option("--until", metavar="WHEN",
              help="Only rows sent before then; a day, a week or a month is taken in whole.")  # fmt: skip
@click.option("--prices", "file", metavar="FILE", type=options.path,
              help="Costs anew by the table [prices] of a TOML file.")  # fmt: skip
@click.option("--reprice", is_flag=True,
              help="Costs anew by the public price lists as they are known now.")  # fmt: skip
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(renderers.MODULES)),
    default="table",
    show_default=True,
)
@click.option("-o", "--output", metavar="FILE", type=options.file,
              help="Write it to a file, too: *.html, *.md, *.csv or *.json.")  # fmt: skip
def report(
    runs: tuple[Path, ...],
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    file: Path | None,
    reprice: bool,
    format_: str,
    output: Path | None,
) -> int:
    """What runs cost: tokens, money, time and failures, of one run, several, or all below a folder
    (default: runs).

    Works at any time, also while a run is under way; a run given twice counts once. A cost that is
    not known is said to be unknown. `--by tag:NAME` and `--by column:NAME` tell a tag from a column
    of the same name. A run that is damaged is told of, and the others are reported: exit code 5.

    \b
    batchmill report runs/reviews
    batchmill report runs --by day --by model --format html > costs.html
    """
    import pyarrow as pa

    from batch.cli import jobs
    from batch.renderers import files
    from batch.reports import report as reporting
    from batch.reports import summary

    pa.set_memory_pool(pa.system_memory_pool())  # a third less memory here than pyarrow's own
    written = None if output is None else files.renderer(output)
    folders, keys = list(jobs.runs(runs or [BELOW])), tuple(dict.fromkeys(by))
    made, damages = reporting.of_folders(
        folders, keys, _period(since, until), _costing(file, reprice)
    )
    shown = renderers.renderer(format_)
    put(shown.text(made).removesuffix("\n"), shown.KIND)
    if output is not None and written is not None:
        files.write(output, written.text(made), written.KIND)
        say(f"wrote {output}")
    for line in summary.unused_prices(made.unused_prices):
        say(line)
    for damage in damages:
        say(f"not in this report: {damage}")
        if damage.hint:
            say(damage.hint)
    return damages[0].exit_code if damages else 0


def _costing(file: Path | None, reprice: bool) -> Costing:
    """Whose prices are wanted: those recorded, unless a flag says otherwise."""
    from batch import spec
    from batch.reports import counts, repricing

    own = {} if file is None else spec.prices_in(file)
    name = None if file is None else file.name
    if reprice:
        return repricing.by_lists(own, name)
    return counts.RECORDED if name is None else repricing.by_file(own, name)


def _period(since: str | None, until: str | None) -> Period:
    from batch.reports.aggregate import Period

    now = datetime.now(UTC)
    return Period(_moment("--since", since, now), _moment("--until", until, now, end=True))


def _moment(flag: str, text: str | None, now: datetime, end: bool = False) -> datetime | None:
    from batch.reports import moments

    if text is None:
        return None
    try:
        return moments.moment(text, now, end=end)
    except ValueError:
        raise UsageError(
            f"{flag} {text}: expected a day (2026-01-31), a month (2026-01), today, yesterday, 7d or 24h"
            " (ago), or an ISO moment"
        ) from None
