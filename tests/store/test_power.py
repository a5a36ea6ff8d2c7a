"""A disk that fails at any moment, a machine that loses power at any moment, bytes that rot: what was
reported as done is never lost and never asked again.

Everything the store does to its folder passes a Disk; the ones here fail, forget, or write down what they
are told, so that the folder can be rebuilt as a power cut would have left it after any step.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import random
import shutil
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batch import columns, readers
from batch.engine import steps
from batch.engine.feed import Feed
from batch.errors import StorageError
from batch.model import Result, Sent
from batch.run_folder import JOURNAL, SPOOL, RunFolder
from batch.sampling import Chosen
from batch.store import folder, journal, plan, sends
from batch.store.files import Disk
from batch.store.recover import Damage, Found, Redo, recover, sealed
from batch.store.seal import Layout
from batch.store.verify import verify
from batch.store.writer import Store
from tests.reading import rows, texts, write

pytestmark = pytest.mark.second_lane

ROWS = 24
WHOLE = 60
"""Rows of the input of which ROWS are a sample."""
PART_ROWS = 7
FILE_ROWS = 4
"""A file is a batch, so that parts begin and end within batches."""
MOST_STARTS = 4
WORKERS = 3


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Group commits follow each other at once, so that a short run has many."""
    monkeypatch.setattr("batch.store.writer.COMMIT_SECONDS", 0.0)


def _bearing(result: Result, lost: Sequence[Sent]) -> Result:
    """A result counts what was sent for its row before a kill."""
    return msgspec.structs.replace(result, attempts=result.attempts + len(lost))


class Quick(Disk):
    """A disk that syncs nothing: the machine under a test stays on."""

    def fsync(self, file):
        pass

    def _fsync_folder(self, folder):
        pass


@dataclass
class Run:
    """One run in a folder, over any number of starts, with a model that answers at once.

    An answer tells which one it is, so that an answer that took another's place shows.
    """

    root: Path
    fails: frozenset[int] = frozenset()  # rows that fail for the moment when first asked
    part_rows: int = PART_ROWS
    asked: list[int] = field(default_factory=list)
    done: dict[int, Result] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)
    number: int = 0
    sample: Chosen | None = None

    @property
    def folder(self) -> Path:
        return self.root / "run"

    def start(self, disk: Disk, *, limit: int | None = None, stop_after: int | None = None) -> bool:
        """One start; whether the input's end was reached.  Raises StorageError."""
        return asyncio.run(self._start(disk, limit, stop_after))

    def opened(self, disk: Disk) -> tuple[readers.Input, list[Found], Store]:
        """The folder in order, and a store to go on with."""
        source = readers.resolve(str(self.root / "in"), self.root).sample(self.sample)
        carried = source.schema(None)
        schema, _ = columns.schema(carried, columns.COLUMNS)
        layout = Layout(
            schema,
            columns.COLUMNS,
            lambda table: source.reader.carry(table, carried, None),
            self.sample,
        )
        run = RunFolder(self.folder)
        folder.make(disk, run)
        if not run.schema.exists():
            folder.begin(disk, run, schema)
        found, self.damages = recover(disk, run)
        unanswered = sends.gathered(disk, run, found, self.sample)
        store = Store(
            run,
            layout,
            found,
            part_rows=self.part_rows,
            on_done=self._done,
            sends=sends.Sends(disk, run, unanswered, _bearing),
        )
        return source, found, store

    async def _start(self, disk: Disk, limit: int | None, stop_after: int | None) -> bool:
        source, found, store = self.opened(disk)
        watched = readers.Watched(source)
        todo = steps.of(RunFolder(self.folder), watched, found, Redo(), limit)
        feed = Feed(store, watched, todo, 100)
        self._left = stop_after
        if stop_after == 0:
            feed.stop()
        async with store:
            try:
                await asyncio.gather(*(self._work(feed, store) for _ in range(WORKERS)))
            finally:
                await feed.close()
        folder.write_usage(disk, RunFolder(self.folder), "run_of_a_test", store.summary())
        return feed.ended

    async def _work(self, feed: Feed, store: Store) -> None:
        try:
            while (task := await feed.take()) is not None:
                row = task.row.index
                store.sent(row, "m", 10, 5)
                store.write_down()
                await asyncio.sleep(0)
                store.write(self._answer(row))
                feed.finish(task)
                await store.room()
                await asyncio.sleep(0.0005 if task.row.index % 5 == 0 else 0)
                if self._left is not None:
                    self._left -= 1
                    if self._left <= 0:
                        feed.stop()
        except StorageError:
            feed.stop()

    def _answer(self, row: int) -> Result:
        again = row in self.asked
        self.asked.append(row)
        self.number += 1
        if row in self.fails and not again:
            return Result(row=row, status="failed", error_class="timeout", attempts=1)
        return Result(row=row, status="ok", completion=f"{row}: {self.number}", attempts=1)

    def _done(self, results: list[Result]) -> None:
        self.done.update((result.row, result) for result in results)

    def kept(self) -> dict[int, str]:
        """The answers that have been reported as done."""
        return {row: result.completion for row, result in self.done.items() if result.completion}

    def finish(self, disk: Disk | None = None) -> None:
        """Start it until all rows are answered, and check that everything is as it was promised."""
        kept = self.kept()
        before = len(self.asked)
        for _ in range(MOST_STARTS):
            if self.start(disk or Quick()) and len(self.kept() | kept) == ROWS:
                break
        assert kept.keys().isdisjoint(self.asked[before:]), "asked again"
        output = rows(self.folder)
        numbers = range(ROWS) if self.sample is None else self.sample.numbers
        assert [row["row"] for row in output] == list(numbers)
        assert [row["text"] for row in output] == [texts(WHOLE)[row] for row in numbers]
        assert {row["status"] for row in output} == {"ok"}
        now = {row["row"]: row["completion"] for row in output}
        assert {row: now[row] for row in kept} == kept
        assert {row: now[row] for row in self.kept()} == self.kept()
        assert list((self.folder / "open").iterdir()) == []
        assert findings(self.folder, self.sample) == []


