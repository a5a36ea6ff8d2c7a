"""What runs cost: numbers that add up, unknown that says so, and every way to show them."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import signal
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from batch import columns
from batch.cli import batchmill as program
from batch.errors import Damaged, JobError, Refused, UsageError
from batch.model import Attempt, AttemptRecord, Position, Result
from batch.renderers import MODULES, charts, renderer
from batch.renderers.charts import Point
from batch.reports import groups, report
from batch.run_folder import RunFolder
from batch.store import folder, parts, plan
from batch.store.files import Disk
from batch.totals import Summary
from batch.words import printable
from tests.fake_api import Step
from tests.reading import asking, texts, tree, until, write

JANUARY = datetime(2026, 1, 31, 23, 0, tzinfo=UTC).timestamp()
HOUR = 3600.0
CARRIED = pa.schema([("customer", pa.string()), ("batch", pa.int64())])
HOSTILE = "<script src=//x>|\x1b[31m`*_[](http://x)\n=1+1"
TOTALS = (
    *("rows_ok", "rows_failed", "rows_reused", "attempts", "maybe_billed_attempts"),
    *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
    *("unpriced_rows", "unknown_usage_rows"),
)


def answered(**more):
    """A row that was answered for a cent."""
    plain: dict[str, Any] = {
        "row": 0,
        "status": "ok",
        "model": "asked",
        "served_model": "m",
        "endpoint": "host/v1",
        "input_tokens": 100,
        "output_tokens": 50,
        "cost_usd": 0.01,
        "cost_source": "list",
        "attempts": 1,
        "latency_s": 1.0,
        "started_at": JANUARY,
    }
    return Result(**plain | more)


def recorded(run, results, tags=None, customers=None, prompt=None):
    """A finished run of these results, in one part."""
    results = [msgspec.structs.replace(result, row=row) for row, result in enumerate(results)]
    disk, summary, lies = Disk(), Summary(), RunFolder(run)
    folder.make(disk, lies)
    schema, _ = columns.schema(CARRIED, columns.COLUMNS)
    folder.begin(disk, lies, schema)
    for result in results:
        summary.add(result)
    carried = [customers or ["acme"] * len(results), list(range(len(results)))]
    own = columns.arrays(results, columns.COLUMNS)
    arrays = [*(pa.array(c, f.type) for c, f in zip(carried, CARRIED, strict=True)), *own]
    table = pa.Table.from_arrays(arrays, schema=schema)
    footer = parts.Footer(
        part=0,
        generation=1,
        start_row=0,
        rows_planned=len(results),
        rows_present=len(results),
        complete=True,
        start=Position(),
        end=Position(),
        summary=summary,
    )
    with lies.sealed(0).open("w+b") as file:
        parts.write(file, schema, iter([table]), lambda: footer)
    known = plan.new({"tags": tags or {}, "prompt": prompt or {}}, [], "jsonl")
    known = msgspec.structs.replace(known, state="finished", rows=len(results))
    plan.write(disk, lies, known)
    folder.write_usage(disk, lies, known.run_id, summary)
    return run


def read(*runs, by=("model",)):
    return report.of([(run, plan.read(run)) for run in runs], by)


def shown(*args):
    """What `batchmill report` prints."""
    ended = CliRunner().invoke(program, ["report", *map(str, args)])
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def as_json(*args):
    return json.loads(shown(*args, "--format", "json"))


def ways(run, *names, by=("model",)):
    """One report as the renderers of these names have it, all of them unless some are named."""
    found = read(run, by=by)
    return {name: renderer(name).text(found) for name in names or MODULES}


def by(found, name):
    """Rows by the value of one key."""
    return {group["by"][name]: group["rows_ok"] + group["rows_failed"] for group in found["groups"]}


def kept(run):
    """The sums over usage.parquet."""
    table = pq.read_table(run / "usage.parquet")
    return {name: sum(table[name].to_pylist()) for name in TOTALS}


MIXED = [
    answered(cached_tokens=40, latency_s=1.234, ttft_s=0.1),
    answered(cached_tokens=0, cost_usd=0.03, cost_source="job", latency_s=2.0, ttft_s=0.3),
    answered(served_model="local-x", cost_usd=None, cost_source=None, latency_s=8.0),
    answered(input_tokens=None, output_tokens=None, cost_usd=None, cost_source=None, latency_s=4.0),
    answered(
        input_tokens=130,
        output_tokens=80,
        cost_usd=0.02,
        attempts=2,
        latency_s=0.5,
        attempt_log=[
            AttemptRecord(
                "host/v1",
                JANUARY,
                9.0,
                error_class="cut_off",
                input_tokens=30,
                output_tokens=30,
                cost_usd=0.01,
            ),
            AttemptRecord(
                "host/v1", JANUARY, 0.5, input_tokens=100, output_tokens=50, cost_usd=0.01
            ),
        ],
    ),
    answered(
        status="failed",
        served_model=None,
        cost_usd=None,
        cost_source=None,
        input_tokens=None,
        output_tokens=None,
        error_class="timeout",
        error_message="no answer",
        attempts=2,
        maybe_billed_attempts=2,
        latency_s=900.0,
    ),
    answered(
        reused=True,
        attempts=0,
        cost_usd=0.0,
        cost_source=None,
        input_tokens=0,
        output_tokens=0,
        latency_s=0.01,
    ),
]


def test_totals_are_those_of_the_rows_and_of_usage_parquet(tmp_path):
    run = recorded(tmp_path / "run", MIXED)
    totals = as_json(run)["totals"]
    assert {name: totals[name] for name in TOTALS} == kept(run)
    assert totals == {
        "rows_ok": 6,
        "rows_failed": 1,
        "rows_reused": 1,
        "attempts": 8,
        "maybe_billed_attempts": 2,
        "requests": 8,
        "input_tokens": 430,
        "cached_tokens": 40,
        "cache_write_tokens": 0,
        "output_tokens": 230,
        "reasoning_tokens": 0,
        "cost_usd": 0.06,
        "unpriced_rows": 2,
        "unknown_usage_rows": 1,
        "unconfirmed_tokens": 0,
        "unconfirmed_cost_usd": 0.0,
        "unbounded_attempts": 0,
        "unpriced_tokens": 150,
        "cost_sources": {"job": 0.03, "list": 0.03},
        "reported_cost_usd": None,
        "cost_per_row_usd": 0.02,
        "cache_hit_rate": 0.2,
        "cache_saved_usd": None,
        "lost_tokens": 60,
        "lost_tokens_share": round(60 / 660, 12),
        "lost_cost_usd": 0.01,
        "lost_cost_share": None,
        "output_tokens_per_second": round(150 / 11.234, 12),
        "latency_p50_s": 2.0,
        "latency_p95_s": 8.0,
        "latency_p99_s": 8.0,
        "ttft_p50_s": 0.1,
        "ttft_p95_s": 0.3,
        "cache_unread_tokens": 0,
        "unpriced_models": ["local-x"],
    }


def test_groups_add_up_to_the_totals(tmp_path):
    run = recorded(tmp_path / "run", MIXED)
    found = as_json(run, "--by", "model", "--by", "status")
    assert [tuple(group["by"].values()) for group in found["groups"]] == [
        ("m", "ok"),
        ("local-x", "ok"),
        ("asked", "failed"),
    ]
    for name in TOTALS:
        assert sum(group[name] for group in found["groups"]) == found["totals"][name]
    assert [group["cost_usd"] for group in found["groups"]] == [0.06, None, 0.0]


def test_failures_are_counted_by_class_with_an_example(tmp_path):
    failed = [
        answered(status="failed", error_class="timeout", error_message=f"t{n}") for n in (1, 2)
    ]
    failed.append(answered(status="failed", error_class="blocked", error_message="b"))
    found = as_json(recorded(tmp_path / "run", [answered(), *failed]))
    assert found["failures"] == [
        {"error_class": "timeout", "rows": 2, "example": "t1"},
        {"error_class": "blocked", "rows": 1, "example": "b"},
    ]


UNPRICED = answered(served_model="model-x", cost_usd=None, cost_source=None)
SILENT = answered(input_tokens=None, output_tokens=None, cost_usd=None, cost_source=None)


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([answered(cost_usd=12.34)], "cost      $12.34, list prices\n"),
        ([UNPRICED], "cost      unknown (1 row of model-x (150 tokens) has no price)\n"),
        (
            [UNPRICED, UNPRICED, SILENT],
            "(2 rows of model-x (300 tokens) have no price, 1 row told no tokens)\n",
        ),
        (
            [answered(cost_usd=12.34), UNPRICED],
            "cost      at least $12.34, list prices (1 row of model-x (150 tokens) has no price)\n",
        ),
        (
            [answered(cost_usd=2), answered(cost_usd=1, cost_source="assumed")],
            "cost      $3.00, $1.00 assumed: list prices of models of that name, $2.00 list prices\n",
        ),
        ([answered(reused=True, cost_usd=0.0, cost_source=None)], "cost      $0.00\n"),
        ([answered(cost_usd=0.0, cost_source="local")], "cost      $0.00, local\n"),
        ([msgspec.structs.replace(UNPRICED, status="failed")], "cost      unknown (1 row of"),
    ],
)
def test_what_is_not_known_of_a_cost_is_said(tmp_path, results, said):
    made = ways(recorded(tmp_path / "run", results))
    assert said in made["table"]
    unknown = "cost      unknown" in made["table"]
    assert (json.loads(made["json"])["totals"]["cost_usd"] is None) == unknown
    if unknown:
        assert not any("$0" in text for text in made.values())


def test_what_costs_nothing_does_not_make_the_rest_cheap(tmp_path):
    run = recorded(tmp_path / "run", [answered(cost_usd=0.0, cost_source="local"), UNPRICED])
    made = ways(run, "json", "table")
    found = json.loads(made["json"])
    assert found["totals"]["cost_usd"] is None
    assert [group["cost_usd"] for group in found["groups"]] == [0.0, None]
    assert "cost      unknown (1 row of model-x (150 tokens) has no price)\n" in made["table"]


def test_a_failed_row_that_used_tokens_is_priced_or_said_to_be_unpriced(tmp_path):
    failed = msgspec.structs.replace(UNPRICED, status="failed", error_class="content_filter")
    run = recorded(tmp_path / "run", [answered(), failed])
    totals = as_json(run)["totals"]
    assert totals["unpriced_rows"] == kept(run)["unpriced_rows"] == 1


def test_unknown_usage_is_not_zero(tmp_path):
    made = ways(recorded(tmp_path / "run", [SILENT]), "json", "table")
    totals = json.loads(made["json"])["totals"]
    assert (totals["input_tokens"], totals["output_tokens"]) == (None, None)
    assert "tokens    unknown in, unknown out; unknown for 1 row\n" in made["table"]


def test_a_row_whose_tokens_are_in_doubt_is_counted_whatever_became_of_it(tmp_path):
    doubtful = answered(flags=["model_differs", "usage_unknown"], cost_usd=None, cost_source=None)
    failed = msgspec.structs.replace(SILENT, status="failed", flags=["usage_unknown"])
    run = recorded(tmp_path / "run", [answered(), doubtful, failed, answered(flags=["length"])])
    totals = as_json(run)["totals"]
    assert (totals["unknown_usage_rows"], totals["unpriced_rows"]) == (2, 2)
    assert kept(run) == {name: totals[name] for name in TOTALS}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            answered(unconfirmed_tokens=500, unconfirmed_cost_usd=0.5),
            "at most $0.50 (500 tokens) more",
        ),
        (answered(unconfirmed_tokens=500), "at most an unknown cost (500 tokens) more"),
        (answered(unbounded_attempts=3), "3 attempts without a bound (no max_tokens) more"),
    ],
)
def test_what_may_have_been_billed_is_shown_beside_the_cost(tmp_path, row, said):
    made = ways(recorded(tmp_path / "run", [answered(), row]))
    for name in ("table", "md", "html"):
        assert said.split(" (")[0] in " ".join(made[name].split()), name
    assert said in " ".join(made["table"].split())
    totals = json.loads(made["json"])["totals"]
    for name in ("unconfirmed_tokens", "unbounded_attempts"):
        assert totals[name] == (getattr(row, name) or 0)
    assert totals["cost_usd"] == 0.02


def test_what_was_lost_to_retries_is_told_in_money(tmp_path):
    log = [
        AttemptRecord("h", JANUARY, 1.0, None, 200, "schema_mismatch", 100, 50, cost_usd=0.01),
        AttemptRecord("h", JANUARY, 1.0, None, 200, None, 100, 50, cost_usd=0.01),
    ]
    row = answered(input_tokens=200, output_tokens=100, cost_usd=0.02, attempts=2, attempt_log=log)
    run = recorded(tmp_path / "run", [row, answered(cost_usd=0.02)])
    assert "lost      $0.01 (25% of the cost), 33.3% of the tokens" in shown(run).replace(
        "25.0%", "25%"
    )


PUBLIC = {"endpoint": "api.openai.com/v1", "served_model": "gpt-5.4"}
OTHER_PRICES = """
[prices]
"gpt-5.4" = { input = 1000, output = 0 }
"""


@pytest.mark.parametrize(
    ("row", "by_file", "by_lists"),
    [
        (answered(**PUBLIC), (0.1, "file"), (100 * 2.5e-6 + 50 * 15e-6, "list")),
        (answered(**PUBLIC | {"served_model": None, "model": "gpt-5.4"}), (0.1, "file"), None),
        (answered(endpoint="local"), (0.01, "list"), (0.0, "local")),
        (answered(), (0.01, "list"), (None, None)),
        (answered(cost_source="server"), (0.01, "server"), (0.01, "server")),
        (SILENT, (None, None), (None, None)),
        (UNPRICED, (None, None), (None, None)),
    ],
)
def test_costs_are_computed_anew_from_tokens(tmp_path, row, by_file, by_lists):
    run = recorded(tmp_path / "run", [row])
    file = tmp_path / "prices.toml"
    file.write_text(OTHER_PRICES)
    for flags, expected in ((("--prices", file), by_file), (("--reprice",), by_lists)):
        if expected is None:
            continue
        written = tmp_path / "found.json"
        assert "prices    anew by " in shown(run, *flags, "-o", written)
        found = json.loads(written.read_text())
        usd, source = expected
        assert found["totals"]["cost_usd"] == (usd and pytest.approx(usd))
        assert found["totals"]["cost_sources"] == ({} if source is None else {source: usd})
        assert found["costing"].startswith("anew by ")
    assert as_json(run)["costing"] == "recorded"


def test_a_long_request_is_priced_anew_as_when_it_was_answered(tmp_path):
    from batch.costs.prices import Pricer, Seller
    from batch.usage import reading

    pricer = Pricer({}, Seller("openai"))
    rows, costs = [], []
    for tokens in (1_000, 300_000, 900_000):
        row = answered(**PUBLIC, input_tokens=tokens, cached_tokens=500)
        used = {
            "prompt_tokens": tokens,
            "completion_tokens": 50,
            "prompt_tokens_details": {"cached_tokens": 500},
        }
        attempt = Attempt("h", JANUARY, 1.0, 200, answer={"model": "gpt-5.4", "usage": used})
        costs.append(float(pricer.cost(attempt, reading(used), None, None).usd))
        rows.append(row)
    found = as_json(recorded(tmp_path / "run", rows), "--reprice")
    assert found["totals"]["cost_usd"] == pytest.approx(sum(costs))


def test_counts_that_cannot_be_have_no_price_anew_either(tmp_path):
    doubtful = answered(**PUBLIC, flags=["usage_unknown"], cost_usd=None, cost_source=None)
    run = recorded(tmp_path / "run", [answered(**PUBLIC), doubtful])
    file = tmp_path / "prices.toml"
    file.write_text(OTHER_PRICES)
    for flags in (("--prices", file), ("--reprice",)):
        written = tmp_path / "found.json"
        assert "at least $" in shown(run, *flags, "-o", written)
        totals = json.loads(written.read_text())["totals"]
        assert (totals["unpriced_rows"], totals["cost_usd"] > 0) == (1, True)


def test_what_was_lost_is_priced_anew_too(tmp_path):
    log = [
        AttemptRecord("h", JANUARY, 1.0, "gpt-5.4", 200, "schema_mismatch", 100, 50, cost_usd=9.0),
        AttemptRecord("h", JANUARY, 1.0, "gpt-5.4", 200, None, 100, 50, cost_usd=9.0),
    ]
    row = answered(**PUBLIC, input_tokens=200, cost_usd=18.0, attempts=2, attempt_log=log)
    file = tmp_path / "prices.toml"
    file.write_text(OTHER_PRICES)
    totals = as_json(recorded(tmp_path / "run", [row]), "--prices", file)["totals"]
    assert (totals["cost_usd"], totals["lost_cost_usd"]) == (0.2, 0.1)


def test_a_file_without_prices_is_refused(tmp_path):
    run = recorded(tmp_path / "run", [answered()])
    (tmp_path / "x.toml").write_text("input = 'a.csv'")
    ended = CliRunner().invoke(program, ["report", str(run), "--prices", str(tmp_path / "x.toml")])
    assert isinstance(ended.exception, JobError)


def test_an_answer_that_was_kept_is_not_lost_whatever_came_after_it(tmp_path):
    log = [
        AttemptRecord("h", JANUARY, 1.0, input_tokens=100, output_tokens=50),
        AttemptRecord("h", JANUARY, 1.0, error_class="cut_off", input_tokens=7, output_tokens=0),
    ]
    kept_row = answered(input_tokens=107, attempts=2, attempt_log=log)
    failed = [msgspec.structs.replace(line, error_class="cut_off") for line in log]
    failed_row = answered(status="failed", error_class="cut_off", attempts=2, attempt_log=failed)
    totals = read(recorded(tmp_path / "run", [kept_row, failed_row])).totals
    assert totals.lost_tokens == 7 + 150
    assert totals.lost_cost_usd is None


SPREAD = [
    answered(started_at=JANUARY),
    answered(started_at=JANUARY + HOUR, endpoint="other/v1"),
    answered(started_at=JANUARY + 2 * HOUR, served_model=None),
    Result(row=0, status="failed", error_class="invalid_row", error_message="no text"),
]


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    """A run of these rows, which is only read."""
    tags = {"team": "search", "customer": "tagged"}
    folder = tmp_path_factory.mktemp("spread") / "run"
    return recorded(folder, SPREAD, tags, ["acme", "acme", "acme", None])


@pytest.mark.parametrize(
    ("key", "groups"),
    [
        ("model", {"m": 2, "asked": 1, None: 1}),
        ("endpoint", {"host/v1": 2, "other/v1": 1, None: 1}),
        ("status", {"ok": 3, "failed": 1}),
        ("day", {"2026-01-31": 1, "2026-02-01": 2, None: 1}),
        ("month", {"2026-01": 1, "2026-02": 2, None: 1}),
        ("week", {"2026-W05": 3, None: 1}),
        (
            "hour",
            {"2026-01-31T23:00": 1, "2026-02-01T00:00": 1, "2026-02-01T01:00": 1, None: 1},
        ),
        ("team", {"search": 4}),
        ("tag:customer", {"tagged": 4}),
        ("customer", {"tagged": 4}),
        ("column:customer", {"acme": 3, None: 1}),
        ("batch", {"0": 1, "1": 1, "2": 1, "3": 1}),
        ("error_class", {None: 3, "invalid_row": 1}),
    ],
)
def test_rows_are_grouped_by(spread, key, groups):
    assert by(as_json(spread, "--by", key), key) == groups


def test_a_key_that_no_run_has_is_refused_with_what_is_near(spread):
    with pytest.raises(UsageError, match=r"--by custmer: no run has .*customer"):
        shown(spread, "--by", "custmer")
    with pytest.raises(UsageError, match="--by flags"):  # a list
        shown(spread, "--by", "flags")


@pytest.mark.parametrize(
    ("period", "rows"),
    [
        ((), 4),
        (("--since", "2026-02-01"), 2),
        (("--until", "2026-01-31"), 1),
        (("--until", "2026-02-01T00:00"), 1),
        (("--since", "2026-01-31", "--until", "2026-02-01"), 3),
        (("--since", "2026-02-01T01:00:00Z"), 1),
        (("--since", "2026-02-01T02:00:00+01:00"), 1),
        (("--since", "2026-02-01T00:00:01"), 1),
        (("--since", "2027-01-01"), 0),
        (("--since", "2026-01", "--until", "2026-01"), 1),
        (("--since", "2026-02"), 2),
        (("--until", "2026"), 3),
    ],
)
def test_only_rows_of_a_period_count(spread, period, rows):
    found = as_json(spread, *period)
    assert found["totals"]["rows_ok"] + found["totals"]["rows_failed"] == rows
    assert sum(by(found, "model").values()) == rows


def test_a_moment_that_is_none_is_refused(spread):
    with pytest.raises(UsageError, match=r"--until someday: expected a day"):
        shown(spread, "--until", "someday")


def test_a_period_may_be_told_from_now(tmp_path):
    """Rows of a minute ago and of 40 days ago: neither is near an end of what is asked."""
    now = datetime.now(UTC).timestamp()
    rows = [answered(started_at=now - ago) for ago in (60, 60, 40 * 24 * HOUR)]
    run = recorded(tmp_path / "run", rows)
    for period, count in (
        (("--since", "7d"), 2),
        (("--since", "24h"), 2),
        (("--until", "7d"), 1),
        (("--since", "9w", "--until", "30d"), 1),
    ):
        assert as_json(run, *period)["totals"]["rows_ok"] == count


def test_runs_below_a_folder_count_once_each_and_copies_do_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path / "runs/a", [answered()] * 3, {"customer": "acme"})
    recorded(tmp_path / "runs/b", [answered(), UNPRICED])
    shutil.copytree("runs/a", "runs/deep/copy of a")
    found = as_json("runs", "runs/a", "runs/a/", "--by", "run")
    assert by(found, "run") == {"runs/a": 3, "runs/b": 2}
    assert [run["copies"] for run in found["runs"]] == [["runs/deep/copy of a"], []]
    assert "copy      runs/deep/copy of a is runs/a, counted once\n" in shown("runs")
    assert by(as_json("runs", "--by", "tag:customer"), "tag:customer") == {"acme": 3, None: 2}


def test_the_copy_that_went_furthest_counts(tmp_path):
    recorded(tmp_path / "early", [answered()])
    known = plan.read(tmp_path / "early")
    assert known is not None
    recorded(tmp_path / "late", [answered()] * 2)
    plan.write(Disk(), RunFolder(tmp_path / "late"), known)
    for order in (("early", "late"), ("late", "early")):
        assert as_json(*(tmp_path / name for name in order))["totals"]["rows_ok"] == 2


def test_a_folder_without_a_run_is_refused(tmp_path):
    for what in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="is no run"):
            shown(what)


def test_a_damaged_part_is_said_to_be(tmp_path):
    run = recorded(tmp_path / "run", [answered()])
    part = RunFolder(run).sealed(0)
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(Damaged, match=str(part)):
        shown(run)


def test_a_run_without_rows_is_reported(tmp_path):
    run = recorded(tmp_path / "run", [])
    found = as_json(run, "--by", "customer")
    assert (found["totals"]["rows_ok"], found["groups"], found["failures"]) == (0, [], [])
    for name, text in ways(run).items():
        assert "0" in text, name


def test_two_runs_a_retry_and_reuse_equal_what_the_server_charged(api, batchmill, tmp_path):
    api.script = {
        "text 00003": [Step(cut=60), ...],
        "text 00007": [503, Step(usage={"prompt_tokens": 90, "completion_tokens": 10})],
        "text 00008": [500, 500],
    }
    hasty = ("--set", "retry.first_delay=0.01", "--set", "retry.max_attempts=2")
    write(tmp_path / "in.jsonl", texts(10))
    flags = asking(api, *hasty, "--set", 'tags={team="a"}')
    assert batchmill("run", "in.jsonl", *flags).exit_code == 1
    api.script = {}
    assert batchmill("retry", "runs/in").exit_code == 0
    write(tmp_path / "more.jsonl", texts(12))
    reuse = ("--reuse", "runs/in")
    assert batchmill("run", "more.jsonl", *asking(api, *reuse)).exit_code == 0
    found = as_json(tmp_path / "runs", "--by", "team")
    whole = [kept(tmp_path / f"runs/{name}") for name in ("in", "more")]
    totals = found["totals"]
    assert {name: totals[name] for name in TOTALS} == {
        name: sum(each[name] for each in whole) for name in TOTALS
    }
    assert (totals["rows_ok"], totals["rows_reused"], totals["rows_failed"]) == (22, 10, 0)
    assert totals["attempts"] == len(api.ledger)
    assert totals["maybe_billed_attempts"] == 2
    complete = [asked for asked in api.ledger if asked.completed]
    assert totals["output_tokens"] == 10 + sum(
        asked.output_tokens for asked in complete if asked.prompt != "text 00007"
    )
    assert (totals["cost_usd"], totals["unpriced_rows"]) == (None, 12)
    assert by(found, "team") == {"a": 10, None: 12}


@pytest.mark.second_lane
def test_a_killed_run_is_reported_with_its_journals_and_left_as_it_is(
    api, start, batchmill, tmp_path
):
    write(tmp_path / "in.jsonl", texts(30))
    api.script = {"text 00029": [Step(hang=True)]}
    process = start("run", "in.jsonl", *asking(api, "--set", "output.part_rows=20"))
    journal = tmp_path / "runs/in/open/part-00000001/journal.jsonl"
    until(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 10, process)
    until(lambda: not (tmp_path / "runs/in/open/part-00000000").exists(), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = tmp_path / "runs/in"
    before = tree(run)
    found = as_json(run, "--by", "text")
    assert found["totals"]["rows_ok"] == 29
    assert by(found, "text") == dict.fromkeys(texts(29), 1)
    assert found["runs"][0]["journalled_rows"] == 9
    words = " ".join(shown(run).split())
    assert ": 9 rows are read from parts that are still open" in words
    assert ": 1 request in flight, or lost in a kill, may be billed: " in words
    lost = found["runs"][0]["unanswered"]
    assert (lost["requests"], lost["tokens"], lost["unbounded"]) == (1, 0, 1)
    assert tree(run) == before
    (run / "open/part-00000001/input.arrow").unlink()  # a later start was killed before its own
    counted: dict[str | None, int] = {**dict.fromkeys(texts(20), 1), None: 9}
    assert by(as_json(run, "--by", "text"), "text") == counted


def test_a_report_beside_a_running_process_sees_whole_parts(api, start, tmp_path):
    write(tmp_path / "in.jsonl", texts(5_000))
    api.latency = 0.02
    process = start("run", "in.jsonl", *asking(api, "-c", 2, "--set", "output.part_rows=5"))
    run = tmp_path / "runs/in"
    until(lambda: (run / "completions/part-00000000.parquet").exists(), process)
    seen = [0]
    while len(set(seen)) < 4:
        assert process.poll() is None, process.communicate()
        totals = as_json(run)["totals"]
        assert totals["attempts"] == totals["rows_ok"]
        seen.append(totals["rows_ok"])
    assert seen == sorted(seen)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert as_json(run)["totals"]["rows_ok"] == len(api.ledger)


def test_every_format_can_be_asked_for():
    offered = CliRunner().invoke(program, ["report", "--help"]).output
    assert f"[{'|'.join(MODULES)}]" in offered


@pytest.fixture
def hostile(tmp_path):
    """A run of which everything that others may write is an attack."""
    failed = answered(status="failed", error_class="blocked", error_message=HOSTILE)
    rows = [answered(served_model=HOSTILE, cost_usd=None), answered(), failed]
    return recorded(tmp_path / "run", rows, None, [HOSTILE, "=SUM(A1)", "@x"])


def test_nothing_that_others_wrote_drives_the_terminal(hostile):
    for name, text in ways(hostile, by=("customer", "model")).items():
        assert "\x1b" not in text, name


def test_csv_holds_every_number_and_no_formula(hostile):
    found = as_json(hostile, "--by", "customer")
    lines = list(csv.DictReader(io.StringIO(shown(hostile, "--format", "csv", "--by", "customer"))))
    assert {line["customer"] for line in lines} == {
        HOSTILE.replace("\x1b", "\ufffd"),
        "'=SUM(A1)",
        "'@x",
    }
    for line, group in zip(lines, found["groups"], strict=True):
        for name in groups.Numbers.__struct_fields__:
            if name != "cost_sources":
                assert line[name] == ("" if group[name] is None else str(group[name])), name
    assert lines[0]["cost_sources"] == "list=0.01"


def test_a_cell_of_csv_that_a_spreadsheet_would_run_gets_an_apostrophe(tmp_path):
    values = ["=1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", "\n=1"]
    run = recorded(tmp_path / "run", [answered()] * len(values), None, values)
    made = renderer("csv").text(read(run, by=("customer",)))
    cells = [line["customer"] for line in csv.DictReader(io.StringIO(made, newline=""))]
    assert sorted(cells) == sorted(f"'{printable(value)}" for value in values)


def test_markdown_is_a_table_whatever_is_in_it(hostile):
    made = shown(hostile, "--format", "md", "--by", "customer")
    table = [line for line in made.splitlines() if line.startswith("|")]
    bars = [line.replace("\\\\", "").replace("\\|", "").count("|") for line in table]
    assert len(table) == 2 + 4 + 2 + 1
    assert len(set(bars[:6])) == len(set(bars[6:])) == 1
    assert not re.search("[<>]|&(?!lt;|gt;|amp;)", made)
    assert "](" not in made.replace("\\]", "")


class Page(HTMLParser):
    """What a page is made of."""

    VOID = frozenset({"meta", "line", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_and_asks_for_nothing_from_elsewhere(hostile):
    made = shown(hostile, "--format", "html", "--by", "customer")
    page = Page(made)
    assert page.open == []
    assert {"script", "link", "img", "iframe", "object", "style"} & set(page.tags) == {"style"}
    assert {"src", "href", "srcset", "action", "xlink:href"}.isdisjoint(dict(page.attributes))
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "url(" not in made
    assert "@import" not in made
    assert any("<script src=//x>" in word for word in page.words)


def test_every_chart_of_the_page_has_a_title_a_description_and_a_table(tmp_path):
    days = [answered(started_at=JANUARY + day * 24 * HOUR, ttft_s=0.2) for day in range(3)]
    failed = answered(status="failed", error_class="timeout", error_message="none")
    made = shown(recorded(tmp_path / "run", [*days, failed]), "--format", "html")
    charts_ = made.split("<svg ")[1:]
    assert len(charts_) == 6
    for chart in charts_:
        assert "<title" in chart
        assert "<desc" in chart
        assert "<table>" in chart
    for rule in ("prefers-color-scheme: dark", "@media print", "width=device-width"):
        assert rule in made


@pytest.mark.parametrize(
    ("by", "titles"),
    [
        ((), ["model", "day"]),
        (("customer",), ["customer", "day"]),
        (("week",), ["model", "week"]),
        (("hour", "customer", "status"), ["customer, status", "hour"]),
        (("month", "hour"), ["model", "hour"]),
    ],
)
def test_charts_are_by_what_the_report_is_by(tmp_path, by, titles):
    rows = [answered(started_at=JANUARY + day * 40 * 24 * HOUR) for day in range(3)]
    run = recorded(tmp_path / "run", rows, None, ["acme", "acme", "other"])
    made = shown(run, "--format", "html", *(word for key in by for word in ("--by", key)))
    found = re.findall(r"<h2>(?:Cost|Tokens) by (.*?)</h2>", made)
    assert found == [title for title in titles for _ in range(2)]
    kind, time = (chart.partition("</svg>")[0] for chart in made.split("<svg ")[1:4:2])
    assert ("acme" in kind) == ("customer" in by)
    assert ("01-31 23:00" in time) == ("hour" in by)


def test_a_chart_of_many_bars_says_that_it_shows_the_first(tmp_path):
    names = [f"customer {n:02d}" for n in range(20)]
    run = recorded(tmp_path / "run", [answered()] * 20, None, names)
    made = shown(run, "--format", "html", "--by", "customer")
    assert "the first 12 of 20" in made


def test_prices_of_models_that_no_row_has_are_named(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    prices = [f"prices.{name}={{input=1,output=1}}" for name in ("m", "gpt-x")]
    flags = asking(api, *(word for each in prices for word in ("--set", each)))
    told = "prices that match no model of these rows (a name has to be the whole name): 'gpt-x'"
    assert batchmill("run", "in.jsonl", *flags).stderr.splitlines().count(told) == 1
    reported = batchmill("report", "runs/in")
    assert reported.stderr.splitlines() == [told]
    assert as_json(tmp_path / "runs/in")["unused_prices"] == ["gpt-x"]
    (tmp_path / "p.toml").write_text("[prices]\nm = {input=1, output=1}\nmm = {input=1, output=1}")
    reported = batchmill("report", "runs/in", "--prices", "p.toml", "--format", "csv")
    assert reported.stderr.splitlines() == [f"{told}, 'mm'"]


def test_prices_that_a_row_of_another_time_or_an_attempt_has_are_in_use(tmp_path):
    log = [
        AttemptRecord("h", JANUARY, 1.0, "first-x", 200, "cut_off", 100, 50, cost_usd=0.01),
        AttemptRecord("h", JANUARY, 1.0, "m", 200, None, 100, 50, cost_usd=0.01),
    ]
    run = recorded(tmp_path / "run", [answered(attempts=2, attempt_log=log), answered()])
    names = ("m", "asked", "first-x")
    file = tmp_path / "p.toml"
    file.write_text("[prices]\n" + "".join(f"{n} = {{input=1, output=1}}\n" for n in names))
    for period in ((), ("--since", "2030")):
        assert as_json(run, "--prices", file, *period)["unused_prices"] == []
    empty = recorded(tmp_path / "empty", [])
    assert as_json(empty, "--prices", file)["unused_prices"] == []


# where it goes


def test_without_a_run_it_is_of_those_in_runs(batchmill, tmp_path):
    none = batchmill("report")
    assert (none.exit_code, none.stdout) == (2, "")
    assert "runs is no run" in none.stderr
    recorded(tmp_path / "runs/a", [answered()])
    recorded(tmp_path / "runs/b", [answered()])
    assert batchmill("report").stdout == batchmill("report", "runs/").stdout
    assert "2 runs" in batchmill("report").stdout


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A run of one row, which is only read."""
    return recorded(tmp_path_factory.mktemp("one") / "run", [answered()])


