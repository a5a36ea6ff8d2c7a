"""Files that are not what their reader needs, told by their first bytes or their suffix, and the words
that lead on.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pyarrow as pa

from batch import command_line
from batch.errors import InputError
from batch.readers import source

_BEGINNINGS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh91AY&SY": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "sheet",
    b"SQLite format 3\0": "database",
    b"%PDF-": "document",
    b"{\\rtf": "document",
    b"Obj\x01": "avro",
    b"\x89HDF\r\n": "hdf",
    b"\x80\x04\x95": "pickle",
    b"\x80\x05\x95": "pickle",
    b"\xff\xff\xff\xff": "arrow",
    b"<html": "html",
    b"<!doctype html": "html",
}
_WITH_ZEROS = {
    b"PAR1": "parquet",
    b"PARE": "encrypted",
    b"ARROW1": "arrow",
    b"FEA1": "feather",
    b"ORC": "orc",
}
"""Beginnings that text may have, too; it has no zeros."""

_SUFFIXES = {
    "sheet": ".xlsx .xls .xlsm .xlsb .ods .numbers",
    "zip": ".zip",
    "7z": ".7z",
    "rar": ".rar",
    "tar": ".tar .tgz .tbz2 .txz",
    "xz": ".xz .lzma",
    "lz4": ".lz4",
    "packed": ".br .sz .snappy .lz .z",
    "database": ".sqlite .sqlite3 .db .db3",
    "duckdb": ".duckdb .ddb",
    "document": ".pdf .docx .doc .rtf .odt .epub .pptx",
    "avro": ".avro",
    "orc": ".orc",
    "hdf": ".h5 .hdf5 .hdf",
    "pickle": ".pkl .pickle",
    "stata": ".dta",
    "spss": ".sav",
    "sas": ".sas7bdat .xpt",
    "xml": ".xml",
    "html": ".html .htm",
    "yaml": ".yaml .yml",
    "text": ".txt .text .md .log .lst",
}
_OF_SUFFIX = {suffix: kind for kind, line in _SUFFIXES.items() for suffix in line.split()}


def _by(library: str, call: str, write: str) -> str:
    return f"import {library}; {library}.{call}({{name}}).{write}('rows.parquet')"


_WORDS = {
    "sheet": ("a spreadsheet", "save it as CSV"),
    "zip": ("a ZIP archive", "unzip {file}"),
    "7z": ("a 7z archive", "7z x {file}"),
    "rar": ("a RAR archive", "unrar x {file}"),
    "tar": ("an archive", "tar -xf {file}"),
    "xz": ("compressed with xz", "xz -d {file}"),
    "lz4": ("compressed with lz4", "lz4 -d {file}"),
    "packed": ("compressed", "unpack it, or compress it with gzip, zstd or bzip2"),
    "database": (
        "a database",
        "write a table of it to a file: sqlite3 -header -csv {file} 'SELECT * FROM …' > rows.csv",
    ),
    "duckdb": (
        "a database",
        "write a table of it to a file: duckdb {file} -c \"COPY … TO 'rows.parquet'\"",
    ),
    "document": ("a document", "put its text into CSV or JSON Lines, a row for each question"),
    "avro": ("an Avro file", _by("polars", "read_avro", "write_parquet")),
    "orc": ("an ORC file", _by("pandas", "read_orc", "to_parquet")),
    "hdf": ("an HDF5 file", _by("pandas", "read_hdf", "to_parquet")),
    "pickle": ("a Python pickle", _by("pandas", "read_pickle", "to_parquet")),
    "stata": ("a Stata file", _by("pandas", "read_stata", "to_parquet")),
    "spss": ("an SPSS file", _by("pandas", "read_spss", "to_parquet")),
    "sas": ("a SAS file", _by("pandas", "read_sas", "to_parquet")),
    "xml": ("XML", _by("pandas", "read_xml", "to_parquet")),
    "html": ("an HTML page", "was a page saved in place of the file?"),
    "yaml": ("YAML", "write it as JSON"),
    "text": ("plain text", "--input-format lines makes a row of every line"),
    "feather": ("Feather version 1", "write it as version 2, as pandas and polars do"),
    "encrypted": ("an encrypted Parquet file", "write it again without encryption"),
    "gzip": ("compressed with gzip", "name it so: {plain}.gz"),
    "zstd": ("compressed with zstd", "name it so: {plain}.zst"),
    "bzip2": ("compressed with bzip2", "name it so: {plain}.bz2"),
    "packed parquet": ("Parquet that is compressed once more", "unpack it"),
    "packed arrow": ("Arrow that is compressed once more", "unpack it"),
    "json": ("JSON", "say so: --input-format json"),
    "parquet": ("a Parquet file", "say so: --input-format parquet"),
    "arrow": ("an Arrow file", "say so: --input-format arrow"),
}

_JSON = re.compile(rb"(\xef\xbb\xbf)?\s*(\{\s*\"|\[\s*\{)")

COMPRESSIONS = {"gzip": ".gz", "zstd": ".zst", "bzip2": ".bz2"}


def kind(head: bytes) -> str | None:
    """What a file is that begins with these bytes; None for text, and what nobody knows."""
    beginnings = _BEGINNINGS | (_WITH_ZEROS if b"\0" in head else {})
    start = head[:16].lower()
    for beginning, found in beginnings.items():
        if head.startswith(beginning) or (found == "html" and start.startswith(beginning)):
            sheet = found == "zip" and (b"xl/" in head or b"[Content_Types].xml" in head)
            return "sheet" if sheet else found
    return "tar" if head[257:262] == b"ustar" else None


def found(path: str) -> str | None:
    """What a file is by its first bytes, those inside where it is compressed as its name says."""
    head = source.head(path, stored=True)
    compression = source.compression(path)
    if compression and COMPRESSIONS.get(kind(head) or "") == compression:
        head = source.head(path)
        if (inside := kind(head)) in ("parquet", "arrow"):
            return f"packed {inside}"
    return kind(head)


def check(path: str, format: str) -> None:
    """Raises InputError for a file whose first bytes say that it is nothing of that format."""
    own = found(path)
    if own is None and format == "csv" and _JSON.match(source.head(path)):
        own = "json"
    if own not in (None, format) and not (own == "html" and format == "lines"):
        raise other(path, own or "")


def not_compressed(path: str) -> str | None:
    """The way out, where a file is not compressed as its name says; None where it is."""
    compression = source.compression(path)
    if not compression or kind(source.head(path, stored=True)) is not None:
        return None
    return f"it is not compressed: name it {source.basename(path)[: -len(compression)]}"


def other(path: str, kind: str) -> InputError:
    """That a file is of some kind that is not read."""
    name = source.basename(path)
    what, way = _WORDS[kind]
    plain = name.removesuffix(source.compression(path))
    place = command_line.file(source.shown(path))
    said = way.format(file=command_line.quoted(place), name=repr(place), plain=plain)
    if way.startswith("import "):
        said = f"python -c {command_line.quoted(said)}"
    return InputError(f"{name}: {what}; {said}")


def of_name(path: str) -> str | None:
    """The kind that the suffix of a file tells."""
    suffix = PurePosixPath(source.basename(path).lower()).suffix
    return _OF_SUFFIX.get(suffix) or _OF_SUFFIX.get(source.suffix(path))


def unpacked(head: bytes) -> tuple[str, bytes]:
    """The suffix of the compression of what begins with `head`, if it has one, and how the text
    begins.
    """
    found = kind(head) or ""
    if found not in COMPRESSIONS:
        return "", head
    codec = {"bzip2": "bz2"}.get(found, found)
    text = b""
    try:
        with pa.CompressedInputStream(pa.BufferReader(head), codec) as stream:
            while piece := stream.read(4096):
                text += piece
    except source.READ_FAULTS:  # it goes on behind the head
        return COMPRESSIONS[found], text
    return COMPRESSIONS[found], text
