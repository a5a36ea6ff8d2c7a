"""Pictures and sound in a prompt: what a row's column holds -> the content parts that are sent.

A row can reach no file but those below the folder its input file lies in and the folders that the
job allows; links are followed first and `..` is refused.  URLs are sent as they are: nothing is
fetched here.  What a file is, its first bytes say and not its name.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import msgspec

from batch.model import Unreadable

MAX_BYTES = 20 << 20
"""The largest file that is sent; base64 makes 27 MiB of it."""

SLICE = 3 << 20
"""Bytes turned into base64 at a time (12 ms), so that a thread that does it lets others in; of three
bytes become four characters.
"""

IMAGE_HEADS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)

URL = r"(?i)([a-z][a-z0-9+.-]*)://"
LONG_DATA = rb'("data:[\w.+/;=-]*?;base64,|"data":")([A-Za-z0-9+/=]{64,})"'


class Unusable(ValueError):
    """What a column holds cannot be sent.  The text names the column and why."""


class Media:
    """The columns of one job that hold pictures and sound, and the folders its rows may read."""

    def __init__(
        self, images: Sequence[str], audio: Sequence[str], files_from: Sequence[str]
    ) -> None:
        self.columns = frozenset((*images, *audio))
        self._parts = {**dict.fromkeys(images, _image), **dict.fromkeys(audio, _audio)}
        self._folders = [Path(folder).resolve() for folder in files_from]

    def __bool__(self) -> bool:
        return bool(self.columns)

    def parts(self, values: dict[str, Any], folder: str | None) -> list[dict[str, Any]]:
        """The content parts of one row, whose input file lies in `folder`; null is none.

        A file of 20 MiB takes 150 ms, one of 200 KiB 1 ms.  Raises Unusable.
        """
        folders = [*([] if folder is None else [Path(folder).resolve()]), *self._folders]
        made = []
        for column, part in self._parts.items():
            if column not in values:
                known = ", ".join(values) or "none"
                raise Unusable(f"no column {column!r} for a picture or sound (columns: {known})")
            try:
                made += [part(value, folders) for value in _each(values[column])]
            except Unusable as fault:
                raise Unusable(f"{column}: {fault}") from None
        return made


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for inner in value:
            yield from _each(inner)
    elif value is not None and value != "":
        yield value


def _image(value: Any, folders: Sequence[Path]) -> dict[str, Any]:
    url: Any
    if isinstance(value, str) and (_scheme(value) in ("http", "https") or _is_data(value)):
        url = value
    else:
        content, name = _content(value, folders)
        kind = _image_type(content)
        if kind is None:
            raise Unusable(f"{name} is no PNG, JPEG, GIF or WebP")
        url = _json_string(f"data:{kind};base64,", content)
    return {"type": "image_url", "image_url": {"url": url}}


def _audio(value: Any, folders: Sequence[Path]) -> dict[str, Any]:
    if isinstance(value, str) and _is_data(value):
        value = _decoded(value)
    content, name = _content(value, folders)
    kind = _audio_type(content)
    if kind is None:
        raise Unusable(f"{name} is no WAV or MP3")
    return {
        "type": "input_audio",
        "input_audio": {"data": _json_string("", content), "format": kind},
    }


def _image_type(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for head, kind in IMAGE_HEADS if content.startswith(head)), None)


def _audio_type(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return "wav"
    layer_three = content[:1] == b"\xff" and content[1:2] and content[1] & 0xE6 == 0xE2
    return "mp3" if content[:3] == b"ID3" or layer_three else None


def _content(value: Any, folders: Sequence[Path]) -> tuple[bytes, str]:
    """The bytes that `value` holds or names, and what a message calls them.

    A struct {bytes, path} is how Hugging Face datasets keep files; its bytes win.
    """
    if isinstance(value, dict) and value.keys() <= {"bytes", "path"}:
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, bytes):
        if len(value) > MAX_BYTES:
            raise Unusable(_too_large("a value"))
        return value, "a value"
    if isinstance(value, str) and value:
        return _file(value, folders), _shown(value)
    if isinstance(value, Unreadable):
        raise Unusable(value.why)
    raise Unusable(f"expected a path, URL or bytes, not {type(value).__name__}")


def _file(given: str, folders: Sequence[Path]) -> bytes:
    if re.match(URL, given) or given.startswith("data:"):
        raise Unusable(f"{_shown(given)}: such a URL cannot be sent here; name a file")
    if ".." in PurePath(given).parts:
        raise Unusable(f"{_shown(given)}: a path with .. is not followed")
    try:
        return _read(_found(given, folders), given)
    except Unusable:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # also loops of links, and zero bytes
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unusable(f"{_shown(given)}: {reason}") from None


def _found(given: str, folders: Sequence[Path]) -> Path:
    """The real path of the file: the first of `folders` that has it.  Whether a file exists that a
    row may not read, is not told.
    """
    paths = [(folder / given).resolve() for folder in folders]
    allowed = [path for path in paths if any(path.is_relative_to(folder) for folder in folders)]
    if not allowed:
        where = " or ".join(map(str, folders)) or "any folder"
        way = "allow its folder with files_from in [prompt]"
        raise Unusable(f"{_shown(given)} is not below {where}; {way}")
    return next((path for path in allowed if path.exists()), allowed[0])


def _read(path: Path, given: str) -> bytes:
    """The file's bytes; what is no file (a pipe, a device) is not opened to wait for."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise Unusable(f"{_shown(given)} is no regular file")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Unusable(_too_large(_shown(given)))
    return content


def _scheme(value: str) -> str | None:
    found = re.match(URL, value)
    return found[1].lower() if found else None


def _is_data(value: str) -> bool:
    if value[:5].lower() != "data:":
        return False
    if len(value) > MAX_BYTES * 4 // 3 + 100:
        raise Unusable(_too_large("a data: URL"))
    return True


def _decoded(url: str) -> bytes:
    head, _, text = url.partition(",")
    try:
        if not head.lower().endswith(";base64"):
            raise ValueError
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise Unusable(f"{_shown(url)} is no base64 data: URL") from None


def _json_string(prefix: str, content: bytes) -> msgspec.Raw:
    """JSON of `prefix` and base64 of `content`: nothing in it needs an escape, which saves looking
    for one.
    """
    slices = (content[at : at + SLICE] for at in range(0, len(content), SLICE))
    return msgspec.Raw(b'"%s%s"' % (prefix.encode(), b"".join(map(base64.b64encode, slices))))


def _too_large(name: str) -> str:
    return f"{name} is larger than {MAX_BYTES >> 20} MiB"


def _shown(value: str) -> str:
    return value if len(value) <= 100 else f"{value[:100]}…"


def shortened(body: bytes) -> bytes:
    """A request's body as it can be shown: long base64 gives way to its length."""
    return re.sub(LONG_DATA, lambda found: found[1] + _start(found[2]) + b'"', body)


def _start(text: bytes) -> bytes:
    return text[:24] + f"… ({len(text):,} characters)".encode()
