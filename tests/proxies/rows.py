"""Runs through a proxy, and what must be right in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fake_api import answer_to
from tests.proxies.proxy import Proxy
from tests.reading import Ran, ran

PATIENT = {"first_delay": 0.05, "max_delay": 1, "max_wait": 60}
"""`[retry]` of a run that outlasts what a test does to it, on a busy machine too."""


def through(proxy: Proxy, folder: Path, prompts: list[str], **more: Any) -> Ran:
    """What comes of sending `prompts` through `proxy`; `more` are tables of the job."""
    tables = {
        "prompt": {"user": "{{ text }}"},
        "endpoint": {"base_url": proxy.url, "api_key_env": ""},
        "limits": {"concurrency": 8},
        "retry": PATIENT,
        **more,
    }
    request = tables.pop("request", {})
    return ran(None, folder / "job", [{"text": text} for text in prompts], request, **tables)


def assert_all_answered(ended: Ran, prompts: list[str]) -> None:
    assert (ended.exit_code, ended.stopped) == (0, None), errors(ended)
    assert answers(ended) == {at: answer_to(text) for at, text in enumerate(prompts)}


def assert_sent_once(ended: Ran, prompts: list[str]) -> None:
    """All are answered, and nothing was sent again."""
    assert_all_answered(ended, prompts)
    again = [row["attempt_log"] for row in ended.rows if row["attempts"] != 1]
    assert not again


def answers(ended: Ran) -> dict[int, str]:
    """By their rows."""
    return {row["row"]: row["completion"] for row in ended.rows if row["status"] == "ok"}


def errors(ended: Ran) -> dict[int, tuple[str, str]]:
    """Class and message, by their rows."""
    failed = [row for row in ended.rows if row["error_class"] is not None]
    return {row["row"]: (row["error_class"], row["error_message"]) for row in failed}
