"""What an attempt means, as a table of answers seen in the wild."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import error_codes, outcome
from batch.apis import chat_completions
from batch.columns import FLAGS
from batch.model import Attempt
from batch.outcome import Accept, Outcome, Reject, Stop, TryAgain

GOOD = {"choices": [{"index": 0, "message": {"content": "yes"}, "finish_reason": "stop"}]}
USED = {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}


def attempt(status: int | None, answer: Any = None, **more: Any) -> Attempt:
    return Attempt("host/v1", 0.0, 0.1, status=status, answer=answer, **more)


def judge(status: int | None, answer: Any = None, **more: Any) -> Outcome:
    return outcome.judge(attempt(status, answer, **more), chat_completions.parse, 1_700_000_000.0)


def error(message: str = "no", code: Any = None, kind: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": code}}


def verdict(judged: Outcome) -> tuple[type, str]:
    assert not isinstance(judged, Accept)
    return type(judged), judged.error_class


@pytest.mark.parametrize(
    ("status", "kind", "error_class"),
    [
        *((status, Reject, "invalid_request") for status in (400, 406, 415, 418, 422, 501, 505)),
        *((status, Stop, "auth") for status in (401, 403)),
        (402, Stop, "quota"),
        (404, Stop, "not_found"),
        *((status, Stop, "redirect") for status in (301, 302, 303, 307, 308, 405)),
        *((status, TryAgain, "timeout") for status in (408, 499, 504, 524)),
        *((status, TryAgain, "overloaded") for status in (409, 425, 503, 529)),
        *((status, Reject, "too_large") for status in (413, 414, 431)),
        (429, TryAgain, "rate_limited"),
        *((status, TryAgain, "server_error") for status in (500, 502, 520, 521, 525, 530, 599)),
        *((status, TryAgain, "bad_response") for status in (201, 204, 205, 206, 600, 999)),
    ],
)
def test_a_status_means(status, kind, error_class):
    assert verdict(judge(status, error())) == (kind, error_class)


@pytest.mark.parametrize(
    ("status", "body", "kind", "error_class"),
    [
        (400, error(code="context_length_exceeded"), Reject, "context_length"),
        (400, error("This model's maximum context length is 2048", 400), Reject, "context_length"),
        (422, error("prompt is too long: 9 > 8"), Reject, "context_length"),
        (400, error(kind="exceed_context_size_error", code=400), Reject, "context_length"),
        (400, error(code="content_filter"), Reject, "content_filter"),
        (400, error(code="content_policy_violation"), Reject, "content_filter"),
        (400, error(kind="invalid_prompt"), Reject, "content_filter"),
        (429, error(code="insufficient_quota"), Stop, "quota"),
        (429, error(kind="insufficient_quota"), Stop, "quota"),
        (429, error("You run too many at once", "INSUFFICIENT QUOTA"), TryAgain, "rate_limited"),
        (429, error("Your insufficient_quota is fine"), TryAgain, "rate_limited"),
        (
            429,
            error("Request too large for m on tokens per min: Limit 30000, Requested 30601."),
            Reject,
            "too_large",
        ),
        (429, error(code="server_error"), TryAgain, "rate_limited"),
        (404, error(code="DeploymentNotFound"), Stop, "not_found"),
        (400, error(code="invalid_api_key"), Stop, "auth"),
        (400, error(kind="overloaded_error"), TryAgain, "overloaded"),
        (500, error(code="context_length_exceeded"), TryAgain, "server_error"),
        (500, error("context length"), TryAgain, "server_error"),
    ],
)
def test_a_structured_code_says_more_than_its_status(status, body, kind, error_class):
    assert verdict(judge(status, body)) == (kind, error_class)


@pytest.mark.parametrize(
    ("body", "kind", "error_class"),
    [
        (error(code=429), TryAgain, "rate_limited"),
        (error(code="503"), TryAgain, "overloaded"),
        (error(code=400), Reject, "invalid_request"),
        (error(code="context_length_exceeded"), Reject, "context_length"),
        (error(code="insufficient_quota"), Stop, "quota"),
        (error(kind="server_error"), TryAgain, "server_error"),
        (error("hm"), TryAgain, "bad_response"),
        ({"error": "hm"}, TryAgain, "bad_response"),
        ({"errors": [{"message": "hm", "code": 500}]}, TryAgain, "server_error"),
        ({**GOOD, **error("late", 502)}, TryAgain, "server_error"),
    ],
)
def test_an_error_inside_a_200_counts_as_the_status_it_stands_for(body, kind, error_class):
    assert verdict(judge(200, body)) == (kind, error_class)


@pytest.mark.parametrize(
    ("status", "body", "kind", "error_class"),
    [
        (400, error("Your credit balance is too low", kind="invalid_request_error"), Stop, "quota"),
        (403, {"code": "x", "error": "You have used all available credits"}, Stop, "quota"),
        (429, error("Please recharge", "1113"), Stop, "quota"),
        (429, error("no", kind="exceeded_current_quota_error"), Stop, "quota"),
        (400, {"code": "Arrearage", "message": "Access denied", "request_id": "r"}, Stop, "quota"),
        (403, {"code": 30001, "message": "no", "data": None}, Stop, "quota"),
        (403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "no"}, Stop, "quota"),
        (200, {"choices": None, "base_resp": {"status_code": 1008}}, Stop, "quota"),
        (200, {"choices": None, "base_resp": {"status_code": 1004}}, Stop, "auth"),
        (200, {"choices": None, "base_resp": {"status_code": 1002}}, TryAgain, "rate_limited"),
        (200, {"choices": None, "base_resp": {"status_code": 1013}}, TryAgain, "server_error"),
        (200, {"choices": None, "base_resp": {"status_code": 7}}, TryAgain, "bad_response"),
        (200, error("insufficient balance"), Stop, "quota"),
        (400, [error("API key not valid.", 400)], Stop, "auth"),
        (400, {"code": "x", "error": "Incorrect API key provided: xa***"}, Stop, "auth"),
        (429, error("rate limited, see your quota page"), TryAgain, "rate_limited"),
        (429, error("You exceeded your current quota, check your plan", 429), TryAgain, "rate_limited"),
        (400, error("balance: unknown parameter"), Reject, "invalid_request"),
    ],
)  # fmt: skip
def test_account_trouble_stops_the_run_however_it_is_told(status, body, kind, error_class):
    assert verdict(judge(status, body)) == (kind, error_class)


def test_a_key_that_google_calls_bad_is_known_by_its_reason():
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    body = {"error": {"code": 400, "message": "no", "details": [detail]}}
    assert verdict(judge(400, [body])) == (Stop, "auth")


def test_words_that_the_request_said_are_not_the_servers():
    said = "Your credit balance is too low"
    asked = b'{"messages": [{"content": "They wrote: your credit balance is  too low."}]}'
    answered = attempt(400, error(f"Invalid prompt: {said}"))
    judged = outcome.judge(answered, chat_completions.parse, 1.7e9, True, asked)
    assert verdict(judged) == (Reject, "invalid_request")


@pytest.mark.parametrize(
    ("status", "raw", "error_class", "message"),
    [
        (400, b"Model m takes\x1b no chat", "invalid_request", "Model m takes no chat"),
        (500, b"upstream gone", "server_error", "upstream gone"),
        (403, b"used all available credits", "quota", "used all available credits"),
        (403, b"error code: 1010", "blocked", "error code: 1010"),
        (400, b"", "invalid_request", "HTTP 400"),
    ],
)
def test_an_error_in_plain_text_is_read(status, raw, error_class, message):
    judged = judge(status, raw=raw)
    assert not isinstance(judged, Accept)
    assert judged.error_class == error_class and message in judged.message


def google(**detail: Any) -> list[Any]:
    return [{"error": {"code": 429, "message": "no", "details": [{"@type": "x"}, detail]}}]


@pytest.mark.parametrize(
    ("status", "body", "said", "wait"),
    [
        (429, google(retryDelay="6s"), {}, 6.0),
        (429, google(retryDelay="6s"), {"retry-after": "2"}, 2.0),
        (429, google(violations=[{"quotaId": "RequestsPerMinute"}]), {}, None),
        (429, error("Please try again in 7m12s. Visit us."), {}, 432.0),
        (429, error("Please retry after 26 seconds."), {}, 26.0),
        (429, error("Please wait 57 seconds before retrying."), {}, 57.0),
        (429, {"error": {"message": "no", "metadata": {"headers": {"Retry-After": "3"}}}}, {}, 3.0),
        (429, {"error": {"message": "no", "retry_after": 4}}, {}, 4.0),
        (429, error("tokens per day (TPD): used up. Try again in 3m0s"), {}, 180.0),
        (429, error("free-models-per-day"), {}, math.inf),
        (429, error("free-models-per-day"), {"x-ratelimit-reset": "500"}, 500.0),
        (429, error(), {"x-ratelimit-reset": "500", "x-ratelimit-remaining": "0"}, 500.0),
        (429, error(), {"x-ratelimit-reset": "500", "x-ratelimit-remaining": "5"}, None),
        (429, error(code="1308"), {}, math.inf),
        (402, error(), {"retry-after": "5"}, 5.0),
        (400, error("no", "rate_limit_error"), {"retry-after": "5"}, 5.0),
    ],
)  # fmt: skip
def test_a_refusal_tells_the_wait_in_its_headers_or_in_its_body(status, body, said, wait):
    judged = judge(status, body, headers=said)
    assert isinstance(judged, TryAgain)
    assert judged.refused and judged.wait == wait


def test_googles_limits_of_a_day_end_at_midnight_in_california():
    body = google(violations=[{"quotaId": "GenerateRequestsPerDayPerProject"}], retryDelay="34s")
    answered = attempt(429, body)
    judged = outcome.judge(
        answered, chat_completions.parse, 1_764_000_000.0
    )  # 2025-11-24 16:00 UTC
    assert isinstance(judged, TryAgain)
    assert judged.wait == 16 * 3600


@pytest.mark.parametrize(
    ("status", "body", "error_class", "mismatch"),
    [
        (400, error(code="json_validate_failed"), "schema_mismatch", True),
        (400, error(code="tool_use_failed"), "tool_error", True),
        (424, error(), "server_error", False),
        (498, error(), "overloaded", False),
        (400, error(code="capacity_exceeded"), "overloaded", False),
        (429, error(code="resource_unavailable"), "overloaded", False),
    ],
)
def test_what_is_the_moments_or_the_models_is_asked_again(status, body, error_class, mismatch):
    judged = judge(status, body)
    assert isinstance(judged, TryAgain)
    assert (judged.error_class, judged.mismatch, judged.refused) == (error_class, mismatch, False)


@pytest.mark.parametrize("succeeded", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        {"code": "denied", "error": "Content violates usage guidelines. Failed check: BIO"},
        {"error": {"message": "no", "code": 403, "metadata": {"flagged_input": "x"}}},
    ],
)
def test_a_moderation_refusal_is_that_rows(body, succeeded):
    judged = outcome.judge(attempt(403, body), chat_completions.parse, 1.7e9, succeeded)
    assert verdict(judged) == (Reject, "content_filter")


def test_an_answer_is_accepted():
    judged = judge(200, {**GOOD, **USED})
    assert isinstance(judged, Accept)
    assert judged.completion.choices[0].completion == "yes"
    assert judged.completion.flags == []


def test_a_repaired_answer_is_accepted_with_a_flag():
    judged = judge(200, {**GOOD, **USED}, repaired=True)
    assert isinstance(judged, Accept)
    assert judged.completion.flags == ["text_repaired"]


@pytest.mark.parametrize(
    ("answer", "raw"),
    [
        (None, b""),
        (None, b"hello"),
        ({}, b"{}"),
        ([], b"[]"),
        ({"choices": None}, b""),
        ({"choices": []}, b""),
        ({"choices": [{}]}, b""),
    ],
)
def test_a_200_that_holds_no_answer_may_be_billed_and_is_tried_again(answer, raw):
    judged = judge(200, answer, raw=raw)
    assert isinstance(judged, TryAgain)
    assert (judged.error_class, judged.maybe_billed) == ("bad_response", True)


def test_a_page_in_place_of_an_answer_cost_nothing():
    judged = judge(200, raw=b"<html><title>Log in</title>")
    assert isinstance(judged, TryAgain)
    assert (judged.error_class, judged.maybe_billed) == ("bad_response", False)
    assert "Log in" in judged.message


@pytest.mark.parametrize(
    ("status", "billed"), [(499, True), (504, True), (524, True), (500, False), (408, False)]
)
def test_a_gateway_that_gave_up_may_have_cost(status, billed):
    judged = judge(status, error())
    assert isinstance(judged, TryAgain)
    assert judged.maybe_billed is billed


@pytest.mark.parametrize(
    ("status", "headers", "refused", "wait"),
    [
        (429, {}, True, None),
        (429, {"retry-after": "2"}, True, 2.0),
        (429, {"retry-after": "1", "retry-after-ms": "50"}, True, 0.05),
        (503, {}, False, None),
        (503, {"retry-after": "2"}, True, 2.0),
        (529, {"retry-after": "2"}, True, 2.0),
        (500, {"retry-after": "2"}, False, 2.0),
    ],
)
def test_a_server_without_room_uses_up_no_chance(status, headers, refused, wait):
    judged = judge(status, error(), headers=headers)
    assert isinstance(judged, TryAgain)
    assert (judged.refused, judged.wait) == (refused, wait)


def test_obeys_x_should_retry():
    assert isinstance(judge(500, error(), headers={"x-should-retry": "true"}), TryAgain)
    assert isinstance(judge(500, error(), headers={"x-should-retry": "false"}), Reject)


@pytest.mark.parametrize("kind", ["image", "audio"])
@pytest.mark.parametrize("status", [400, 500, 503])
def test_a_server_that_reads_no_such_thing_is_not_down(status, kind):
    said = error(f"{kind} input is not supported - hint: you may need to provide the mmproj")
    assert verdict(judge(status, said)) == (Reject, "invalid_request")


def test_a_firewall_blocks_one_row_and_not_the_run():
    page = b"<!DOCTYPE html><html><title>Attention\n Required!</title>for 203.0.113.7"
    judged = judge(403, raw=page)
    assert verdict(judged) == (Reject, "blocked")
    assert "Attention Required!" in judged.message and "203.0.113.7" not in judged.message


def test_a_redirect_names_where_the_server_points_to():
    judged = judge(308, headers={"location": "https://elsewhere/v1"})
    assert isinstance(judged, Stop)
    assert "https://elsewhere/v1" in judged.message


@pytest.mark.parametrize("fault", ["timeout", "connection", "cut_off", "bad_response"])
@pytest.mark.parametrize("billed", [True, False])
def test_a_failure_below_http_is_tried_again(fault, billed):
    judged = judge(None, fault=fault, message="why", maybe_billed=billed)
    assert judged == TryAgain(fault, "why", maybe_billed=billed)


def test_an_answer_without_end_is_the_rows_fault():
    assert verdict(judge(200, fault="too_large", message="17 MiB")) == (Reject, "too_large")


def test_messages_are_cut():
    judged = judge(400, error("x" * 10_000))
    assert isinstance(judged, Reject)
    assert len(judged.message) == outcome.MESSAGE_LENGTH


def test_every_class_has_one_meaning():
    named = {*error_codes.CODES.values(), *outcome.STATUSES.values()}
    assert named <= outcome.TRANSIENT | outcome.FINAL | outcome.STOPPING
    assert not outcome.TRANSIENT & outcome.FINAL
    assert not (outcome.TRANSIENT | outcome.FINAL) & outcome.STOPPING


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "errors",
                    "detail",
                    "message",
                    "code",
                    "type",
                    "object",
                    "choices",
                    "index",
                    "finish_reason",
                    "content",
                    "usage",
                    "tool_calls",
                    "function",
                    "refusal",
                    "model",
                ]
            ),
            inner,
        )
    ),
    max_leaves=15,
)


@given(st.sampled_from([200, 204, 302, 400, 403, 404, 429, 500, 503]), JSON, st.binary(max_size=20))
def test_every_answer_means_something(status, answer, raw):
    judged = judge(status, answer, raw=raw)
    if isinstance(judged, Accept):
        assert set(judged.completion.flags) <= set(FLAGS)
        msgspec.json.encode(judged.completion)
    else:
        known = {TryAgain: outcome.TRANSIENT, Stop: outcome.STOPPING}
        assert judged.error_class in known.get(type(judged), outcome.FINAL | outcome.TRANSIENT)
