"""`batchmill show`: rows of a run, for a person or as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batch import words
from batch.cli import options, pager, say
from batch.errors import UsageError

if TYPE_CHECKING:
    from batch.reports.exchange import Exchange
    from batch.reports.status import Status

LONGEST = 2_000
"""Characters of a prompt or a completion that are shown."""


@click.command()
@click.argument("run", metavar="RUN", type=options.path)
@click.option("--failed", is_flag=True, help="Only rows that failed.")
@click.option("--flag", metavar="F", help="Only rows with this flag.")
@click.option("--row", type=click.IntRange(min=0), help="Only this row.")
@click.option(
    "-n", "count", type=click.IntRange(min=1), default=5, show_default=True, help="How many rows."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with every column.")
def show(
    run: Path, failed: bool, flag: str | None, row: int | None, count: int, as_json: bool
) -> None:
    """Look at rows: prompt, completion, tokens, attempts, error.

    Works at any time, also while the run is under way.  A terminal gets it page by page.

    \b
    batchmill show runs/reviews
    batchmill show runs/reviews --failed
    """
    from batch import columns, runs
    from batch.planning import place

    if flag is not None and flag not in columns.FLAGS:
        raise UsageError(f"--flag: there is no flag {flag!r} (known: {', '.join(columns.FLAGS)})")
    found = runs.Run(place.run_folder(run))
    wanted = found.rows(failed=failed, flag=flag, row=row, seen=not as_json)
    chosen = islice(wanted, count)
    first = next(chosen, None)
    if first is None:
        say(_nothing(found.status(), failed, flag, row))
        return
    there = chain([first], chosen)
    if as_json:
        pager.put_all(map(runs.as_json, there), "json")
        return
    exchange = found.exchange
    pager.put_all((_text(exchange, values) for values in there), "text")


def _nothing(now: Status, failed: bool, flag: str | None, row: int | None) -> str:
    """That no row is what was wanted, and what there is."""
    there = f"{now.ok:,} rows are ok, {now.failed:,} failed"
    if not now.ok + now.failed:
        return f"no row is done yet: {now.run} is {now.state}"
    if row is not None:
        return f"row {row} is not among those wanted, or not done: {there}; the first is row 0"
    if flag is not None:
        flags = ", ".join(f"{name} {count:,}" for name, count in now.flags.items())
        return f"no row{' that failed' * failed} has the flag {flag}: {flags or 'no row has any'}"
    return f"no row failed: {there}"


def _text(exchange: Exchange, values: dict[str, Any]) -> str:
    return "\n".join(_shown(values, exchange.prompt(values), exchange.last_answer(values)))


def _shown(values: dict[str, Any], prompt: str | None, answer: str | None) -> Iterator[str]:
    name = f" {values['custom_id']}" if values["custom_id"] is not None else ""
    flags = f" [{', '.join(values['flags'])}]" if values["flags"] else ""
    yield words.one_line(f"── row {values['row']}{name}: {values['status']}{flags}")
    if prompt is not None:
        yield from _block("prompt", prompt)
    for column in ("reasoning", "completion", "refusal"):
        if values[column] is not None:
            yield from _block(column, values[column])
    if values.get("parsed") is not None:
        yield from _block("parsed", _json(values["parsed"]))
    if isinstance(values.get("embedding"), list):
        yield from _block("embedding", f"{len(values['embedding']):,} floats")
    if answer is not None:
        yield from _block("answer", answer)
    if values["error_class"] is not None:
        code = f" ({values['error_code']})" if values["error_code"] else ""
        yield from _block("error", f"{values['error_class']}{code}: {values['error_message']}")
    if values["attempts"]:
        yield f"  tokens      {_count(values['input_tokens'])} in, {_count(values['output_tokens'])} out"
        yield f"  attempts    {values['attempts']}, the last took {values['latency_s']:.2f} s"


def _json(parsed: Any) -> str:
    """The answer as it was typed; what Parquet has no type for is JSON text already."""
    import msgspec

    return parsed if isinstance(parsed, str) else msgspec.json.encode(parsed).decode()


def _block(name: str, text: str) -> Iterator[str]:
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"
    first, *more = cut.strip().splitlines() or [""]
    yield f"  {name:<11} {first}"
    yield from (f"  {'':<11} {line}" for line in more)


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else f"{tokens:,}"