def made(root: Path, **how: Any) -> Run:
    write_input(root, texts(ROWS if how.get("sample") is None else WHOLE))
    return Run(root, **how)


def write_input(root: Path, prompts: list[str]) -> None:
    (root / "in").mkdir(parents=True)
    for number in range(0, len(prompts), FILE_ROWS):
        write(root / "in" / f"{number:05d}.jsonl", prompts[number : number + FILE_ROWS])


def findings(run: Path, sample: Chosen | None = None) -> list[str]:
    job = {} if sample is None else {"sample": sample.size, "seed": sample.seed}
    known = msgspec.structs.replace(
        plan.new(job, [], "jsonl", sampled_from=None if sample is None else sample.rows),
        run_id="run_of_a_test",
        rows=ROWS,
        user="test",
    )
    return [finding.text for finding in verify(RunFolder(run), known)]


# A disk that fails


class Failing(Quick):
    """Refuses the k-th call, having written half of it if it was a write; knows what was called after."""

    def __init__(self, k: int, code: int = errno.EIO) -> None:
        super().__init__()
        self.left = k
        self.code = code
        self.calls = 0
        self.drafts = 0
        self.failed_in: int | None = None
        self.after: list[int] = []

    def _call(self) -> bool:
        self.calls += 1
        if self.failed_in is not None:
            self.after.append(threading.get_ident())
        self.left -= 1
        return self.left == 0

    def _fail(self) -> None:
        self.failed_in = threading.get_ident()
        raise OSError(self.code, os.strerror(self.code))

    def _or_fail(self, call):
        if self._call():
            self._fail()
        return call()

    def write(self, file, data):
        if "part-" in Path(file.name).name:  # a Parquet file is hundreds of writes
            self.drafts += 1
            if self.drafts % 29:
                if self.failed_in is not None:
                    self.after.append(threading.get_ident())
                return super().write(file, data)
        if self._call():
            super().write(file, data[: len(data) // 2])
            self._fail()
        return super().write(file, data)

    def open(self, path, mode):
        return self._or_fail(lambda: super(Failing, self).open(path, mode))

    def fsync(self, file):
        self._or_fail(lambda: None)

    def _fsync_folder(self, folder):
        self._or_fail(lambda: None)

    def _rename(self, old, new):
        self._or_fail(lambda: super(Failing, self)._rename(old, new))

    def _unlink(self, path):
        self._or_fail(lambda: super(Failing, self)._unlink(path))

    def _mkdir(self, folder):
        self._or_fail(lambda: super(Failing, self)._mkdir(folder))

    def _rmdir(self, folder):
        self._or_fail(lambda: super(Failing, self)._rmdir(folder))


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("begun", [False, True], ids=["new", "resumed"])
@pytest.mark.parametrize("sample", [None, Chosen(WHOLE, ROWS)], ids=["whole", "sample"])
def test_a_disk_that_fails_once_ends_the_start_and_the_next_one_finishes(
    tmp_path, code, begun, sample
):
    numbers = range(ROWS) if sample is None else sample.numbers
    fails = frozenset(numbers[place] for place in (2, 9, 16))
    template = made(tmp_path / "template", fails=fails, sample=sample)
    if begun:
        template.start(Quick(), stop_after=17)
    for k in itertools.count(1):
        if (k + 4 * (code == errno.EIO)) % 8:
            continue
        run = copy(template, tmp_path / f"{k}")
        disk = Failing(k, code)
        try:
            run.start(disk)
        except StorageError as error:
            assert error.exit_code == 5
            assert ("free some space" in (error.hint or "")) == (code == errno.ENOSPC)
        else:
            assert disk.failed_in is None, f"call {k} failed unnoticed"
            break
        others: Counter[Any] = Counter(disk.after)
        assert others.pop(disk.failed_in, 0) == 0, f"call {k}: written after it"
        assert all(count <= 1 for count in others.values()), f"call {k}: written after it"
        run.finish()
        shutil.rmtree(run.root)
    assert k > 60


def test_after_a_refused_write_nothing_leaves_that_is_not_written_down(tmp_path):
    class Full(Quick):
        def write(self, file, data):
            raise OSError(errno.ENOSPC, "no space left")

    (tmp_path / "open").mkdir()
    out = sends.Sends(Full(), RunFolder(tmp_path), {})
    out.leaves(0, Sent(1, at=1.0))
    out.leaves(0, Sent(2, at=1.0))
    with pytest.raises(StorageError):
        out.cost_nothing([(0, 1)])
    with pytest.raises(StorageError):
        out.write_down()
    out.end(durable=False)


def copy(run: Run, root: Path) -> Run:
    shutil.copytree(run.root, root)
    asked, done = [*run.asked], {**run.done}
    return Run(root, run.fails, run.part_rows, asked, done, [], run.number, run.sample)


def test_a_disk_that_writes_a_little_at_a_time_writes_everything(tmp_path):
    class Short(Quick):
        def write(self, file, data):
            return super().write(file, data[: max(1, len(data) // 3)])

    made(tmp_path / "r").finish(Short())


# A machine that loses power


@dataclass
class Inode:
    """A file (`bytes`) or a folder (name -> Inode): as it is, and as it is on the platter."""

    now: Any
    synced: Any


class Recording(Quick):
    """Writes down every call in the order of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[object, ...]] = []
        self._turn = threading.RLock()

    def open(self, path, mode):
        with self._turn:
            self.log.append(("open", path, mode))
            return super().open(path, mode)

    def write(self, file, data):
        with self._turn:
            at = os.fstat(file.fileno()).st_size if "a" in file.mode else file.tell()
            self.log.append(("write", Path(file.name), at, bytes(data)))
            return super().write(file, data)

    def fsync(self, file):
        self.log.append(("fsync", Path(file.name)))

    def _fsync_folder(self, folder):
        self.log.append(("fsync_folder", folder))

    def _rename(self, old, new):
        with self._turn:
            self.log.append(("rename", old, new))
            super()._rename(old, new)

    def _unlink(self, path):
        with self._turn:
            self.log.append(("unlink", path))
            super()._unlink(path)

    def _mkdir(self, folder):
        with self._turn:
            self.log.append(("mkdir", folder))
            super()._mkdir(folder)

    def _rmdir(self, folder):
        with self._turn:
            self.log.append(("rmdir", folder))
            super()._rmdir(folder)


class Platter:
    """What a log leaves below `root`: in the machine's memory, and on its disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._top = Inode({}, {})

    def replay(self, call: str, path: Path, *more: Any) -> None:
        name, names = path.name, self._at(path.parent).now if path != self._root else {}
        match call, more:
            case "open", (mode,):
                file = names.setdefault(name, Inode(bytearray(), b""))
                if "w" in mode:
                    file.now = bytearray()
            case "write", (at, data):
                names[name].now[at : at + len(data)] = data
            case "fsync", ():
                names[name].synced = bytes(names[name].now)
            case "fsync_folder", ():
                folder = self._at(path)
                folder.synced = dict(folder.now)
            case "rename", (new,):
                self._at(new.parent).now[new.name] = names.pop(name)
            case "unlink", ():
                names.pop(name, None)
            case "mkdir", ():
                names.setdefault(name, Inode({}, {}))
            case "rmdir", ():
                del names[name]

    def _at(self, path: Path) -> Inode:
        found = self._top
        for name in path.relative_to(self._root).parts:
            found = found.now[name]
        return found

    def durable(self, target: Path) -> None:
        """Make what is guaranteed to be there after a power cut."""
        _make(self._top, target, lambda inode: inode.synced)

    def everything(self, target: Path) -> None:
        """Make what is there when all of it reached the disk in time."""
        _make(self._top, target, lambda inode: inode.now)

    def mixture(self, target: Path, chance: random.Random) -> None:
        """Make something between the two, torn and with holes."""
        _make(self._top, target, lambda inode: _mixed(inode, chance))


def _make(inode, target, chosen):
    content = chosen(inode)
    if not isinstance(content, dict):
        target.write_bytes(content)
        return
    target.mkdir(exist_ok=True)
    for name, inside in content.items():
        _make(inside, target / name, chosen)


def _mixed(inode, chance):
    if isinstance(inode.now, dict):
        names = inode.now.keys() | inode.synced.keys()
        picked = {name: chance.choice([inode.now, inode.synced]).get(name) for name in names}
        return {name: inside for name, inside in picked.items() if inside is not None}
    if chance.random() < 0.3:
        return inode.synced
    torn = inode.now[: chance.randint(min(len(inode.synced), len(inode.now)), len(inode.now))]
    if chance.random() < 0.3 and len(torn) > len(inode.synced):
        hole = chance.randint(len(inode.synced), len(torn))
        torn[hole:] = bytes(len(torn) - hole)
    return bytes(torn)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return record(tmp_path_factory.mktemp("power"), None)


@pytest.fixture(scope="module")
def recorded_sample(tmp_path_factory):
    return record(tmp_path_factory.mktemp("power"), Chosen(WHOLE, ROWS))


def record(root, sample):
    """Two starts of one run, written down: rows that fail, a limit, a stop, a merge."""
    numbers = range(ROWS) if sample is None else sample.numbers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batch.store.writer.COMMIT_SECONDS", 0.0)
        run = made(root, fails=frozenset(numbers[place] for place in (2, 9, 16)), sample=sample)
        disk = Recording()
        plain = run._done

        def done(results):
            plain(results)
            disk.log.append(("done", {**run.done}))

        run._done = done  # type: ignore[method-assign]
        run.start(disk, limit=12)
        run.start(disk, stop_after=10)
        run.start(disk)
    return run, disk.log


def moments(log):
    """The prefixes of a log after which something differs for the next start: drafts do not count."""
    return [
        end
        for end in range(len(log) + 1)
        if end == len(log)
        or (log[end][0] != "done" and not (log[end][0] == "write" and "tmp" in log[end][1].parts))
    ]


@pytest.mark.parametrize(
    ("what", "every"), [("durable", 4), ("everything", 7), ("mixture", 5), ("mixture again", 7)]
)
def test_a_power_cut_after_any_step_loses_no_row_that_was_done(tmp_path, recorded, what, every):
    cut_power(tmp_path, recorded, what, every)


def test_a_power_cut_in_a_sample_loses_no_row_that_was_done(tmp_path, recorded_sample):
    cut_power(tmp_path, recorded_sample, "mixture", 9)


def cut_power(tmp_path, recorded, what, every):
    run, log = recorded
    platter, position = Platter(run.root), 0
    done: dict[int, Result] = {}
    chance = random.Random(what)
    for end in moments(log)[len(what) % every :: every]:
        for call in log[position:end]:
            if call[0] == "done":
                done = call[1]
            else:
                platter.replay(*call)
        position = end
        root = tmp_path / f"{end}"
        root.mkdir()
        getattr(platter, what.split()[0])(root, *([chance] if "mixture" in what else []))
        shutil.copytree(run.root / "in", root / "in")
        asked = [*run.fails]
        later = Run(root, done={**done}, number=10_000, asked=asked, sample=run.sample)
        later.finish()
        shutil.rmtree(root)
    assert position > 200


def test_a_kill_after_any_step_costs_what_was_in_flight_and_no_more(recorded, tmp_path):
    run, log = recorded
    platter, position, sent = Platter(run.root), 0, 0
    for end in moments(log)[::5]:
        for call in log[position:end]:
            if call[0] != "done":
                platter.replay(*call)
            sent += call[0] == "write" and call[1].name.startswith("sent-")
        position = end
        root = tmp_path / f"{end}"
        root.mkdir()
        platter.everything(root)
        if (root / "run/open").is_dir():
            assert sent - answered_in(root / "run") <= WORKERS
        shutil.rmtree(root)
    assert sent > ROWS


def answered_in(folder: Path) -> int:
    """Attempts in results that a kill left: in parts, and in journals that are not sealed yet."""
    run = RunFolder(folder)
    generations = {number: part.generation for number, part in sealed(run).items()}
    counted = sum(row["attempts"] for row in rows(folder)) if generations else 0
    for number, part in run.open_parts().items():
        scan = journal.scan(part.journal)
        if scan.header is not None and scan.header.generation != generations.get(number):
            read = journal.results(part.journal, scan.entries)
            counted += sum(result.attempts for result in read)
    return counted


class Stalling(Quick):
    """A disk on which syncs, and if need be writes, last until it goes on."""

    def __init__(self, *, writes: bool) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.stalled = threading.Event()
        self.writes = writes

    def fsync(self, file):
        if not self.goes_on.is_set():
            self.stalled.set()
            self.goes_on.wait(30)

    def write(self, file, data):
        if self.writes and self.stalled.is_set() and Path(file.name).name == JOURNAL:
            self.goes_on.wait(30)
        return super().write(file, data)


async def turns(condition) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("writes", [False, True], ids=["syncs stall", "writes stall"])
async def test_a_disk_that_stalls_holds_up_what_is_counted_and_not_the_loop(
    tmp_path, monkeypatch, writes
):
    monkeypatch.setattr("batch.store.group_commit.STALL_SECONDS", 0.0)
    run, disk = made(tmp_path, part_rows=100), Stalling(writes=writes)
    source, _, store = run.opened(disk)
    path = RunFolder(run.folder).opened(0).journal
    async with store:
        store.take_in(next(source.batches()))
        store.write(Result(row=0, status="ok"))
        await turns(lambda: 0 in run.done)
        disk.goes_on.clear()
        store.write(Result(row=1, status="ok"))
        await turns(disk.stalled.is_set)
        store.write(Result(row=2, status="ok"))
        room = asyncio.create_task(store.room())
        if not writes:
            await room
            assert {entry.row for entry in journal.scan(path).entries} == {0, 1, 2}
        await asyncio.sleep(0.01)
        assert room.done() is not writes
        assert run.done.keys() == {0}
        disk.goes_on.set()
        await turns(lambda: run.done.keys() == {0, 1, 2})
        await room


async def test_few_files_are_open_however_many_parts_are(tmp_path):
    write_input(tmp_path, texts(256))
    run = Run(tmp_path, part_rows=1)
    source, _, store = run.opened(Quick())
    most = 0
    async with store:
        for batch in source.batches():
            store.take_in(batch)
        for row in reversed(range(1, 256)):
            store.sent(row, "m", 1, 1)
            store.write_down()
        await store.room()
        store.write(Result(row=0, status="ok"))
        for row in range(1, 256):
            store.write(Result(row=row, status="failed", error_class="timeout"))
            store.write_down()
            most = max(most, open_below(run.folder))
            await asyncio.sleep(0)
    assert 3 < most <= 32
    assert len(parts_of(run)) == 256


def open_below(folder: Path) -> int:
    """Files of a run that this process holds open."""
    count = 0
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += path.readlink().is_relative_to(folder)
    return count


def test_after_a_kill_at_any_moment_every_request_is_counted_once(tmp_path, recorded):
    run, log = recorded
    platter, position, sent = Platter(run.root), 0, 0
    for end in moments(log)[::6]:
        for call in log[position:end]:
            if call[0] != "done":
                platter.replay(*call)
            sent += call[0] == "write" and call[1].name.startswith("sent-")
        position = end
        root = tmp_path / f"{end}"
        root.mkdir()
        platter.everything(root)
        shutil.copytree(run.root / "in", root / "in")
        later = Run(root, number=10_000, asked=[*run.fails])
        while not later.start(Quick(), stop_after=4):
            pass
        new = len(later.asked) - len(run.fails)
        assert sum(row["attempts"] for row in rows(later.folder)) == sent + new
        assert list((later.folder / "open").iterdir()) == []
        shutil.rmtree(root)
    assert sent > ROWS


# Bytes that are not what was written


@pytest.fixture
def killed(tmp_path, recorded) -> Run:
    """A run as kill -9 leaves it: sealed parts and open ones with answers in their journals."""
    run, log = recorded
    return at_the_moment(run, log, tmp_path / "killed")


def at_the_moment(run: Run, log, root: Path) -> Run:
    """The moment at which most open parts hold an answer, a part being sealed."""
    best, most = 0, -1
    opened: set[str] = set()
    sealed = 0
    for end, call in enumerate(log):
        match call:
            case "fsync", path if path.name == JOURNAL:
                opened.add(path.parent.name)
            case "rmdir", path:
                opened.discard(path.name)
            case "rename", _, new:
                sealed += new.name.startswith("part-")
        if sealed >= 1 and len(opened) >= most and call[0] == "done":
            best, most = end + 1, len(opened)
    assert most >= 1
    platter = Platter(run.root)
    done: dict[int, Result] = {}
    for call in log[:best]:
        if call[0] == "done":
            done = call[1]
        else:
            platter.replay(*call)
    root.mkdir()
    platter.everything(root)
    shutil.copytree(run.root / "in", root / "in")
    return Run(root, done={**done}, number=10_000, asked=[*run.fails])


def longest_journal(run: Run) -> Path:
    return max((run.folder / "open").glob(f"*/{JOURNAL}"), key=lambda path: path.stat().st_size)


def row_of(line: bytes) -> int:
    return int(msgspec.json.decode(line[9:])["row"])


def test_a_journal_cut_at_any_byte_keeps_every_whole_line(tmp_path, killed):
    path = longest_journal(killed)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    every = sorted({*range(0, len(whole), 41), *_around(lines), len(whole) - 1})
    for cut in every:
        path.write_bytes(whole[:cut])
        ends = list(itertools.accumulate(map(len, lines)))
        lost = {row_of(line) for line, end in zip(lines[1:], ends[1:], strict=True) if end > cut}
        trial = copy(killed, tmp_path / f"cut{cut}")
        trial.done = {row: result for row, result in killed.done.items() if row not in lost}
        trial.finish()
        assert lost <= set(trial.asked)
        assert trial.damages == []
        shutil.rmtree(trial.root)
    assert len(every) > 15


def _around(lines: list[bytes]) -> list[int]:
    ends = itertools.accumulate(map(len, lines))
    return [end + by for end in ends for by in (-1, 0, 1)][:-1]


def test_a_bad_line_costs_its_own_row_and_is_reported(tmp_path, killed):
    path = longest_journal(killed)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) > 3
    for number in range(len(lines) - 1):  # behind the last line there is no good one
        trial = copy(killed, tmp_path / f"line{number}")
        damaged = [*lines]
        damaged[number] = lines[number][:-5] + b"~~~~\n"
        relative = path.relative_to(killed.root)
        (trial.root / relative).write_bytes(b"".join(damaged))
        lost = {row_of(lines[number])} if number else set()
        trial.done = {row: result for row, result in killed.done.items() if row not in lost}
        trial.start(Quick())
        assert [(damage.path, damage.lines) for damage in trial.damages] == [
            (trial.root / relative, 1)
        ]
        assert lost <= set(trial.asked)
        assert (set(trial.asked) - {*killed.asked} - lost).isdisjoint(killed.kept())
        trial.finish()


def test_holes_in_a_journal_cost_only_what_they_cover(tmp_path, killed):
    path = longest_journal(killed)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    chance = random.Random(7)
    for number in range(20):
        first = chance.randrange(len(whole))
        end = min(len(whole), first + chance.choice([1, 40, 700, 4096]))
        holed = whole[:first] + bytes(end - first) + whole[end:]
        lost, at = set(), 0
        for line in lines:
            if at - 1 < end and at + len(line) > first and at:  # it, or the line break before it
                lost.add(row_of(line))
            at += len(line)
        trial = copy(killed, tmp_path / f"hole{number}")
        (trial.root / path.relative_to(killed.root)).write_bytes(holed)
        trial.done = {row: result for row, result in killed.done.items() if row not in lost}
        trial.finish()
        shutil.rmtree(trial.root)


def test_verify_reports_every_flipped_bit(killed):
    chance = random.Random(11)
    found = sorted(killed.folder.glob("completions/part-*.parquet"))
    found += sorted(killed.folder.glob(f"open/*/{JOURNAL}"))
    clean = findings(killed.folder)
    contents = {path: path.read_bytes() for path in found}
    for _ in range(2_000):
        path = chance.choice(found)
        at, bit = chance.randrange(len(contents[path])), chance.randrange(8)
        flip(path, at, bit)
        seen = findings(killed.folder)
        assert any(str(path) in text and text not in clean for text in seen), (path, at, bit)
        flip(path, at, bit)
    assert {path: path.read_bytes() for path in found} == contents


def flip(path: Path, at: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def test_a_flipped_bit_in_a_spool_is_never_carried_into_the_output(tmp_path, killed):
    chance = random.Random(13)
    for number in range(20):
        trial = copy(killed, tmp_path / f"spool{number}")
        path = chance.choice(sorted(trial.folder.glob(f"open/*/{SPOOL}")))
        flip(path, chance.randrange(path.stat().st_size), chance.randrange(8))
        trial.finish()
        shutil.rmtree(trial.root)


# Starts that do not get far


@pytest.mark.parametrize("limit", range(1, ROWS, 5))
def test_a_killed_run_takes_a_lower_limit_and_then_none(killed, limit):
    asked = len(killed.asked)
    killed.start(Quick(), limit=limit)
    assert all(row < limit for row in killed.asked[asked:])
    assert [text for text in findings(killed.folder) if "damage" in text] == []
    killed.finish()


@pytest.mark.parametrize("part_rows", [1, 3, 5, 12, 100])
def test_a_killed_run_goes_on_with_parts_of_another_size(killed, part_rows):
    killed.part_rows = part_rows
    killed.finish()


@pytest.mark.parametrize("spools", ["whole", "gone"])
@pytest.mark.parametrize("stop_after", [0, 1, 2, 5])
def test_a_start_that_stops_at_once_loses_nothing(killed, stop_after, spools):
    if spools == "gone":
        for path in killed.folder.glob(f"open/*/{SPOOL}"):
            path.unlink()
    killed.start(Quick(), stop_after=stop_after)
    killed.start(Quick(), stop_after=stop_after)
    killed.finish()


async def test_rows_of_a_part_that_was_sealed_meanwhile_are_not_wanted_again(tmp_path):
    killed = made(tmp_path / "killed", part_rows=FILE_ROWS)
    source, _, store = killed.opened(Quick())
    async with store:
        store.take_in(next(source.batches()))
        for row in (0, 2, 3):
            store.write(Result(row=row, status="ok"))
        while len(killed.done) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        later = copy(killed, tmp_path / "later")
    source, found, store = later.opened(Quick())
    async with store:
        store.resume_last(found[0], bytes([0, 1, 0, 0]))
        store.take_in(next(source.batches()))
        store.write(Result(row=1, status="ok"))
        while not store.footers:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert not any(store.wants(row) for row in range(FILE_ROWS))
        batches = source.batches(store.next_position)
        assert store.take_in(next(batches)) == FILE_ROWS
        assert not any(store.wants(row) for row in range(FILE_ROWS))
        assert store.wants(FILE_ROWS)


def test_parts_of_one_row_do_not_hold_each_other_up(tmp_path):
    write_input(tmp_path, texts(280))
    run = Run(tmp_path, part_rows=1)
    assert asyncio.run(asyncio.wait_for(run._start(Quick(), None, None), 60))
    assert len(parts_of(run)) == 280


def parts_of(run: Run) -> list[Path]:
    return sorted((run.folder / "completions").glob("part-*.parquet"))
