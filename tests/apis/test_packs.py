"""An answer about many texts taken apart: whose item is whose, and who used what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.apis import Parameters, build, packs
from batch.engine import pack_limits
from batch.outcome import BadAnswer
from batch.requests.prompts import Question


def answer(*indexes: Any) -> dict[str, Any]:
    """An answer whose items say so; `...` is one that says nothing, None is no item."""
    items: list[Any] = []
    for stands, at in enumerate(indexes):
        told = {} if at is ... else {"index": at}
        items.append(None if at is None else {**told, "embedding": [stands]})
    return {"data": items}


def placed(texts: int, *indexes: Any) -> list[Any]:
    """Where the item of each text stood."""
    found = packs.placed(answer(*indexes), texts)
    return [None if item is None else item["embedding"][0] for item in found]


@pytest.mark.parametrize(
    ("texts", "indexes", "found"),
    [
        (3, (0, 1, 2), [0, 1, 2]),
        (3, (2, 0, 1), [1, 2, 0]),
        (3, (..., 1, 2), [0, 1, 2]),
        (3, (..., ..., ...), [0, 1, 2]),
        (3, (0, 0, 0), [0, 1, 2]),
        (3, (0, 2), [0, None, 1]),
        (3, (..., 2), [None, None, 1]),
        (3, (0, None, 2), [0, None, 2]),
        (1, (0,), [0]),
    ],
)
def test_an_item_lies_where_it_says_or_where_it_stands(texts, indexes, found):
    assert placed(texts, *indexes) == found


@pytest.mark.parametrize(
    ("texts", "indexes"),
    [
        (3, (0, 1, 1)),
        (3, (0, 1, 3)),
        (3, (0, -1, 2)),
        (3, (1, ..., 2)),
        (2, (0, 1, 2)),
        (3, (0, 0)),
        (3, (0, "1", 2)),
        (3, (0, [1], 2)),
        (3, (False, True, 2)),
        (3, (..., ...)),
        (3, ()),
    ],
)
def test_an_answer_that_contradicts_itself_is_none(texts, indexes):
    with pytest.raises(BadAnswer):
        placed(texts, *indexes)


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_shares_are_whole_and_add_up_exactly(whole, weights):
    shares = packs.shares({"prompt_tokens": whole, "kind": "x"}, weights)
    assert {share["kind"] for share in shares} == {"x"}
    if sum(weights):
        assert sum(share["prompt_tokens"] for share in shares) == whole
        assert all(share["prompt_tokens"] >= 0 for share in shares)
        for share, weight in zip(shares, weights, strict=True):
            assert abs(share["prompt_tokens"] - whole * weight / sum(weights)) <= 1


def request(text: Any, row: int = 0, **sent: Any) -> Any:
    body = {"model": "m", "input": text, **sent}
    return build(Question(body=body, api="embeddings"), Parameters("embeddings", "m"), row)


def test_only_a_text_by_itself_shares_a_request():
    assert packs.piece(request('a "quoted" text')) is not None
    for alone in (["a", "b"], [1, 2], [[1], [2]]):
        assert packs.piece(request(alone)) is None
    chat = build(Question(messages=[{"role": "user", "content": "x"}]), Parameters("chat", "m"), 0)
    assert packs.piece(chat) is None


def test_a_shared_request_is_named_by_its_rows():
    def key(*rows: int, base64: bool = False) -> str:
        requests = [request(f"text {row}", row) for row in rows]
        pieces = [packs.piece(each) for each in requests]
        return packs.joined(requests, [each for each in pieces if each], base64=base64).hash

    keys = {key(1, 2), key(2, 1), key(1, 2, 3), key(1, 2, base64=True)}
    assert len(keys) == 4
    assert key(1, 2) == key(1, 2)


@pytest.mark.parametrize(
    ("url", "most"),
    [
        ("https://generativelanguage.googleapis.com/v1beta/openai", 100),
        ("https://us-central1-aiplatform.googleapis.com/v1", 100),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", 10),
        ("https://api.openai.com/v1", 2048),
        ("http://localhost:8080/v1", 2048),
    ],
)
def test_what_is_known_of_a_host(url, most):
    assert pack_limits.host(url).texts == most


@pytest.mark.parametrize(
    ("message", "most"),
    [
        ("batch size 64 > maximum allowed batch size 32", 32),
        ("* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch", 100),
        ("batch size is invalid, it should not be larger than 10.: input.contents", 10),
        (
            "Invalid 'input': array too long. Expected an array with maximum length 2048, but got",
            2048,
        ),
        ("invalid request: total number of texts must be at most 96 - received 120", 96),
        ("Invalid 'input[55]': maximum input length is 8192 tokens.", None),
        ("'$.input' is invalid.", None),
        ("input (900 tokens) is too large to process. increase the physical batch size", None),
        ("", None),
    ],
)
def test_how_many_texts_a_server_says_it_takes(message, most):
    assert pack_limits.said(message, 4096) == most


@pytest.mark.parametrize(
    ("message", "at"),
    [
        ("Invalid 'input[55]': maximum input length is 8192 tokens.", 55),
        ('[{"loc":["body","input",3],"msg":"too short"}]', 3),
        ("Invalid 'input[5000]'", None),
        ("input (900 tokens) is too large to process", None),
    ],
)
def test_which_text_a_refusal_names(message, at):
    assert pack_limits.named(message, 64) == at
