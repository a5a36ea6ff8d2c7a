"""What a run says it cost, against what the server charged."""

from __future__ import annotations

import json

import pytest

from tests.fake_api import Step
from tests.reading import ran, texts

PRICES = {"fake-model": {"input": 2.0, "cached_input": 1.0, "output": 10.0}}
USED = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
COST = 100 * 2e-6 + 10 * 10e-6
HASTE = {"retry": {"first_delay": 0.001, "max_delay": 0.01, "max_wait": 5, "max_maybe_billed": 3}}


def one(api, tmp_path, request=None, **more):
    """The only row of a run that asks one thing."""
    asked = [{"prompt": text} for text in texts(1)]
    return ran(api, tmp_path, asked, {"max_tokens": 40, **(request or {})}, **more).rows[0]


def test_a_row_costs_what_the_job_says(api, tmp_path):
    api.always = Step(usage={**USED, "prompt_tokens_details": {"cached_tokens": 50}})
    row = one(api, tmp_path, prices=PRICES)
    assert (row["cost_usd"], row["cost_source"]) == (pytest.approx(COST - 50e-6), "job")
    assert (row["unconfirmed_tokens"], row["unbounded_attempts"]) == (None, 0)
    assert json.loads((tmp_path / "run/run.json").read_text())["prices"].startswith("genai-prices ")


def test_a_server_of_ones_own_has_no_list_price(api, tmp_path):
    api.always = Step(usage=USED, model="gpt-5.4")
    row = one(api, tmp_path, {"model": "gpt-5.4"})
    assert (row["cost_usd"], row["cost_source"]) == (None, None)


def test_endpoint_provider_says_whose_list_holds(api, tmp_path):
    api.always = Step(usage=USED, model="gpt-5.4")
    endpoint = {"base_url": api.url, "api_key_env": "", "provider": "openai"}
    row = one(api, tmp_path, {"model": "gpt-5.4"}, endpoint=endpoint)
    assert (row["cost_usd"], row["cost_source"]) == (pytest.approx(0.0004), "list")


def test_what_the_server_says_is_kept_beside_our_own_price(api, tmp_path):
    api.always = Step(usage={**USED, "cost": 0.125})
    row = one(api, tmp_path, prices=PRICES)
    assert (row["reported_cost_usd"], row["cost_usd"]) == (0.125, pytest.approx(COST))
    row = one(api, tmp_path / "unpriced")
    assert (row["cost_usd"], row["cost_source"]) == (0.125, "server")


def test_answers_that_do_not_fit_cost_as_much(api, tmp_path):
    api.always = Step(content="no JSON", usage=USED)
    row = one(api, tmp_path, {"schema": {"stars": "integer"}}, prices=PRICES)
    assert (row["error_class"], row["attempts"]) == ("schema_mismatch", 3)
    assert row["cost_usd"] == pytest.approx(3 * COST)
    assert [tried["cost_usd"] for tried in row["attempt_log"]] == [pytest.approx(COST)] * 3


@pytest.mark.parametrize("close", [Step(close=True), Step(504)])
def test_an_attempt_that_may_be_billed_is_bounded(api, tmp_path, close):
    api.script = {"text": [close, Step(usage=USED)]}
    row = one(api, tmp_path, prices=PRICES, **HASTE)
    charged = api.ledger[0]
    assert (row["status"], row["cost_usd"]) == ("ok", pytest.approx(COST))
    assert row["maybe_billed_attempts"] == 1
    assert row["unconfirmed_tokens"] >= charged.input_tokens + 40
    assert row["unconfirmed_cost_usd"] >= 40 * 10e-6
    assert row["unbounded_attempts"] == 0


def test_an_answer_without_usage_is_bounded_and_has_no_cost(api, tmp_path):
    api.always = Step(usage=None)
    row = one(api, tmp_path, prices=PRICES)
    asked = api.ledger[0]
    assert (row["status"], row["cost_usd"], row["maybe_billed_attempts"]) == ("ok", None, 0)
    assert row["unconfirmed_tokens"] >= asked.input_tokens + 40
    row = one(api, tmp_path / "uncapped", {"max_tokens": None}, prices=PRICES)
    assert (row["unconfirmed_tokens"], row["unbounded_attempts"]) == (None, 1)


def test_the_totals_are_those_of_the_rows(api, tmp_path):
    api.always = Step(usage=USED)
    asked = [{"prompt": text} for text in texts(12)]
    done = ran(api, tmp_path, asked, {"max_tokens": 40}, prices=PRICES)
    assert sum(row["cost_usd"] for row in done.rows) == pytest.approx(12 * COST)
    charged = sum(asked.input_tokens + asked.output_tokens for asked in api.ledger)
    assert sum(row["input_tokens"] + row["output_tokens"] for row in done.rows) == charged
