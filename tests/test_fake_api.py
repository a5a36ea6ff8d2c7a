"""The scripted API does what it says: the other tests stand on it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from tests.fake_api import FakeAPI, Step, answer_to, embedding_of


def ask(
    api: FakeAPI, prompt: str, path: str = "/v1/chat/completions", **body: Any
) -> tuple[int, bytes]:
    """Ask on a connection of its own, and return status and body."""
    word = {"responses": "input", "embeddings": "input", "chat/completions": "messages"}
    said: Any = (
        [{"role": "user", "content": prompt}] if path.endswith("chat/completions") else prompt
    )
    body = {"model": "m", word.get(path.removeprefix("/v1/"), "prompt"): said, **body}
    with closing(http.client.HTTPConnection("127.0.0.1", api.port, timeout=5)) as connection:
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        return answer.status, answer.read()


def events(stream: bytes) -> list[Any]:
    lines = [
        line.removeprefix("data: ")
        for line in stream.decode().split("\n")
        if line.startswith("data: ")
    ]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def raw_request(prompt: str) -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": prompt}]}).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def raw_answer(api: FakeAPI, prompt: str) -> bytes:
    """Everything the server sends until it ends the connection."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=5) as client:
        client.sendall(raw_request(prompt))
        received = b""
        while data := client.recv(65536):
            received += data
    return received


def test_chat_answers_what_was_asked(api):
    status, body = ask(api, "what is snow", n=2)
    answer = json.loads(body)
    assert status == 200
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["choices"][0]["message"]["content"] == answer_to("what is snow")
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["model"] == "m"
    assert answer["usage"]["prompt_tokens"] == 6
    (asked,) = api.ledger
    assert (asked.status, asked.completed, asked.prompt) == (200, True, "what is snow")
    assert (asked.input_tokens, asked.output_tokens) == (6, answer["usage"]["completion_tokens"])


def test_long_prompts_with_one_beginning_have_different_answers():
    assert answer_to("x" * 500) != answer_to("x" * 500 + "y")


def test_the_prompt_is_the_last_thing_the_user_said(api):
    parts = [{"type": "text", "text": "two "}, {"type": "text", "text": "parts"}]
    messages = [{"role": "user", "content": "one"}, {"role": "user", "content": parts}]
    ask(api, "", messages=[*messages, {"role": "assistant", "content": "well"}])
    assert api.prompts() == {"two parts": 1}


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_chat_stream_adds_up_to_the_answer(api, include_usage):
    _, body = ask(
        api, "snow  and ice", stream=True, stream_options={"include_usage": include_usage}
    )
    *chunks, done = events(body)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert done == "[DONE]"
    assert "".join(delta.get("content", "") for delta in deltas) == answer_to("snow  and ice")
    assert [chunk["choices"] == [] for chunk in chunks].count(True) == include_usage
    assert ("usage" in chunks[-1]) is include_usage


def test_responses_speak_their_own_shape_whole_and_streamed(api):
    whole = json.loads(ask(api, "snow", "/v1/responses")[1])
    _, stream = ask(api, "snow", "/v1/responses", stream=True)
    said = events(stream)
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]
    assert whole["output"][1]["content"][0]["text"] == answer_to("snow")
    assert whole["usage"]["input_tokens"] == 4
    assert said[0]["type"] == "response.created"
    assert "".join(event["delta"] for event in said if "delta" in event) == answer_to("snow")
    assert said[-1]["response"]["output"][1]["content"] == whole["output"][1]["content"]
    assert stream.count(b"event: ") == len(said)


def test_completions_embeddings_and_models_answer_under_any_prefix(api):
    completion = json.loads(ask(api, "snow", "/api/v2/completions")[1])
    embedding = json.loads(ask(api, "snow", "/v1/embeddings")[1])
    with closing(http.client.HTTPConnection("127.0.0.1", api.port, timeout=5)) as connection:
        connection.request("GET", "/v1/models/some/name")
        model = json.loads(connection.getresponse().read())
        connection.request("GET", "/v1/models")
        models = json.loads(connection.getresponse().read())
    assert completion["choices"][0]["text"] == answer_to("snow")
    assert embedding["data"][0]["embedding"] == embedding_of("snow")
    assert model["id"] == "some/name"
    assert [model["id"] for model in models["data"]] == api.models
    assert ask(api, "snow", "/v1/nothing")[0] == 404


def test_a_script_is_followed_for_each_prompt_and_then_ends(api):
    api.script = {
        "snow": [429, Step(status=503, body={"error": {"message": "busy"}})],
        "ice": [500, ...],
    }
    assert [ask(api, "snow 1")[0] for _ in range(3)] == [429, 503, 200]
    assert [ask(api, "snow 2")[0] for _ in range(3)] == [429, 503, 200]
    assert [ask(api, "ice")[0] for _ in range(4)] == [500] * 4
    assert api.asked("snow") == 6


