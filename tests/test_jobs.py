"""Every job in jobs/ runs on the embedded model and leaves what it promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.check_main_job import agrees, read
from tests.conftest import ROOT, Finished

pytestmark = pytest.mark.second_lane

JOBS = sorted((ROOT / "jobs").glob("*.toml"))


@pytest.mark.parametrize("job", JOBS, ids=lambda path: path.stem)
def test_runs_on_the_embedded_model(
    job: Path, batchmill: Callable[..., Finished], tmp_path: Path, cache: dict[str, str]
) -> None:
    done = batchmill("run", job, "--limit", 4, env=cache, timeout=110)

    assert done.exit_code == 0, done.stderr
    rows = read(tmp_path / "runs" / job.stem)
    assert [row["row"] for row in rows] == [0, 1, 2, 3]
    assert all(row["status"] == "ok" and row["output_tokens"] > 0 for row in rows)
    assert {row["endpoint"] for row in rows} == {"local"}


def test_job_with_a_schema_answers_in_it(
    batchmill: Callable[..., Finished], tmp_path: Path, cache: dict[str, str]
) -> None:
    done = batchmill(
        "run", ROOT / "jobs/sentiment_schema.toml", "--limit", 6, env=cache, timeout=110
    )

    assert done.exit_code == 0, done.stderr
    rows = read(tmp_path / "runs/sentiment_schema")
    assert {row["parsed"]["sentiment"] for row in rows} <= {"positive", "negative"}
    assert sum(map(agrees, rows)) >= 4


def test_streamed_job_measures_the_first_token(
    batchmill: Callable[..., Finished], tmp_path: Path, cache: dict[str, str]
) -> None:
    done = batchmill("run", ROOT / "jobs/summarize.toml", "--limit", 2, env=cache, timeout=110)

    assert done.exit_code == 0, done.stderr
    for row in read(tmp_path / "runs/summarize"):
        assert 0 < row["ttft_s"] <= row["latency_s"]
