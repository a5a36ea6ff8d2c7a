"""Whatever becomes of a try is a value that says whether it may have cost money."""

from __future__ import annotations

import asyncio
import errno
import gzip
import itertools
import os
import re
import socket
from contextlib import closing, suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.apis import Parameters, build
from batch.errors import StorageError, UsageError
from batch.event_stream import MAX_EVENT
from batch.lenient_json import decode
from batch.model import Attempt, Request
from batch.requests.prompts import Question
from batch.transport import pool
from batch.transport.body import LARGE_BODY, MAX_BODY
from batch.transport.client import Client, Hooks
from batch.transport.connection import REUSED_SOCKET_SECONDS
from batch.transport.endpoint import Endpoint, target
from tests.fake_api import FakeAPI, Step, answer_to

CHAT = "/chat/completions"


def request(prompt: str = "snow", **sent: Any) -> Request:
    messages = [{"role": "user", "content": prompt}]
    return build(Question(messages=messages), Parameters("chat", "m", sent), 0)


async def send(base_url: str, asked: Request | None = None, **endpoint: Any) -> Attempt:
    """One try of a client of its own; `endpoint` are keys of the table."""
    table = Endpoint(base_url=base_url, api_key_env="", **endpoint)
    async with Client(table, target(table, {}), connections=4) as session:
        return await session.send(asked or request())


async def tried(api: FakeAPI, step: Step, *, stream: bool = False, **endpoint: Any) -> Attempt:
    """What becomes of a request that is answered by `step`."""
    api.always = step
    return await send(api.url, request(stream=True) if stream else request(), **endpoint)


def text_of(attempt: Attempt) -> Any:
    return attempt.answer["choices"][0]["message"]["content"]


KEY = {"OPENAI_API_KEY": "sk-1"}


@pytest.mark.parametrize(
    ("endpoint", "environment", "base_url", "headers"),
    [
        ({}, KEY, "https://api.openai.com/v1", {"Authorization": "Bearer sk-1"}),
        ({}, {"OPENAI_API_KEY": " sk-1\n"}, "https://api.openai.com/v1", None),
        ({}, {**KEY, "OPENAI_BASE_URL": "https://e/v1"}, "https://e/v1", None),
        (
            {"base_url": "https://j/v1"},
            {**KEY, "OPENAI_BASE_URL": "https://e"},
            "https://j/v1",
            None,
        ),
        ({"api_key_env": "K"}, {"K": "sk-1"}, "https://api.openai.com/v1", None),
        ({"base_url": "https://h/v1", "api_key_env": ""}, KEY, "https://h/v1", {}),
        ({"base_url": "http://localhost:1"}, {}, "http://localhost:1", {}),
        ({"base_url": "http://10.0.0.7/v1"}, {}, "http://10.0.0.7/v1", {}),
        ({"base_url": "http://gpu/v1"}, {}, "http://gpu/v1", {}),
        ({"base_url": "http://gpu/v1"}, KEY, "http://gpu/v1", None),
        (
            {"base_url": "https://h/v1", "headers": {"authorization": "$T"}},
            {"T": "Basic x"},
            "https://h/v1",
            {"authorization": "Basic x"},
        ),
        (
            {"base_url": "http://gpu/v1", "headers": {"X-Team": "a"}},
            {},
            "http://gpu/v1",
            {"X-Team": "a"},
        ),
    ],
)
def test_key_and_base_url_come_from_job_or_environment(endpoint, environment, base_url, headers):
    made = target(Endpoint(**endpoint), environment)
    assert made.base_url == base_url
    assert made.headers == ({"Authorization": "Bearer sk-1"} if headers is None else headers)


@pytest.mark.parametrize(
    ("endpoint", "environment", "said"),
    [
        ({}, {}, "OPENAI_API_KEY"),
        ({}, {"OPENAI_API_KEY": "  "}, "--local"),
        ({"api_key_env": "MY_KEY"}, KEY, "MY_KEY"),
        ({"base_url": "https://api.example.com/v1"}, {}, "no API key for api.example.com"),
        ({"headers": {"X-Key": "$NOT_SET"}}, KEY, "NOT_SET, which is not set"),
        ({"headers": {"X-Key": "a\r\nEvil: b"}}, KEY, "X-Key holds characters"),
        ({}, {"OPENAI_API_KEY": "sk-“1”"}, "OPENAI_API_KEY holds characters"),
        ({}, {"OPENAI_API_KEY": "sk-1\nsk-2"}, "OPENAI_API_KEY holds characters"),
    ],
)
def test_a_missing_or_broken_secret_is_named_and_not_shown(endpoint, environment, said):
    with pytest.raises(UsageError) as caught:
        target(Endpoint(**endpoint), environment)
    assert said in str(caught.value)
    assert not any(
        secret.strip() in str(caught.value) for secret in environment.values() if secret.strip()
    )


