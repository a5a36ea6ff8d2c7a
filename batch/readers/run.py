"""Another run as input: its carried columns, its completions, and what was parsed of them.

Only rows that were answered; the files are the sealed parts of the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa

from batch import command_line, footer_hash
from batch.damage import damaged
from batch.errors import InputError
from batch.model import Batch, Position, Row
from batch.readers import carried, parquet, source
from batch.readers.carried import Carried
from batch.readers.reading import Reading
from batch.run_folder import RunFolder

SUFFIXES = ()
GROWS = HAS_EXTRA = False

ANSWERS = ("completion", "parsed", "embedding")

detect = None
carry = parquet.carry
size = parquet.size
NOTES = parquet.NOTES


class _Plan(msgspec.Struct, frozen=True):
    state: str
    rows: int | None = None


def parts(run: Path) -> list[str]:
    """The files of the run in a folder.  Raises InputError while it is not finished, and Damaged, also
    where one of them is missing.
    """
    folder = RunFolder(run)
    plan = _plan(folder.plan)
    if plan.state != "finished":
        known = "is under way or was killed" if plan.state == "running" else f"is {plan.state}"
        hint = f"finish it first: {command_line.of('run', command_line.near(run))}"
        raise InputError(f"{run}: {known}; not all of its rows were asked", hint=hint)
    found = folder.sealed_parts()
    for number, part in enumerate(found):
        if part != number:
            raise damaged(folder.sealed(number), "is missing")
    held = sum(map(_rows, found.values()))
    if held < (plan.rows or 0):
        raise damaged(folder.completions, f"holds {held:,} of {plan.rows:,} rows")
    if not found:
        raise InputError(f"{run}: holds no results yet")
    return list(map(str, found.values()))


def _plan(path: Path) -> _Plan:
    try:
        with source.open_seekable(str(path)) as file:
            return msgspec.json.decode(file.read(), type=_Plan)
    except FileNotFoundError:
        raise damaged(path, "is missing") from None
    except (ValueError, OSError) as error:
        raise damaged(path, source.cause(error)) from None


def _rows(path: Path) -> int:
    try:
        with source.open_seekable(str(path)) as file:
            if not footer_hash.fits(file):
                raise damaged(path, "its footer is damaged")
        return parquet.size(str(path)) or 0
    except (InputError, OSError) as error:
        raise damaged(path, str(error).removeprefix(f"{path.name}: ")) from None


def read(path: str, start: Position, reading: Reading) -> Iterator[Batch]:
    import pyarrow.compute as pc  # 50 ms, at every start

    schema = _columns(parquet.schema_of(path), reading)
    since = start
    for batch in parquet.read_columns(path, start, [*schema.names, "status"]):
        answered = batch.table.filter(pc.equal(batch.table["status"], "ok"))
        if len(answered):
            arrays = [answered[name] for name in schema.names]
            table = pa.RecordBatch.from_arrays(arrays, schema=schema)
            yield Batch(table, since, batch.end)
            since = batch.end


def rows(
    spooled: pa.RecordBatch,
    start: Position,
    name: str,
    first_index: int,
    folder: str | None,
    offsets: Sequence[int] | None = None,
) -> list[Row]:
    """As in any Parquet file, with columns as prompts see them."""
    found = parquet.rows(spooled, start, name, first_index, folder, offsets)
    if not carried.answered(spooled.schema):
        return found if "parsed" not in spooled.schema.names else list(map(_opened, found))
    seen = Carried(spooled.schema)
    padded = not seen.nested  # what was JSON text has no nulls but its own
    return [
        msgspec.structs.replace(row, values=seen.row(row.values.values()), padded=padded)
        for row in found
    ]


def _opened(row: Row) -> Row:
    """A row of a run of older rules, to which all JSON text is text but that in `parsed`."""
    if not isinstance(text := row.values["parsed"], str):
        return row
    try:
        values = {**row.values, "parsed": msgspec.json.decode(text or "null")}
    except msgspec.DecodeError:  # a column of the user's own
        return row
    return msgspec.structs.replace(row, values=values)


def schema(paths: Sequence[str], reading: Reading, first: Iterable[Batch]) -> pa.Schema:
    return parquet.united(paths, [_columns_of(path, reading) for path in paths])


def _columns_of(path: str, reading: Reading) -> pa.Schema:
    noted = parquet.columns_of(path).metadata
    return _columns(parquet.schema_of(path), reading).with_metadata(noted)


def _columns(schema: pa.Schema, reading: Reading) -> pa.Schema:
    """The columns that the run carried stand before its own, which begin with `row`.

    One of its own answers wins over a carried column of that name.
    """
    first = schema.names.index("row")
    own = {field.name: field for field in list(schema)[first:]}
    answers = [own[name] for name in ANSWERS if name in own]
    found = carried.as_input(list(schema)[:first], answers)
    if reading.nested == "text":
        return pa.schema([field.remove_metadata() for field in found])
    return found
