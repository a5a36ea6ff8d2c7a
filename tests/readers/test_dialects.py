"""CSV as people have it: what stands between fields, how lines end, what columns are called, and how
text is encoded, is found out as pandas is told it.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import pandas
import pytest

from batch.errors import InputError
from batch.model import Position, Row
from batch.readers import Input, Reading, TextOptions, contradicted, headers, likely, resolve


def rows(found: Input, start: Position = Position()) -> list[Row]:  # noqa: B008
    taken: list[Row] = []
    for batch in found.batches(start):
        taken += found.rows(batch, len(taken))
    return taken


def values(found: Input) -> list[dict[str, Any]]:
    assert [row.fault for row in rows(found) if row.fault] == []
    return [row.values for row in rows(found)]


def carried(found: Input) -> list[dict[str, Any]]:
    schema = found.schema(None)
    return [
        dict(zip(schema.names, record, strict=True))
        for batch in found.batches()
        for record in zip(
            *(c.to_pylist() for c in found.reader.carry(batch.table, schema, None)), strict=True
        )
    ]


def written(tmp_path: Path, content: str | bytes, name: str = "r.csv", **said: str) -> Input:
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(raw)
    return resolve(name, tmp_path, options=TextOptions(**said))


# the corpus


class Kind(NamedTuple):
    delimiter: str
    quoting: Literal[0, 1, 2, 3]
    end: str
    encoding: str
    header: tuple[str, ...]


HEADERS = {
    "plain": ("id", "text", "note"),
    "index": ("", "id", "text"),
    "twice": ("text", "id", "text"),
    "trailing": ("id", "text", ""),
}
RECORDS = [
    ("1", "red, shoe; with | more", "1,50"),
    ("2", 'a "quoted" word', "2,00"),
    ("3", "over\ntwo lines", "x"),
    ("4", "naïve café", "ü"),
    ("5", "tab\there", "3,25"),
]
QUOTINGS: tuple[Literal[0, 1, 2, 3], ...] = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
ENDS = ("\n", "\r\n", "\r")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252")


def corpus() -> list[Kind]:
    """Every delimiter with each of everything else."""
    kinds = list(HEADERS.values())
    return [
        Kind(mark, QUOTINGS[n % 2], ENDS[n % 3], ENCODINGS[n % 4], kinds[(n + n // 4) % 4])
        for mark in (",", ";", "\t", "|")
        for n in range(12)
    ]


def as_text(kind: Kind) -> str:
    text = io.StringIO()
    writer = csv.writer(
        text, delimiter=kind.delimiter, quoting=kind.quoting, lineterminator=kind.end
    )
    writer.writerow(kind.header)
    writer.writerows([field.replace("\n", kind.end) for field in record] for record in RECORDS)
    return text.getvalue()


@pytest.mark.parametrize("kind", corpus(), ids=lambda kind: " ".join(map(repr, kind)))
def test_reads_what_pandas_reads(tmp_path: Path, kind: Kind) -> None:
    raw = as_text(kind).encode(kind.encoding)
    said = {"encoding": kind.encoding} if kind.encoding == "cp1252" else {}

    found = values(written(tmp_path, raw, **said))

    frame = pandas.read_csv(
        io.BytesIO(raw),
        sep=kind.delimiter,
        encoding=kind.encoding,
        dtype=str,
        keep_default_na=False,
    )
    ours = {"Unnamed: 0": "column_1", "Unnamed: 2": "column_3", "text.1": "text_1"}
    assert found == frame.rename(columns=ours).to_dict("records")


def test_the_corpus_has_everything_with_every_delimiter() -> None:
    kinds = set(corpus())
    assert len(kinds) >= 40
    for place, all_of in enumerate((QUOTINGS, ENDS, ENCODINGS, HEADERS.values()), 1):
        assert {(kind[0], kind[place]) for kind in kinds} == set(
            itertools.product((",", ";", "\t", "|"), all_of)
        )


# what stands between fields


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("id;text;price\n1;red shoe;1,50\n2;blue hat;2,00\n", ";"),
        ("id;text\n1;red, shoe\n2;blue hat\n", ";"),
        ('"id";"text"\n"1";"a;b, c"\n', ";"),
        ('id;text\n1;"over\ntwo; lines, or\nthree"\n2;b\n', ";"),
        ("id;text", ";"),
        ("id;text\n1;a\n2;b;c\n3;d\n", ";"),
        ("id|text\n1|a, b\n", "|"),
        ("id\ttext\n1\tblue, hat\n", "\t"),
        ("id,text\n1,a;b\n2,c;d\n", ","),
        ("id,text\n1,a;b|c\td\n2,x\n", ","),
        ("id,text\n1,a\n2,b,c\n3,d;e\n", ","),
        ("text\nhello, world\na; b\n", ","),
        ("text\na;b\nc;d\n", ","),
        ("question; and more\nplain\nplain\n", ","),
        ("id,text\n", ","),
        ("id,text\n\n1,a\n,,\n2,b\n", ","),
        ("text\n", ","),
        ("", ","),
    ],
)
def test_finds_what_stands_between_fields(text: str, delimiter: str) -> None:
    assert headers.delimiter(text, ",", cut=False) == delimiter


def test_text_that_is_cut_off_anywhere_tells_the_same() -> None:
    text = "id;text\n" + "".join(f'{n};"some, text; {n}\nand more"\n' for n in range(30))
    for end in range(30, len(text)):
        assert headers.delimiter(text[:end], ",", cut=True) == ";"


def test_a_tsv_file_may_hold_commas(tmp_path: Path) -> None:
    assert values(written(tmp_path, "id,text\n1,a\n", "r.tsv")) == [{"id": "1", "text": "a"}]
    assert values(written(tmp_path, "text\na, b\n", "r.tsv")) == [{"text": "a, b"}]


@pytest.mark.parametrize("line", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n', "\ufeffsep=;\n"])
def test_the_first_line_may_name_it(tmp_path: Path, line: str) -> None:
    found = written(tmp_path, line + "id;text\n1;a,b\n")

    assert [(row.values, row.where) for row in rows(found)] == [
        ({"id": "1", "text": "a,b"}, "r.csv:3")
    ]


@pytest.mark.parametrize("said", ["~", "§", ";"])
def test_what_is_said_stands_between_fields(tmp_path: Path, said: str) -> None:
    found = written(tmp_path, f"sep=,\na,b{said}c\n1,2{said}3\n", delimiter=said)

    assert values(found) == [{"a,b": "1,2", "c": "3"}]
    assert found.notices == ()


@pytest.mark.parametrize("said", ["tab", "\\t", "\t"])
def test_a_tab_can_be_said(tmp_path: Path, said: str) -> None:
    assert values(written(tmp_path, "a,b\tc\n1,2\t3\n", delimiter=said))[0] == {
        "a,b": "1,2",
        "c": "3",
    }


@pytest.mark.parametrize("said", ["", ";;", '"', "\n", " "])
def test_what_cannot_stand_between_fields_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(InputError, match="delimiter"):
        written(tmp_path, "a,b\n1,2\n", delimiter=said)


def test_only_csv_has_a_delimiter_and_only_text_an_encoding(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="delimiter: the input is jsonl"):
        written(tmp_path, "{}\n", "r.jsonl", delimiter=";")
    pandas.DataFrame({"a": [1]}).to_parquet(tmp_path / "r.parquet")
    with pytest.raises(InputError, match="encoding: the input is parquet"):
        resolve("r.parquet", tmp_path, options=TextOptions(encoding="cp1252"))


def test_files_of_one_input_may_differ(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,a\n")
    (tmp_path / "b.csv").write_text("id;text\n2;b, c\n")
    (tmp_path / "c.csv").write_bytes("id\ttext\r3\té\r".encode("utf-16"))

    found = resolve("*.csv", tmp_path)

    assert [row.values["text"] for row in rows(found)] == ["a", "b, c", "é"]
    assert found.notices == (
        "b.csv: ';' stands between its fields",
        "c.csv: a tab stands between its fields; its text is UTF-16",
    )


# how lines end


def test_a_lone_cr_ends_a_line_wherever_it_is_cut(tmp_path: Path) -> None:
    """Pieces of a file end anywhere: before, in and behind CR LF."""
    long = "x" * 1_000
    lines = [f"{number},{long[: number % 997]}" for number in range(4_000)]
    for ends in (["\r"], ["\r\n"], ["\r", "\r\n", "\n"]):
        ended = zip(["id,text", *lines], itertools.cycle(ends), strict=False)
        found = written(tmp_path, "".join(line + end for line, end in ended))
        assert [row.where for row in rows(found)] == [f"r.csv:{n + 2}" for n in range(4_000)]
        assert [f"{row.values['id']},{row.values['text'] or ''}" for row in rows(found)] == lines


def test_a_cr_inside_quotes_stays(tmp_path: Path) -> None:
    found = written(tmp_path, 'id,text\r1,"a\rb\r\nc"\r2,d\r')

    assert [(row.values["text"], row.where) for row in rows(found)] == [
        ("a\rb\r\nc", "r.csv:2"),
        ("d", "r.csv:5"),
    ]


# what columns are called


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (",id,text", ["column_1", "id", "text"]),
        ("id,text,", ["id", "text", "column_3"]),
        ('id,"",text', ["id", "column_2", "text"]),
        ("id,  ,text", ["id", "column_2", "text"]),
        ("text,text,text", ["text", "text_1", "text_2"]),
        ("text,text,text_1", ["text", "text_2", "text_1"]),
        ("text,text,TEXT_1", ["text", "text_2", "TEXT_1"]),
        ("Text,text", ["Text", "text"]),
        (",Column_1", ["column_1_1", "Column_1"]),
        ("column_2,,a", ["column_2", "column_2_1", "a"]),
        ("id, text , note", ["id", "text", "note"]),
        ('id," text "," a"" b "', ["id", " text ", ' a" b ']),
        ("id, id", ["id", "id_1"]),
        ('id, "text, more"', ["id", "text, more"]),
        (",,", ["column_1", "column_2", "column_3"]),
    ],
)
def test_every_column_has_a_name_of_its_own(tmp_path: Path, header: str, names: list[str]) -> None:
    record = ",".join(str(number) for number in range(len(names)))
    found = written(tmp_path, f"{header}\n{record}\n")

    assert values(found) == [{name: str(number) for number, name in enumerate(names)}]
    assert carried(found) == values(found)
    assert found.schema(None).names == names


def test_a_header_over_several_lines_gets_names_too(tmp_path: Path) -> None:
    found = written(tmp_path, '\n"a\nb", c\n1,2\n')

    assert [(row.values, row.where) for row in rows(found)] == [
        ({"a\nb": "1", "c": "2"}, "r.csv:4")
    ]


def test_quotes_may_stand_behind_a_space(tmp_path: Path) -> None:
    found = written(tmp_path, 'id, "text"\n1, "a, b"\n2, c\n')

    assert [row["text"] for row in values(found)] == ["a, b", "c"]


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        ("id,text\n1,a\n", None),
        (",text,text\n1,a,b\n", "columns are called column_1 (it had no name), text_1 (another 'text')"),
        ("id, text\n1,a\n", "spaces around names are left out"),
        ("id; text\n1;a\n", "';' stands between its fields; spaces around names are left out"),
        ('"a\n\x1b","a\n\x1b"\n1,2\n', r"columns are called 'a\n\x1b_1' (another 'a\n\x1b')"),
        (",,,,,,\n1,2,3,4,5,6,7\n", "column_5 (it had no name) and 2 more"),
    ],
)  # fmt: skip
def test_a_line_tells_what_was_found_out(tmp_path: Path, text: str, notice: str | None) -> None:
    found = written(tmp_path, text)

    if notice is None:
        assert found.notices == ()
    else:
        (line,) = found.notices
        assert line.startswith("r.csv: ") and line.endswith(notice)


def test_a_line_for_all_files_that_are_alike(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text("id;text\n1;x\n")

    assert resolve("*.csv", tmp_path).notices == (
        "a.csv and 2 more: ';' stands between its fields",
    )


# how text is encoded


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.json", "r.csv.gz"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "UTF-32", "shift_jis", "cp037", "gbk"])
def test_reads_the_encoding_that_is_said(tmp_path: Path, name: str, encoding: str) -> None:
    text = {"cp1252": "naïve €", "cp037": "naïve", "shift_jis": "日本語", "gbk": "这是"}.get(
        encoding, "€"
    )
    whole = {
        "r.csv": f"id,text\n1,{text}\n2,x\n",
        "r.jsonl": f'{{"id": "1", "text": "{text}"}}\n{{"id": "2", "text": "x"}}\n',
        "r.json": f'[{{"id": "1", "text": "{text}"}},\n{{"id": "2", "text": "x"}}]',
    }[name.removesuffix(".gz")].encode(encoding)
    if name.endswith(".gz"):
        whole = gzip.compress(whole)

    found = written(tmp_path, whole, name, encoding=encoding)

    assert [row["text"] for row in values(found)] == [text, "x"]
    assert found.notices == ()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize(
    ("name", "text"), [("r.csv", "id,text\n1,€\n"), ("r.jsonl", '{"text": "€"}\n')]
)
def test_a_byte_order_mark_tells_the_encoding(
    tmp_path: Path, encoding: str, name: str, text: str
) -> None:
    found = written(tmp_path, text.encode(encoding), name)

    assert values(found)[0]["text"] == "€"
    assert found.notices == (f"{name}: its text is {encoding.upper()}",)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(InputError, match=f"--encoding {encoding}"):
        written(tmp_path, "id,text\n1,hello\n".encode(encoding))


@pytest.mark.parametrize("name", ["cp9999", "base64", "rot13", "", "a b"])
def test_an_encoding_that_there_is_not_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="unknown encoding"):
        written(tmp_path, "a\n1\n", encoding=name)


TEXTS = {
    "cp1252": "Le café était très agréable, à côté de l’hôtel – 5 €",
    "mac_roman": "Größe über Straße, schöne Mädchen",
    "cp850": "¿Dónde está el niño? El año pasado",
    "cp1250": "Zażółć gęślą jaźń, który był",
    "cp1254": "İyi akşamlar, nasılsınız? Güneş doğdu",
    "cp1251": "Привет, как дела? Это очень хороший товар",
    "koi8-r": "Привет, как дела? Это очень хороший товар",
    "cp1253": "Καλημέρα κόσμε, τι κάνεις",
    "cp1256": "مرحبا بالعالم هذا نص عربي",
    "cp932": "これは日本語のテキストです。とても良い商品でした",
    "euc_jp": "これは日本語のテキストです。とても良い商品でした",
    "gb18030": "这是一个很好的产品，我非常喜欢它",
    "big5": "這是一個很好的產品，我非常喜歡它",
    "cp949": "안녕하세요 이 제품은 정말 좋아요",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_names_the_encoding_that_it_probably_is(tmp_path: Path, encoding: str) -> None:
    raw = f'id,text\n1,"{TEXTS[encoding]}"\n'.encode(encoding)

    (bad,) = rows(written(tmp_path, raw))

    assert bad.fault == f"invalid UTF-8, probably {encoding}: --encoding {encoding}"
    assert values(written(tmp_path, raw, encoding=encoding))[0]["text"] == TEXTS[encoding]


def test_a_header_that_is_no_utf8_names_it_too(tmp_path: Path) -> None:
    found = written(tmp_path, "id,prénom\n1,Zoë\n".encode("latin-1"))

    with pytest.raises(InputError) as caught:
        found.schema(None)

    assert str(caught.value) == "r.csv:1: invalid UTF-8"
    assert "--encoding cp1252" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["é ü ä ö", "日本語", ""])
def test_damaged_utf8_is_no_other_encoding(text: str) -> None:
    assert likely.encoding(text.encode()) is None
    if text:
        assert likely.encoding(text.encode() + b"\xff") is None


def test_bytes_that_the_encoding_has_not_are_the_fault_of_their_row(tmp_path: Path) -> None:
    found = written(tmp_path, b"id,text\n1,a\n2,b\x81\n3,\xe9\n", encoding="cp1252")

    before, bad, after = rows(found)

    assert bad.fault == "bytes that are no text in this encoding"
    assert (before.values["text"], after.values["text"]) == ("a", "é")
    assert carried(found)[1] == {"id": "2", "text": "b\N{REPLACEMENT CHARACTER}"}


# what could be read of a bad row


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        (b"7", {"id": "7", "text": None, "note": None}),
        (b"7,a,b,c", {"id": "7", "text": "a", "note": "b"}),
        (b"7,caf\xe9,b", {"id": "7", "text": "caf\N{REPLACEMENT CHARACTER}", "note": "b"}),
        (b"7,\xe9", {"id": "7", "text": "\N{REPLACEMENT CHARACTER}", "note": None}),
        (b'7,"a,b', {"id": "7", "text": None, "note": None}),
    ],
)
def test_a_bad_row_keeps_what_could_be_read(
    tmp_path: Path, record: bytes, kept: dict[str, Any]
) -> None:
    found = written(tmp_path, b"id,text,note\n1,a,b\n" + record + b"\n")

    assert [bool(row.fault) for row in rows(found)] == [False, True]
    assert carried(found)[1] == kept


# kept in the run


def test_what_was_found_out_is_kept_and_looked_for_once(tmp_path: Path) -> None:
    found = written(tmp_path, ",text\r1,a;b\r".encode("utf-16"))
    kept = msgspec.convert(json.loads(msgspec.json.encode(found.found())), Reading)

    again = resolve("r.csv", tmp_path, "csv", kept)

    assert again.reading.dialects == found.reading.dialects
    assert values(again) == values(found) == [{"column_1": "1", "text": "a;b"}]
    assert again.notices == ()


def test_a_file_that_came_later_is_looked_at_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;text\n1;a\n")
    began = resolve("*.csv", tmp_path).found()
    (tmp_path / "b.csv").write_text("id|text\n2|b\n")

    later = resolve("*.csv", tmp_path, None, began)

    assert [row["text"] for row in values(later)] == ["a", "b"]
    assert later.reading.dialects[:1] == began.dialects


@pytest.mark.parametrize("older", [Reading(), Reading(empty="text")])
def test_a_run_that_began_before_there_were_dialects_reads_on_as_it_did(
    tmp_path: Path, older: Reading
) -> None:
    (tmp_path / "r.csv").write_bytes(b"id, text\n1,a;b\n2,x\ry\n3,c\n")

    one, bad, three = rows(resolve("r.csv", tmp_path, "csv", older))

    assert one.values == {"id": "1", " text": "a;b"}
    assert (bad.where, bool(bad.fault)) == ("r.csv:3", True)
    assert three.where == "r.csv:4"


def test_what_is_said_later_may_contradict(tmp_path: Path) -> None:
    found = written(tmp_path, "id;text\n1;a\n")

    assert contradicted(found, "csv", TextOptions()) is None
    assert contradicted(found, "csv", TextOptions(delimiter=";", encoding="UTF8")) is None
    assert "delimiter ';'" in str(contradicted(found, "csv", TextOptions(delimiter=",")))
    assert "encoding 'utf-8'" in str(contradicted(found, "csv", TextOptions(encoding="cp1252")))
    assert "as jsonl" in str(contradicted(found, "jsonl", TextOptions()))
