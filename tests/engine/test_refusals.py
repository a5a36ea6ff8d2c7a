"""A server without room: who waits how long, and when the run gives up."""

from __future__ import annotations

import math
import re

import pytest

from batch.engine.refusals import Refusals
from batch.engine.retry import Retry
from batch.limits.limiter import MARGIN, Limiter
from batch.limits.limits import Limits
from batch.model import Attempt
from batch.outcome import TryAgain

ATTEMPT = Attempt("host/v1", 5.0, 0.2, 429)
NOW = 1_000.0


def refused(wait: float | None = None, reset: float | None = None) -> TryAgain:
    return TryAgain("rate_limited", "no room", refused=True, wait=wait, reset=reset)


@pytest.mark.parametrize(
    ("refusals", "answered", "seconds"),
    [
        ([refused()], False, 0.0),
        ([refused()] * 2, False, 0.25),
        ([refused()] * 2, True, 0.0),
        ([refused(7.0)], False, 7.0 + MARGIN),
        ([refused(0.01)] * 2, False, 0.25),
        ([refused(reset=30.0)], False, 1.0 + MARGIN),
        ([TryAgain("server_error", "broke", wait=3.0)], False, 3.0),
    ],
)
def test_nobody_sends_before_the_server_said_so(refusals, answered, seconds):
    clock = [NOW]
    limiter = Limiter(Limits(), 8, clock=lambda: clock[0])
    held = Refusals(Retry(), limiter, lambda: 0.5)
    for again in refusals:
        assert held.hold(again, ATTEMPT, NOW).reason is None
        if answered:
            held.answered()
    clock[0] += seconds
    assert limiter.obstacle() is None
    clock[0] -= 0.001
    assert (limiter.obstacle() is not None) == (seconds > 0)


@pytest.mark.parametrize(
    ("wait", "after", "answered", "stops"),
    [
        (None, 61.0, False, True),
        (None, 59.0, False, False),
        (None, 61.0, True, False),
        (61.0, 0.0, False, True),
        (59.0, 0.0, False, False),
    ],
)
def test_a_run_gives_up_after_its_longest_wait(wait, after, answered, stops):
    held = Refusals(Retry(max_wait=60), Limiter(Limits(), 8, clock=lambda: NOW), lambda: 0.5)
    assert held.hold(refused(), ATTEMPT, NOW).reason is None
    if answered:
        held.answered()
    assert (held.hold(refused(wait), ATTEMPT, NOW + after).reason is not None) == stops


def test_a_refusal_after_an_answer_is_of_one_row():
    held = Refusals(Retry(), Limiter(Limits(), 8, clock=lambda: NOW), lambda: 0.5)
    assert held.others_succeed
    held.hold(refused(), ATTEMPT, NOW)
    assert not held.others_succeed
    held.answered()
    assert held.others_succeed


@pytest.mark.parametrize(
    ("wait", "hint"),
    [
        (9_000.0, r"come back after \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+"),
        (math.inf, r"come back later: it does not say when"),
    ],
)
def test_a_limit_beyond_all_patience_stops_at_once_and_names_the_hour_with_its_zone(wait, hint):
    held = Refusals(Retry(), Limiter(Limits(), 8, clock=lambda: NOW), lambda: 0.5)
    reason = held.hold(refused(wait), ATTEMPT, NOW).reason
    assert reason is not None and re.match(hint, reason.hint or "")
    assert "for longer than retry.max_wait" in str(reason)
