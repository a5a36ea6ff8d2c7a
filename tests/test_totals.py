"""Sums of results, and of what they used."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import totals
from batch.model import Result, Usage
from batch.totals import Group, Summary, Totals

COUNTS = st.none() | st.integers(0, 100)
USAGES = st.none() | st.builds(Usage, *[COUNTS] * 5)


@given(USAGES, USAGES, USAGES)
def test_addition_knows_no_order(a, b, c):
    assert totals.add(a, b) == totals.add(b, a)
    assert totals.add(totals.add(a, b), c) == totals.add(a, totals.add(b, c))


def test_adds_what_is_known():
    assert totals.add(Usage(1, None, output_tokens=0), Usage(2, 5)) == Usage(3, 5, output_tokens=0)
    assert totals.add(None, None) is None


RESULTS = st.lists(
    st.builds(
        Result,
        row=st.just(0),
        status=st.sampled_from(["ok", "failed"]),
        flags=st.lists(st.sampled_from(["length", "usage_unknown"]), unique=True),
        error_class=st.sampled_from([None, "timeout", "blocked"]),
        error_message=st.sampled_from([None, "why"]),
        model=st.sampled_from(["a", "b"]),
        input_tokens=COUNTS,
        output_tokens=COUNTS,
        cost_usd=st.none() | st.sampled_from([0.0, 0.25, 2.0]),
        unconfirmed_tokens=COUNTS,
        unconfirmed_cost_usd=st.none() | st.sampled_from([0.0, 0.5]),
        attempts=st.integers(0, 9),
        started_at=st.sampled_from([None, 0.0, 86_399.9, 86_400.0]),
        reused=st.booleans(),
    ),
    max_size=8,
)


def summed(results: list[Result]) -> Summary:
    summary = Summary()
    for result in results:
        summary.add(result)
    return summary


@settings(deadline=None)
@given(RESULTS, RESULTS)
def test_the_sum_of_sums_is_the_sum_over_the_rows(some, others):
    merged = summed(some)
    merged.merge(summed(others))
    assert merged == summed(some + others)
    assert merged.totals().rows_ok + merged.totals().rows_failed == len(some + others)


@given(RESULTS)
def test_a_summary_survives_its_json(results):
    summary = summed(results)
    assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary


def test_groups_by_utc_day_endpoint_and_models_oldest_first():
    day_two = Result(row=1, status="ok", started_at=86_400.0, endpoint="e", model="m")
    day_one = msgspec.structs.replace(day_two, started_at=86_399.9)
    groups = [group for group, _ in summed([day_two, day_one, day_two]).rows()]
    assert groups == [Group("1970-01-01", "e", "m"), Group("1970-01-02", "e", "m")]


def test_unknown_usage_is_counted_for_answers_that_were_paid_here():
    known = Result(row=0, status="ok", input_tokens=1, output_tokens=0, cost_usd=0.5)
    unknown = Result(row=1, status="ok", input_tokens=1)
    reused = Result(row=2, status="ok", reused=True)
    failed = Result(row=3, status="failed", error_class="timeout", error_message="late")
    summary = summed([known, unknown, reused, failed])
    assert summary.totals() == Totals(
        rows_ok=3,
        rows_failed=1,
        rows_reused=1,
        input_tokens=2,
        cost_usd=0.5,
        unpriced_rows=1,
        unknown_usage_rows=1,
    )
    assert (summary.failures, summary.examples) == ({"timeout": 1}, {"timeout": "late"})
