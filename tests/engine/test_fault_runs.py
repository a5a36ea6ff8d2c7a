"""Random faults and kills: what a run says it cost, against the server's ledger."""

from __future__ import annotations

import pytest

from tests import fault_runs

pytestmark = pytest.mark.second_lane

fault_runs.preload()


@pytest.mark.parametrize("seed", range(10))
def test_the_bill_is_never_beyond_what_is_confirmed_and_declared(api, tmp_path, seed):
    told = fault_runs.one(api, tmp_path, seed)
    assert told.confirmed <= told.bill <= told.confirmed + told.declared
    assert told.requests >= told.rows