def test_always_answers_what_the_script_does_not_name(api):
    api.script = {"snow": [429]}
    api.always = Step(content="no", finish_reason="length", model="other", usage=None)
    assert ask(api, "snow")[0] == 429
    answer = json.loads(ask(api, "rain")[1])
    assert answer["choices"][0]["message"]["content"] == "no"
    assert (answer["choices"][0]["finish_reason"], answer["model"]) == ("length", "other")
    assert "usage" not in answer


def test_a_wrong_key_is_refused_in_json(api):
    api.key = "right"
    status, body = ask(api, "snow")
    assert (status, json.loads(body)["error"]["code"]) == (401, "invalid_api_key")


def test_requests_above_the_rate_are_told_how_long_to_wait(api):
    api.requests_per_second, api.burst = 0.1, 2
    assert [ask(api, "snow")[0] for _ in range(3)] == [200, 200, 429]
    with closing(http.client.HTTPConnection("127.0.0.1", api.port, timeout=5)) as connection:
        connection.request("POST", "/v1/chat/completions", "{}")
        wait = connection.getresponse().headers["retry-after-ms"]
    assert 5_000 < int(wait) <= 10_000


def test_a_cut_answer_still_promises_its_whole_length(api):
    api.script = {"snow": [Step(cut=10)]}
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(api, "snow")
    assert len(caught.value.partial) == 10
    assert caught.value.expected
    (asked,) = api.ledger
    assert (asked.status, asked.completed) == (200, False)
    assert asked.output_tokens > 0


def test_a_stream_can_end_too_soon_cleanly_or_not(api):
    api.script = {"torn": [Step(cut_events=2)], "clean": [Step(cut_events=2, clean_end=True)]}
    with pytest.raises(http.client.IncompleteRead):
        ask(api, "torn", stream=True)
    _, body = ask(api, "clean", stream=True)
    assert len(events(body)) == 2


def test_a_stream_can_be_scripted_to_the_byte(api):
    api.always = Step(events=[{"error": {"code": 1}}, "two\nlines", b": raw\r\n\r\n"], chunk=3)
    _, body = ask(api, "snow", stream=True)
    assert body == b'data: {"error":{"code":1}}\n\ndata: two\ndata: lines\n\n: raw\r\n\r\n'


def test_a_body_can_come_in_small_pieces_or_without_a_length(api):
    api.script = {"pieces": [Step(chunk=7)], "endless": [Step(no_length=True)]}
    assert answer_to("pieces").encode() in ask(api, "pieces")[1]
    received = raw_answer(api, "endless")
    assert b"content-length" not in received
    assert received.endswith(b"}")


def test_raw_bytes_are_the_whole_answer(api):
    api.script = {"snow": [Step(raw=b"SSH-2.0-nonsense\r\n")]}
    assert raw_answer(api, "snow") == b"SSH-2.0-nonsense\r\n"


def test_reset_and_close_answer_nothing(api):
    api.script = {"reset": [Step(reset=True)], "close": [Step(close=True)]}
    with pytest.raises(ConnectionResetError):
        raw_answer(api, "reset")
    assert raw_answer(api, "close") == b""
    assert [(asked.status, asked.completed) for asked in api.ledger] == [(None, False)] * 2
    assert api.in_flight == 0


def test_closing_the_server_ends_what_hangs(api):
    api.script = {"mute": [Step(hang=True)], "stuck": [Step(cut_events=1, hang=True)]}
    streams = {"mute": False, "stuck": True}
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask, api, prompt, stream=stream) for prompt, stream in streams.items()]
        wait_until(lambda: api.in_flight == 2)
        api.close()
        errors = [future.exception() for future in asked]
    assert all(isinstance(error, OSError | http.client.HTTPException) for error in errors)
    assert api.in_flight == 0


def test_slots_queue_what_does_not_fit(api):
    api.slots, api.latency = 2, 0.05
    began = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: ask(api, f"row {n}"), range(6)))
    assert time.monotonic() - began >= 0.15
    assert all(answer_to(f"row {n}").encode() in body for n, (_, body) in enumerate(answers))
    assert api.peak_in_flight > 2
    assert api.in_flight == 0


def test_a_client_that_leaves_frees_its_slot(api):
    api.slots = 1
    api.script = {"mute": [Step(hang=True)]}
    with socket.create_connection(("127.0.0.1", api.port), timeout=5) as client:
        client.sendall(raw_request("mute"))
        wait_until(lambda: api.in_flight == 1)
    assert ask(api, "next")[0] == 200


def test_a_connection_is_kept_for_the_next_request(api):
    with closing(http.client.HTTPConnection("127.0.0.1", api.port, timeout=5)) as connection:
        for _ in range(3):
            connection.request("POST", "/v1/chat/completions", '{"messages": []}')
            connection.getresponse().read()
    assert api.connections == 1
    assert len(api.ledger) == 3


def test_a_closed_server_leaves_its_port_to_the_next(api):
    ask(api, "snow")
    api.close()
    again = FakeAPI(api.port)
    assert ask(again, "snow")[0] == 200
    again.close()


def wait_until(claim: Any) -> None:
    tick, deadline = threading.Event(), time.monotonic() + 5
    while not claim():
        assert time.monotonic() < deadline
        tick.wait(0.002)
