"""Which columns a file holds: all, or those that are named, also fields inside a struct
(`parsed.stars`); and what was parsed of an answer as columns of its own.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import pyarrow as pa

from batch.errors import UsageError

FLATTENED = "parsed"
"""The column whose fields become columns."""

Path = tuple[int, ...]
"""The place of a column, then that of a field in it, and so on."""


class Picked(msgspec.Struct, frozen=True):
    """Columns of a file, as paths into those of the results; all as they are without `paths`."""

    schema: pa.Schema
    paths: tuple[Path, ...] | None = None

    def table(self, table: pa.Table) -> pa.Table:
        """The columns of one table of results."""
        if self.paths is None:
            return table
        columns = [_column(table, path) for path in self.paths]
        return pa.Table.from_arrays(columns, schema=self.schema)


def pick(schema: pa.Schema, names: Sequence[str] | None, flat: bool) -> Picked:
    """The columns of `names`, all where there are none.  Raises UsageError for a name that is none."""
    if names is None and not flat:
        return Picked(schema)
    paths: list[Path] = [(at,) for at in range(len(schema))]
    if names is not None:
        paths = [_path(schema, name) for name in names]
    if flat:
        paths = [leaf for path in paths for leaf in _leaves(schema, path)]
    titles = [".".join(each.name for each in _walked(schema, path)) for path in paths]
    for title, count in Counter(titles).items():
        if count > 1:
            raise UsageError(f"two columns would be named {title!r}; choose with --columns")
    fields = [
        field(schema, path).with_name(title) for path, title in zip(paths, titles, strict=True)
    ]
    return Picked(pa.schema(fields), tuple(paths))


def _path(schema: pa.Schema, name: str) -> Path:
    if (path := place(schema, name)) is not None:
        return path
    known = [".".join(names) for names, _ in inside(list(schema))]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(schema.names)}"
    raise UsageError(f"--columns: there is no column {name!r} ({hint})")


def place(schema: pa.Schema, name: str) -> Path | None:
    """The path of a name among columns and what they hold, None where there is none; a name may have
    dots of its own.
    """
    return _place(list(schema), name)


def _place(fields: list[pa.Field], name: str) -> Path | None:
    for at, field in enumerate(fields):
        if field.name == name:
            return (at,)
    for at, field in enumerate(fields):
        if name.startswith(f"{field.name}.") and pa.types.is_struct(field.type):
            rest = _place(list(field.type), name[len(field.name) + 1 :])
            if rest is not None:
                return (at, *rest)
    return None


def inside(fields: list[pa.Field]) -> Iterator[tuple[tuple[str, ...], pa.DataType]]:
    """The names and types of fields and of what they hold."""
    for each in fields:
        yield (each.name,), each.type
        if pa.types.is_struct(each.type):
            yield from (((each.name, *names), kind) for names, kind in inside(list(each.type)))


def _leaves(schema: pa.Schema, path: Path) -> Iterator[Path]:
    """The path, or where it leads to a struct of what was parsed, those of its fields."""
    kind = field(schema, path).type
    if schema.field(path[0]).name == FLATTENED and pa.types.is_struct(kind):
        for at in range(kind.num_fields):
            yield from _leaves(schema, (*path, at))
    else:
        yield path


def _walked(schema: pa.Schema, path: Path) -> Iterator[pa.Field]:
    fields: Iterable[pa.Field] = schema
    for at in path:
        found = list(fields)[at]
        yield found
        fields = found.type if pa.types.is_struct(found.type) else ()


def field(schema: pa.Schema, path: Path) -> pa.Field:
    """What lies there, which may be null."""
    *_, found = _walked(schema, path)
    return found.with_nullable(True)


def _column(table: pa.Table, path: Path) -> pa.ChunkedArray:
    import pyarrow.compute as pc  # 50 ms

    first, *rest = path
    column = table.column(first)
    return pc.struct_field(column, rest) if rest else column
