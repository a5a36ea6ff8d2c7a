"""The rate that is learnt from refusals, against simulated limits under a clock of our own."""

from __future__ import annotations

import heapq

import pytest

from batch.limits.adaptive_rate import AdaptiveRate


class Bucketed:
    """A server that takes `per_second`, and `burst` at once."""

    def __init__(self, per_second: float, burst: float = 10) -> None:
        self._per_second, self._burst = per_second, burst
        self._tokens, self._last = burst, 0.0

    def takes(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._per_second)
        self._last = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def run(server: Bucketed, rows: int, latency: float, in_flight: int) -> tuple[float, int]:
    """Seconds until all rows are answered, and requests sent for it."""
    adaptive, now, slot, sent, answered = AdaptiveRate(), 0.0, 0.0, 0, 0
    flying: list[tuple[float, bool]] = []
    waiting = rows
    while answered < rows:
        while waiting and len(flying) < in_flight and (adaptive.rate is None or slot <= now):
            heapq.heappush(flying, (now + latency, server.takes(now)))
            waiting, sent = waiting - 1, sent + 1
            if adaptive.rate is not None:
                slot = max(slot, now - 0.1) + 1 / adaptive.rate
        moments = [flying[0][0]] if flying else []
        if waiting and len(flying) < in_flight and slot > now:
            moments.append(slot)
        now = min(moments)
        while flying and flying[0][0] <= now:
            _, taken = heapq.heappop(flying)
            if taken:
                answered += 1
                adaptive.answered(now)
            else:
                waiting += 1
                adaptive.refused(now)
    return now, sent


@pytest.mark.parametrize("latency", [0.005, 0.05, 0.3])
@pytest.mark.parametrize("in_flight", [50, 200])
def test_finds_an_undeclared_limit(latency: float, in_flight: int) -> None:
    seconds, sent = run(Bucketed(100), 3_000, latency, in_flight)

    assert sent <= 1.3 * 3_000
    assert seconds <= 1.25 * 30


def test_holds_nothing_back_before_a_refusal() -> None:
    adaptive = AdaptiveRate()
    for moment in range(100):
        adaptive.answered(moment / 100)

    assert adaptive.rate is None


def test_changes_once_for_refusals_that_come_together() -> None:
    adaptive = AdaptiveRate()
    for moment in range(200):
        adaptive.answered(moment / 100)

    assert adaptive.refused(2.0)
    rate = adaptive.rate
    assert not adaptive.refused(2.01)
    assert adaptive.rate == rate == pytest.approx(95, rel=0.05)


def test_rises_while_it_is_used_up_and_not_otherwise() -> None:
    adaptive = AdaptiveRate()
    for moment in range(200):
        adaptive.answered(moment / 100)
    adaptive.refused(2.0)
    rate = adaptive.rate
    assert rate is not None

    for moment in range(300, 800):
        adaptive.answered(moment / 100)
    for moment in range(800, 1_000, 50):
        adaptive.answered(moment / 100)
    risen = adaptive.rate
    for moment in range(1_000, 1_500, 50):
        adaptive.answered(moment / 100)

    assert risen is not None and risen > rate
    assert adaptive.rate == risen
