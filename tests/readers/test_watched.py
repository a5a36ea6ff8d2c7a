"""An input stays the one with which its run began: what happens to its files while they are read."""

from __future__ import annotations

import json
import os
import random
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.errors import InputError
from batch.model import Position
from batch.readers import Changed, resolve
from batch.readers.watched import SHARE, Watched
from batch.store import parts
from tests.fake_api import FakeAPI, answer_to
from tests.reading import asking, completions, rows, texts, tree, until, write

NOISE = random.Random(7).randbytes(50_000).hex()
ROWS = 26
PROMPTS = [f"{text} {NOISE}" for text in texts(ROWS)]
"""Larger than what is read at once."""
MORE = [f"text {number:05d} {NOISE}" for number in range(70_000, 70_000 + ROWS)]


def as_document(path: Path, prompts: list[str]) -> None:
    path.write_text(json.dumps([{"id": row, "text": text} for row, text in enumerate(prompts)]))


def as_lines(path: Path, prompts: list[str]) -> None:
    path.write_text("".join(f"{text}\n" for text in prompts))


def as_arrow(path: Path, prompts: list[str]) -> None:
    table = pa.table({"id": list(range(len(prompts))), "text": prompts})
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)


def as_arrow_stream(path: Path, prompts: list[str]) -> None:
    table = pa.table({"id": list(range(len(prompts))), "text": prompts})
    with pa.ipc.new_stream(path, table.schema) as file:
        file.write_table(table, max_chunksize=ROWS * 5 // 6)


def in_groups(path: Path, prompts: list[str]) -> None:
    """With more than one group of rows in Parquet."""
    write(path, prompts, group=ROWS * 7 // 12)


@dataclass(frozen=True)
class Case:
    """An input: what it is called, its files, and the one to which something happens."""

    named: str
    files: tuple[str, ...]
    changes: int = 0
    write: Callable[[Path, list[str]], object] = in_groups
    flags: tuple[str, ...] = ()
    grows: bool = False


CASES = {
    "jsonl": Case("in.jsonl", ("in.jsonl",), grows=True),
    "jsonl.gz": Case("in.jsonl.gz", ("in.jsonl.gz",), grows=True),
    "jsonl.zst": Case("in.jsonl.zst", ("in.jsonl.zst",), grows=True),
    "json": Case("in.json", ("in.json",), write=as_document),
    "csv": Case("in.csv", ("in.csv",), grows=True),
    "parquet": Case("in.parquet", ("in.parquet",)),
    "arrow": Case("in.arrow", ("in.arrow",), write=as_arrow),
    "arrow stream": Case("in.arrows", ("in.arrows",), write=as_arrow_stream),
    "lines": Case(
        "in.txt", ("in.txt",), write=as_lines, flags=("--input-format", "lines"), grows=True
    ),
    "the first of several": Case("data/*.jsonl", ("data/1.jsonl", "data/2.jsonl")),
    "the last of several": Case("data", ("data/1.jsonl", "data/2.jsonl"), changes=1, grows=True),
    "another run": Case("runs/first", ("runs/first/completions/part-00000000.parquet",)),
}


Other = Callable[[], Path]
"""Makes the file that has other rows."""


def overwritten(path: Path, _: Other) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"7" * (size - size // 2))


def truncated(path: Path, _: Other) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path, _: Other) -> None:
    os.truncate(path, 0)


def written_anew(path: Path, other: Other) -> None:
    path.write_bytes(other().read_bytes())


def replaced(path: Path, other: Other) -> None:
    other().rename(path)


def overwritten_under_its_old_time(path: Path, other: Other) -> None:
    before = path.stat()
    overwritten(path, other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touched(path: Path, _: Other) -> None:
    with path.open("r+b") as file:
        file.write(path.read_bytes())
    os.utime(path)


def copied_over(path: Path, _: Other) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


class Held:
    """A run whose requests are not answered before something has happened to its input."""

    def __init__(self, api: FakeAPI, start, case: Case, folder: Path) -> None:
        self.api, self.start, self.case, self.folder = api, start, case, folder
        self.command = ("run", case.named, *asking(api, "-c", 4, "-o", "out"), *case.flags)
        if case.named == "runs/first":
            write(folder / "in.jsonl", PROMPTS)
            first = start("run", "in.jsonl", *asking(api, "-o", "runs/first"))
            assert first.wait(60) == 0
            api.reset_ledger()
        else:
            self._write(folder, PROMPTS)
        self.path = folder / case.files[case.changes]
        self.content = self.path.read_bytes()

    def _write(self, folder: Path, prompts: list[str]) -> None:
        each = len(prompts) // len(self.case.files)
        for number, name in enumerate(self.case.files):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            self.case.write(folder / name, prompts[number * each :][:each])

    def other(self) -> Path:
        """A file that has other rows than the one to which something happens."""
        if self.case.named == "runs/first":
            found = pq.ParquetFile(self.path).read()
            at = found.schema.names.index("completion")
            others = pa.array(["another"] * len(found))
            changed, footer = found.set_column(at, "completion", others), parts.footer(self.path)
            with (self.folder / "other").open("wb+") as file:
                parts.write(file, changed.schema, iter([changed]), lambda: footer)
            return self.folder / "other"
        self._write(self.folder / "others", MORE)
        return self.folder / "others" / self.case.files[self.case.changes]

    def run(self, happens: Callable[[Path, Other], object], *flags: str) -> tuple[int, str]:
        """Exit code and stderr of a run in whose middle this happens."""
        self.api.slots = 0
        process = self.start(*self.command, *flags)
        until(lambda: self.api.in_flight == 4, process)
        happens(self.path, self.other)
        self.api.slots = None
        _, said = process.communicate(timeout=60)
        return process.returncode, said


@pytest.fixture
def held(request, api, start, tmp_path):
    return Held(api, start, CASES[request.param], tmp_path)


def each_of(*changes, few=()):
    """All cases with these changes, and two with a few more."""
    every = [(kind, change) for kind in CASES for change in changes]
    return pytest.mark.parametrize(
        ("held", "happens"),
        [*every, *((kind, change) for kind in ("jsonl", "parquet") for change in few)],
        indirect=["held"],
    )


@each_of(
    *(overwritten, truncated, replaced),
    few=(emptied, written_anew, overwritten_under_its_old_time),
)
def test_another_content_stops_the_run_which_goes_on_with_the_old_one(held, batchmill, happens):
    code, said = held.run(happens)
    assert code == 4, said
    assert f"the input was changed while it was read: {held.path.name} differs" in said
    found = rows(held.folder / "out")
    assert len(found) >= 4
    assert all(
        (row["status"], row["completion"]) == ("ok", answer_to(PROMPTS[row["row"]]))
        for row in found
    )
    before = tree(held.folder / "out")
    refused = batchmill(*held.command)
    if held.case.named == "runs/first" and happens is not replaced:
        assert refused.exit_code == 5, refused.stderr
        assert "batchmill verify --repair" in refused.stderr
    else:
        assert refused.exit_code == 4, refused.stderr
        assert "is the run of another input" in refused.stderr
    assert tree(held.folder / "out") == before
    held.path.write_bytes(held.content)
    again = batchmill(*held.command)
    assert again.exit_code == 0, again.stderr
    assert completions(held.folder / "out") == [
        (row, answer_to(prompt)) for row, prompt in enumerate(PROMPTS)
    ]
    assert set(held.api.prompts().values()) == {1}


def all_answered(held: Held) -> None:
    found = [(row, answer_to(prompt)) for row, prompt in enumerate(PROMPTS)]
    assert completions(held.folder / "out")[:ROWS] == found
    assert set(held.api.prompts().values()) == {1}


@each_of(touched, few=(copied_over,))
def test_the_same_content_is_no_change(held, happens):
    code, said = held.run(happens)
    assert code == 0, said
    assert len(rows(held.folder / "out")) == ROWS
    all_answered(held)


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "arrow"])
def test_a_file_that_is_removed_is_read_to_its_end(api, start, tmp_path, kind):
    held = Held(api, start, CASES[kind], tmp_path)
    code, said = held.run(lambda path, _: path.unlink())
    assert code == 0, said
    all_answered(held)


@pytest.mark.parametrize("kind", [kind for kind, case in CASES.items() if case.grows])
def test_a_file_that_grows_is_no_change(api, start, batchmill, tmp_path, kind):
    held = Held(api, start, CASES[kind], tmp_path)

    def grown(path, other):
        more = other().read_bytes()
        with path.open("ab") as file:
            file.write(more if path.suffix != ".csv" else more.partition(b"\n")[2])

    code, said = held.run(grown)
    assert code == 0, said
    all_answered(held)
    ended = batchmill(*held.command)
    assert ended.exit_code == 0, ended.stderr
    assert len(rows(tmp_path / "out")) == ROWS + ROWS // len(held.case.files)


@pytest.mark.parametrize("kind", ["json", "parquet", "the first of several"])
def test_growth_is_a_change_where_no_rows_may_follow(api, start, tmp_path, kind):
    held = Held(api, start, CASES[kind], tmp_path)
    with_more = held.content + b" \n"
    code, said = held.run(lambda path, _: path.write_bytes(with_more))
    assert code == 4, said


def test_a_change_behind_the_last_row_that_is_asked_is_one_too(api, start, tmp_path):
    held = Held(api, start, CASES["jsonl"], tmp_path)
    code, said = held.run(overwritten, "--limit", "10")
    assert code == 4, said
    assert len(rows(tmp_path / "out")) == 10


def test_a_change_while_the_last_answers_come_is_one_too(api, start, batchmill, tmp_path):
    write(tmp_path / "in.csv", PROMPTS[:4])
    write(tmp_path / "other.csv", MORE[:4])
    before = (tmp_path / "in.csv").read_bytes()
    api.slots = 0
    process = start("run", "in.csv", *asking(api))
    until(lambda: api.in_flight == 4, process)
    (tmp_path / "other.csv").rename(tmp_path / "in.csv")
    api.slots = None
    _, said = process.communicate(timeout=60)
    assert process.returncode == 4, said
    assert "its first 4 rows were read before" in said
    (tmp_path / "in.csv").write_bytes(before)
    assert batchmill("run", "in.csv", *asking(api)).exit_code == 0
    assert api.prompts() == dict.fromkeys(PROMPTS[:4], 1)


def test_what_was_read_and_the_ways_out_are_said_ready_to_paste(api, start, batchmill, tmp_path):
    held = Held(api, start, CASES["jsonl"], tmp_path)
    _, said = held.run(replaced)
    lines = said.splitlines()
    (error,) = (line for line in lines if line.startswith("error: "))
    read = len(rows(tmp_path / "out"))
    assert f"its first {read} rows were read before, until 20" in error
    assert error.endswith("what was answered is kept")
    pasted = [
        shlex.split(line[line.index("batchmill ") :])[1:]
        for line in lines
        if ": batchmill " in line
    ]
    same = [str(word) for word in held.command]
    assert pasted == [[*same, "--new"], [*same, "--reuse", str(tmp_path / "out")], same]
    assert lines[-1].startswith("to go on, once the input is again what it was: ")
    anew = batchmill(*pasted[1])
    assert anew.exit_code == 0, anew.stderr
    assert completions(tmp_path / "out") == [(n, answer_to(text)) for n, text in enumerate(MORE)]


def test_commands_that_send_nothing_read_a_changed_input_as_it_is(api, start, batchmill, tmp_path):
    held = Held(api, start, CASES["jsonl"], tmp_path)
    assert held.run(replaced)[0] == 4
    for command in ("validate", "estimate"):
        looked = batchmill(command, "in.jsonl", *asking(api))
        assert looked.exit_code == 0, looked.stderr


def test_rows_that_are_read_stay_whatever_is_written_over_their_file(tmp_path):
    as_arrow(tmp_path / "in.arrow", PROMPTS)
    batch = next(resolve("in.arrow", tmp_path).batches())
    overwritten(tmp_path / "in.arrow", lambda: tmp_path)
    assert batch.table["text"].to_pylist() == PROMPTS[: len(batch.table)]


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv", "in.parquet"])
@pytest.mark.parametrize("happens", [overwritten, truncated, replaced])
def test_what_changes_after_its_first_rows_were_looked_at_is_not_begun(tmp_path, name, happens):
    path, other = write(tmp_path / name, PROMPTS), write(tmp_path / f"other-{name}", MORE)
    source = resolve(name, tmp_path)
    happens(path, lambda: other)
    with pytest.raises(InputError, match="nothing was sent"):
        Watched(source)


def test_rows_may_be_written_after_the_first_ones_were_looked_at(tmp_path):
    path = write(tmp_path / "in.jsonl", PROMPTS[:3])
    source = resolve("in.jsonl", tmp_path)
    with path.open("ab") as file:
        file.write(b'{"text": "more"}\n')
    assert sum(len(batch.table) for batch in Watched(source).batches(Position())) == 4


class Clock:
    """Goes on a second whenever somebody looks."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_a_file_that_keeps_growing_is_not_compared_all_the_time(tmp_path):
    path, clock = write(tmp_path / "in.jsonl", 2 * PROMPTS), Clock()
    source = resolve("in.jsonl", tmp_path)
    watched = Watched(source, clock)
    batches = watched.batches(Position())
    next(batches)
    with path.open("ab") as file:
        file.write(b'{"text": "more"}\n')
    next(batches)  # a comparison, which takes a second
    overwritten(path, lambda: path)
    next(batches)
    clock.now += SHARE
    with pytest.raises(Changed, match=r"^in\.jsonl differs"):
        next(batches)


def test_a_touched_file_does_not_hide_another_that_changed(tmp_path):
    first, last = (write(tmp_path / f"{name}.jsonl", PROMPTS) for name in "ab")
    watched = Watched(resolve("*.jsonl", tmp_path), Clock())
    assert list(watched.batches(Position()))
    touched(first, lambda: first)
    overwritten(last, lambda: last)
    with pytest.raises(Changed, match=r"^b\.jsonl differs"):
        watched.look_again()


def test_a_file_that_can_no_longer_be_read_is_told_as_changed(tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS).rename(tmp_path / "in.json")
    watched = Watched(resolve("in.json", tmp_path))
    batches = watched.batches(Position())
    os.truncate(tmp_path / "in.json", 100)
    with pytest.raises(Changed):
        next(batches)


def test_a_change_that_no_status_tells_is_found_at_the_end(tmp_path):
    path = write(tmp_path / "in.jsonl", PROMPTS)
    before = resolve("in.jsonl", tmp_path).fingerprints()
    overwritten(path, lambda: path)
    watched = Watched(resolve("in.jsonl", tmp_path))
    watched.fingerprints = before
    watched.check()  # nothing was read
    assert list(watched.batches(Position()))
    with pytest.raises(Changed):
        watched.check()
