"""How many tokens a request will take, before it is sent: for every vendor, learnt from its answers.

Input: the bytes of the body times a ratio learnt per model, starting from a quarter token a byte,
which some twenty answers outweigh.  Output: what answers of this model took on average, and a half
more, up to the request's own cap; before the first answer, the cap.
"""

from __future__ import annotations

import re
from collections import defaultdict

import msgspec

from batch.model import Request, Usage

PRIOR_TOKENS, PRIOR_BYTES = 250, 1_000
TEXT = 4096
"""Bytes; a smaller body is taken for text."""
ENOUGH = 5
"""Answers after which no other one is expected to be much longer than the longest."""
INLINE = (b";base64,", b'"data":"')
"""What stands before a picture or sound in a body."""
PICTURE = re.compile(rb'url":"data:image/[\w.+-]+;base64,[A-Za-z0-9+/=]*"')
"""A picture in a body; in a text the quotes would be escaped."""
ELSEWHERE = (b'url":"http', b'"file_id":"')
"""What stands before one that the server fetches."""
MOST_MEDIA = 20_000
"""Tokens: a large picture takes a few thousand."""
UNKNOWN_OUTPUT = 500
"""Tokens, where nothing has been answered and nothing caps it."""


class Estimate(msgspec.Struct, frozen=True, gc=False):
    """Tokens one request is likely to take, input and output together; those it will hardly exceed,
    going by earlier answers; and those it may take.
    """

    likely: int
    most: int
    largest: int


class _Sums(msgspec.Struct, gc=False):
    input_tokens: int = PRIOR_TOKENS
    input_bytes: int = PRIOR_BYTES
    output_tokens: int = 0
    most_output: int = 0
    answers: int = 0


class Estimates:
    """What is known of each model."""

    def __init__(self) -> None:
        self._of: defaultdict[str | None, _Sums] = defaultdict(_Sums)

    def of(self, request: Request) -> Estimate:
        """The estimate of a request that has not been sent."""
        known, cap = self._of[request.model], request.output_cap
        asked = max(1, round(text_bytes(request.body) * known.input_tokens / known.input_bytes))
        likely = UNKNOWN_OUTPUT if cap is None else cap
        if known.answers:
            likely = round(1.5 * known.output_tokens / known.answers)
        largest = likely if cap is None else cap
        most = largest
        if known.answers >= ENOUGH:
            most = min(largest, round(1.5 * known.most_output))
        return Estimate(asked + min(likely, most), asked + most, asked + largest)

    def learn(self, request: Request, usage: Usage) -> None:
        """Take an answer's usage in."""
        known = self._of[request.model]
        if usage.input_tokens is not None:
            known.input_tokens += usage.input_tokens
            size = len(request.body)
            known.input_bytes += size if size <= TEXT else text_bytes(request.body)
        if usage.output_tokens is not None:
            known.output_tokens += usage.output_tokens
            if usage.output_tokens > known.most_output:
                known.most_output = usage.output_tokens
            known.answers += 1


def most_input(request: Request) -> int:
    """Input tokens a request cannot exceed: no vendor makes more than one of a byte of text, or of
    sound or a document in base64 (what its template adds is less than the JSON around it); a picture
    counts MOST_MEDIA.
    """
    body, pictures = request.body, 0
    size = len(body)
    if size > TEXT:
        for found in PICTURE.finditer(body):
            size -= found.end() - found.start()
            pictures += 1
    for sign in ELSEWHERE:
        pictures += body.count(sign)
    return size + MOST_MEDIA * pictures


def text_bytes(body: bytes) -> int:
    """The bytes of a body without what pictures and sound take as base64: those tokens are few."""
    size = len(body)
    for begins in INLINE if size > TEXT else ():
        at = body.find(begins)
        while at >= 0:
            end = body.find(b'"', at + len(begins))
            size -= end - at
            at = body.find(begins, end)
    return size
