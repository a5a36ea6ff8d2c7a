"""How far labels agree: numbers that books and scikit-learn give, too."""

from __future__ import annotations

import math
import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.reports import agreement

LABELS = ["positive", "negative", "mixed", "none"]


def agreeing(a, b):
    return agreement.of(*(pa.chunked_array([pa.array(each, pa.large_string())]) for each in (a, b)))


def labels(seed, count=1_000):
    """Pairs of labels that agree more often than chance would have it."""
    chance = random.Random(seed)
    a = [chance.choice(LABELS) for _ in range(count)]
    return a, [each if chance.random() < 0.6 else chance.choice(LABELS) for each in a]


@pytest.mark.parametrize("seed", range(10))
def test_agreement_kappa_and_confusion_are_those_of_scikit_learn(seed):
    from sklearn import metrics

    a, b = labels(seed)
    found = agreeing(a, b)
    assert found.rows == 1_000
    assert found.agreement == pytest.approx(metrics.accuracy_score(a, b), abs=1e-12)
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(a, b), abs=1e-12)
    table = [list(row.values()) for row in found.confusion.values()]
    assert list(found.confusion) == sorted(LABELS)
    assert table == metrics.confusion_matrix(a, b).tolist()


@pytest.mark.parametrize(
    ("agreed", "rows", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_that_of_the_literature(agreed, rows, low, high):
    """Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3."""
    found = agreement.wilson(agreed, rows)
    assert [round(each, 4) for each in found] == [low, high]


@pytest.mark.parametrize(
    ("both", "only_a", "only_b", "neither", "kappa"),
    [(20, 5, 10, 15, 0.4), (45, 15, 25, 15, 0.1304), (25, 35, 5, 35, 0.2593)],
)
def test_kappa_is_that_of_the_literature(both, only_a, only_b, neither, kappa):
    """Tables of yes and no that are often quoted with their kappa."""
    a = ["yes"] * (both + only_a) + ["no"] * (only_b + neither)
    b = ["yes"] * both + ["no"] * only_a + ["yes"] * only_b + ["no"] * neither
    assert round(agreeing(a, b).kappa, 4) == kappa


def test_nothing_is_known_of_no_rows():
    found = agreeing([], [])
    told = (found.rows, found.agreement, found.agreement_low, found.agreement_high, found.kappa)
    assert told == (0, None, None, None, None)


def test_kappa_is_unknown_where_chance_alone_would_agree():
    found = agreeing(["same"] * 9, ["same"] * 9)
    assert (found.agreement, found.kappa) == (1.0, None)
    assert agreeing(["one"] * 9, ["two"] * 9).kappa == 0.0


def test_agreement_falls_with_every_row_that_differs():
    a = LABELS * 5
    found = [agreeing(a, ["other"] * count + a[count:]) for count in range(len(a) + 1)]
    assert [each.agreed for each in found] == list(range(len(a), -1, -1))
    for name in ("agreement", "agreement_low", "agreement_high", "kappa"):
        values = [getattr(each, name) for each in found]
        assert values == sorted(values, reverse=True), name
        assert values[0] > values[-1]


def test_too_many_labels_have_no_table_and_their_kappa_all_the_same():
    most = agreement.MOST_LABELS
    some, many = ([f"text {number}" for number in range(count)] for count in (most, most + 1))
    assert len(agreeing(some, some).confusion) == most
    assert agreeing(many, many).confusion is None
    assert agreeing(many, many[::-1]).kappa == 0.0
    assert agreeing(some, ["another"] * most).confusion is None


def test_numbers_stand_in_the_order_of_their_size():
    found = agreeing(["10", "9", "-1", "n/a"], ["9", "9", "2.5", "nan"])
    assert list(found.confusion) == ["-1", "2.5", "9", "10", "n/a", "nan"]


@given(st.integers(1, 10**7), st.data())
def test_the_interval_holds_the_share_and_is_one_of_shares(rows, data):
    agreed = data.draw(st.integers(0, rows))
    low, high = agreement.wilson(agreed, rows)
    assert 0 <= low <= round(agreed / rows, 12) <= high <= 1
    assert high - low < 2 * agreement.Z / math.sqrt(rows)
