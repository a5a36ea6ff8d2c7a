"""The files of OpenAI's batch format: one of answers, and beside it one of failed rows, if there are
any.  A stream gets both.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa

from batch.outputs import batch_lines, cells, form, whole
from batch.outputs.form import File, Written, end_of
from batch.requests.custom_ids import CustomIds
from batch.store.files import refused

MOST_OF_A_LINE = 1 << 16


def write(file: File, tables: Iterable[pa.Table], api: str, stdout: BinaryIO | None) -> Written:
    """Write the rows; `api` is that of the job.  Raises StorageError, and BrokenPipeError where a
    reader has gone.
    """
    encoder, ids = msgspec.json.Encoder(enc_hook=str), CustomIds()
    with ExitStack() as stack:
        files = _Files(file, stdout, stack)
        for table in tables:
            for row in cells.rows(table):
                ids.note(batch_lines.custom_id(row), f"row {row['row']}")
                files.of(row).write(encoder.encode(batch_lines.line(row, api)) + b"\n")
    words = ids.words()
    return Written(files.finished(), [] if words is None else [words])


class _Files:
    """What takes the lines: a file of failed rows is begun with the first of them."""

    def __init__(self, file: File, stdout: BinaryIO | None, stack: ExitStack) -> None:
        self._file, self._stdout, self._stack = file, stdout, stack
        self._errors = errors_of(file)
        self._answered = stack.enter_context(whole.opened(file, stdout))
        self._failed = self._answered if self._errors is None else None

    def of(self, row: dict[str, Any]) -> BinaryIO:
        if row["status"] == "ok":
            return self._answered
        if self._failed is None and self._errors is not None:
            self._failed = self._stack.enter_context(whole.opened(self._errors, self._stdout))
        return self._failed or self._answered

    def finished(self) -> list[Path]:
        """The paths of what there is; one of failed rows that an earlier export left is none of it."""
        paths = [self._file.path]
        if self._errors is not None and self._failed is not None:
            paths.append(self._errors.path)
        elif self._errors is not None and _is_ours(self._errors):
            _remove(self._errors)
        return [path for path in paths if path is not None]


def errors_of(file: File) -> File | None:
    """Where failed rows go: all.jsonl.gz -> all.errors.jsonl.gz; None where that is the same stream."""
    path = file.path
    if path is None or form.is_stream(path):
        return None
    end = end_of(path.name)
    name = f"{path.name.removesuffix(end)}.errors{end}"
    return msgspec.structs.replace(file, path=path.with_name(name))


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    custom_id: str
    response: Any
    error: Any


def _is_ours(file: File) -> bool:
    """Whether such lines are in it as we write."""
    try:
        with pa.input_stream(str(file.path), compression=file.compression) as read:
            first, _, _ = read.read(MOST_OF_A_LINE).partition(b"\n")
        return msgspec.json.decode(first, type=_Line).id.startswith("batch_req_")
    except (OSError, pa.ArrowException, msgspec.DecodeError):
        return False


def _remove(file: File) -> None:
    assert file.path is not None
    try:
        file.path.unlink()
    except OSError as error:
        raise refused(error, file.path) from None
