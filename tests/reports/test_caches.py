"""What reports say of prompt caches: what was read, what was written for nothing, and what that saved."""

from __future__ import annotations

import pytest

from tests.reports.test_report import answered, as_json, recorded, shown

MILLION = 1_000_000
PRICES = """
[prices."m"]
input = 2
cached_input = 0.2
cache_write = 2.5
output = 10
"""


def using(cached, written):
    return answered(
        input_tokens=MILLION, cached_tokens=cached, cache_write_tokens=written, output_tokens=0
    )


@pytest.fixture
def priced(tmp_path):
    (tmp_path / "prices.toml").write_text(PRICES)
    return "--prices", tmp_path / "prices.toml"


def test_what_was_read_and_written_saves_or_costs(tmp_path, priced):
    rows = [using(0, MILLION), using(MILLION, 0), using(MILLION // 2, 0), answered()]
    run = recorded(tmp_path / "run", rows)
    totals = as_json(run, *priced)["totals"]
    assert totals["cache_saved_usd"] == pytest.approx(-0.5 + 1.8 + 0.9)
    assert totals["cache_write_tokens"] == MILLION
    text = shown(run, *priced)
    assert "(50.0% cached, 1,000,000 written to a cache)" in text
    assert "cache     $2.20 saved\n" in text


def test_without_a_price_nobody_knows_what_was_saved(tmp_path):
    run = recorded(tmp_path / "run", [using(MILLION, 0)])
    assert as_json(run)["totals"]["cache_saved_usd"] is None
    assert "\ncache " not in shown(run)


def test_groups_tell_what_was_written_and_never_read(tmp_path, priced):
    rows = [using(0, MILLION), using(MILLION, 0), using(0, 7_000), using(0, 0)]
    run = recorded(tmp_path / "run", rows, customers=["a", "a", "b", "c"])
    found = as_json(run, *priced, "--by", "customer")
    saved = {group["by"]["customer"]: group["cache_saved_usd"] for group in found["groups"]}
    assert saved == {"a": pytest.approx(1.3), "b": pytest.approx(-0.0035), "c": None}
    text = shown(run, *priced, "--by", "customer")
    assert "saved, 7,000 tokens written and never read\n" in text
    lost = recorded(tmp_path / "lost", [using(0, MILLION)])
    assert "cache     $0.50 lost, 1,000,000 tokens written and never read\n" in shown(
        lost, *priced, "--by", "customer"
    )