@pytest.mark.parametrize("suffix", ["html", "HTM", "md", "csv", "json"])
def test_a_file_holds_the_format_that_its_name_tells_and_is_written_again(one, tmp_path, suffix):
    file, by = tmp_path / f"cost.{suffix}", ("customer", "day")
    flags = ("--by", by[0], "--by", by[1], "-o", file)
    name = "html" if suffix == "HTM" else suffix
    told = ways(one, by=by)
    for _ in range(2):
        assert shown(one, *flags) == told["table"]
        made = file.read_text("utf-8")
        assert _without_its_minute(made) == _without_its_minute(told[name])
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [file.name]


def _without_its_minute(made):
    return re.sub("Made .*", "", made).strip()


@pytest.mark.parametrize("suffix", ["html", "md", "csv", "json"])
@pytest.mark.parametrize("there", ["", "mine", "# What it cost\n\nmuch", "rows,cost\n", "{}"])
def test_a_file_that_is_not_ours_stays_as_it_is(one, tmp_path, suffix, there):
    run, file = one, tmp_path / f"cost.{suffix}"
    file.write_text(there)
    with pytest.raises(Refused, match="not written by us"):
        shown(run, "-o", file)
    assert file.read_text() == there


def test_a_report_of_one_format_is_not_written_over_by_another(tmp_path):
    run, file = recorded(tmp_path / "run", [answered()]), tmp_path / "cost.md"
    file.write_text(shown(run, "--format", "html"))
    with pytest.raises(Refused):
        shown(run, "-o", file)