def test_plain_http_is_possible_when_asked_for():
    endpoint = Endpoint(base_url="http://api.example.com/v1", allow_http=True)
    assert target(endpoint, KEY).base_url == "http://api.example.com/v1"


def test_a_target_does_not_show_its_key():
    assert "sk-1" not in repr(target(Endpoint(), KEY))


async def test_an_answer_is_the_whole_attempt(api):
    attempt = await send(api.url)
    assert (attempt.status, attempt.fault, attempt.message) == (200, None, None)
    assert (attempt.maybe_billed, attempt.repaired, attempt.ttft_s) == (False, False, None)
    assert text_of(attempt) == answer_to("snow")
    assert msgspec.json.decode(attempt.raw) == attempt.answer
    assert attempt.headers["x-request-id"] == "req_1"
    assert attempt.endpoint == f"127.0.0.1:{api.port}/v1"
    assert attempt.latency_s > 0 and attempt.started_at > 1_700_000_000


async def test_sends_key_headers_and_body_as_they_are(api):
    table = Endpoint(base_url=api.url, headers={"X-Team": "$TEAM"})
    asked = request(temperature=0)
    async with Client(table, target(table, {**KEY, "TEAM": "a"}), connections=1) as session:
        await session.send(asked)
    (seen,) = api.ledger
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    assert seen.body == msgspec.json.decode(asked.body)
    assert seen.headers["authorization"] == "Bearer sk-1"
    assert (seen.headers["x-team"], seen.headers["content-type"]) == ("a", "application/json")
    assert seen.headers["accept-encoding"] == "gzip"


async def test_keeps_only_headers_that_mean_something(api):
    headers = {"Retry-After": "2", "X-RateLimit-Limit-Requests": "9", "Set-Cookie": "a=b"}
    attempt = await tried(api, Step(429, headers=headers))
    assert (attempt.status, attempt.fault) == (429, None)
    assert attempt.headers["retry-after"] == "2"
    assert attempt.headers["x-ratelimit-limit-requests"] == "9"
    assert "set-cookie" not in attempt.headers


async def test_reuses_its_connection(api):
    table = Endpoint(base_url=api.url)
    async with Client(table, target(table, {}), connections=1) as session:
        for _ in range(5):
            assert (await session.send(request())).status == 200
    assert api.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_follows_no_redirect(api, status):
    attempt = await tried(api, Step(status, headers={"Location": f"{api.url}/else"}))
    assert (attempt.status, attempt.fault) == (status, None)
    assert attempt.headers["location"] == f"{api.url}/else"
    assert len(api.ledger) == 1


WHOLE = b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
LATE = {"total_timeout": 0.15}


