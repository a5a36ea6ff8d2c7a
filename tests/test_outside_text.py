"""Nothing that others write breaks what stores it, or drives the terminal on which it is shown."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch import outcome
from batch.apis import APIS
from batch.lenient_json import decode
from batch.model import Attempt
from batch.outcome import Accept
from batch.transport.answers import LONGEST_HEADER
from batch.words import storable
from tests.fake_api import FakeAPI, Step
from tests.reading import ran
from tests.transport.test_client import WHOLE, tried

NO_UTF8 = b"caf\xe9-\xff"
SAID = "caf\ufffd-\ufffd"
ANSWER = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(WHOLE)

texts = st.text(st.characters(codec=None, exclude_categories=())) | st.binary().map(
    lambda data: data.decode("utf-8", "surrogateescape")
)


def is_storable(text: str, most: int) -> bool:
    """Whether a text is short, in UTF-8, and of one line without control characters."""
    text.encode()
    return len(text) <= most and not any(unicodedata.category(each) == "Cc" for each in text)


@given(texts, st.integers(0, 50))
def test_a_text_of_others_is_made_storable(text, most):
    made = storable(text, most)
    assert is_storable(made, most) and storable(made, most) == made
    assert made == text or not text.isprintable() or len(text) > most


def answer(status: int, header: bytes, value: bytes, reason: bytes = b"OK") -> Step:
    line = b"HTTP/1.1 %d %b\r\n" % (status, reason)
    return Step(raw=line + header + b": " + value + b"\r\n" + ANSWER + b"\r\n" + WHOLE)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "header", ["x-request-id", "request-id", "retry-after", "x-ratelimit-reset-tokens", "location"]
)
async def test_a_header_that_is_no_utf8_is_kept_as_far_as_it_is(api, header, stream):
    api.always = answer(200, header.encode(), NO_UTF8)
    attempt = await tried(api, api.always, stream=stream)
    assert (attempt.status, attempt.fault, attempt.headers) == (200, None, {header: SAID})


async def test_a_long_header_is_cut(api):
    attempt = await tried(api, answer(200, b"x-request-id", b"x" * 5000))
    assert attempt.headers == {"x-request-id": "x" * LONGEST_HEADER}


@given(
    st.binary(max_size=80),
    st.sampled_from([b"x-request-id", b"location", b"retry-after", b"x-any\xff", b"keep-alive"]),
    st.sampled_from([200, 307, 400, 429, 500]),
    st.binary(max_size=40),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_bytes_a_head_holds_its_attempt_can_be_stored(api, value, header, status, reason):
    attempt = asyncio.run(tried(api, answer(status, header, value, reason)))
    msgspec.json.encode(attempt.headers)
    assert all(is_storable(each, LONGEST_HEADER) for each in attempt.headers.values())
    assert is_storable(attempt.message or "", 500)


def told(status: int, body: Any) -> tuple[str, str | None]:
    attempt = Attempt("h", 0.0, 0.1, status=status, answer=body)
    judged = outcome.judge(attempt, APIS["chat"].parse, 0.0)
    assert not isinstance(judged, Accept)
    return judged.message, judged.code


@given(st.sampled_from([200, 400, 403, 404, 429, 500]), texts, texts, texts)
def test_whatever_an_error_says_it_can_be_stored(status, message, code, kind):
    error = {"message": message, "code": code, "type": kind}
    body, _ = decode(json.dumps({"error": error}).encode())
    said, code_said = told(status, body)
    assert is_storable(said, outcome.MESSAGE_LENGTH)
    assert is_storable(code_said or "", outcome.CODE_LENGTH)


@pytest.mark.parametrize("code", ["²", "٤٢٩", "9" * 5000, "-429", "4e2", "\x1b[2J", "x" * 5000])
def test_a_code_that_is_no_status_is_none(code):
    message, said = told(200, {"error": {"message": "no", "code": code}})
    assert message and is_storable(said or "", outcome.CODE_LENGTH)


RUNS = {
    "the id of an answer": (answer(200, b"x-request-id", NO_UTF8), 0),
    "the reason of an answer": (answer(200, b"x-request-id", b"a", NO_UTF8), 0),
    "where the API is": (answer(307, b"location", b"/" + NO_UTF8), 3),
    "the id of a refusal": (
        Step(status=400, body={"error": {"message": "no"}}, headers={"x-request-id": "\xe9"}),
        3,
    ),
    "what an error says": (
        Step(status=422, body=b'{"error": {"message": "a\\ud800\xff\\u0000\\u001b[2Jb"}}'),
        3,
    ),
    "what an answer says": (
        Step(
            body=b'{"choices":[{"message":{"content":"\\ud83d\xff\\u0000"},"finish_reason":"\\udc00"}],'
            b'"model":"\\ud800\xfe","service_tier":"\xff","system_fingerprint":"\\udfff"}'
        ),
        0,
    ),
    "what a stream says": (
        Step(
            events=[
                b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}],"model":"\xff"}\n\n',
                b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00"}}]}\n\n',
                b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
                b"data: [DONE]\n\n",
            ]
        ),
        0,
    ),
    "what a stream says of an error": (
        Step(events=[b'data: {"error": {"message": "\\udead\xff", "code": "400"}}\n\n']),
        3,
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", RUNS)
def test_a_run_stores_what_was_said_wherever_it_stands(api: FakeAPI, tmp_path, place, stream):
    api.always, code = RUNS[place]
    done = ran(api, tmp_path, [{"prompt": "a"}], {"stream": stream}, retry={"max_attempts": 2})
    assert done.exit_code == code
    assert len(done.rows) == (code == 0) and len(api.ledger) == 1
