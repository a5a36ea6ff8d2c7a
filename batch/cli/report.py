"""`batchmill report`: what runs cost."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch import renderers
from batch.cli import options, put, say
from batch.errors import UsageError

if TYPE_CHECKING:
    from batch.reports.counts import Costing


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=options.path)
@click.option("--by", metavar="KEY", multiple=True, default=("model",), show_default=True,
              help="model, endpoint, status, day, month, run, a tag or a column; repeatable.")  # fmt: skip
@click.option(
    "--since", metavar="WHEN", help="Only rows sent from then on: a date or ISO moment, UTC."
)
@click.option(
    "--until", metavar="WHEN", help="Only rows sent before then; a date is taken in whole."
)
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
def report(
    runs: tuple[Path, ...],
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    file: Path | None,
    reprice: bool,
    format_: str,
) -> int:
    """What runs cost: tokens, money, time and failures, of one run, several, or all below a folder.

    Works at any time, also while a run is under way; a run given twice counts once. A cost that is
    not known is said to be unknown. `--by tag:NAME` and `--by column:NAME` tell a tag from a column
    of the same name. A run that is damaged is told of, and the others are reported: exit code 5.

    \b
    batchmill report runs/reviews
    batchmill report runs --by day --by model --format html > costs.html
    """
    import pyarrow as pa

    from batch.cli import jobs
    from batch.reports import report as reporting
    from batch.reports.aggregate import Period

    pa.set_memory_pool(pa.system_memory_pool())  # a third less memory here than pyarrow's own
    period = Period(_moment("--since", since), _moment("--until", until, end=True))
    costing = _costing(file, reprice)
    folders, keys = list(jobs.runs(runs)), tuple(dict.fromkeys(by))
    made, damages = reporting.of_folders(folders, keys, period, costing)
    shown = renderers.renderer(format_)
    put(shown.text(made).removesuffix("\n"), shown.KIND)
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


def _moment(flag: str, text: str | None, end: bool = False) -> datetime | None:
    """The moment meant by a date (its beginning, or its end) or by an ISO moment."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{flag} {text}: expected a date (2026-01-31) or an ISO moment") from None
    if end and _is_date(text):
        moment += timedelta(days=1)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
