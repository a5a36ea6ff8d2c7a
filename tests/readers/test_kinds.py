"""Files that are not read say what they are and what to do; those that are, are read under any name."""

from __future__ import annotations

import base64
import bz2
import contextlib
import gzip
import io
import json
import lzma
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption

from batch.errors import InputError
from batch.model import Row
from batch.readers import Input, compare, resolve

TABLE = pa.table({"id": [1, 2], "text": ["a", "b"]})
LINES = b'{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n'


def rows(found: Input) -> list[Row]:
    taken: list[Row] = []
    for batch in found.batches():
        taken += found.rows(batch, len(taken))
    return taken


def refused(tmp_path: Path, name: str, content: bytes, format: str | None = None) -> str:
    (tmp_path / name).write_bytes(content)
    with contextlib.chdir(tmp_path), pytest.raises(InputError) as caught:
        rows(resolve(name, tmp_path, format))
    return str(caught.value)


def zipped(*names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return sink.getvalue()


def tarred() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("in.jsonl"))
    return sink.getvalue()


def database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a)")
    return connection.serialize()


WORKBOOK = zipped("[Content_Types].xml", "xl/workbook.xml")
CONTENTS = {
    "xlsx": (WORKBOOK, "a spreadsheet; save it as CSV"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "a spreadsheet; save it as CSV"),
    "zip": (zipped("in.jsonl"), "a ZIP archive; unzip "),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(10), "a 7z archive; 7z x "),
    "tar": (tarred(), "an archive; tar -xf "),
    "xz": (lzma.compress(LINES), "compressed with xz; xz -d "),
    "sqlite": (database(), "a database; write a table of it to a file: sqlite3"),
    "pdf": (b"%PDF-1.7\n...", "a document; put its text into CSV"),
    "avro": (b"Obj\x01\x04\x14avro.codec", "an Avro file; python -c"),
    "orc": (b"ORC\x00\x01", "an ORC file; python -c"),
    "html": (b"<!DOCTYPE html>\n<html>", "an HTML page; was a page saved"),
}


@pytest.mark.parametrize(("content", "said"), CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.json", "r.parquet", "r.arrow"])
def test_a_suffix_that_lies_is_found_out(
    tmp_path: Path, content: bytes, said: str, name: str
) -> None:
    assert refused(tmp_path, name, content).startswith(f"{name}: {said}")


@pytest.mark.parametrize(("content", "said"), CONTENTS.values(), ids=CONTENTS)
def test_what_is_said_to_be_csv_is_looked_at(tmp_path: Path, content: bytes, said: str) -> None:
    assert refused(tmp_path, "r.dat", content, "csv").startswith(f"r.dat: {said}")
    assert refused(tmp_path, "r", content).startswith(f"r: {said}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("r.xlsx", "a spreadsheet; save it as CSV"),
        ("r.ods", "a spreadsheet; save it as CSV"),
        ("it's.zip", """a ZIP archive; unzip 'it'"'"'s.zip'"""),
        ("r.7z", "a 7z archive; 7z x r.7z"),
        ("r.tar.gz", "an archive; tar -xf r.tar.gz"),
        ("r.tgz", "an archive; tar -xf r.tgz"),
        ("r.jsonl.xz", "compressed with xz; xz -d r.jsonl.xz"),
        ("r.csv.lz4", "compressed with lz4; lz4 -d r.csv.lz4"),
        ("r.csv.br", "compressed; unpack it, or compress it with gzip"),
        ("r.sqlite3", "a database"),
        ("r.duckdb", "a database"),
        ("r.docx", "a document"),
        ("r.dta", "a Stata file; python -c"),
        ("r.XML", "XML; python -c"),
        ("r.yaml", "YAML; write it as JSON"),
        ("r.txt", "plain text; --input-format lines makes a row of every line"),
        ("r.txt.gz", "plain text; --input-format lines makes a row of every line"),
    ],
)
def test_a_suffix_that_is_known_leads_on(tmp_path: Path, name: str, said: str) -> None:
    assert refused(tmp_path, name, b"").startswith(f"{name}: {said}")


def test_the_way_out_of_another_library_works(tmp_path: Path) -> None:
    polars.DataFrame({"text": ["a"]}).write_avro(tmp_path / "r.avro")
    said = refused(tmp_path, "r.avro", (tmp_path / "r.avro").read_bytes())
    code = said.partition('python -c "')[2].rstrip('"').replace("'r.avro'", f"'{tmp_path}/r.avro'")

    exec(code.replace("'rows.parquet'", f"'{tmp_path}/rows.parquet'"))

    assert [row.values for row in rows(resolve("rows.parquet", tmp_path))] == [{"text": "a"}]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_what_is_compressed_wants_its_suffix(tmp_path: Path, suffix: str) -> None:
    packing: dict[str, Callable[[bytes], bytes]]
    packing = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd}
    packed = packing[suffix](LINES)

    assert refused(tmp_path, "r.jsonl", packed).endswith(f"name it so: r.jsonl{suffix}")
    (tmp_path / f"r.jsonl{suffix}").write_bytes(packed)
    assert len(rows(resolve(f"r.jsonl{suffix}", tmp_path))) == 2
    (tmp_path / f"p.jsonl{suffix}").write_bytes(LINES)
    with pytest.raises(InputError) as caught:
        rows(resolve(f"p.jsonl{suffix}", tmp_path))
    assert caught.value.hint == "it is not compressed: name it p.jsonl"
    other = gzip.compress(WORKBOOK)
    assert "a spreadsheet" in refused(tmp_path, "p.csv.gz", other)


