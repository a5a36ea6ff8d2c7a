"""The input of a job: its files, found and looked at; standard input is kept in one first."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from batch import readers
from batch.errors import InputError, StorageError, UsageError
from batch.planning import begun
from batch.planning.terms import Terms
from batch.readers import FIRST_BYTES, FIRST_ROWS, Input, TextOptions, files
from batch.run_folder import RunFolder
from batch.sampling import Chosen
from batch.spec import Job
from batch.store.plan import Plan, Values

if TYPE_CHECKING:
    from batch.readers.memory import Data


def of(job: Job, terms: Terms, stack: ExitStack, known: Plan | None) -> Input:
    """The input of a job, read as the run `known` reads it, if there is one; standard input and data
    from memory are kept until `stack` ends.  Raises UsageError and InputError.
    """
    if terms.data is not None:
        return _from_memory(terms.data, terms.folder, stack, known)
    format_, reading = job.input_format, None
    if known is not None:
        reading = begun.reading(known)
        if known.job.get("input") == job.input:
            format_ = format_ or known.input_format
    if job.input is None:
        raise UsageError("no input: name a file, or `input` in the job file")
    if job.input != "-":
        return readers.resolve(job.input, Path.cwd(), format_, reading, said(job))
    kept = _scratch(stack)
    with _writing(kept):
        path = files.keep(sys.stdin.buffer, kept, format_)
    return readers.resolve(path, kept, format_, reading, said(job))


def _from_memory(data: Data, run: Path | None, stack: ExitStack, known: Plan | None) -> Input:
    """Data from memory, in the files that the run has of them, with one more for new rows behind
    those; in a file of its own where they are not what that run was about.
    """
    kept, before = _scratch(stack), None if known is None else known.data
    if (
        known is None
        or run is None
        or before is None
        or before.rows > data.rows
        or data.hash(before.rows) != before.hash
    ):
        path = RunFolder(kept).kept_input(data.suffix)
        with _writing(path):
            data.write(path)
        return readers.resolve(str(path), kept)
    named = known.job.get("input", [])
    names = [named] if isinstance(named, str) else named
    paths = [str(run.absolute() / Path(name).name) for name in names]  # wherever it lies now
    if data.rows > before.rows:
        path = RunFolder(kept).kept_input(data.suffix, len(paths))
        with _writing(path):
            data.write(path, before.rows)
        paths.append(str(path))
    return readers.resolve(paths, kept, known.input_format, begun.reading(known))


def values(data: Data | None) -> Values | None:
    """What a plan keeps of data from memory.  Raises InputError for what cannot be hashed."""
    return None if data is None else Values(data.rows, data.hash(data.rows))


def _scratch(stack: ExitStack) -> Path:
    with _writing(Path(tempfile.tempdir or os.environ.get("TMPDIR", "the temporary folder"))):
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="batchmill-")))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What is kept until the run has a folder may find no room."""
    try:
        yield
    except OSError as error:
        why = f"{path}: {error.strerror or error}"
        raise StorageError(
            why, hint="TMPDIR names another folder for what is kept for now"
        ) from None


def anew(job: Job, terms: Terms, source: Input, stack: ExitStack) -> Input:
    """The same files, whatever a run was told about them that holds no longer."""
    if terms.data is not None:
        return _from_memory(terms.data, None, stack, None)
    if source.format == "run":
        return source
    named = job.input if job.input not in (None, "-") else list(source.files)
    return readers.resolve(named, Path.cwd(), job.input_format, None, said(job))


def from_files(paths: list[Path], source: Input) -> Input:
    """What was standard input or in memory, from the files in which it is kept."""
    named = [str(path.absolute()) for path in paths]
    kept = readers.resolve(named, paths[0].parent, source.format, source.reading)
    return kept.sample(source.chosen)


def said(job: Job) -> TextOptions:
    """What a job says of how its input is to be read."""
    return TextOptions(job.delimiter, job.encoding)


def notices(source: Input) -> tuple[str, ...]:
    """Lines about what may be unexpected of the input."""
    return (*_of_sample(source.chosen), *source.notices, *source.column_notices())


def _of_sample(chosen: Chosen | None) -> list[str]:
    if chosen is None:
        return []
    if chosen.size > chosen.rows:
        return [f"the sample is all {chosen.rows:,} rows: there are no more"]
    return [f"a sample of {chosen.size:,} of {chosen.rows:,} rows, by seed {chosen.seed}"]


def no_rows(source: Input) -> InputError:
    return InputError(f"{', '.join(source.names)}: no rows")


def rows_in(source: Input, limit: int | None) -> int:
    """About how many rows the input has, `limit` at most: the first ones are counted, the rest goes by
    its share of the bytes.
    """
    if source.chosen is not None:
        return min(len(source.chosen), limit or len(source.chosen))
    rows = size = 0
    most = FIRST_ROWS if limit is None else limit
    for batch in source.batches():
        rows += len(batch.table)
        size += batch.table.nbytes
        if rows >= most or size > FIRST_BYTES:
            share = source.share_before(batch.end)
            rows = round(rows / share) if share else rows
            break
    return rows if limit is None else min(rows, limit)