@pytest.mark.parametrize("name", ["cost", "cost.txt", "cost.parquet", "-", "none/cost.html"])
def test_a_name_that_tells_no_format_or_folder_is_refused_before_anything_is_read(tmp_path, name):
    with pytest.raises(UsageError, match="-o "):
        shown(tmp_path / "no run", "-o", tmp_path / name if name != "-" else "-")


def test_the_page_says_that_a_cost_is_unknown_where_its_chart_would_be(tmp_path):
    made = shown(recorded(tmp_path / "run", [UNPRICED]), "--format", "html")
    assert "Unknown: no price is known." in made
    assert made.count("<svg ") == 2


def test_the_table_is_no_wider_than_a_terminal_and_keeps_what_matters_most(tmp_path):
    many = answered(
        served_model="a-vendor/a-model-with-a-rather-long-name-2026-01-31-preview",
        **dict.fromkeys(
            ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"), 10**12
        ),
        cost_usd=1234567.891,
        ttft_s=0.1,
    )
    failed = answered(
        status="failed", error_class="invalid_request", error_message="a long message " * 30
    )
    lines = shown(recorded(tmp_path / "run", [many, many, failed])).splitlines()
    assert max(map(len, lines)) <= 100
    assert any("$2,469,135.78" in line and "2,000,000,000,000" in line for line in lines)
    titles = next(line.split() for line in lines if line.startswith("model"))
    assert titles[:5] == ["model", "rows", "tokens", "in", "tokens"]


