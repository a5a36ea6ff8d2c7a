"""What refusals tell: of a limit, or of a replica."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from batch.limits.refusals import RefusalCauses

LATENCY, QUICK = 0.1, 0.01


def told(refuses: Callable[[int], bool], requests: int, causes: RefusalCauses) -> list[str]:
    """The causes of all refusals, where requests leave evenly and answers come after a while."""
    found: list[str] = []
    for n in range(requests):
        sent = n / 100
        causes.window.sent(sent)
        if refuses(n):
            found.append(causes.refused(sent))
            causes.wants_trial(sent + QUICK, sent)
        else:
            causes.window.answered(sent, sent + LATENCY)
            causes.trial_ended(sent, sent + LATENCY)
    return found


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_a_share_that_slower_requests_do_not_change_is_no_limit(share):
    chance, causes = random.Random(3), RefusalCauses()
    assert set(told(lambda n: n > 0 and chance.random() < share, 1_000, causes)) == {"scattered"}
    assert causes.background == pytest.approx(share, rel=0.5)
    assert not causes.learnt


def test_a_share_that_slower_requests_end_is_a_limit():
    causes = RefusalCauses()

    def refuses(n: int) -> bool:
        return n % 10 == 9 and causes.trial is None and not causes.learnt

    assert set(told(refuses, 1_000, causes)) == {"scattered"}
    assert causes.learnt and causes.background == 0


def test_what_refuses_nearly_everything_is_a_limit():
    found = told(lambda n: n >= 100, 130, RefusalCauses())
    assert found[:11] == ["scattered"] * 11
    assert set(found[11:]) == {"limit"}


def test_a_single_request_tells_nothing():
    assert told(lambda _: True, 3, RefusalCauses()) == ["unsure"] * 3


def test_a_failure_is_a_refusal_only_while_others_are_answered():
    causes = RefusalCauses()
    told(lambda n: n >= 50, 100, causes)
    assert not causes.window.answers_some(1.0)
    causes.window.answered(0.9, 1.0)
    assert causes.window.answers_some(1.0) and causes.would_be_limit(0.99)