def zstd(content: bytes) -> bytes:
    packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return packed


def test_parquet_and_arrow_under_another_name(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "r.parquet")
    parquet = (tmp_path / "r.parquet").read_bytes()
    assert refused(tmp_path, "r.csv", parquet).endswith("say so: --input-format parquet")
    assert len(rows(resolve("r.csv", tmp_path, "parquet"))) == 2
    with pa.ipc.new_file(tmp_path / "r.arrow", TABLE.schema) as file:
        file.write_table(TABLE)
    arrow = (tmp_path / "r.arrow").read_bytes()
    assert refused(tmp_path, "r.parquet", arrow).endswith("say so: --input-format arrow")


@pytest.mark.parametrize(
    "header", ["ORCID,text", "PAR1,text", "BZhour,text", "FEA1,text", "PK,text"]
)
def test_text_that_begins_like_another_kind_is_text(tmp_path: Path, header: str) -> None:
    (tmp_path / "r.csv").write_text(f"{header}\n1,a\n")

    assert rows(resolve("r.csv", tmp_path))[0].values["text"] == "a"


@pytest.mark.parametrize("name", ["r.parquet.gz", "r.arrow.gz"])
def test_what_is_compressed_once_more_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    kind = name.split(".")[1]
    if kind == "parquet":
        pq.write_table(TABLE, tmp_path / "table")
    else:
        stream(tmp_path / "table")
    packed = gzip.compress((tmp_path / "table").read_bytes())

    for format in (None, kind):
        assert refused(tmp_path, name, packed, format).endswith("compressed once more; unpack it")


def test_compressed_text_of_an_unknown_suffix_leads_on(tmp_path: Path) -> None:
    packed = gzip.compress(b"one\ntwo\n")

    assert "--input-format lines" in refused(tmp_path, "r.txt.gz", packed)
    assert "say what it is with --input-format" in refused(tmp_path, "r.gz", packed)
    assert len(rows(resolve("r.gz", tmp_path, "lines"))) == 2


@pytest.mark.parametrize("text", ['{"id": 1}\n{"id": 2}\n', '\ufeff[\n {"id": 1},\n {"id": 2}]'])
def test_json_under_the_name_of_csv_says_so(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, "r.csv", text.encode()) == "r.csv: JSON; say so: --input-format json"
    assert [row.values["id"] for row in rows(resolve("r.csv", tmp_path, "json"))] == [1, 2]


class Keys(encryption.KmsClient):
    """Keys that are kept beside what they open."""

    def __init__(self, _: Any) -> None:
        super().__init__()

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


@pytest.mark.parametrize("plain_footer", [False, True])
def test_encrypted_parquet_says_so(tmp_path: Path, plain_footer: bool) -> None:
    properties = encryption.CryptoFactory(Keys).file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(
            footer_key="f", column_keys={"k": ["text"]}, plaintext_footer=plain_footer
        ),
    )
    with pq.ParquetWriter(
        tmp_path / "r.parquet", TABLE.schema, encryption_properties=properties
    ) as file:
        file.write_table(TABLE)

    said = refused(tmp_path, "r.parquet", (tmp_path / "r.parquet").read_bytes())

    assert "encrypted" in said and "write it again without encryption" in said


# Arrow


def feather(path: Path) -> None:
    TABLE.to_pandas().to_feather(path)


def by_polars(path: Path) -> None:
    polars.from_arrow(TABLE).write_ipc(path, compression="zstd")


def stream(path: Path) -> None:
    with pa.ipc.new_stream(path, TABLE.schema) as file:
        file.write_table(TABLE)


@pytest.mark.parametrize("name", ["r.arrow", "r.feather", "r.ipc", "r.arrows"])
@pytest.mark.parametrize("write", [feather, by_polars, stream])
def test_arrow_of_any_kind_and_writer(tmp_path: Path, write: Any, name: str) -> None:
    write(tmp_path / name)
    found = resolve(name, tmp_path)

    assert [row.values for row in rows(found)] == TABLE.to_pylist()
    assert rows(found)[1].where == f"{name} row 1"
    assert found.schema(None).names == ["id", "text"]
    assert str(found.schema(None).field("text").type) in ("string", "large_string")
    assert found.share_before(next(found.batches()).end) == 1


