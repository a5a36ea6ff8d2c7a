"""What tests of the Python door share: a job that asks the scripted API."""

from __future__ import annotations

from typing import Any

import pytest

import batch
from batch.spec import Job
from tests.fake_api import FakeAPI


@pytest.fixture
def job(api: FakeAPI, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Job:
    """It sends the column `text`; relative paths start in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    return batch.job(**tables(api))


def tables(api: FakeAPI, **more: Any) -> dict[str, Any]:
    """The tables of such a job."""
    return {
        "prompt": {"user": "{{ text }}"},
        "request": {"model": "fake-model"},
        "endpoint": {"base_url": api.url, "api_key_env": ""},
        "retry": {"first_delay": 0.001, "max_delay": 0.01},
        **more,
    }
