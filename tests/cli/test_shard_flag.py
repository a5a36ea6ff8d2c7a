"""`--shard`: what it and the schedulers' variables say."""

from __future__ import annotations

import pytest

from batch.cli import shards
from batch.errors import UsageError
from batch.planning.terms import Shard

SLURM = {
    "SLURM_ARRAY_TASK_ID": "12",
    "SLURM_ARRAY_TASK_MIN": "10",
    "SLURM_ARRAY_TASK_MAX": "17",
    "SLURM_ARRAY_TASK_COUNT": "8",
}
KUBERNETES = {"JOB_COMPLETION_INDEX": "3", "BATCHMILL_SHARDS": "4"}
SKYPILOT = {"SKYPILOT_JOB_RANK": "0", "SKYPILOT_NUM_JOBS": "2"}


@pytest.mark.parametrize(
    ("text", "environment", "found"),
    [
        ("0/1", {}, Shard(0, 1)),
        ("3/8", SLURM, Shard(3, 8)),
        ("auto", SLURM, Shard(2, 8)),
        ("auto", {key: SLURM[key] for key in SLURM if not key.endswith("MAX")}, Shard(2, 8)),
        ("auto", KUBERNETES, Shard(3, 4)),
        ("auto", SKYPILOT, Shard(0, 2)),
        ("auto", {**SKYPILOT, **KUBERNETES, **SLURM}, Shard(2, 8)),
    ],
)
def test_says_which_worker_it_is(text, environment, found):
    assert shards.given(text, environment) == found


@pytest.mark.parametrize(
    ("text", "environment", "named"),
    [
        ("4/4", {}, "no worker 4 of 4: they are counted from 0, the last is 3"),
        ("0/0", {}, "--shard 0/0: there is one worker at least"),
        ("1/0", {}, "--shard 1/0: there is one worker at least"),
        ("1", {}, "I/N"),
        ("-1/4", {}, "I/N"),
        ("1/4/2", {}, "I/N"),
        ("auto", {}, "SLURM_ARRAY_TASK_ID"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_MAX": "24"}, "steps of 1"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN is not set"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_COUNT": "many"}, "SLURM_ARRAY_TASK_COUNT is 'many'"),
        ("auto", {"JOB_COMPLETION_INDEX": "3"}, "BATCHMILL_SHARDS"),
        ("auto", {**KUBERNETES, "JOB_COMPLETION_INDEX": "4"}, "BATCHMILL_SHARDS.*the last is 3"),
        ("auto", {**KUBERNETES, "BATCHMILL_SHARDS": "0"}, "one worker at least"),
        ("auto", {"SKYPILOT_JOB_RANK": "0"}, "SKYPILOT_NUM_JOBS is not set"),
    ],
)
def test_what_says_no_worker_is_refused_by_name(text, environment, named):
    with pytest.raises(UsageError, match=named):
        shards.given(text, environment)
