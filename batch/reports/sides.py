"""The two sides of a comparison: what a run answered, or what a file says is true.

Only what rows are joined by and what is compared is held, as columns of text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from batch import command_line, readers
from batch.errors import InputError, UsageError
from batch.model import Row
from batch.readers import Input
from batch.reports import fields
from batch.reports.fields import Field
from batch.reports.keys import ChosenRun
from batch.run_folder import RunFolder
from batch.store import contents

ROW, CUSTOM_ID = "row", "custom_id"
TEXT = pa.large_string()


class Side(NamedTuple):
    """`rows` have, as text or null, `by.KEY` for each key they may be joined by and `of.FIELD` for each
    field, and whether they `failed`.  `types` are those the fields had.
    """

    name: str
    rows: pa.Table
    types: dict[str, pa.DataType]

    def key(self, name: str) -> pa.ChunkedArray:
        return self.rows[f"by.{name}"]

    def of(self, field: str) -> pa.ChunkedArray:
        return self.rows[f"of.{field}"]

    def has(self, key: str) -> bool:
        """Whether any of its rows has such a key."""
        held = self.rows[f"by.{key}"] if f"by.{key}" in self.rows.column_names else None
        return held is not None and held.null_count < len(held)


def of_run(run: ChosenRun, names: Sequence[str], on: str | None) -> Side:
    """What a run holds of these fields, parts that are open included.  Raises UsageError for a field
    or a key that it has not.
    """
    schema = run.layout.schema
    wanted = {f"of.{name}": fields.find("--field", name, schema, run.name) for name in names}
    types = {name: wanted[f"of.{name}"].type for name in names}
    keys = dict.fromkeys([ROW, CUSTOM_ID, *([] if on is None else [on])])
    wanted |= {f"by.{key}": fields.find("--on", key, schema, run.name) for key in keys}
    nothing = pa.schema([(name, TEXT) for name in wanted]).append(pa.field("failed", pa.bool_()))
    pieces = [nothing.empty_table(), *_pieces(run, wanted)]
    return Side(run.name, pa.concat_tables(pieces), types)


def _pieces(run: ChosenRun, wanted: dict[str, Field]) -> Iterator[pa.Table]:
    columns = sorted({"status", *(field.column for field in wanted.values())})
    folder = RunFolder(run.path)
    for number in folder.numbers():
        rows = contents.chosen(folder, number, run.layout, columns)
        made = {name: field.of(rows) for name, field in wanted.items()}
        yield pa.table({**made, "failed": pc.not_equal(rows["status"], "ok")})


class Truth(NamedTuple):
    """A column of a file of the input's formats.  `ids` are its columns that may be the custom_id."""

    name: str
    column: str
    source: Input
    ids: tuple[str, ...]

    def side(self, names: Sequence[str], on: str | None) -> Side:
        """The column as the value of each of these fields.  Rows are joined by the column `on`, else
        by what bears the custom_id and by `row`, which is their place where no column says it.
        Raises InputError for a row that cannot be read.
        """
        known = self.source.schema(None).names
        ids = [each for each in self.ids if each in known]
        keys = {CUSTOM_ID: ids[0]} if ids else {}
        if on is not None and on not in (ROW, *keys):
            _check("--on", on, known, self.name)
            keys[on] = on
        rows = self._read({f"by.{key}": column for key, column in keys.items()}, ROW in known)
        truth = rows["truth"]
        rows = rows.append_column("failed", pa.repeat(pa.scalar(False), len(rows)))
        for name in names:
            rows = rows.append_column(f"of.{name}", truth)
        return Side(self.name, rows, dict.fromkeys(names, TEXT))

    def _read(self, keys: dict[str, str], numbered: bool) -> pa.Table:
        wanted = {f"by.{ROW}": ROW if numbered else None, "truth": self.column, **keys}
        pieces, first = [pa.schema([(name, TEXT) for name in wanted]).empty_table()], 0
        for batch in self.source.batches():
            rows = self.source.rows(batch, first)
            pieces.append(pa.table({name: _cells(rows, each) for name, each in wanted.items()}))
            first += len(rows)
        return pa.concat_tables(pieces)


def truth(what: str, ids: Sequence[str | None]) -> Truth:
    """The truth that `labels.csv:column` names.  Raises UsageError."""
    path, column = _parted(what)
    source = readers.resolve(path, Path.cwd())
    name = f"{command_line.near(path)}:{column}"
    _check("--against", column, source.schema(None).names, path)
    return Truth(name, column, source, (CUSTOM_ID, *(each for each in ids if each)))


def _parted(what: str) -> tuple[str, str]:
    """File and column; both may have colons of their own."""
    found = [(what[:at], what[at + 1 :]) for at, letter in enumerate(what) if letter == ":"]
    there = [pair for pair in found if Path(command_line.home(pair[0])).exists()]
    path, column = (there or found[-1:] or [("", "")])[0]
    if not path or not column:
        raise UsageError(f"--against {what}: expected FILE:COLUMN, as in labels.csv:sentiment")
    return path, column


def _check(flag: str, column: str, known: Sequence[str], where: str) -> None:
    if column not in known:
        words = fields.hint(column, known)
        raise UsageError(f"{flag} {column}: {where} has no such column ({words})")


def _cells(rows: Sequence[Row], column: str | None) -> pa.Array:
    """A column of rows as text; their places without one."""
    for row in rows:
        if row.fault:
            raise InputError(f"{row.where}: {row.fault}")
    held = [row.index if column is None else row.values.get(column) for row in rows]
    return pc.utf8_trim_whitespace(pa.array(map(fields.text, held), TEXT))
