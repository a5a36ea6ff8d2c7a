"""How many texts one request for embeddings may have: by what is known of hosts, and by what a server
has answered and refused.  Pure.

What the code leans on, from public texts:
OpenAI: 2,048 inputs and 300,000 tokens a request, an empty text refused (openai-openapi, 2026-08-21).
Gemini: 100, "at most 100 requests can be in one batch" (lancedb#3618, 2026-07).
DashScope: 10 for text-embedding-v3 and v4 (alibabacloud.com, text-embedding-synchronous-api, read 2026-10).
Cohere: 96 by its own API, of its compatible one nothing is said (cohere-developer-experience, 2026-08-20).
Voyage: 1,000, and 120,000 tokens for its larger models (voyageai-python, 2026-07-01).
Mistral: 16,384 tokens, said by third parties (mistralai/client-python, 2026-06-30).
TEI: 32 unless set otherwise, and it says so; a permit a text (text-embeddings-inference 1.9.3, 2026-07-24).
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

from batch.transport.body import MAX_BODY

MOST, MOST_TOKENS = 2_048, 300_000
"""Texts and tokens of a request, wherever it goes."""
BODY = 8 << 20
"""Bytes of one."""
ANSWER = MAX_BODY // 8
"""Bytes that an answer is to have, going by those before: a text of a few words makes 30 KiB of them."""
UNSEEN = 64
"""Texts of a request before there is an answer to go by: at 90 KiB for each it stays below MAX_BODY."""
LIKELY_ITEM = 32 << 10
"""Bytes of an answer for a text, before there is one."""
PRIOR_TOKENS, PRIOR_BYTES = 500, 1_000
"""What is expected before the first answer: code and some scripts take half a token a byte."""
MARGIN = 1.25
"""What a request may take beyond what is likely."""
IN_A_ROW = 3
"""Refusals of requests larger than any that was answered, before their size is taken for the reason."""


class Host(msgspec.Struct, frozen=True):
    """What a request to a host may have."""

    texts: int = MOST
    tokens: int = MOST_TOKENS


HOSTS = {
    "generativelanguage.googleapis.com": Host(100),
    "aiplatform.googleapis.com": Host(100),
    "dashscope.aliyuncs.com": Host(10),
    "dashscope-intl.aliyuncs.com": Host(10),
    "api.cohere.ai": Host(96),
    "api.cohere.com": Host(96),
    "api.voyageai.com": Host(1_000, 120_000),
    "api.mistral.ai": Host(tokens=16_384),
}
"""A host, or how its name ends -> what it takes."""

SIZE = (
    r"(?is)(?:batch|array|input|inputs|texts|items|requests|contents)\b.{0,80}?"
    r"(?:maximum|at most|larger than|more than|exceed\w*|limit\w*|up to|less than or equal to|<=)"
    r"(?P<most>\D{0,40}?\d+)"
    r"|(?:maximum|at most|no more than|up to|limit of)\D{0,20}(?P<first>\d+)\s"
    r"(?:inputs|texts|items|requests|documents|strings|elements)"
)
"""How servers say how many texts they take."""
NUMBER = r"\d+"
NAMED = r"""\binputs?["']?(?:\[|\.|,\s?)(\d+)"""
"""How they say which text is at fault: `input[55]`, or `"input",55` as FastAPI does."""
FORMAT = r"(?i)encoding_format|base64"


def host(url: str) -> Host:
    """What is known of the host of a URL."""
    name = urlsplit(url).hostname or ""
    found = (
        each for end, each in HOSTS.items() if name == end or name.endswith((f".{end}", f"-{end}"))
    )
    return next(found, Host())


def said(message: str, texts: int) -> int | None:
    """How many texts a refusal says a request may have, where it had more."""
    for found in re.finditer(SIZE, message):
        most = int(re.findall(NUMBER, found["most"] or found["first"])[0])
        if 0 < most < texts:
            return most
    return None


def named(message: str, texts: int) -> int | None:
    """Which of the texts a refusal names."""
    found = re.search(NAMED, message)
    return at if found is not None and (at := int(found[1])) < texts else None


class PackLimit:
    """What one endpoint takes, as far as that is known."""

    def __init__(self, url: str, most: int | None = None) -> None:
        """`most` is what the job says."""
        known = host(url)
        self._ceiling = min(known.texts, MOST) if most is None else min(most, MOST)
        self._most = self._ceiling
        self._tokens = known.tokens
        self._answered = 0  # the most texts of a request that was answered
        self._refused = 0  # requests larger than that, since
        self._contradictions = 0
        self._taken = PRIOR_TOKENS, PRIOR_BYTES
        self._item = 0.0  # bytes of an answer for each text
        self._format = "untried"

    @property
    def texts(self) -> int:
        """The most that a request may have now."""
        unseen = UNSEEN if not self._item else max(1, int(ANSWER / self._item))
        return min(self._most, unseen)

    @property
    def item(self) -> float:
        """Bytes of an answer for each text, as far as that is known."""
        return self._item or LIKELY_ITEM

    @property
    def bytes(self) -> int:
        """The most that its body may have."""
        tokens, size = self._taken
        return min(BODY, int(self._tokens / MARGIN * size / tokens))

    @property
    def base64(self) -> bool:
        """Whether vectors are asked for as base64."""
        return self._format in ("untried", "taken", "cleared")

    def answered(
        self, texts: int, size: int, tokens: int | None, answer: int, base64: bool
    ) -> None:
        """A request of `size` bytes was answered, in so many bytes."""
        if tokens:
            before = self._taken
            self._taken = before[0] + tokens, before[1] + size
        self._item = max(self._item, answer / texts)
        if texts > self._answered:
            self._answered, self._refused = texts, 0
        if base64 and self._format != "refused":
            self._format = "taken"
        elif not base64 and self._format == "doubted":
            self._give_up_base64()
        if texts >= self._most < self._ceiling:
            self._most = min(2 * self._most, self._ceiling)

    def refused_base64(self, message: str, base64: bool) -> bool:
        """Whether the format may be why a request was refused: then all ask for numbers."""
        if base64 and re.search(FORMAT, message):
            self._give_up_base64()
            return True
        if base64 and self._format in ("untried", "doubted"):
            self._format, self._item = "doubted", 0.0
            return True
        if not base64 and self._format == "doubted":
            self._format = "cleared"
        return False

    def refused(self, texts: int) -> None:
        """A request was refused, nobody says why.  Where half as many were answered, it is the size."""
        if not self._answered < texts <= self._most:
            return
        self._refused += 1
        if self._refused >= IN_A_ROW:
            self._refused, self._most = 0, max(self._answered, texts // 2, 1)
            if self._most == self._answered:
                self._ceiling = self._most

    def takes(self, texts: int) -> None:
        """It takes no more than so many."""
        self._ceiling = max(1, min(self._ceiling, texts))
        self._most = min(self._most, self._ceiling)

    def contradicted(self) -> None:
        """An answer contradicted itself: where that is no accident, each text goes alone."""
        self._contradictions += 1
        if self._contradictions > 1:
            self.takes(1)

    def _give_up_base64(self) -> None:
        self._format, self._item = "refused", 0.0
