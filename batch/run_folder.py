"""Where everything lies in the folder of a run.  Nobody else spells these names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

PLAN, USAGE, BUDGET, LOG, LOCK, SOFT_LOCK = (
    *("run.json", "usage.parquet", "budget.json"),
    *("run.log", "lock", "lock.soft"),
)
LOCKED, LEASED, CARD = ".lock", ".lease", ".json"
BUDGET_LOCK = "budget.lock"
COMPLETIONS, OPEN, DRAFTS, DAMAGED = "completions", "open", "tmp", "damaged"
PLAN_COPY, SCHEMA_COPY = "run.json.copy", "schema.copy"
SCHEMA = "_schema.parquet"
PARTS, PARTS_COPY, WORKERS = "parts.json", "parts.json.copy", "workers"
JOURNAL, SPOOL, SENT = "journal.jsonl", "input.arrow", "sent"

OURS = frozenset(
    {
        *(PLAN, PLAN_COPY, SCHEMA_COPY, USAGE, BUDGET, LOG, LOCK, SOFT_LOCK),
        *(COMPLETIONS, OPEN, DRAFTS, DAMAGED, PARTS, PARTS_COPY, WORKERS),
    }
)
"""What lies in a run's folder; and its own copy of what came on standard input, `input.*`, and what
each of several workers has taken from the cap, `budget-*.json`.
"""

DEEPEST = 3
"""Levels at which the files of a run lie: `open/part-00000000/journal.jsonl` is at the third."""

PART = re.compile(r"part-(\d{8})(?:\.parquet)?$")


def is_ours(name: str) -> bool:
    """Whether a run puts something of that name into its folder."""
    return name in OURS or name.startswith(("input.", "budget-", "budget."))


def run_of(path: Path) -> Path:
    """The folder of the run in which a file of it lies, also where nothing tells that it is one."""
    near = list(path.parents)[:DEEPEST]
    inner = [each for each in near[: DEEPEST - 1] if each.name in (COMPLETIONS, OPEN, DRAFTS)]
    known = [run for run in near if is_run(run) and not (run.name == DRAFTS and is_run(run.parent))]
    return known[0] if known else (inner[0] if inner else path).parent


def is_run(folder: Path) -> bool:
    """Whether a run lies there, damaged or not."""
    return any(os.path.lexists(folder / name) for name in (PLAN, PLAN_COPY))


def runs_below(root: Path) -> list[Path]:
    """The folders below `root` that hold runs, damaged ones too, by path."""
    found = {path.parent for path in root.rglob(f"{PLAN}*") if path.name in (PLAN, PLAN_COPY)}
    return sorted(found)


def part_name(number: int) -> str:
    """How a part is called; sealed, with `.parquet` behind."""
    return f"part-{number:08d}"


class PartFolder(msgspec.Struct, frozen=True):
    """The folder of a part that takes results."""

    path: Path

    @property
    def journal(self) -> Path:
        """Its results."""
        return self.path / JOURNAL

    @property
    def spool(self) -> Path:
        """Its slice of the input."""
        return self.path / SPOOL


class RunFolder(msgspec.Struct, frozen=True):
    """The folder of a run, and what is where in it.  A person names it by its path.

    Where several processes share it, each is a `worker` with a name: what two of them would write over
    each other lies where that name says.
    """

    path: Path
    worker: str = ""

    @property
    def plan(self) -> Path:
        """What the run is doing."""
        return self.path / PLAN

    @property
    def plan_copy(self) -> Path:
        """The same once more: nothing else tells it."""
        return self.path / PLAN_COPY

    @property
    def schema_copy(self) -> Path:
        """The columns of its output once more."""
        return self.path / SCHEMA_COPY

    @property
    def damaged(self) -> Path:
        """The folder of what could not be read and was set aside."""
        return self.path / DAMAGED

    @property
    def usage(self) -> Path:
        """What it used, added up."""
        return self.path / USAGE

    @property
    def budget(self) -> Path:
        """What it has taken from its cap, or its worker has."""
        return self.path / (f"budget-{self.worker}.json" if self.worker else BUDGET)

    @property
    def log(self) -> Path:
        """What happened to it, or to its worker."""
        return self.workers / f"{self.worker}.log" if self.worker else self.path / LOG

    @property
    def lock(self) -> Path:
        """Which its process holds."""
        return self.path / LOCK

    @property
    def soft_lock(self) -> Path:
        """Which is held where the file system has no locks."""
        return self.path / SOFT_LOCK

    @property
    def completions(self) -> Path:
        """The folder of the sealed parts."""
        return self.path / COMPLETIONS

    @property
    def schema(self) -> Path:
        """The columns of its output, which begin with it."""
        return self.completions / SCHEMA

    @property
    def open(self) -> Path:
        """The folder of the open parts, and of what was sent."""
        return self.path / OPEN

    @property
    def drafts(self) -> Path:
        """The folder of what is on its way to another."""
        return self.path / DRAFTS / self.worker

    @property
    def parts(self) -> Path:
        """The parts that were planned, if they were."""
        return self.path / PARTS

    @property
    def parts_copy(self) -> Path:
        """The same once more."""
        return self.path / PARTS_COPY

    @property
    def workers(self) -> Path:
        """The folder of what workers tell of themselves, and of their locks."""
        return self.path / WORKERS

    @property
    def budget_lock(self) -> Path:
        """Which a worker holds while it takes from the cap."""
        return self.path / BUDGET_LOCK

    @property
    def worker_lock(self) -> Path:
        """Which its worker holds."""
        return self.workers / f"{self.worker}{LOCKED}"

    @property
    def worker_lease(self) -> Path:
        """Which it holds where the file system has no locks."""
        return self.workers / f"{self.worker}{LEASED}"

    @property
    def worker_card(self) -> Path:
        """What it tells of itself."""
        return self.workers / f"{self.worker}{CARD}"

    def of(self, worker: str) -> RunFolder:
        """The same for a worker of this name."""
        return RunFolder(self.path, worker)

    @property
    def gathered(self) -> Path:
        """What earlier starts sent and nobody recorded."""
        return self.open / SENT

    def sent(self, part: int) -> Path:
        """What was sent for the rows of a part."""
        return self.open / f"{SENT}-{part:08d}"

    def kept_input(self, suffix: str, earlier: int = 0) -> Path:
        """Its copy of what came on standard input or from memory, after so many earlier ones."""
        return self.path / f"input{f'-{earlier + 1}' if earlier else ''}{suffix}"

    def opened(self, part: int) -> PartFolder:
        """Where a part lies while it is open."""
        return PartFolder(self.open / part_name(part))

    def sealed(self, part: int) -> Path:
        """Where a part lies once it is sealed."""
        return self.completions / f"{part_name(part)}.parquet"

    # What is there

    def open_parts(self) -> dict[int, PartFolder]:
        """The open parts by number, in order."""
        return {number: PartFolder(path) for number, path in _parts(self.open.glob("part-*"))}

    def sealed_parts(self) -> dict[int, Path]:
        """The sealed parts by number, in order."""
        return dict(_parts(self.sealed_files()))

    def sealed_files(self) -> list[Path]:
        """What lies there as sealed parts do, in order."""
        return sorted(self.completions.glob("part-*.parquet"))

    def numbers(self) -> list[int]:
        """The parts there are, in order; open ones are looked for first, as they move on."""
        opened = self.open_parts()
        return sorted(opened.keys() | self.sealed_parts().keys())

    def budgets(self) -> list[Path]:
        """The files of what was taken from the cap, whoever wrote them."""
        return sorted(self.path.glob(f"{Path(BUDGET).stem}*.json"))

    def all_sent(self) -> list[Path]:
        """The files of what was sent."""
        return sorted(self.open.glob(f"{SENT}*"))


def _parts(paths: Iterable[Path]) -> Iterator[tuple[int, Path]]:
    for path in sorted(paths):
        if found := PART.fullmatch(path.name):
            yield int(found[1]), path
