"""Sums over columns are those over rows."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from batch import columns
from batch.model import Result
from batch.reports.counts import counted
from batch.totals import Totals
from tests.test_totals import RESULTS


def by_row(results: list[Result]) -> dict[str, float]:
    totals = Totals()
    for result in results:
        totals.add(result)
    return {name: getattr(totals, name) for name in Totals.__struct_fields__}


@settings(deadline=None)  # pyarrow takes its time at first
@given(RESULTS)
def test_a_total_is_the_same_by_row_and_by_column(results):
    results = [replace(each, cost_usd=0.0) if each.reused else each for each in results]
    own = columns.chosen(request=False, of_apis=(columns.REQUESTS,))
    arrays = columns.arrays(results, own)
    rows = pa.table(arrays, [column.name for column in own])
    found = counted(rows, rows["cost_usd"])
    sums = {name: pc.sum(found[name]).as_py() or 0 for name in Totals.__struct_fields__}
    assert sums == pytest.approx(by_row(results))