def test_feather_version_1_says_so(tmp_path: Path) -> None:
    said = refused(tmp_path, "r.feather", b"FEA1" + bytes(20) + b"FEA1")

    assert said.startswith("r.feather: Feather version 1; write it as version 2")


@pytest.mark.parametrize("content", [b"", b"id,text\n1,a\n", b"ARROW1\0\0"])
def test_what_is_no_arrow_file_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, "r.arrow", content).startswith("r.arrow: not an Arrow file")


@pytest.mark.parametrize("write", [by_polars, stream])
def test_a_cut_arrow_file_is_refused(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "r.arrow")
    whole = (tmp_path / "r.arrow").read_bytes()

    assert refused(tmp_path, "r.arrow", whole[: len(whole) // 2]).startswith(
        "r.arrow: not an Arrow"
    )


@pytest.mark.parametrize(
    "column",
    [
        pa.nulls(1, pa.month_day_nano_interval()),
        pa.nulls(1, pa.dense_union([pa.field("a", pa.int64())])),
    ],
)
def test_a_type_that_parquet_has_not_is_refused(tmp_path: Path, column: pa.Array) -> None:
    table = pa.table({"id": [1], "odd": column})
    with pa.ipc.new_file(tmp_path / "r.arrow", table.schema) as file:
        file.write_table(table)

    with pytest.raises(
        InputError, match=r"^r\.arrow: column 'odd' is .*, which Parquet cannot hold$"
    ):
        resolve("r.arrow", tmp_path).schema(None)


# folders


def test_in_a_folder_the_notes_beside_the_data_are_left_out(tmp_path: Path) -> None:
    for name in ("a.jsonl", "dataset_info.json", "b.arrow"):
        (tmp_path / name).write_bytes(LINES)
    assert [Path(path).name for path in resolve(".", tmp_path).files] == ["a.jsonl"]
    (tmp_path / "a.jsonl").unlink()
    stream(tmp_path / "b.arrow")
    assert [Path(path).name for path in resolve(".", tmp_path).files] == ["b.arrow"]
    (tmp_path / "b.arrow").unlink()
    assert [Path(path).name for path in resolve(".", tmp_path).files] == ["dataset_info.json"]


# lines


def test_every_line_is_a_row(tmp_path: Path) -> None:
    content = '\ufeffone\r\n  two, with; all "that"\n\n \t\nthree\rfour'.encode()
    (tmp_path / "r.txt").write_bytes(content)
    found = resolve("r.txt", tmp_path, "lines")

    assert [(row.values, row.where) for row in rows(found)] == [
        ({"text": "one"}, "r.txt:1"),
        ({"text": '  two, with; all "that"'}, "r.txt:2"),
        ({"text": "three"}, "r.txt:5"),
        ({"text": "four"}, "r.txt:6"),
    ]
    assert found.schema(None) == pa.schema([("text", pa.string())])


def test_lines_go_on_from_any_batch_end(tmp_path: Path) -> None:
    content = "".join(f"line {n} {'é' * (n % 300)}\n" for n in range(2_000))
    for name, raw in (("r.txt", content.encode()), ("r.txt.gz", gzip.compress(content.encode()))):
        (tmp_path / name).write_bytes(raw)
        found = resolve(name, tmp_path, "lines")
        every = [(row.values, row.where) for row in rows(found)]
        before = 0
        for batch in found.batches():
            before += len(batch.table)
            rest = [
                (row.values, row.where)
                for later in found.batches(batch.end)
                for row in found.rows(later, 0)
            ]
            assert rest == every[before:]
        assert before == 2_000


def test_a_line_that_is_no_text_is_the_fault_of_its_row(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_bytes(b"one\ncaf\xe9\nthree\n")
    found = resolve("r.txt", tmp_path, "lines")

    one, bad, three = rows(found)

    assert bad.fault == "invalid UTF-8, probably cp1252: --encoding cp1252"
    assert (one.values, bad.where, three.values) == ({"text": "one"}, "r.txt:2", {"text": "three"})
    (batch,) = found.batches()
    (column,) = found.reader.carry(batch.table, found.schema(None), None)
    assert column.to_pylist() == ["one", "caf\N{REPLACEMENT CHARACTER}", "three"]


def test_lines_may_grow(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("one\n")
    before = resolve("r.txt", tmp_path, "lines").fingerprints()
    (tmp_path / "r.txt").write_text("one\ntwo\n")

    assert compare(before, resolve("r.txt", tmp_path, "lines")).kind == "grown"


def test_json_documents_do_not_grow(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps([{"a": 1}]) + "\n")
    before = resolve("r.json", tmp_path).fingerprints()
    (tmp_path / "r.json").write_text(json.dumps([{"a": 1}]) + "\n\n")

    assert compare(before, resolve("r.json", tmp_path)).kind == "changed"
