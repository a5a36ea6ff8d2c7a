"""A flex tier without room: its rows are asked again in the standard tier, if the job says so."""

from __future__ import annotations

from batch import runner, spec
from tests import virtual
from tests.fake_api import FakeAPI, Step
from tests.reading import rows, texts, write

FULL = Step(429, body={"error": {"message": "no room", "code": "resource_unavailable"}})
ROWS = 30


def test_rows_leave_a_flex_tier_that_has_no_room(tmp_path):
    api = FakeAPI(in_a_thread=False)
    api.script = {"": [FULL] * 3}
    tables = {
        "input": str(write(tmp_path / "in.jsonl", texts(ROWS))),
        "prompt": {"user": "{{ text }}"},
        "request": {"model": "fake-model", "service_tier": "flex"},
        "endpoint": {"base_url": api.url, "api_key_env": ""},
        "retry": {"flex_fallback": True},
    }
    ended = runner.run(spec.check(tables), tmp_path / "run", *virtual.how(api))
    api.close()
    assert ended.exit_code == 0
    asked = [seen.body.get("service_tier") for seen in api.ledger]
    assert asked.count("flex") == 3 * ROWS
    assert asked.count(None) == ROWS
    keys = {seen.headers["idempotency-key"] for seen in api.ledger}
    assert len(keys) == 2 * ROWS  # one a body
    assert len({row["request_hash"] for row in rows(tmp_path / "run")}) == ROWS
