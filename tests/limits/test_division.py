"""The share of each worker in the limits of a job."""

from __future__ import annotations

from typing import Any

import pytest

from batch import spec
from batch.limits import division
from batch.limits.limits import Limits
from batch.limits.pool import Share

LIMITS: list[tuple[dict[str, Any], int, list[dict[str, Any]]]] = [  # the run's, workers, each one's
    ({}, 1, [{}]),
    ({}, 2, [{"concurrency_max": 128}] * 2),
    ({"concurrency_max": 5}, 2, [{"concurrency_max": 3}, {"concurrency_max": 2}]),
    ({"concurrency_max": 2}, 3, [{"concurrency_max": 1}] * 3),
    (
        {"requests_per_minute": 600, "concurrency_max": 3},
        3,
        [{"requests_per_minute": 200, "concurrency_max": 1}] * 3,
    ),
    (
        {"tokens_per_minute": 10_000, "concurrency_max": 8},
        4,
        [{"tokens_per_minute": 2_500, "concurrency_max": 2}] * 4,
    ),
    (
        {"concurrency": 10, "concurrency_max": 4},
        4,
        [{"concurrency": each, "concurrency_max": 1} for each in (3, 3, 2, 2)],
    ),
    ({"concurrency": 2, "concurrency_max": 3}, 3, [{"concurrency": 1, "concurrency_max": 1}] * 3),
    (
        {"max_cost_usd": 7.0, "concurrency_max": 1},
        2,
        [{"max_cost_usd": 7.0, "concurrency_max": 1}] * 2,
    ),
]


@pytest.mark.parametrize(("run", "workers", "each"), LIMITS)
def test_each_worker_has_its_share_of_the_limits(
    run: dict[str, Any], workers: int, each: list[dict[str, Any]]
) -> None:
    divided = [division.limits(Limits(**run), worker, workers) for worker in range(workers)]

    assert divided == [Limits(**expected) for expected in each]


@pytest.mark.parametrize(
    ("number", "workers", "parts"),
    [(8, 1, [8]), (8, 3, [3, 3, 2]), (3, 3, [1, 1, 1]), (2, 3, [1, 1, 0]), (256, 4, [64] * 4)],
)
def test_a_number_is_divided_evenly_and_wholly(number: int, workers: int, parts: list[int]) -> None:
    assert division.parts(number, workers) == parts


@pytest.mark.parametrize("workers", range(1, 12))
@pytest.mark.parametrize("kind", ["concurrency", "concurrency_max"])
def test_the_requests_in_flight_of_all_workers_are_those_of_the_run(
    kind: str, workers: int
) -> None:
    for number in range(1, 40):
        run = Limits(**{kind: number})
        shares = [getattr(division.limits(run, worker, workers), kind) for worker in range(workers)]
        assert min(shares) >= 1
        assert sum(shares) == max(number, workers)


def test_each_endpoint_of_a_job_is_divided() -> None:
    tables = {
        "limits": {"requests_per_minute": 900, "concurrency": "auto", "concurrency_max": 90},
        "endpoint": [
            {"base_url": "http://a", "weight": 2, "requests_per_minute": 300, "concurrency": 7},
            {"base_url": "http://b", "name": "b", "tokens_per_minute": 60, "concurrency_max": 6},
            {"base_url": "http://c", "name": "c", "concurrency": "auto"},
        ],
    }
    job = spec.check(tables)
    divided = [job.of_worker(worker, 3) for worker in range(3)]

    run = Limits(requests_per_minute=300, concurrency="auto", concurrency_max=30)
    assert [each.limits for each in divided] == [run] * 3
    shares = [[place.share for place in each.places] for each in divided]
    for worker, slots in enumerate((3, 2, 2)):
        assert shares[worker] == [
            Share(weight=2, requests_per_minute=100, concurrency=slots),
            Share(tokens_per_minute=20, concurrency_max=2),
            Share(concurrency="auto"),
        ]
    assert [place.endpoint for place in divided[0].places] == [
        place.endpoint for place in job.places
    ]


def test_a_job_for_one_worker_is_the_job() -> None:
    job = spec.check({"limits": {"requests_per_minute": 7, "concurrency": 5}})

    assert job.of_worker(0, 1) == job
