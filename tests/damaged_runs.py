"""`python -m tests.damaged_runs [RUNS] [SEED]`: run folders with a random file damaged at random; every
command looks at them, another run reads them, `verify --repair` mends them, and `run` finishes them.

No command may hang or call it a bug.  What a healthy file held is there in the end, and is not asked
again.  What is read from a damaged run is all of it, or nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests import program
from tests.fake_api import FakeAPI, Step, answer_to
from tests.reading import asking, rows, texts, until, write

ROWS = 24
PART_ROWS = 6
HANGING = ("text 00003", "text 00009", "text 00014")
"""Rows of the interrupted run that get no answer, so that their parts stay open."""
HANG = 60
LOOKING = (
    ("status", "runs/in"),
    ("report", "runs/in"),
    ("show", "-n", "100", "runs/in"),
    ("runs",),
    ("report", "runs"),
    ("verify", "runs/in"),
)


def truncated(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data) + 1)])


def zeroed(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data) + 1)
    length = min(chance.choice([1, 64, 4096]), len(data) - at)
    data[at : at + length] = bytes(length)
    path.write_bytes(data)


def flipped(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def with_second_header(path: Path, chance: random.Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    at = chance.randint(min(1, len(lines)), len(lines))
    path.write_bytes(b"".join([*lines[:at], *lines[:1], *lines[at:]]))


def deleted(path: Path, _: random.Random) -> None:
    path.unlink()


def a_folder(path: Path, _: random.Random) -> None:
    path.unlink()
    path.mkdir()


def a_fifo(path: Path, _: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def a_loop(path: Path, _: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


Damage = Callable[[Path, random.Random], None]
DAMAGES: tuple[Damage, ...] = (
    *(truncated, zeroed, flipped, with_second_header, deleted, a_folder, a_fifo, a_loop),
)


@dataclass(frozen=True)
class Template:
    """A folder in which `runs/in` is a run, and the rows that each of its files holds."""

    folder: Path
    held: dict[str, set[int]]

    def names(self) -> list[str]:
        """The files of the run."""
        run = self.folder / "runs/in"
        return sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())


class Damaging:
    """Runs to damage: a finished one and one that was killed, made once."""

    def __init__(self, api: FakeAPI, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self.command = ("run", "in.jsonl", *asking(api, "--set", f"output.part_rows={PART_ROWS}"))
        self.reading = ("run", "runs/in", *asking(api, "-p", "{{ completion }}", "-o", "out"))
        self.templates = (self._finished(), self._killed())

    def _finished(self) -> Template:
        folder = self._begun("finished")
        assert said(self.command, folder)[0] == 0
        return _template(folder)

    def _killed(self) -> Template:
        folder = self._begun("killed")
        self.api.script = {prompt: [Step(hang=True)] for prompt in HANGING}
        process = program.start(self.command, folder)
        until(lambda: len(_journalled(folder)) == ROWS - PART_ROWS - len(HANGING), process)
        process.kill()
        process.communicate(timeout=HANG)
        self.api.script = {}
        return _template(folder)

    def _begun(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True)
        write(folder / "in.jsonl", texts(ROWS))
        return folder

    def one(self, seed: int) -> str:
        """Damage one file, and check all that is promised.  Gives what was done.  Raises
        AssertionError.
        """
        chance = random.Random(seed)
        template, damage = chance.choice(self.templates), chance.choice(DAMAGES)
        return self._damaged(template, chance.choice(template.names()), damage, chance)

    def with_damage(self, name: str, damage: Damage, seed: int) -> None:
        """The same with one file and one damage, in each of the runs that has the file."""
        for template in self.templates:
            if name in template.names():
                self._damaged(template, name, damage, random.Random(seed))

    def copied(self, folder: Path, *, killed: bool = False) -> Path:
        """`folder` with a copy of the run, its input, and a finished neighbour."""
        shutil.copytree(self.templates[killed].folder, folder, dirs_exist_ok=True)
        shutil.copytree(self.templates[0].folder / "runs/in", folder / "runs/neighbour")
        return folder

    def _damaged(self, template: Template, name: str, damage: Damage, chance: random.Random) -> str:
        killed = template is self.templates[1]
        folder = self.copied(Path(tempfile.mkdtemp(dir=self.folder)), killed=killed)
        damage(folder / "runs/in" / name, chance)
        what = f"{template.folder.name}: {damage.__name__} {name}"
        healthy = {row for file, held in template.held.items() for row in held if file != name}
        try:
            self._check(folder, chance.random() < 0.3, healthy)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from None
        shutil.rmtree(folder)
        return what

    def _check(self, folder: Path, at_once: bool, healthy: set[int]) -> None:
        self.api.reset_ledger()
        for command in LOOKING:
            code, output = said(command, folder)
            assert code in (0, 1, 2, 4, 5), (command, code, output)
            assert code in (0, 1) or "error" in output or "damaged" in output, (command, output)
            if "runs" in command:
                assert "neighbour" in output or command[0] == "report", output
        code, output = said(self.reading, folder)
        assert code in (0, 2, 5), (self.reading, code, output)
        assert code or len(rows(folder / "out")) == ROWS, (self.reading, output)
        if at_once:
            code, output = said(self.command, folder)
            assert code in (0, 2, 4, 5), (code, output)
        code, output = said(("verify", "--repair", "runs/in"), folder)
        assert code in (0, 1), ("repair", code, output)
        code, output = said(self.command, folder)
        assert code == 0, ("run", code, output)
        prompts = texts(ROWS)
        found = [(row["row"], row["status"], row["completion"]) for row in rows(folder / "runs/in")]
        assert found == [(row, "ok", answer_to(text)) for row, text in enumerate(prompts)], found
        again = {row for row in healthy if self.api.prompts().get(prompts[row])}
        assert not again, f"asked again: {sorted(again)}"
        code, output = said(("verify", "runs/in"), folder)
        assert code == 0, ("verify", code, output)


def _template(folder: Path) -> Template:
    run = folder / "runs/in"
    held = {
        f"completions/part-{number:08d}.parquet": {
            *range(number * PART_ROWS, (number + 1) * PART_ROWS)
        }
        for number in range(-(-ROWS // PART_ROWS))
        if (run / f"completions/part-{number:08d}.parquet").exists()
    }
    for row, file in _journalled(folder).items():
        held.setdefault(file, set()).add(row)
    return Template(folder, held)


def _journalled(folder: Path) -> dict[int, str]:
    """The rows in journals, and in which."""
    run = folder / "runs/in"
    return {
        int(line.split(b'"row":')[1].split(b",")[0]): str(path.relative_to(run))
        for path in run.glob("open/*/journal.jsonl")
        for line in path.read_bytes().splitlines()[1:]
        if line.endswith(b"}")
    }


def said(command: tuple[object, ...], folder: Path) -> tuple[int, str]:
    """Exit code and output of a command, which must end."""
    process = program.start(command, folder)
    try:
        output = "".join(process.communicate(timeout=HANG))
    except BaseException:  # a Ctrl-C of the tester, too, leaves no process behind
        process.kill()
        raise
    return process.returncode, output


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    wrong, done = 0, Counter[str]()
    api = FakeAPI()
    with tempfile.TemporaryDirectory() as scratch:
        damaging = Damaging(api, Path(scratch))
        for seed in range(first, first + runs):
            try:
                done[damaging.one(seed).split()[1]] += 1
            except (AssertionError, TimeoutError, OSError) as error:
                print(f"seed {seed}: {error}", flush=True)
                wrong += 1
    api.close()
    program.close()
    print(f"{wrong} of {runs} damaged runs went wrong; the others: {dict(done)}")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