@pytest.mark.parametrize(
    ("step", "status", "fault", "billed", "endpoint"),
    [
        (Step(hang=True), None, "timeout", True, LATE),
        (Step(hang=True, cut=20), 200, "timeout", True, LATE),
        (Step(delay=5), None, "timeout", True, LATE),
        (Step(reset=True), None, "connection", True, {}),
        (Step(close=True), None, "connection", True, {}),
        (Step(close=True, cut=20), 200, "cut_off", True, {}),
        (Step(reset=True, cut=20), 200, "cut_off", True, {}),
        (Step(raw=b"garbage\r\n\r\n"), None, "bad_response", True, {}),
        (Step(raw=HEAD + b"content-length: 99\r\n\r\n" + WHOLE), 200, "cut_off", True, {}),
        (
            Step(raw=HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nx\r\n"),
            None,
            "bad_response",
            True,
            {},
        ),
        (
            Step(raw=HEAD + b"content-encoding: gzip\r\ncontent-length: 9\r\n\r\nnot gzip!"),
            200,
            "cut_off",
            True,
            {},
        ),
        (Step(headers={"X-Long": "x" * 70_000}), None, "bad_response", True, {}),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, Step) else None,
)
async def test_a_fault_below_http_is_a_value(api, step, status, fault, billed, endpoint):
    attempt = await tried(api, step, **endpoint)
    assert (attempt.status, attempt.fault, attempt.maybe_billed) == (status, fault, billed)
    assert attempt.message and attempt.answer is None
    assert attempt.latency_s < 4


async def test_a_server_that_closes_late_may_have_billed(api):
    api.always = Step(close=True)
    table, slow = Endpoint(base_url=api.url), itertools.count(0.0, REUSED_SOCKET_SECONDS + 1)
    async with Client(table, target(table, {}), 1, clock=slow.__next__) as session:
        attempt = await session.send(request())
    assert (attempt.fault, attempt.maybe_billed) == ("connection", True)


async def test_a_refused_connection_costs_nothing():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    attempt = await send(f"http://127.0.0.1:{port}/v1")
    assert (attempt.status, attempt.fault, attempt.maybe_billed) == (None, "connection", False)
    refused = os.strerror(errno.ECONNREFUSED)
    assert attempt.message == f"cannot connect to 127.0.0.1:{port}: {refused}"


async def test_a_host_that_does_not_exist_is_named():
    attempt = await send("http://no-such-host.invalid/v1", allow_http=True)
    assert (attempt.fault, attempt.maybe_billed) == ("connection", False)
    assert attempt.message == "no such host: no-such-host.invalid"


async def test_a_handshake_without_an_answer_costs_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
        attempt = await send(url, connect_timeout=0.1)
    assert attempt.message == "no connection within connect_timeout"
    assert (attempt.status, attempt.fault, attempt.maybe_billed) == (None, "connection", False)


async def test_a_cancelled_try_is_cancelled(api):
    api.always = Step(hang=True)
    task = asyncio.create_task(send(api.url))
    while not api.ledger:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_body_that_ends_early_without_a_length_is_no_json(api):
    attempt = await tried(api, Step(raw=HEAD + b"\r\n" + WHOLE[:-5]))
    assert (attempt.status, attempt.fault, attempt.answer) == (200, None, None)
    assert attempt.raw == WHOLE[:-5]


async def test_a_body_over_the_cap_is_refused(api):
    attempt = await tried(api, Step(body=b" " * (MAX_BODY + 1)))
    assert (attempt.status, attempt.fault, attempt.maybe_billed) == (200, "too_large", True)
    assert attempt.message == "the answer has more than 16 MiB" and attempt.raw == b""


async def test_the_cap_counts_decoded_bytes(api):
    bomb = gzip.compress(b" " * (4 * MAX_BODY))
    attempt = await tried(api, Step(body=bomb, headers={"Content-Encoding": "gzip"}))
    assert attempt.fault == "too_large"


async def test_a_packed_answer_is_unpacked(api):
    headers = {"Content-Encoding": "gzip"}
    attempt = await tried(api, Step(body=gzip.compress(WHOLE), headers=headers))
    assert attempt.raw == WHOLE and text_of(attempt) == "a"


@pytest.mark.parametrize("content_type", ["text/plain", "text/event-stream", "application/json"])
async def test_the_body_and_not_its_label_says_what_a_blocking_answer_is(api, content_type):
    attempt = await tried(api, Step(body=WHOLE, content_type=content_type))
    assert text_of(attempt) == "a"


async def test_a_repaired_answer_says_so(api):
    attempt = await tried(api, Step(body=b"\n\n" + WHOLE.replace(b'"a"', b'"\\ud83d a"')))
    assert attempt.repaired and text_of(attempt) == "\ufffd a"


async def test_a_stream_is_folded_and_timed(api):
    api.always = Step(event_delay=0.02)
    attempt = await send(api.url, request("snow and ice", stream=True))
    assert (attempt.status, attempt.fault) == (200, None)
    assert text_of(attempt) == answer_to("snow and ice")
    assert attempt.answer["usage"]["prompt_tokens"] > 0
    assert attempt.ttft_s is not None and 0 < attempt.ttft_s < attempt.latency_s
    assert msgspec.json.decode(attempt.raw) == attempt.answer


async def test_a_stream_and_a_blocking_answer_say_the_same(api):
    blocking, streamed = await send(api.url), await send(api.url, request(stream=True))
    assert text_of(blocking) == text_of(streamed)
    assert blocking.answer.keys() == streamed.answer.keys()


@pytest.mark.parametrize("size", [1, 7])
async def test_a_stream_may_come_in_any_pieces(api, size):
    attempt = await tried(
        api, Step(chunk=size, event_delay=0.00001, content="héllo 世界"), stream=True
    )
    assert text_of(attempt) == "héllo 世界"


@pytest.mark.parametrize("events", [0, 1, 2, 3])
@pytest.mark.parametrize("ending", [{"clean_end": True}, {}, {"reset": True}])
async def test_a_stream_that_just_ends_is_cut_off(api, events, ending):
    attempt = await tried(api, Step(cut_events=events, **ending), stream=True)
    assert (attempt.status, attempt.fault, attempt.maybe_billed) == (200, "cut_off", True)
    assert attempt.answer is None


def stream(*deltas: str, finish: str | None = "stop") -> list[dict[str, Any]]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    return [*(chunk({"content": text}) for text in deltas), chunk({}, finish)]


@pytest.mark.parametrize(
    "events",
    [
        [*stream("a", "b"), "[DONE]"],
        stream("a", "b"),
        [*stream("a", "b", finish=None), "[DONE]"],
        [*stream("a", "b"), b"data: [DONE]"],
        [b": beat\n\n", *stream("a", "b"), "[DONE]", "[DONE]"],
    ],
)
async def test_a_stream_is_whole_at_a_finish_reason_or_done(api, events):
    attempt = await tried(api, Step(events=events), stream=True)
    assert (attempt.fault, text_of(attempt)) == (None, "ab")


async def test_nothing_is_read_after_done(api):
    events: list[Any] = [*stream("a"), "[DONE]", *[b": beat\n\n"] * 200]
    attempt = await tried(api, Step(events=events, event_delay=0.02), stream=True)
    assert text_of(attempt) == "a" and attempt.latency_s < 2


async def test_a_broken_chunk_of_a_stream_is_a_bad_response(api):
    attempt = await tried(api, Step(events=[*stream("a", finish=None), "{", "[DONE]"]), stream=True)
    assert (attempt.status, attempt.fault, attempt.maybe_billed) == (200, "bad_response", True)


async def test_an_error_in_mid_stream_is_the_answer(api):
    events: list[Any] = [*stream("a", finish=None), {"error": {"message": "late", "code": 500}}]
    attempt = await tried(api, Step(events=events), stream=True)
    assert (attempt.fault, attempt.answer["error"]["message"]) == (None, "late")


async def test_a_stalled_stream_ends_after_the_idle_timeout(api):
    attempt = await tried(api, Step(cut_events=2, hang=True), stream=True, idle_timeout=0.1)
    assert (attempt.status, attempt.fault, attempt.maybe_billed) == (200, "timeout", True)
    assert attempt.latency_s < 4


async def test_heartbeats_do_not_keep_a_stalled_stream_alive(api):
    events: list[Any] = [*stream("a", finish=None), *[b": beat\n\n"] * 200]
    step = Step(events=events, event_delay=0.03)
    attempt = await tried(api, step, stream=True, idle_timeout=0.1)
    assert attempt.fault == "timeout" and attempt.latency_s < 4


async def test_a_slow_first_token_is_waited_for(api):
    attempt = await tried(api, Step(delay=0.2), stream=True, idle_timeout=0.1)
    assert (attempt.fault, text_of(attempt)) == (None, answer_to("snow"))


async def test_a_json_answer_to_a_stream_is_read_as_one(api):
    attempt = await tried(api, Step(body=WHOLE), stream=True)
    assert (text_of(attempt), attempt.ttft_s) == ("a", None)


async def test_a_refused_stream_keeps_its_error(api):
    attempt = await tried(api, Step(429), stream=True)
    assert (attempt.status, attempt.answer["error"]["code"]) == (429, "rate_limit_exceeded")


async def test_an_event_without_end_is_too_large(api):
    attempt = await tried(api, Step(events=[b"data: x" + b"x" * MAX_EVENT]), stream=True)
    assert (attempt.status, attempt.fault, attempt.maybe_billed) == (200, "too_large", True)


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        (b'{"a":1}', ({"a": 1}, False)),
        (b'\xef\xbb\xbf{"a":1}', ({"a": 1}, False)),
        (b'\n\n {"a":1}\r\n', ({"a": 1}, False)),
        (b"[NaN, Infinity, -Infinity, 1e999, 1.5]", ([None, None, None, None, 1.5], True)),
        (
            b'["\\ud83d", "\\udc00x", "\\ud83d\\ude00 \\ud800"]',
            (["\ufffd", "\ufffdx", "😀 \ufffd"], True),
        ),
        (b'["a\xffb"]', (["a\ufffdb"], True)),
        (b'["\\u0000"]', (["\0"], False)),
        (b'{"a":1,"a":2}', ({"a": 2}, False)),
        (b"[18446744073709551616]", ([18446744073709551616], False)),
        (b"", (None, False)),
        (b"<html>", (None, False)),
        (b'{"a":1}}', (None, False)),
        (b'{"a":1', (None, False)),
        (b"[" * 100_000, (None, False)),
        (b"[" + b"1" * 10_000 + b"]", ([None], True)),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_body_is_decoded_and_repaired_where_that_loses_no_row(raw, decoded):
    assert decode(raw) == decoded


@given(st.binary() | st.text().map(lambda text: f'["{text}"]'.encode("utf-8", "surrogatepass")))
def test_no_body_makes_decode_raise(raw):
    answer, _ = decode(raw)
    msgspec.json.encode(answer)


async def test_an_interim_answer_is_passed_over(api):
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    length = b"content-length: %d\r\n\r\n" % len(WHOLE)
    attempt = await tried(api, Step(raw=hints + HEAD + length + WHOLE))
    assert (attempt.status, attempt.fault, text_of(attempt)) == (200, None, "a")


async def test_a_connection_whose_answer_was_not_read_to_its_end_is_not_used_again(api):
    table = Endpoint(base_url=api.url)
    api.script = {"large": [Step(body=b" " * (2 * MAX_BODY)), ...]}
    async with Client(table, target(table, {}), connections=1) as session:
        assert (await session.send(request("large"))).fault == "too_large"
        assert (await session.send(request())).status == 200
    assert api.connections == 2


async def test_a_proxy_of_plain_http_is_told_the_whole_address_and_its_own_password(api):
    table = Endpoint(base_url="http://gpu/v1", api_key_env="")
    proxy = f"http://me:word@127.0.0.1:{api.port}"
    async with Client(table, target(table, {"HTTP_PROXY": proxy}), connections=1) as session:
        for _ in range(2):
            await session.send(request())
    first, second = api.ledger
    assert first.path == second.path == "http://gpu/v1/chat/completions"
    assert first.headers["proxy-authorization"] == second.headers["proxy-authorization"]
    assert first.headers["proxy-authorization"].startswith("Basic ")
    assert first.headers["host"] == "gpu"


async def test_what_costs_nothing_is_got_while_all_connections_are_busy(api):
    api.script = {"slow": [Step(hang=True), ...]}
    table = Endpoint(base_url=api.url)
    async with Client(table, target(table, {}), connections=1) as session:
        slow = asyncio.create_task(session.send(request("slow")))
        while not api.ledger:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert (await session.get(f"{api.url}/models")).status is not None
        assert not slow.done()
        slow.cancel()


async def test_what_costs_nothing_is_got_anew_where_a_used_connection_closes():
    """It answers the first request of each connection, and hangs up at the second."""
    seen = []

    async def serve(reader, writer):
        with closing(writer):
            for _ in range(2):
                seen.append(await reader.readuntil(b"\r\n\r\n"))
                if len(seen) == 2:
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await reader.read()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        table = Endpoint(base_url=f"http://127.0.0.1:{port}/v1", api_key_env="")
        async with Client(table, target(table, {}), connections=1) as session:
            for _ in range(2):
                assert (await session.get(f"{session.base_url}/models")).status == 200
                await asyncio.sleep(2 * pool.REST)
    assert [each.split()[:2] for each in seen] == [[b"GET", b"/v1/models"]] * 3


async def test_a_proxy_is_told_its_password_also_on_a_connection_of_another_request():
    seen = []

    async def serve(reader, writer):
        with closing(writer), suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                seen.append((id(writer), head.split(maxsplit=2)[:2], b"\r\nProxy-Auth" in head))
                if length := re.search(rb"Content-Length: (\d+)", head):
                    await reader.readexactly(int(length[1]))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        table = Endpoint(base_url="http://gpu/v1", api_key_env="")
        at = target(table, {"HTTP_PROXY": f"http://me:word@127.0.0.1:{port}"})
        async with Client(table, at, connections=1) as session:
            await session.send(request())
            await asyncio.sleep(2 * pool.REST)
            await session.get("http://gpu/v1/models")
            await asyncio.sleep(2 * pool.REST)
            asked = Question(messages=[{"role": "user", "content": "snow"}])
            await session.send(build(asked, Parameters("responses", "m"), 0))
    connections, lines, told = zip(*seen, strict=True)
    assert len(set(connections)) == 1
    assert [line[0] for line in lines] == [b"POST", b"GET", b"POST"]
    assert told == (True, True, True)


async def test_the_oldest_request_under_way_is_known(api):
    api.script = {"slow": [Step(delay=0.4), ...]}
    table = Endpoint(base_url=api.url)
    async with Client(table, target(table, {}), connections=2) as session:
        assert session.oldest() == 0
        slow = asyncio.create_task(session.send(request("slow")))
        while not api.ledger:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await session.send(request())
        await asyncio.sleep(0.1)
        assert 0.1 <= session.oldest() < 10
        await slow
        assert session.oldest() == 0


async def test_nothing_leaves_that_cannot_be_written_down_before(api):
    def refuse() -> None:
        raise StorageError("the disk is full")

    table = Endpoint(base_url=api.url)
    async with Client(table, target(table, {}), 2, hooks=Hooks(before_sending=refuse)) as session:
        told = await asyncio.gather(
            session.send(request()), session.send(request()), return_exceptions=True
        )
    assert [type(each) for each in told] == [StorageError, StorageError]
    assert not api.ledger


async def test_what_is_ready_together_is_written_down_once(api):
    written = []
    table = Endpoint(base_url=api.url)
    note = lambda: written.append(len(api.ledger))  # noqa: E731
    async with Client(table, target(table, {}), 9, hooks=Hooks(before_sending=note)) as session:
        for _ in range(2):  # connections are made, and have stayed open
            await asyncio.gather(*(session.send(request()) for _ in range(9)))
        written.clear()
        api.reset_ledger()
        await asyncio.gather(*(session.send(request()) for _ in range(9)))
    assert written == [0] and len(api.ledger) == 9


CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
BROKEN = b"zz\r\ngarbage\r\n"


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_body_whose_chunks_are_broken_is_cut_off_and_not_waited_for(api, stream):
    begins = chunk(EVENT if stream else WHOLE[:20])
    step = Step(raw=(CHUNKED, begins, BROKEN), event_delay=0.1, hang=True)
    attempt = await asyncio.wait_for(tried(api, step, stream=stream), 10)
    assert (attempt.status, attempt.fault, attempt.maybe_billed) == (200, "cut_off", True)


async def roomless(api: FakeAPI, step: Step, seconds: float, **endpoint: Any) -> Attempt:
    """What becomes of an answer for which there is room after so many seconds."""
    api.always = step
    table = Endpoint(base_url=api.url, **endpoint)
    room = lambda: asyncio.sleep(seconds)  # noqa: E731
    async with Client(table, target(table, {}), 1, hooks=Hooks(room=room)) as session:
        return await session.send(request())


async def test_a_large_answer_that_breaks_while_there_is_no_room_for_it_is_cut_off(api):
    large = chunk(b" " * 2 * LARGE_BODY)
    step = Step(raw=(CHUNKED, large, BROKEN), event_delay=0.1)
    attempt = await roomless(api, step, 0.5)
    assert (attempt.fault, attempt.maybe_billed) == ("cut_off", True)


async def test_the_time_in_which_there_is_no_room_for_an_answer_is_not_the_servers(api):
    body = b'{"choices":[{"message":{"content":"%b"},"finish_reason":"stop"}]}'
    body %= b"x" * 2 * LARGE_BODY
    attempt = await roomless(api, Step(body=body), 1.0, total_timeout=0.5)
    assert (attempt.status, attempt.fault) == (200, None)


async def test_an_answer_that_nobody_asked_for_is_not_that_to_the_next_request(api):
    whole = HEAD + b"content-length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE)
    api.script = {"first": [Step(raw=(whole, whole), event_delay=0.05, hang=True)]}
    table = Endpoint(base_url=api.url)
    async with Client(table, target(table, {}), connections=1) as session:
        assert text_of(await session.send(request("first"))) == "a"
        await asyncio.sleep(0.2)
        again = [await session.send(request("second")) for _ in range(2)]
    assert [each.fault for each in again] == [None, None]
    assert [text_of(each) for each in again] == [answer_to("second")] * 2
