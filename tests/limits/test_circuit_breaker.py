"""The circuit, under a clock of our own."""

from __future__ import annotations

import pytest

from batch.limits.circuit_breaker import (
    FAULTS,
    FIRST_PROBE,
    MANY,
    PROBE,
    UNREACHABLE,
    CircuitBreaker,
)

LATER = 1_000.0
"""All that had been on its way has come."""


def failing(
    circuit: CircuitBreaker, rows: range, now: float = 0.0, *, unreachable: bool = False
) -> bool:
    """Whether it is open after one fault of each row."""
    return [circuit.failed(row, "503", now, now, unreachable=unreachable) for row in rows][-1]


def test_opens_after_a_series_of_faults_of_several_rows() -> None:
    circuit = CircuitBreaker()

    assert not failing(circuit, range(FAULTS - 1))
    assert failing(circuit, range(FAULTS - 1, FAULTS), now=7.0)
    assert circuit.open_since == 7.0
    assert circuit.why == "503"


def test_a_few_rows_that_always_fail_do_not_open_it() -> None:
    circuit = CircuitBreaker()

    assert not any(circuit.failed(at % (MANY - 1), "500", 0.0, 0.0) for at in range(5 * FAULTS))
    assert circuit.failed(MANY, "500", 0.0, 0.0)


def test_rows_that_failed_before_an_answer_do_not_speak_for_the_endpoint() -> None:
    circuit = CircuitBreaker()
    failing(circuit, range(5), now=1.0)
    assert circuit.fails_for_many(LATER)
    circuit.answered(1.1, 0.9)
    failing(circuit, range(5, 7), now=1.2)
    assert not circuit.fails_for_many(LATER)
    failing(circuit, range(7, 8), now=1.3)
    assert circuit.fails_for_many(LATER)


def test_a_row_speaks_while_only_answers_on_their_way_have_come() -> None:
    circuit = CircuitBreaker()
    failing(circuit, range(1), now=10.0)
    circuit.answered(10.1, 9.9)
    assert circuit.is_evidence(10.0, 10.5)
    assert not circuit.is_evidence(10.0, 12.0), "what comes so late had not been on its way"
    for row in range(MANY):
        circuit.failed(row, "503", 10.5, 10.4, unanswered=False)
    assert not circuit.fails_for_many(LATER)
    circuit.answered(10.6, 10.55)
    assert not circuit.is_evidence(10.0, 10.7)


def test_failures_that_tell_nothing_do_not_keep_it_closed() -> None:
    circuit = CircuitBreaker()
    failing(circuit, range(1), now=1.0)
    for _ in range(2 * FAULTS):
        circuit.sent(1.01)
        circuit.ignore_failure()
    for row in range(1, FAULTS):
        circuit.sent(1.02)
        circuit.failed(row, "503", 1.03, 1.02)
    assert circuit.open_since == 1.03


def test_faults_among_answers_do_not_open_it() -> None:
    circuit = CircuitBreaker()
    for row in range(1_000):
        assert not circuit.failed(row, "500", 0.0, 0.0)
        circuit.answered(200.0, 200.0)


def test_opens_when_four_of_five_attempts_fail() -> None:
    circuit = CircuitBreaker()
    for row in range(100):
        if row % 10 == 0:
            circuit.answered(200.0, 200.0)
        else:
            circuit.failed(row, "500", 0.0, 0.0)

    assert circuit.open_since is not None


def test_opens_soon_when_no_connection_can_be_made() -> None:
    circuit = CircuitBreaker()

    assert not failing(circuit, range(UNREACHABLE - 1), unreachable=True)
    assert failing(circuit, range(1), unreachable=True)


def test_lets_one_probe_out_at_a_time() -> None:
    circuit = CircuitBreaker()
    circuit.open("401", 100.0)

    assert circuit.wait(100.0) == FIRST_PROBE
    assert circuit.wait(100.0 + FIRST_PROBE) == 0
    circuit.sent(101.0)
    assert circuit.wait(101.0) == PROBE
    assert circuit.wait(101.0 + PROBE) == 0


def test_an_answer_closes_it() -> None:
    circuit = CircuitBreaker()
    circuit.open("401", 100.0)

    circuit.answered(200.0, 200.0)

    assert circuit.open_since is None
    assert circuit.wait(100.0) == 0
    assert not failing(circuit, range(FAULTS - 1))


def test_keeps_the_moment_and_the_reason_of_the_first_opening() -> None:
    circuit = CircuitBreaker()
    circuit.open("401", 100.0)

    circuit.open("503", 200.0)

    assert (circuit.open_since, circuit.why) == (100.0, "401")


def test_answers_to_what_was_sent_before_the_trouble_do_not_hide_it() -> None:
    circuit = CircuitBreaker()
    for row in range(FAULTS - 1):
        circuit.failed(row, "503", 10.0, 10.0)
        circuit.answered(10.0, 9.0)

    assert circuit.failed(FAULTS, "503", 11.0, 10.5)
    assert not circuit.answered(11.0, 9.5)
    assert circuit.open_since == 11.0
    assert circuit.answered(12.5, 12.0)
    assert circuit.open_since is None


def test_faults_of_what_was_sent_before_the_trouble_are_one_fault() -> None:
    circuit = CircuitBreaker()

    assert not any(circuit.failed(row, "503", 10.0 + row / 100, 9.0) for row in range(50))


@pytest.mark.parametrize("period", [2.5, 4.0, 5.0, 10.0])
@pytest.mark.parametrize("offset", [0.0, 0.2, 0.4, 0.6, 0.8])
def test_no_rhythm_of_an_endpoint_escapes_the_probes(period: float, offset: float) -> None:
    circuit, now, probes = CircuitBreaker(), 100.0, list[float]()
    circuit.open("503", now)
    while now < 160.0:
        now += circuit.wait(now)
        circuit.sent(now)
        probes.append((now / period + offset) % 1)

    assert any(phase < 0.4 for phase in probes), "it is up for two fifths of the time"
    assert 12 <= len(probes) <= 20
