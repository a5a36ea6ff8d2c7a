"""`batchmill compare`: how far two runs agree, with each other or with the truth."""

from __future__ import annotations

from pathlib import Path

import click

from batch.cli import options, put, say


@click.command()
@click.argument("a", metavar="RUN_A", type=options.path)
@click.argument("b", metavar="[RUN_B]", required=False, type=options.path)
@click.option(
    "--on", metavar="COLUMN", help="What rows are joined by.  [default: custom_id, or row]"
)
@click.option("--field", "fields", metavar="NAME", multiple=True,
              help="A field or column to compare, as in parsed.stars; repeatable.")  # fmt: skip
@click.option("--against", metavar="FILE:COLUMN", type=options.Name(),
              help="The truth, as in labels.csv:sentiment; each run is compared with it.")  # fmt: skip
@options.as_json
@click.option("-o", "--output", metavar="PAGE.html", type=options.file, help="Write a page, too.")
def compare(
    a: Path,
    b: Path | None,
    on: str | None,
    fields: tuple[str, ...],
    against: str | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """How far two runs agree, row by row; what each took; the rows that differ.

    Compares every scalar field of `parsed`, or `completion` where there is none. Rows that failed in
    either run, and values that are null, enter no agreement. Works at any time, also while the runs
    are under way.

    \b
    batchmill compare runs/short runs/long
    batchmill compare runs/short --against labels.csv:sentiment -o page.html
    """
    import pyarrow as pa

    from batch.planning import place
    from batch.renderers import compared_html, compared_json, compared_table, files, pages
    from batch.reports import compared

    pa.set_memory_pool(pa.system_memory_pool())  # takes less here than pyarrow's own, as in report
    if output is not None:
        pages.check(output)
    first, second = place.run_folder(a), None if b is None else place.run_folder(b)
    made = compared.compare(first, second, on=on, fields=fields, against=against)
    shown = compared_json if as_json else compared_table
    put(shown.text(made).removesuffix("\n"), shown.KIND)
    if output is not None:
        files.write(output, compared_html.text(made), compared_html.KIND)
        say(f"wrote {output}")
