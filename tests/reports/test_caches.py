"""What reports say of prompt caches: what was read, what was written for nothing, and what that saved."""

from __future__ import annotations

import csv
import io

import pytest

from tests.reports.test_report import HOUR, JANUARY, answered, as_json, recorded, shown

MILLION = 1_000_000
PRICES = """
[prices."m"]
input = 2
cached_input = 0.2
cache_write = 2.5
output = 10
"""


SHARED = {"shared": "About {{ customer }}", "user": "{{ batch }}"}


def using(cached, written, **more):
    used = {"input_tokens": MILLION, "cached_tokens": cached, "cache_write_tokens": written}
    return answered(**{**used, "output_tokens": 0, **more})


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


def test_groups_tell_what_their_caches_saved(tmp_path, priced):
    rows = [using(0, MILLION), using(MILLION, 0), using(0, 7_000), using(0, 0)]
    run = recorded(tmp_path / "run", rows, customers=["a", "a", "b", "c"])
    found = as_json(run, *priced, "--by", "customer")
    saved = {group["by"]["customer"]: group["cache_saved_usd"] for group in found["groups"]}
    assert saved == {"a": pytest.approx(1.3), "b": pytest.approx(-0.0035), "c": None}


def in_turn(*rows):
    """Rows that were asked one after the other."""
    return [
        using(cached, written, started_at=JANUARY + at, **more)
        for at, (cached, written, more) in enumerate(rows)
    ]


def test_by_how_prompts_begin_a_report_tells_what_was_read_and_written_and_saved(tmp_path, priced):
    rows = in_turn((0, 800, {}), (800, 0, {}), (0, 7_000, {}), (0, 0, {}))
    run = recorded(tmp_path / "run", rows, customers=["a", "a", "b", "c"], prompt=SHARED)
    found = as_json(run, *priced)
    assert found["totals"]["cache_unread_tokens"] == 7_000 - 0
    told = found["prefixes"]
    assert (told["columns"], told["count"], told["others"]) == (["customer"], 3, None)
    by_label = {each["label"]: each for each in told["most"]}
    assert {name: each["rows"] for name, each in by_label.items()} == {"a": 2, "b": 1, "c": 1}
    assert {name: each["cache_unread_tokens"] for name, each in by_label.items()} == {
        "a": 0,
        "b": 7_000,
        "c": 0,
    }
    assert by_label["a"]["cache_hit_rate"] == pytest.approx(800 / (2 * MILLION))
    assert by_label["a"]["cache_saved_usd"] == pytest.approx((800 * 1.8 - 800 * 0.5) / MILLION)
    assert by_label["b"]["cache_saved_usd"] == pytest.approx(-7_000 * 0.5 / MILLION)
    assert sum(each["cost_usd"] for each in told["most"]) == pytest.approx(
        found["totals"]["cost_usd"]
    )


@pytest.mark.parametrize("kind", ["table", "md", "html"])
def test_the_beginnings_that_cost_most_are_shown_and_the_others_in_one_line(tmp_path, priced, kind):
    names = [f"<b>document|{number:02d}\x1b" for number in range(30)]
    rows = in_turn(*((0, 1_000 * (30 - number), {}) for number in range(30)), (0, 1_000 * 30, {}))
    run = recorded(tmp_path / "run", rows, customers=[*names, names[0]], prompt=SHARED)
    text = shown(run, *priced, "--format", kind)
    assert "20 others" in text
    told = [f"{number:02d}" for number in range(30) if f"document|{number:02d}" in plain(text)]
    assert told == [f"{number:02d}" for number in range(10)]
    assert "\x1b" not in text
    assert "prompts by customer" in text
    found = as_json(run, *priced)["prefixes"]
    assert len(found["most"]) == 10
    assert found["others"]["rows"] == 20
    whole = [*found["most"], found["others"]]
    assert sum(each["cache_write_tokens"] for each in whole) == 495_000


def plain(text):
    return text.replace("\\", "").replace("&lt;", "<").replace("&gt;", ">")


def test_a_table_for_spreadsheets_stays_one_table(tmp_path):
    rows = in_turn((0, 800, {}), (800, 0, {}), (0, 900, {}))
    run = recorded(tmp_path / "run", rows, customers=["a", "a", "b"], prompt=SHARED)
    lines = list(csv.reader(io.StringIO(shown(run, "--format", "csv"))))
    assert {len(line) for line in lines} == {len(lines[0])}


@pytest.mark.parametrize(
    ("customers", "rows", "unread"),
    [
        (["a", "a"], [(0, 500, {}), (500, 0, {})], 0),
        (["a", "a"], [(0, 700, {}), (500, 0, {})], 200),  # behind what others read
        (["a", "a"], [(0, 500, {}), (500, 300, {})], 300),
        (["a", "b"], [(0, 900, {}), (400, 500, {})], 1_000),  # of both the first 400 are read
        (["a", "b", "c"], [(0, 900, {}), (0, 900, {}), (900, 0, {})], 0),  # whoever wrote it
        (["a", "a"], [(0, 500, {}), (0, 500, {})], 1_000),
        (["a", "a"], [(0, 500, {}), (500, 500, {"attempts": 2})], 0),  # it may have read its own
        (["a", "b"], [(0, 500, {}), (500, 0, {"served_model": "other"})], 500),
        (["a", "b"], [(0, 500, {}), (0, 400, {"reused": True})], 500),
    ],
)
def test_tokens_count_as_never_read_where_that_is_certain(tmp_path, customers, rows, unread):
    for folder, prompt in (("known", SHARED), ("unknown", None)):
        run = recorded(tmp_path / folder, in_turn(*rows), customers=customers, prompt=prompt)
        for by in ("model", "customer", "batch", "hour"):
            found = as_json(run, "--by", by)["totals"]["cache_unread_tokens"]
            assert found == unread if prompt else found <= unread


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        {"user": "{{ customer }}"},
        {"system": "Be kind.", "user": "{{ customer }}"},
        {"shared": "{{ row }}", "user": "{{ customer }}"},
        {"shared": "{{ gone }}", "user": "{{ customer }}"},
    ],
)
def test_where_nothing_tells_how_prompts_begin_no_table_is_made_up(tmp_path, prompt):
    rows = in_turn((0, 500, {}), (0, 500, {}))
    run = recorded(tmp_path / "run", rows, customers=["a", "b"], prompt=prompt)
    assert as_json(run)["prefixes"] is None
    assert "prompts by" not in shown(run)


def test_the_period_and_several_runs_count_in_the_table_too(tmp_path):
    one = recorded(
        tmp_path / "one",
        [using(0, 500), using(500, 0, started_at=JANUARY + 48 * HOUR)],
        customers=["a", "a"],
        prompt=SHARED,
    )
    other = recorded(
        tmp_path / "other", in_turn((0, 600, {})), customers=["b"], prompt={"system": "{{ batch }}"}
    )
    found = as_json(one, other)
    assert found["totals"]["cache_unread_tokens"] == 600
    assert [each["rows"] for each in found["prefixes"]["most"]] == [2, 1]
    assert as_json(one, other, "--until", "2026-01-31")["totals"]["cache_unread_tokens"] == 1_100
