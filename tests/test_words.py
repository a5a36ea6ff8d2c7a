"""Numbers, money and time as they are read."""

from __future__ import annotations

from decimal import Decimal

import pytest

from batch.words import UP, at_least, duration, money, printable, short


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        (None, "unknown"),
        (0.0, "$0.00"),
        (1234.5, "$1,234.50"),
        (12.345, "$12.35"),
        (0.5, "$0.50"),
        (0.123456, "$0.123"),
        (0.00123456, "$0.00123"),
        (0.000123, "$0.000123"),
        (0.0000123, "$0.000012"),
        (0.0000001, "<$0.000001"),
    ],
)
def test_money_has_as_many_decimals_as_it_needs(usd, said):
    assert money(usd) == said


@pytest.mark.parametrize(
    ("usd", "least", "most"),
    [
        (0.0, "≥ $0.00", "$0.00"),
        (12.345, "≥ $12.34", "$12.35"),
        (12.341, "≥ $12.34", "$12.35"),
        (0.06, "≥ $0.06", "$0.06"),
        (0.1 + 0.2, "≥ $0.30", "$0.30"),
        (0.9999, "≥ $0.999", "$1.00"),
        (0.0000129, "≥ $0.000012", "$0.000013"),
        (0.0000001, "≥ $0.00", "$0.000001"),
        (Decimal("7.999"), "≥ $7.99", "$8.00"),
    ],
)
def test_a_bound_stays_one_when_it_is_rounded(usd, least, most):
    assert (at_least(usd), money(usd, UP)) == (least, most)


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0"), (999, "999"), (1_234, "1.23k"), (1_234_567, "1.23M"), (2_000_000_000, "2G")],
)
def test_a_large_count_has_three_digits(count, said):
    assert short(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(1.26, "1.3 s"), (64.4, "64 s"), (600, "10 min"), (3725.4, "62 min"), (9000, "2 h 30 min")],
)
def test_a_time_is_told_in_the_units_that_fit_it(seconds, said):
    assert duration(seconds) == said


def test_no_word_drives_the_terminal():
    assert printable("a\x1b[2J\r\tb\nc\x9b") == "a\ufffd[2J\ufffd\tb\nc\ufffd"
