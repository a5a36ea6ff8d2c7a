"""Many texts in one request for embeddings, and its answer taken apart again.  Pure.

Whoever sends it and reads it is told of one request; each row gets an answer as if it had been asked
alone.  Sharing is transport: the `request_hash` of a row is that of the row alone.

Items of an answer lie where their `index` says.  That field is missing where it is 0 (Gemini,
LEANN#214 of 2026-01), missing on all (mcp-memory-service#612) or 0 on all (LiteLLM before PR 25656 of
2026-04): then items lie where they stand, if there are as many as texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Any

import msgspec

from batch import headers
from batch.apis import answers, embeddings
from batch.model import Attempt, Completion, Request
from batch.outcome import BadAnswer

API = "embeddings"

FLOATS, PACKED = b'"encoding_format":"float"', b'"encoding_format":"base64"'
ONE_EACH = "the answer contradicts itself about which item belongs to which text"

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Piece(msgspec.Struct, frozen=True):
    """What a request asks: its text, as JSON, and all else it says, which its fellows say, too."""

    text: bytes
    rest: bytes


def piece(request: Request) -> Piece | None:
    """None for one that goes alone: it asks for something else, or about more than a text."""
    if request.api != API or request.stream or request.choices != 1:
        return None
    fields = _fields.decode(request.body)
    text = bytes(fields.pop("input", b""))
    return Piece(text, msgspec.json.encode(fields)) if text[:1] == b'"' else None


def joined(requests: Sequence[Request], pieces: Sequence[Piece], *, base64: bool) -> Request:
    """One request of them all.  With `base64` vectors come as that, which is a quarter of their size, where
    the rows ask for numbers.  Its idempotency key is of theirs and of what travels besides.
    """
    rest = pieces[0].rest
    if base64:
        rest = rest.replace(FLOATS, PACKED)
    keys = "".join(f"{each.row}-{each.hash[:16]}-{each.again} " for each in requests)
    texts = b",".join([each.text for each in pieces])
    return msgspec.structs.replace(
        requests[0],
        body=b'{"input":[%b],%b' % (texts, rest[1:]),
        hash=blake2b(keys.encode() + rest, digest_size=16).hexdigest(),
        custom_id=None,
        again=0,
        packed=tuple(requests),
    )


def is_base64(request: Request) -> bool:
    """Whether the vectors of a request for many come as base64, though its rows ask for numbers."""
    return PACKED in request.body and FLOATS in request.packed[0].body


def parse(answer: Any, texts: int) -> Completion:
    """An answer about so many texts -> Completion with what it says of them all.  Raises BadAnswer when
    it is none, or cannot be trusted.
    """
    placed(answer, texts)
    return embeddings.around(answer)


def placed(answer: Any, texts: int) -> list[dict[str, Any] | None]:
    """The item of each text, None where there is none.  Raises BadAnswer."""
    items = answers.table(answer).get("data")
    if not isinstance(items, list) or not items:
        raise BadAnswer("the answer has no data")
    if len(items) > texts:
        raise BadAnswer(ONE_EACH)
    told = [item.get("index") if isinstance(item, dict) else None for item in items]
    whole = len(items) == texts
    if whole and all(type(at) is int and at == 0 for at in told):
        told = [None] * texts
    found: list[dict[str, Any] | None] = [None] * texts
    taken = set()
    for stands, (at, item) in enumerate(zip(told, items, strict=True)):
        if at is None and not whole:
            continue
        at = stands if at is None else at
        if type(at) is not int or not 0 <= at < texts or at in taken:
            raise BadAnswer(ONE_EACH)
        taken.add(at)
        found[at] = item if isinstance(item, dict) else None
    if not any(found):
        raise BadAnswer("the answer tells of no text which item is its own")
    return found


def alone(attempt: Attempt, item: dict[str, Any], usage: Any) -> Attempt:
    """The try at one row: its item as the whole answer, and its share of the usage.  A vector that came
    as base64 is an array of numbers there.
    """
    embedding = item.get("embedding")
    if isinstance(embedding, str):
        embedding = embeddings.unpacked(embedding)
    answer = {**attempt.answer, "data": [{**item, "index": 0, "embedding": embedding}]}
    if usage is not None:
        answer["usage"] = usage
    return msgspec.structs.replace(attempt, answer=answer, raw=b"")


def told(attempt: Attempt, usage: Any) -> Attempt:
    """The try at one row which got no item of its own, with its share of the usage, if there is one."""
    answer = attempt.answer if isinstance(attempt.answer, dict) else {}
    kept = {"usage": usage} if usage is not None else {}
    if isinstance(model := answer.get("model"), str):
        kept["model"] = model
    return msgspec.structs.replace(attempt, answer=kept, raw=b"")


def usage_of(attempt: Attempt) -> Any:
    """The usage that an answer tells, if any."""
    return attempt.answer.get("usage") if isinstance(attempt.answer, dict) else None


def shares(whole: Any, weights: Sequence[int]) -> list[Any]:
    """What each has of a number, or of all the numbers in an object: by its weight, whole ones whole, and
    together as much as there was.  What is no number is everybody's.
    """
    ends = list(accumulate(weights))
    if isinstance(whole, dict):
        columns = {key: shares(value, weights) for key, value in whole.items()}
        return [{key: columns[key][at] for key in columns} for at in range(len(weights))]
    if isinstance(whole, bool) or not isinstance(whole, int | float) or not ends[-1]:
        return [whole] * len(weights)
    if isinstance(whole, float) and not whole.is_integer():
        return [whole * weight / ends[-1] for weight in weights]
    parts = [int(whole) * end // ends[-1] for end in ends]
    return [part - before for before, part in zip([0, *parts], parts, strict=False)]


def costs(attempt: Attempt, weights: Sequence[int]) -> list[dict[str, str]]:
    """The headers that each row's try has: a charge that is told there is shared, too."""
    said = headers.reported_cost(attempt.headers)
    if said is None:
        return [attempt.headers] * len(weights)
    whole = sum(weights) or 1
    return [{**attempt.headers, headers.COST: repr(said * each / whole)} for each in weights]
