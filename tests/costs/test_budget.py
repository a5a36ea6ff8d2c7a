"""The cap on the cost of a run."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.costs.budget import Budget
from tests.costs.accounts import Paper

D = Decimal
CENTS = st.integers(0, 300).map(lambda cents: D(cents) / 100)


class Disk(Paper):
    def budget(self, cap: str) -> Budget:
        """As the next start finds it."""
        return Budget(D(cap), self.drawn[-1], self)


def test_gives_out_the_cap_and_no_more() -> None:
    budget = Disk().budget("10")

    assert [budget.reserve(row, D(3)) for row in range(4)] == [True, True, True, False]
    assert budget.left == 1


def test_what_a_request_did_not_cost_is_there_again() -> None:
    budget = Disk().budget("10")
    budget.reserve(0, D(9))
    assert not budget.reserve(1, D(2))

    budget.settle(0, D("0.5"))

    assert budget.left == D("9.5")
    assert budget.reserve(1, D(2))


def test_an_unknown_cost_is_the_worst_case() -> None:
    budget = Disk().budget("10")
    budget.reserve(0, D(4))

    budget.settle(0, None)

    assert budget.left == 6


def test_what_costs_more_than_it_could_counts_in_full() -> None:
    disk = Disk()
    budget = disk.budget("10")
    budget.reserve(0, D(1))

    budget.settle(0, D(12))

    assert (budget.left, disk.drawn[-1]) == (D(0), D(12))
    assert not budget.reserve(1, D("0.01"))


def test_what_is_free_needs_no_cap_left() -> None:
    budget = Disk().budget("1")
    budget.reserve(0, D(1))

    assert budget.reserve(1, D(0))


def test_what_is_in_flight_at_the_end_is_not_given_back() -> None:
    disk = Disk()
    budget = disk.budget("10")
    budget.reserve(0, D(3))
    budget.reserve(1, D(2))
    budget.settle(0, D(1))

    budget.close()

    assert disk.budget("10").left == 7


def test_draws_in_slices() -> None:
    disk = Disk()
    budget = disk.budget("10")
    for row in range(500):
        assert budget.reserve(row, D("0.01"))
        budget.settle(row, D("0.01"))

    assert len(disk.drawn) <= 52


def test_a_clean_end_gives_back_what_was_not_spent() -> None:
    disk = Disk()
    budget = disk.budget("10")
    budget.reserve(0, D(1))
    budget.settle(0, D("0.25"))

    budget.close()

    assert disk.budget("10").left == D("9.75")


def test_the_next_run_may_raise_the_cap() -> None:
    disk = Disk()
    budget = disk.budget("1")
    budget.reserve(0, D(1))
    budget.settle(0, D(1))
    budget.close()

    assert not disk.budget("1").reserve(1, D("0.01"))
    assert disk.budget("2").reserve(1, D(1))


@given(st.lists(st.lists(st.tuples(CENTS, st.floats(0, 1)), max_size=30), max_size=20))
def test_kills_never_let_more_out_than_the_cap(lives: list[list[tuple[Decimal, float]]]) -> None:
    disk, spent, row = Disk(), D(0), 0
    for life in lives:  # each ends with a kill
        budget = disk.budget("10")
        for worst, share in life:
            row += 1
            if not budget.reserve(row, worst):
                break
            cost = round(worst * D(share), 6)
            spent += cost
            assert spent <= disk.drawn[-1] <= 10
            budget.settle(row, cost)


@pytest.mark.parametrize("share", ["0.1", "0.5", "1"])
def test_without_kills_small_rows_use_nearly_all_of_it(share: str) -> None:
    budget, spent, row = Disk().budget("10"), D(0), 0
    while budget.reserve(row, D("0.05")):
        spent += D("0.05") * D(share)
        budget.settle(row, D("0.05") * D(share))
        row += 1

    assert 9 <= spent <= 10
