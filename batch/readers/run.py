"""Another run as input: its carried columns, its completions, and what was parsed of them.

Only rows that were answered; the files are the sealed parts of the run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.errors import InputError
from batch.model import Batch, Position, Row
from batch.readers import parquet
from batch.readers.reading import Reading
from batch.run_folder import RunFolder

SUFFIXES = ()
TEXT = GROWS = HAS_EXTRA = False

ANSWERS = ("completion", "parsed", "embedding")

carry = parquet.carry
size = parquet.size


class _Plan(msgspec.Struct, frozen=True):
    state: str


def parts(run: Path) -> list[str]:
    """The files of the run in a folder.  Raises InputError while it is not finished."""
    folder = RunFolder(run)
    state = msgspec.json.decode(folder.plan.read_bytes(), type=_Plan).state
    if state != "finished":
        known = "is under way or was killed" if state == "running" else f"is {state}"
        hint = f"finish it first: batchmill run {shlex.quote(str(run))}"
        raise InputError(f"{run}: {known}; not all of its rows were asked", hint=hint)
    found = list(map(str, folder.sealed_files()))
    if not found:
        raise InputError(f"{run}: holds no results yet")
    return found


def read(path: str, start: Position, reading: Reading) -> Iterator[Batch]:
    import pyarrow.compute as pc  # 50 ms, at every start

    names = _names(pq.read_schema(path))
    since = start
    for batch in parquet.read_columns(path, start, [*names, "status"]):
        answered = batch.table.filter(pc.equal(batch.table["status"], "ok"))
        if len(answered):
            yield Batch(answered.select(names), since, batch.end)
            since = batch.end


def rows(
    spooled: pa.RecordBatch, start: Position, name: str, first_index: int, folder: str | None
) -> list[Row]:
    """As in any Parquet file; JSON text in `parsed` is what it says, for prompts to look into."""
    found = parquet.rows(spooled, start, name, first_index, folder)
    if not any(isinstance(row.values.get("parsed"), str) for row in found):
        return found
    return [msgspec.structs.replace(row, values=_opened(row.values)) for row in found]


def _opened(values: dict[str, Any]) -> dict[str, Any]:
    try:
        return {**values, "parsed": msgspec.json.decode(values["parsed"] or "null")}
    except (msgspec.DecodeError, TypeError, KeyError):  # a column of the user's own
        return values


def schema(paths: Sequence[str], reading: Reading) -> pa.Schema:
    whole = parquet.schema(paths, reading)
    names = set(_names(whole))
    return pa.schema([field for field in whole if field.name in names])


def _names(schema: pa.Schema) -> list[str]:
    """The columns that the run carried stand before its own, which begin with `row`.

    One of its own answers wins over a carried column of that name.
    """
    first = schema.names.index("row")
    carried, own = schema.names[:first], schema.names[first:]
    return [*carried, *(name for name in ANSWERS if name in own)]
