"""The circuit, under a clock of our own."""

from __future__ import annotations

from batch.limits.circuit_breaker import FAULTS, FIRST_PROBE, MANY, PROBE, UNREACHABLE, Health

LATER = 1_000.0
"""All that had been on its way has come."""


def failing(health: Health, rows: range, now: float = 0.0, *, unreachable: bool = False) -> bool:
    """Whether it is open after one fault of each row."""
    return [health.fault(row, "503", now, now, unreachable=unreachable) for row in rows][-1]


def test_opens_after_a_series_of_faults_of_several_rows() -> None:
    health = Health()

    assert not failing(health, range(FAULTS - 1))
    assert failing(health, range(FAULTS - 1, FAULTS), now=7.0)
    assert health.since == 7.0
    assert health.why == "503"


def test_a_few_rows_that_always_fail_do_not_open_it() -> None:
    health = Health()

    assert not any(health.fault(at % (MANY - 1), "500", 0.0, 0.0) for at in range(5 * FAULTS))
    assert health.fault(MANY, "500", 0.0, 0.0)


def test_rows_that_failed_before_an_answer_do_not_speak_for_the_endpoint() -> None:
    health = Health()
    failing(health, range(5), now=1.0)
    assert health.fails_for_many(LATER)
    health.good(1.1, 0.9)
    failing(health, range(5, 7), now=1.2)
    assert not health.fails_for_many(LATER)
    failing(health, range(7, 8), now=1.3)
    assert health.fails_for_many(LATER)


def test_a_row_speaks_while_only_answers_on_their_way_have_come() -> None:
    health = Health()
    failing(health, range(1), now=10.0)
    health.good(10.1, 9.9)
    assert health.speaks(10.0, 10.5)
    assert not health.speaks(10.0, 12.0), "what comes so late had not been on its way"
    for row in range(MANY):
        health.fault(row, "503", 10.5, 10.4, fresh=False)
    assert not health.fails_for_many(LATER)
    health.good(10.6, 10.55)
    assert not health.speaks(10.0, 10.7)


def test_failures_that_tell_nothing_do_not_keep_it_closed() -> None:
    health = Health()
    failing(health, range(1), now=1.0)
    for _ in range(2 * FAULTS):
        health.sent(1.01)
        health.disregard()
    for row in range(1, FAULTS):
        health.sent(1.02)
        health.fault(row, "503", 1.03, 1.02)
    assert health.since == 1.03


def test_faults_among_answers_do_not_open_it() -> None:
    health = Health()
    for row in range(1_000):
        assert not health.fault(row, "500", 0.0, 0.0)
        health.good(200.0, 200.0)


def test_opens_when_four_of_five_attempts_fail() -> None:
    health = Health()
    for row in range(100):
        if row % 10 == 0:
            health.good(200.0, 200.0)
        else:
            health.fault(row, "500", 0.0, 0.0)

    assert health.since is not None


def test_opens_soon_when_no_connection_can_be_made() -> None:
    health = Health()

    assert not failing(health, range(UNREACHABLE - 1), unreachable=True)
    assert failing(health, range(1), unreachable=True)


def test_lets_one_probe_out_at_a_time() -> None:
    health = Health()
    health.open("401", 100.0)

    assert health.wait(100.0) == FIRST_PROBE
    assert health.wait(100.0 + FIRST_PROBE) == 0
    health.sent(101.0)
    assert health.wait(101.0) == PROBE
    assert health.wait(101.0 + PROBE) == 0


def test_an_answer_closes_it() -> None:
    health = Health()
    health.open("401", 100.0)

    health.good(200.0, 200.0)

    assert health.since is None
    assert health.wait(100.0) == 0
    assert not failing(health, range(FAULTS - 1))


def test_keeps_the_moment_and_the_reason_of_the_first_opening() -> None:
    health = Health()
    health.open("401", 100.0)

    health.open("503", 200.0)

    assert (health.since, health.why) == (100.0, "401")


def test_answers_to_what_was_sent_before_the_trouble_do_not_hide_it() -> None:
    health = Health()
    for row in range(FAULTS - 1):
        health.fault(row, "503", 10.0, 10.0)
        health.good(10.0, 9.0)

    assert health.fault(FAULTS, "503", 11.0, 10.5)
    assert not health.good(11.0, 9.5)
    assert health.since == 11.0
    assert health.good(12.5, 12.0)
    assert health.since is None


def test_faults_of_what_was_sent_before_the_trouble_are_one_fault() -> None:
    health = Health()

    assert not any(health.fault(row, "503", 10.0 + row / 100, 9.0) for row in range(50))