@pytest.mark.parametrize(
    ("spread", "share", "seconds"),
    [
        ([], 0.5, None),
        ([(1.0, 1)], 0.5, 1.0),
        ([(1.0, 1), (2.0, 1)], 0.5, 1.0),
        ([(1.0, 1), (2.0, 2)], 0.5, 2.0),
        ([(1.0, 95), (2.0, 5)], 0.95, 1.0),
        ([(1.0, 94), (2.0, 6)], 0.95, 2.0),
        ([(1.0, 1_000_000)], 0.99, 1.0),
    ],
)
def test_a_percentile_is_the_shortest_time_that_suffices(spread, share, seconds):
    assert groups.percentile(spread, share) == seconds


@pytest.mark.parametrize("most", [0.0, 1e-9, 0.3, 1.0, 4.0, 7.5, 10.0, 999.0, 123456.0])
def test_a_scale_reaches_as_far_as_it_must_in_few_steps(most):
    scale = charts.scale(most)
    assert scale[0] == 0.0
    assert scale[-1] >= most * (1 - 1e-9)
    assert 2 <= len(scale) <= 5
    assert len(scale) == 2 or scale[-2] < most


@pytest.mark.parametrize("count", [1, 2, 3, 12, 62])
def test_marks_stay_inside_their_chart(count):
    points = [Point(f"p{n}", (float(n), 1.0), "words") for n in range(count)]
    scale = [(value, str(value)) for value in charts.scale(float(count))]
    for chart in (charts.bars(points), charts.columns(points, scale)):
        assert len(chart.marks) == 2 * count - 1
        for mark in chart.marks:
            assert 0 <= mark.x <= mark.x + mark.width <= charts.WIDTH + 1e-6
            assert 0 <= mark.y <= mark.y + mark.height <= chart.height


@pytest.mark.parametrize("spread", [[(0.0001, 3)], [(0.5, 1), (0.51, 2)], [(1e-4, 1), (5e4, 9)]])
def test_bins_hold_every_row_once_and_are_few(spread):
    bins = charts.bins(spread)
    assert sum(rows for _, _, rows in bins) == sum(rows for _, rows in spread)
    assert len(bins) <= 45
    assert bins[0][0] <= spread[0][0] * (1 + 1e-6)
    assert bins[-1][1] >= spread[-1][0]
