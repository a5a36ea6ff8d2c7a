"""`POST /embeddings`: a text in, a vector out.  There is nothing to stream.

Field meanings: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
import binascii
import math
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec

from batch import usage, vectors
from batch.apis import answers
from batch.apis.answers import beyond, dicts, index, text
from batch.apis.chunks import Chunks
from batch.apis.completions import only_text
from batch.columns import EMBEDDING, REQUESTS
from batch.model import Completion
from batch.outcome import BadAnswer
from batch.usage import Reading

PATH = "/embeddings"
ASKED_IN = ("input",)
SYSTEM_IN = None
OUTPUT_CAPS = ()
HAS_SCHEMA = False
IF_UNHEEDED = ""
IS_LOCAL = False
COLUMNS = (EMBEDDING, REQUESTS)

HELD = frozenset({"id", "object", "created", "model", "data", "usage", "service_tier"})
HELD_IN_ITEM = frozenset({"object", "index", "embedding"})
MOST = 2.0**128
"""Beyond what a float of 32 bits can be."""
NOT_SENT = frozenset({"stream", "stream_options", "messages"})


def body(messages: Sequence[dict[str, Any]] | None, parameters: dict[str, Any]) -> dict[str, Any]:
    """The request body.  Raises BadRow for messages that are more than one text."""
    built = {key: value for key, value in parameters.items() if key not in NOT_SENT}
    built.setdefault("encoding_format", "float")
    return built if messages is None else {**built, "input": only_text(messages, "embeddings")}


def parse(answer: Any) -> Completion:
    """An answer -> Completion with the first vector.  Raises BadAnswer when it is none."""
    items = dicts(answers.table(answer).get("data"))
    if not items:
        raise BadAnswer("the answer has no data")
    first = min(enumerate(items), key=lambda pair: index(pair[1], pair[0]))[1]
    unheld = len(items) > 1 or beyond(answer, HELD) or beyond(first, HELD_IN_ITEM)
    vector = _vector(first.get("embedding"))
    return msgspec.structs.replace(around(answer), embedding=vector, unheld=unheld)


def around(answer: dict[str, Any]) -> Completion:
    """What an answer says besides its vectors."""
    counted = _counted(answer)
    return Completion(
        served_model=text(answer.get("model")),
        service_tier=usage.tier(answer),
        usage=counted.usage,
        parts=counted.parts,
        usage_json=answers.usage_json(answer),
        flags=[] if counted.known else ["usage_unknown"],
    )


def _counted(answer: dict[str, Any]) -> Reading:
    """No token is put out, and that is known."""
    counted = usage.of(answer)
    if counted.usage is None or counted.usage.input_tokens is None:
        return usage.NOTHING
    whole = msgspec.structs.replace(counted.usage, output_tokens=0)
    return msgspec.structs.replace(counted, usage=whole)


def _vector(embedding: Any) -> bytes:
    """A vector that came as numbers, or as base64 of little-endian 32-bit floats."""
    numbers = unpacked(embedding) if isinstance(embedding, str) else embedding
    if not isinstance(numbers, list | array) or not numbers or not _all_finite(numbers):
        raise BadAnswer("the answer has an embedding that is no list of numbers")
    return vectors.packed(numbers)


def _all_finite(numbers: list[Any] | array[float]) -> bool:
    """Whether 32 bits hold each of them as a number.  Thousands of them take 0.1 ms.  Their sum, of
    64 bits, is beyond all bounds only where one of them is.
    """
    if isinstance(numbers, list):
        if not set(map(type, numbers)) <= {int, float}:
            return False
        if not (min(numbers) > -MOST and max(numbers) < MOST):
            return False
    return math.isfinite(sum(numbers))


def unpacked(packed: str) -> array[float]:
    """The numbers of little-endian 32-bit floats in base64; none where it is no such thing."""
    try:
        return vectors.numbers(base64.b64decode(packed, validate=True))
    except (binascii.Error, ValueError):
        return array("f")


class Fold(Chunks):
    """No embedding comes as a stream, so that all a stream can tell is an error."""

    def __init__(self, choices: int = 1) -> None:
        super().__init__()

    def _take(self, chunk: dict[str, Any]) -> None:
        raise BadAnswer("an embedding does not come as a stream")

    def _folded(self) -> dict[str, Any]:
        return {}
