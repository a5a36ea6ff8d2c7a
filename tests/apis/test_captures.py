"""Answers recorded from a real server (llama.cpp by way of xllamacpp, SmolLM2-135M) say here what they
said there.

`captures/llama_cpp.jsonl`: one answer a line, with the API asked, HTTP status, the n asked for, and the body
or the lines of the event stream.  Timings and most of each vector are left out.
"""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from batch import outcome
from batch.apis import APIS
from batch.columns import FLAGS
from batch.event_stream import EventReader
from batch.model import Attempt, Completion
from batch.outcome import Accept, Reject, Stop, TryAgain

LINES = (Path(__file__).parent.parent / "captures" / "llama_cpp.jsonl").read_text(encoding="utf-8")
RECORDED = [json.loads(line) for line in LINES.splitlines()]
WHOLE = [one for one in RECORDED if "body" in one and one["status"] == 200]
STREAMED = [one for one in RECORDED if "sse" in one and one["name"] != "kill_mid_stream"]
REFUSED = [one for one in RECORDED if one["status"] != 200]


def name(one: dict[str, Any]) -> str:
    return str(one["name"])


def fold(one: dict[str, Any]) -> Any:
    reader, folding = EventReader(), APIS[one["api"]].Fold(one["n"])
    raw = "".join(f"{line}\n\n" if line.startswith("data") else f"{line}\n" for line in one["sse"])
    for event in reader.feed(raw.encode()):
        if not folding.ended:
            folding.add(event)
    return folding


def judged(one: dict[str, Any]) -> outcome.Outcome:
    answer = one["body"] if "body" in one else fold(one).answer()
    attempt = Attempt("h", 0.0, 0.1, status=one["status"], answer=answer)
    return outcome.judge(attempt, APIS[one["api"]].parse, 0.0)


def accepted(one: dict[str, Any]) -> Completion:
    said = judged(one)
    assert isinstance(said, Accept), said
    assert set(said.completion.flags) <= set(FLAGS)
    return said.completion


def texts(body: dict[str, Any], api: str) -> list[str]:
    """The texts of an answer, read the plain way."""
    if api == "chat":
        return [choice["message"]["content"] for choice in body["choices"]]
    if api == "completions":
        return [choice["text"] for choice in body["choices"]]
    return [body["output"][0]["content"][0]["text"]]


@pytest.mark.parametrize("one", [one for one in WHOLE if one["api"] != "embeddings"], ids=name)
def test_an_answer_says_what_it_said(one):
    read, body = accepted(one), one["body"]
    used = body["usage"]
    assert [choice.completion for choice in read.choices] == texts(body, one["api"])
    assert read.usage is not None
    assert read.usage.input_tokens == used.get("prompt_tokens", used.get("input_tokens"))
    assert read.usage.output_tokens == used.get("completion_tokens", used.get("output_tokens"))
    assert read.served_model == body["model"]
    if one["api"] == "responses":
        assert read.choices[0].finish_reason == "stop"
    else:
        ends = [choice["finish_reason"] for choice in body["choices"]]
        assert [choice.finish_reason for choice in read.choices] == ends
        assert ("length" in read.flags) is (ends[0] == "length")
    assert read.unheld is ("logprobs" in one["name"])


@pytest.mark.parametrize("one", [one for one in WHOLE if one["api"] == "embeddings"], ids=name)
def test_a_vector_is_the_one_that_was_sent(one):
    read, item = accepted(one), one["body"]["data"][0]
    assert read.embedding is not None and len(read.embedding) == 6 * 4
    if isinstance(item["embedding"], list):
        assert read.embedding == struct.pack("<6f", *item["embedding"])
    else:
        assert read.embedding == base64.b64decode(item["embedding"])
    assert read.usage is not None
    assert read.usage.input_tokens == one["body"]["usage"]["prompt_tokens"]


@pytest.mark.parametrize("one", STREAMED, ids=name)
def test_a_stream_says_what_its_deltas_said(one):
    said: dict[int, str] = {}
    for line in one["sse"]:
        if not line.startswith("data: {"):
            continue
        chunk = json.loads(line.removeprefix("data: "))
        if chunk.get("type") == "response.output_text.delta":
            said[0] = said.get(0, "") + chunk["delta"]
        for choice in chunk.get("choices", ()):
            text = choice.get("text") or choice.get("delta", {}).get("content") or ""
            said[choice["index"]] = said.get(choice["index"], "") + text
    read = accepted(one)
    assert fold(one).complete
    assert [choice.completion for choice in read.choices] == [said[at] for at in sorted(said)]
    assert all(choice.finish_reason in ("stop", "length") for choice in read.choices)
    assert ("usage_unknown" in read.flags) is ('"usage"' not in "".join(one["sse"]))


def test_a_stream_whose_server_was_killed_is_not_complete():
    (killed,) = (one for one in RECORDED if one["name"] == "kill_mid_stream")
    folding = fold(killed)
    assert folding.started and not folding.complete


@pytest.mark.parametrize("one", REFUSED, ids=name)
def test_a_refusal_is_told_in_its_own_words(one):
    said = judged(one)
    kinds = {400: Reject, 401: Stop, 500: TryAgain, 501: Reject}
    ours = {"err_image_part", "embed__emb_long", "embed__emb_too_long"}  # 500s, however often asked
    assert type(said) is (Reject if one["name"] in ours else kinds[one["status"]])
    assert not isinstance(said, Accept)
    assert said.message == one["body"]["error"]["message"][: outcome.MESSAGE_LENGTH]
