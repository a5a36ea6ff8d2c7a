"""`--shard`: which of several workers of one run this process is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from batch.errors import UsageError

if TYPE_CHECKING:
    from batch.planning.terms import Shard

COUNT = "BATCHMILL_SHARDS"
"""How many workers there are, where the scheduler does not say."""


def given(text: str, environment: Mapping[str, str]) -> Shard:
    """What the flag says: `2/8` is the third of eight workers, `auto` asks the scheduler's variables.
    Raises UsageError.
    """
    if text == "auto":
        return _by_scheduler(environment)
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None:
        raise UsageError(f"--shard {text!r}: write I/N (0/4, 1/4, 2/4, 3/4), or auto")
    return _shard(int(found[1]), int(found[2]), f"--shard {text}")


def _by_scheduler(environment: Mapping[str, str]) -> Shard:
    """Of a Slurm array, a Kubernetes Indexed Job or a SkyPilot pool."""

    def number(name: str, default: str | None = None) -> int:
        said = environment.get(name, default)
        if said is None:
            raise UsageError(f"--shard auto: {name} is not set")
        if not re.fullmatch(r"\d{1,9}", said):
            raise UsageError(f"--shard auto: {name} is {said!r}, not a number")
        return int(said)

    if "SLURM_ARRAY_TASK_ID" in environment:
        first, count = number("SLURM_ARRAY_TASK_MIN"), number("SLURM_ARRAY_TASK_COUNT")
        if number("SLURM_ARRAY_TASK_MAX", str(first + count - 1)) != first + count - 1:
            raise UsageError(
                "--shard auto: the indices of the Slurm array are not in steps of 1: write --array=0-7"
            )
        return _shard(number("SLURM_ARRAY_TASK_ID") - first, count, "the Slurm array")
    if "JOB_COMPLETION_INDEX" in environment:
        if COUNT not in environment:
            raise UsageError(
                f"--shard auto: Kubernetes does not tell how many there are: set {COUNT} to the"
                " Job's completions"
            )
        return _shard(number("JOB_COMPLETION_INDEX"), number(COUNT), f"the Indexed Job and {COUNT}")
    if "SKYPILOT_JOB_RANK" in environment:
        return _shard(number("SKYPILOT_JOB_RANK"), number("SKYPILOT_NUM_JOBS"), "the SkyPilot pool")
    raise UsageError(
        "--shard auto: no scheduler tells which worker this is (SLURM_ARRAY_TASK_ID,"
        " JOB_COMPLETION_INDEX, SKYPILOT_JOB_RANK)",
        hint="write --shard I/N",
    )


def _shard(index: int, of: int, where: str) -> Shard:
    from batch.planning.terms import Shard

    if of == 0:
        raise UsageError(f"{where}: there is one worker at least: 0/1")
    if index >= of:
        raise UsageError(
            f"{where}: there is no worker {index} of {of}: they are counted from 0, the last is {of - 1}"
        )
    return Shard(index, of)
