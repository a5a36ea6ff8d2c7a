"""The columns of an input of several files: those of the files, united by name, and those that the
names of their folders give (Hive partitions).

A run keeps how many files it began with, and their columns are those of files that come later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from batch.model import Batch
from batch.readers import hive, union
from batch.readers.reading import Reading

if TYPE_CHECKING:
    from batch.readers.formats import Reader


class InputColumns(msgspec.Struct, frozen=True, dict=True):
    """`names` are what messages call the files, `partitions` the values in the names of their
    folders.  `first` gives their first rows.
    """

    reader: Reader
    files: tuple[str, ...]
    names: tuple[str, ...]
    reading: Reading
    partitions: tuple[hive.Partition, ...]
    first: Callable[[], Iterator[Batch]]

    @cached_property
    def found(self) -> pa.Schema:
        """What was found in the files with which the run began."""
        count = len(self._first)
        first = (batch for batch in self.first() if batch.start.file < count)
        return self.reader.schema(self._first, self.reading, first)

    @property
    def _first(self) -> tuple[str, ...]:
        return self.files[: self.reading.files or len(self.files)]

    @property
    def own(self) -> list[pa.Field]:
        """The columns of the files themselves."""
        return list(self.found)[:-1] if self.reader.HAS_EXTRA else list(self.found)

    @cached_property
    def of_folders(self) -> list[pa.Field]:
        """The columns that the names of folders give; one that files have is theirs."""
        types = self.reading.folders
        if self.reading.files is None and any(self.partitions):
            own = {field.name for field in self.own}
            types = {
                key: type for key, type in hive.types(self.partitions).items() if key not in own
            }
        return [pa.field(name, hive.TYPES[type]) for name, type in types.items()]

    @cached_property
    def columns(self) -> pa.Schema | None:
        """Those of the files in every batch; None where batches are as they are read."""
        if self.reading.files == 0 or (len(self.files) == 1 and not self.of_folders):
            return None
        if self.reader.NOTES is None:
            return pa.schema([]) if self.of_folders else None
        return self.found

    def fitted(self, batch: Batch) -> Batch:
        """A batch with the columns of all files, those of the folders, and then the reader's own.
        Raises InputError for a value that is none of the type of all.
        """
        if self.columns is None:
            return batch
        file = batch.start.file
        table, before = batch.table, batch.start.offset + batch.start.skip
        notes = table.num_columns if self.reader.NOTES is None else self.reader.NOTES
        end = table.num_columns - notes
        held = dict(zip(table.schema.names[:end], table.columns[:end], strict=True))
        offsets = batch.offsets or range(len(table))
        made = union.fit(
            held,
            len(table),
            self.columns,
            lambda row: f"{self.names[file]} row {before + offsets[row]}",
        )
        values = self.partition_of(file)
        made += [hive.column(each, values[each.name], len(table)) for each in self.of_folders]
        fields = [*self.columns, *self.of_folders, *list(table.schema)[end:]]
        whole = pa.RecordBatch.from_arrays([*made, *table.columns[end:]], schema=pa.schema(fields))
        return msgspec.structs.replace(batch, table=whole)

    def partition_of(self, file: int) -> dict[str, str | None]:
        """The partition columns of a file, and their values."""
        return {each.name: self.partitions[file].get(each.name) for each in self.of_folders}

    def notices(self) -> Iterator[str]:
        """Lines about columns that some files lack, or that folders name, too."""
        own = {field.name for field in self.own} if any(self.partitions) else ()
        for key in hive.types(self.partitions):
            if key in own:
                yield f"the column {key} is that of the files, not what their folders say"
        if self.columns is not None and self.reader.NOTES is not None:
            found = [self._columns_of(file).names for file in range(len(self.files))]
            yield from union.gaps(self.columns.names, list(zip(self.names, found, strict=True)))

    def new_file_notices(self) -> Iterator[str]:
        """Lines about files that came after the run began.  Raises InputError for one that does not
        fit the columns of the run.
        """
        for file in range(len(self._first), len(self.files)):
            values = self.partition_of(file)
            for each in self.of_folders:
                hive.column(each, values[each.name], 0)
            new = [
                key
                for key in (self.partitions[file] if self.partitions else ())
                if key not in values
            ]
            if self.columns is not None and self.reader.NOTES is not None:
                more = union.Columns(self.names[file], self._columns_of(file))
                new += union.joins(self.columns, more)
            if new:
                words = "columns the run began without are left out"
                yield f"{self.names[file]}: {words}: {union.listed(new)}"

    def _columns_of(self, file: int) -> pa.Schema:
        alone = msgspec.structs.replace(
            self.reading, dialects=self.reading.dialects[file : file + 1]
        )
        return self.reader.schema([self.files[file]], alone, ())
