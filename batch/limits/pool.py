"""Which of several endpoints is asked next.

Pure: what is known of each comes in, a choice goes out.  The emptiest one is asked, by its weight,
among those that may be asked now.  With affinity, prompts that begin alike go to one endpoint, whose
cache then holds that beginning, unless much more is on its way there than elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from batch.limits.limits import Limits, PerMinute, Positive, check_concurrency

BUSIER, AND = 1.25, 1.0
"""How much busier than the emptiest a home may be: so many times as much, and so many requests."""


class Pool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[pool]` of a job.  `urls_file` names more endpoints, a URL and perhaps a weight a line, and is
    read again while the run goes on.  `affinity` sends prompts that begin alike to one endpoint; auto
    does so for servers of one's own.  `wait_ready` is how many seconds the first one has to answer.
    """

    urls_file: str | None = None
    affinity: Literal["auto", "off"] = "auto"
    wait_ready: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `[[endpoint]]` says of an endpoint as one of several: how much more it gets than others, and
    limits of its own, beside those of the run.
    """

    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    concurrency: int | str | None = None
    concurrency_max: Positive | None = None

    def __post_init__(self) -> None:
        if self.concurrency is not None:
            check_concurrency(self.concurrency)

    def limits(self, run: Limits) -> Limits:
        """Those of the endpoint, in a run with these: its concurrency is that of the run where it has
        none of its own.
        """
        of_run = self.concurrency is None and self.concurrency_max is None
        return Limits(
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            concurrency=run.concurrency if of_run else self.concurrency or "auto",
            concurrency_max=self.concurrency_max or run.concurrency_max,
        )


class Past(msgspec.Struct, frozen=True):
    """Where a row was before: the endpoint that has just `failed` it, and those that `refused` it as no
    other may.
    """

    failed: int | None = None
    refused: frozenset[int] = frozenset()


NEW = Past()
"""A row that was nowhere yet."""


class Candidate(msgspec.Struct, frozen=True):
    """An endpoint that may be asked now, and what it has in flight."""

    number: int
    name: str
    weight: float
    in_flight: int

    @property
    def load(self) -> float:
        """What it would have in flight, by its weight."""
        return (self.in_flight + 1) / self.weight


def pick(
    candidates: Sequence[Candidate],
    *,
    prefix: bytes | None = None,
    names: tuple[str, ...] = (),
    avoided: int | None = None,
) -> Candidate | None:
    """Who is asked; None where nobody may be.  `prefix` is how the prompt begins, `names` are all
    endpoints that are there, `avoided` has just failed this row.
    """
    others = [each for each in candidates if each.number != avoided] or list(candidates)
    if not others:
        return None
    emptiest = min(others, key=lambda each: each.load)
    if prefix is None:
        return emptiest
    by_name = {each.name: each for each in others}
    for name in homes(prefix, names):
        each = by_name.get(name)
        if each is not None and each.load <= BUSIER * emptiest.load + AND / each.weight:
            return each
    return emptiest


@lru_cache(10_000)
def homes(prefix: bytes, names: tuple[str, ...]) -> list[str]:
    """The endpoints where prompts that begin so are at home, the best one first: by the hash of both,
    so that one which comes or goes moves no others (rendezvous hashing, Thaler and Ravishankar 1998).
    """
    key = hashlib.blake2b(prefix, digest_size=32).digest()
    return sorted(names, key=lambda name: hashlib.blake2b(name.encode(), key=key).digest())


class Listed(msgspec.Struct, frozen=True):
    """A line of the file of URLs."""

    url: str
    weight: float = 1.0


def listed(text: str) -> list[Listed]:
    """The lines `URL [weight]` of a file; empty lines and what stands behind `#` say nothing.  Raises
    ValueError naming the line.
    """
    found: dict[str, Listed] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match line.partition("#")[0].split():
            case []:
                continue
            case [url]:
                found[url] = Listed(url)
            case [url, weight] if _is_positive(weight):
                found[url] = Listed(url, float(weight))
            case _:
                raise ValueError(f"line {number}: expected URL, or URL and weight: {line.strip()}")
    return list(found.values())


def _is_positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False
