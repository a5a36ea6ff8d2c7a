"""A browser, and pages in which there is much of everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from batch.cli import batchmill as program
from tests.browser import chromium
from tests.browser.chromium import Chromium
from tests.reports.test_report import HOSTILE, HOUR, JANUARY, answered, recorded

LABELS = ["positive", "negative", "mixed", "neither of these three", "unbroken" * 9, HOSTILE]
MODELS = ["gpt-5.4-mini", "a-vendor/a-model-with-a-rather-long-name-2026-01-31-preview", "b" * 90]
BY = {"model": (), "customer": ("customer", "status", "week"), "hour": ("hour",)}


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if chromium.PATH is None:  # the gate installs it, and this lane is its own
        pytest.skip("chromium is not installed")
    with chromium.running(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports by the keys of BY, and a comparison, by name."""
    folder = tmp_path_factory.mktemp("pages")
    a, b = (recorded(folder / name, _rows(name), None, _customers()) for name in "ab")
    made = {name: folder / f"{name}.html" for name in (*BY, "compared")}
    for name, keys in BY.items():
        _write("report", a, "-o", made[name], *(word for key in keys for word in ("--by", key)))
    _write("compare", a, b, "-o", made["compared"])
    return made


def _write(*words: object) -> None:
    ended = CliRunner().invoke(program, [str(word) for word in words])
    assert ended.exit_code == 0, (ended.output, ended.exception)


def _rows(name):
    wide = {"input_tokens": 10**9, "cached_tokens": 10**8, "reasoning_tokens": 10**7, "ttft_s": 0.1}
    found = [
        answered(
            **wide,
            served_model=MODELS[n % 3],
            completion=LABELS[(n + (name == "b" and n % 4 == 0)) % len(LABELS)],
            cost_usd=None if n % 3 == 1 else 12_345.678,
            unconfirmed_tokens=500,
            unconfirmed_cost_usd=0.5,
            latency_s=0.1 * 1.2**n,
            started_at=JANUARY + n * 9 * HOUR,
        )
        for n in range(36)
    ]
    failed = {"status": "failed", "error_class": "invalid_request"}
    return [*found, *(answered(**failed, error_message=text) for text in (HOSTILE, "x" * 400))]


def _customers():
    return [
        ["acme", "a customer with a long name, Inc.", HOSTILE, "y" * 60][n % 4] for n in range(38)
    ]
