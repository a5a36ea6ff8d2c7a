"""What flags say of how a job is judged and run, beside the job itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from batch.store.budget_file import Cap
from batch.store.plan import Again

if TYPE_CHECKING:
    from batch.readers.memory import Data

LEASED = "ray-"
"""How the names begin of workers to which parts are lent, and of their driver."""


class Shard(msgspec.Struct, frozen=True):
    """Which of several workers that share a run: number `index`, from 0 on, `of` so many.

    One that `stays` has the same parts from its start to its end.  Others have a `driver`, and are
    `leased` parts one by one.
    """

    index: int
    of: int
    kind: Literal["stays", "driver", "leased"] = "stays"

    @property
    def name(self) -> str:
        """What the worker is called in the folder of the run."""
        if self.kind == "driver":
            return f"{LEASED}driver"
        return f"{LEASED}{self.index}" if self.kind == "leased" else f"{self.index}-of-{self.of}"

    def has(self, part: int) -> bool:
        """Whether a part is this worker's from its start on."""
        return self.kind == "stays" and part % self.of == self.index

    def works_with(self, name: str) -> bool:
        """Whether the worker of that name may share the run in the same way."""
        if self.kind != "stays":
            return name.startswith(LEASED)
        return name.partition("-")[2] == f"of-{self.of}"


ALONE = Shard(0, 1)
"""The only worker of a run whose parts were planned."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """`folder` is that of the run, if there is one or is to be one.  `asks` is false where nothing will
    be sent: rows that cannot be asked, and a run of another job, are then values and no errors.

    `bounds` holds requests to what servers accept; `job_file` is named where one of its keys is
    wrong; `same_prompt` tells that the prompt need not name a column; `cap` is what a flag says of
    the cost; `reuse` are the runs whose answers are taken, `again` which finished rows are asked
    instead of anything else; `retry_failed` asks all that failed besides the rest, None those that
    failed for a passing reason; `data` is what was in memory, where the job's input is "-"; a
    `probe` asks so many rows at most, and leaves the job's own limit as it is; `yes` goes on where
    answers are doubtful; `shard` tells which of several workers this is, None where the run is this
    process's alone; `succeeded`: others that share it have had answers.
    """

    environment: dict[str, str]
    folder: Path | None = None
    asks: bool = True
    record_bad_rows: bool = False
    bounds: bool = True
    job_file: Path | None = None
    same_prompt: bool = False
    cap: Cap | None = None
    new: bool = False
    reuse: tuple[Path, ...] = ()
    again: Again | None = None
    retry_failed: bool | None = None
    data: Data | None = None
    probe: int | None = None
    yes: bool = False
    shard: Shard | None = None
    succeeded: bool = False

    @property
    def anew(self) -> bool:
        """Whether the run that is in the folder is not to go on."""
        return self.new or bool(self.reuse)
