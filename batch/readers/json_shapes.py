"""Where the rows of a JSON text are: in its lines, one after another, or in an array."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from batch import command_line
from batch.errors import InputError
from batch.readers import lines, source
from batch.readers.json_stream import Stream
from batch.readers.reading import Dialect, TextOptions

_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    float: "a number",
    bool: "a boolean",
}


class _Member(msgspec.Struct, frozen=True):
    """A member of an object, which one in it may be.  `first` is what an array begins with, None
    where it is empty; `offset` is where its items begin.  Of an object, `keys` are its first ones.
    """

    path: tuple[str, ...]
    kind: type
    offset: int = 0
    first: type | None = None
    keys: tuple[str, ...] = ()


def detect(path: str, options: TextOptions) -> Dialect:
    """How a file is read that may hold one document.  Raises InputError for one without rows."""
    dialect, _ = lines.detect(path, options)
    with Stream(path, 0, dialect.encoding) as stream:
        match stream.peek():
            case "":
                return dialect
            case "[":
                return _array(stream, dialect)
            case "{":
                return _object(stream, dialect, path)
        raise stream.fault("neither JSON Lines nor a JSON document")


def detect_lines(path: str, options: TextOptions) -> Dialect:
    """How a file is read that is said to hold JSON Lines.  It does unless its beginning could not."""
    dialect, head = lines.detect(path, options)
    text = head.decode(dialect.encoding, "replace").lstrip("\ufeff \t\r\n")
    line, _, rest = text.partition("\n")
    whole = len(head) < source.HEAD
    if text.startswith("["):
        if not _is_value(line) or (whole and not rest.strip()):
            with Stream(path, 0, dialect.encoding) as stream:
                return _array(stream, dialect)
    elif text.startswith("{") and not _is_value(line) and _begins_with_objects(text):
        return replace(dialect, shape="values")
    return dialect


def _is_value(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _begins_with_objects(text: str) -> bool:
    """Whether a text whose first line is no value begins with an object over several lines, or
    with two objects in one.
    """
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return text.split("\n", 1)[0].strip() == "{"  # it may be longer than what was looked at
    return "\n" in text[:end] or text[end:].lstrip().startswith("{")


def _array(stream: Stream, dialect: Dialect) -> Dialect:
    stream.take("[")
    offset = stream.offset
    if stream.peek() not in ("{", "]"):
        raise _no_objects(stream, type(stream.value()[0]))
    return replace(dialect, shape="array", offset=offset)


def _no_objects(stream: Stream, kind: type) -> InputError:
    found = _NAMES.get(kind, "null")
    return stream.fault(f"the rows of the array must be objects; the first is {found}")


def _object(stream: Stream, dialect: Dialect, path: str) -> Dialect:
    before = stream.lines
    members = list(_members(stream))
    own, spanned = stream.lines, stream.lines > before
    if following := stream.peek():
        if not spanned and stream.lines > own:
            return dialect
        if following != "{":
            raise stream.fault("there is more behind the end of the object")
        return replace(dialect, shape="values")
    if found := _rows_in(members, path):
        within = ".".join(found.path)
        return replace(dialect, shape="array", offset=found.offset, within=within)
    return replace(dialect, shape="values") if spanned else dialect


def _members(stream: Stream, path: tuple[str, ...] = ()) -> Iterator[_Member]:
    """The members of the object that comes next, and of the objects in it."""
    stream.take("{")
    ended = stream.peek() == "}"
    while not ended:
        key = stream.value()[0]
        stream.take(":")
        here = (*path, str(key))
        match stream.peek():
            case "[":
                yield _items(stream, here)
            case "{" if not path:
                keys: list[str] = []
                for each in _members(stream, here):
                    if each.kind is list:
                        yield each
                    if len(keys) < 3:
                        keys.append(each.path[-1])
                yield _Member(here, dict, keys=tuple(keys))
            case _:
                yield _Member(here, type(stream.value()[0]))
        ended = stream.peek() == "}"
        if not ended:
            stream.take(",")
    stream.take("}")


def _items(stream: Stream, path: tuple[str, ...]) -> _Member:
    """The array that comes next, all of which is passed over."""
    stream.take("[")
    offset, first = stream.offset, None
    while stream.peek() != "]":
        if first is not None:
            stream.take(",")
        value: Any = stream.value()[0]
        first = first or type(value)
    stream.take("]")
    return _Member(path, list, offset, first)


def _rows_in(members: list[_Member], path: str) -> _Member | None:
    """The array that holds the rows; None where the object is a row itself.  Raises InputError where
    there are several, and where they are columns.
    """
    top = [member for member in members if len(member.path) == 1]
    arrays = [member for member in members if member.kind is list]
    for found in (
        [member for member in top if member.first is dict],
        [member for member in arrays if member.first is dict],
        [member for member in top if member.kind is list and member.first is None],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            paths = [".".join(member.path) for member in found]
            keys = "".join(f"[{json.dumps(key)}]" for key in found[0].path)
            words = f"several arrays in one object ({', '.join(paths)})"
            way = f"take one out: {_jq(f'.{keys}[]', path)}"
            raise InputError(f"{source.basename(path)}: {words}", hint=way)
    _refuse_columns(top, path)
    return None


def _refuse_columns(members: list[_Member], path: str) -> None:
    """Raises InputError for an object of arrays, or of objects that are all alike."""
    name = source.basename(path)
    kinds = {member.kind for member in members}
    keys = {member.keys for member in members}
    if kinds != {list} and (kinds != {dict} or len(members) < 2 or len(keys) > 1):
        return
    if kinds == {dict} and not all(key.isdecimal() for key in keys.pop()):
        way = _jq("to_entries[] | {key} + .value", path)
        raise InputError(f"{name}: an object a key, and not an array of them", hint=way)
    split = (
        ", orient='split'" if {("columns",), ("data",)} <= {each.path for each in members} else ""
    )
    read = f"pandas.read_json({_place(path)!r}{split})"
    code = f"import pandas; {read}.to_parquet('rows.parquet', index=False)"
    way = f"turn it: python -c {command_line.quoted(code)}"
    raise InputError(f"{name}: columns, and not rows", hint=way)


def _jq(filter: str, path: str) -> str:
    """The command that makes rows of a document."""
    return f"jq -c {command_line.quoted(filter)} {command_line.quoted(_place(path))} > rows.jsonl"


def _place(path: str) -> str:
    return command_line.file(source.shown(path))
