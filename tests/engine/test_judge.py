"""What follows from an attempt, as a table: no socket, no clock, no chance."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from batch.costs.prices import Pricer, Seller
from batch.engine.decisions import Decision, Done, Held, Stop, Wait
from batch.engine.events import Notice
from batch.engine.health import Healths
from batch.engine.judge import Judge
from batch.engine.retry import Retry
from batch.engine.standing import Standing
from batch.engine.task import Task
from batch.limits.limiter import Limiter
from batch.limits.limits import Limits
from batch.model import Attempt, Request, Row
from batch.results import Maker

ANSWER = {
    "choices": [{"message": {"content": "cold"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    "model": "m",
}
ASKED = Request(0, None, "chat", "m", b"{}", "hash")


class Case:
    """A judge, and a clock that is set by hand; the jitter is always the middle."""

    def __init__(self, policy: Retry | None = None, **standing: Any) -> None:
        self.now = 1_000.0
        self.body = b"{}"
        self.limiter = Limiter(Limits(), 8, clock=lambda: self.now)
        maker = Maker(Pricer({}, Seller()))
        self.judge = Judge(policy or Retry(), [self.limiter], maker, Standing(**standing))

    def decide(self, attempt: Attempt, row: int = 0, task: Task | None = None) -> list[Decision]:
        """All that follows from an attempt at a row, a second later."""
        self.now += 1.0
        task = task or Task(Row(row, {}, f"in:{row}"))
        request = Request(task.row.index, None, "chat", "m", self.body, "hash")
        task = Task(task.row, request, task.tries, task.chances)
        done, judged = self.judge.ended(request, attempt)
        return list(self.judge.decide(task, done, judged, self.now))

    def to_the_end(self, attempts: list[Attempt]) -> list[Decision]:
        """What follows from one after the other at the same row, which waits in between."""
        task: Task | None = None
        told: list[Decision] = []
        for attempt in attempts:
            told += self.decide(attempt, task=task)
            waits = [each for each in told if isinstance(each, Wait)]
            task = waits[-1].task if waits else None
        return told


def attempt(status: int | None = 200, answer: Any = ANSWER, **more: Any) -> Attempt:
    raw = json.dumps(answer).encode()
    return Attempt("host/v1", 5.0, 0.2, status, answer=answer, raw=raw, **more)


def refusal(status: int, **error: Any) -> Attempt:
    headers = error.pop("headers", {})
    return attempt(status, {"error": {"message": "no", **error}}, headers=headers)


LOST = attempt(None, None, fault="timeout", maybe_billed=True, message="late")
CLOSED = attempt(None, None, fault="reused_socket", message="closed")
GOOD, BROKEN, LIMITED = attempt(), refusal(500), refusal(429)


def told(decisions: list[Decision]) -> list[Any]:
    """A word, and what matters, for each decision."""
    words: list[Any] = []
    for decision in decisions:
        match decision:
            case Done(result):
                words.append(result.error_class or result.status)
            case Wait(_, seconds):
                words.append(seconds)
            case Held():
                words.append("held")
            case Stop(reason):
                words.append(type(reason).__name__)
            case Notice():
                words.append("notice")
    return words


@pytest.mark.parametrize(
    ("attempts", "follows"),
    [
        ([GOOD], ["ok"]),
        ([BROKEN, GOOD], [0.25, "ok"]),
        ([BROKEN, BROKEN, GOOD], [0.25, 0.5, "ok"]),
        ([BROKEN] * 3, [0.25, 0.5, "server_error"]),
        ([LOST, GOOD], [0.25, "ok"]),
        ([LOST, LOST], [0.25, "timeout"]),
        ([CLOSED, GOOD], [0.0, "ok"]),
        ([LIMITED] * 2 + [GOOD], [0.25, 0.5, "ok"]),
        ([refusal(429, headers={"retry-after": "7"}), GOOD], [7.25, "ok"]),
        ([refusal(400, code="context_length_exceeded")], ["held"]),
        ([refusal(400, code="content_filter")], ["content_filter"]),
        ([refusal(403, code="content_filter")], ["content_filter"]),
        ([refusal(400, code="json_validate_failed"), GOOD], [0.0, "ok"]),
        ([refusal(498), GOOD], [0.25, "ok"]),
        ([refusal(424), GOOD], [0.25, "ok"]),
        ([refusal(400)], ["held"]),
        ([refusal(401)], ["held", "Stopped"]),
        ([refusal(404)], ["held", "Stopped"]),
        ([refusal(402)], ["held", "Stopped"]),
        ([refusal(429, headers={"retry-after": "9000"})], ["Stopped", 9000.25]),
    ],
)
def test_one_row_comes_to_its_end(attempts: list[Attempt], follows: list[Any]) -> None:
    case = Case(Retry(max_attempts=3))
    assert told(case.to_the_end(attempts)) == follows


def test_a_refusal_of_all_is_the_jobs_and_of_some_the_rows() -> None:
    case = Case()
    alike = [case.decide(refusal(400), row) for row in range(20)]
    assert [told(each) for each in alike[:19]] == [["held"]] * 19
    assert told(alike[19]) == ["held", "Stopped"]

    case = Case()
    held = [told(case.decide(refusal(400), row)) for row in range(3)]
    assert held == [["held"]] * 3
    assert told(case.decide(GOOD, 3)) == ["invalid_request"] * 3 + ["ok"]
    assert told(case.decide(refusal(400), 4)) == ["held"]
    assert told(case.decide(GOOD, 5)) == ["invalid_request", "ok"]


def test_a_row_that_is_too_long_fails_as_itself_once_another_succeeds() -> None:
    too_long = refusal(400, code="context_length_exceeded")
    case = Case()
    assert [told(case.decide(too_long, row)) for row in range(49)] == [["held"]] * 49
    assert told(case.decide(GOOD, 49)) == ["context_length"] * 49 + ["ok"]
    assert told(case.decide(too_long, 50)) == ["context_length"]


def test_a_job_whose_few_rows_are_all_too_long_ends_with_them() -> None:
    case = Case()
    for row in range(3):
        case.decide(refusal(413), row)
    assert told(list(case.judge.at_the_end())) == ["too_large"] * 3


def test_fifty_rows_refused_alike_after_answers_stop_the_run_and_the_next_start_fails_them() -> (
    None
):
    case = Case()
    case.decide(GOOD, 0)
    follows = [told(case.decide(refusal(400), row)) for row in range(1, 51)]
    assert follows == [["held"]] * 49 + [["held", "Stopped"]]
    assert told(case.decide(refusal(400), 51)) == ["held"]  # which was on its way

    again = Case(succeeded=True, doubted=case.judge.doubted)
    assert told(again.decide(refusal(400), 1)) == ["invalid_request"]
    assert told(again.decide(refusal(400, message="other"), 1)) == ["held"]


def test_an_answer_to_a_request_that_left_before_a_refusal_came_says_nothing_of_it() -> None:
    case = Case()
    case.decide(GOOD, 0)
    case.decide(refusal(400), 1)
    slow = msgspec.structs.replace(GOOD, latency_s=5.0)
    assert told(case.decide(slow, 2)) == ["ok"]
    assert told(case.decide(GOOD, 3)) == ["invalid_request", "ok"]


def test_when_nothing_was_answered_the_end_decides() -> None:
    case = Case()
    for row, message in enumerate(["too green", "too blue"]):
        case.decide(refusal(400, message=message), row)
    assert told(list(case.judge.at_the_end())) == ["invalid_request"] * 2


def test_a_run_that_holds_answers_holds_back_what_it_doubts_until_the_next() -> None:
    case = Case(succeeded=True)
    assert told(case.decide(refusal(400))) == ["held"]
    assert told(case.decide(refusal(400, code="context_length_exceeded"), 1)) == ["context_length"]
    assert told(case.decide(GOOD, 2)) == ["invalid_request", "ok"]
    accepting = Case(succeeded=True, accepts_all=True)
    assert told(accepting.decide(refusal(400))) == ["invalid_request"]


FLEX = refusal(429, code="resource_unavailable")


@pytest.mark.parametrize(
    ("fallback", "tier", "follows"),
    [
        (False, "flex", [0.25, 0.5, 1.0, "ok"]),
        (True, "flex", [0.25, 0.5, 0.0, "ok"]),
        (True, "default", [0.25, 0.5, 1.0, "ok"]),
    ],
)
def test_a_row_leaves_a_flex_tier_without_room(fallback, tier, follows) -> None:
    case = Case(Retry(flex_fallback=fallback))
    case.body = json.dumps({"service_tier": tier}, separators=(",", ":")).encode()
    waits = case.to_the_end([FLEX] * 3 + [GOOD])
    assert told(waits) == follows
    last = [each.task for each in waits if isinstance(each, Wait)][-1]
    assert last.asked.hash == "hash"
    assert (b"flex" in last.asked.body) == (tier == "flex" and not fallback)


def test_a_flex_tier_without_room_is_no_outage() -> None:
    case = Case(Retry(flex_fallback=True))
    case.body = b'{"service_tier":"flex"}'
    for row in range(60):
        case.decide(FLEX, row)
    assert case.limiter.circuit.open_since is None


def test_a_key_that_was_good_before_is_waited_for() -> None:
    case = Case()
    case.decide(GOOD, 0)
    assert told(case.decide(refusal(401), 1)) == [1.0]


def test_an_outage_costs_no_row_its_chances() -> None:
    case = Case(Retry(max_attempts=2))
    case.decide(GOOD, 0)
    for row in range(1, 41):
        assert all(isinstance(each, Wait) for each in case.decide(BROKEN, row))
    assert case.limiter.circuit.open_since is not None
    [wait] = case.decide(BROKEN, 50)
    assert isinstance(wait, Wait) and wait.task.chances.of("failed") == 0


def test_an_outage_that_lasts_too_long_stops_the_run() -> None:
    case = Case(Retry(max_wait=60))
    case.decide(GOOD, 0)
    stops = [case.now for row in range(200) if "Stopped" in told(case.decide(BROKEN, row))]
    assert stops and 60 <= stops[0] - (case.limiter.circuit.open_since or 0.0) <= 62


def test_what_holds_for_many_rows_is_said_once() -> None:
    case = Case()
    other = attempt(answer={**ANSWER, "model": "n"})
    assert told(case.decide(other, 0)) == ["ok", "notice"]
    assert told(case.decide(other, 1)) == ["ok"]


def test_half_of_the_first_answers_empty_stop_the_run_unless_that_is_accepted() -> None:
    empty = attempt(
        answer={**ANSWER, "choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}
    )
    case, accepting = Case(), Case(accepts_all=True)
    for row in range(49):
        assert told(case.decide(empty, row)) == ["ok"]
    assert told(case.decide(empty, 49)) == ["ok", "Doubtful"]
    assert all(told(accepting.decide(empty, row)) == ["ok"] for row in range(60))


def test_after_a_stop_no_row_fails_for_want_of_chances() -> None:
    case = Case(Retry(max_attempts=1))
    case.judge.stop()
    assert told(case.decide(BROKEN)) == [0.0]


def test_a_second_endpoint_that_joins_is_seen_together_with_the_first():
    limiters = [Limiter(Limits(), 8)]
    healths = Healths(Retry(), limiters, lambda: 0.5, succeeded=True)
    assert healths.of(0).outages.everywhere is None
    limiters.append(Limiter(Limits(), 8))
    second = healths.of(1).outages.everywhere
    assert second is not None and healths.of(0).outages.everywhere is second


def test_a_refusal_by_the_only_endpoint_counts_however_long_a_row_may_wait():
    case = Case(Retry(max_delay=float("inf")), succeeded=True)
    decided = case.decide(refusal(400, code="context_length_exceeded"))
    assert not any(isinstance(each, Wait) for each in decided)
