"""Which models an endpoint offers, and what a name it does not list is likely to be.

A list is a hint: many gateways have none, have it elsewhere, or answer to names they do not list
(dated ones, fine-tunes, aliases).  So only a plain misspelling stops a run.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from batch.costs import price_lists
from batch.errors import JobError, UsageError
from batch.requests.preflight import WAY_OUT
from batch.transport.client import Client
from batch.transport.endpoint import Endpoint, Target, target
from batch.transport.paths import lists_of

PATIENCE = 2.0
"""Seconds from its start by which a run has the list, or does without."""

LIST_SECONDS = 20.0
"""Seconds for a person who asks for nothing but the list."""

LONGEST_NAME = 200
MOST_NAMES = 20_000
"""Names of a list that are read."""

MOST_COMPARED, MOST_WANTED = 2_000, 4
"""Names of a list, and models of a job that it lacks, that are compared; a pair takes up to 50 µs."""

SIMILAR, NEAR, NEAR_WORD = 0.5, 0.8, 0.6
"""Likeness (difflib's ratio) of names worth showing, of one that may be a misspelling of another, and
of the words in which they then differ.
"""


class Listing(msgspec.Struct, frozen=True):
    """The models of an endpoint in its own order; None when it gives no list, and then why."""

    names: list[str] | None
    why: str | None = None


def offered(endpoint: Endpoint, environment: dict[str, str]) -> Listing:
    """The models of an endpoint; of the embedded one its name, without starting it.  Raises UsageError
    where a key is missing.
    """
    if endpoint.local:
        return Listing([endpoint.local_model])
    found = target(endpoint, environment)
    return asyncio.run(listed(endpoint, found, endpoint.connect_timeout + LIST_SECONDS))


async def listed(endpoint: Endpoint, at: Target, patience: float) -> Listing:
    """Ask for the list at each place where it may be, for at most `patience` seconds together."""
    why = "its URL names the model"
    try:
        async with asyncio.timeout(patience), Client(endpoint, at, 1) as client:
            for url in lists_of(at.base_url):
                attempt = await client.get(url)
                names = names_in(attempt.answer) if attempt.status == 200 else None
                if names:
                    return Listing(names)
                why = f"{url}: {attempt.message or _said(attempt.status)}"
                if attempt.status in (None, 401, 403):  # it is the same elsewhere
                    break
    except TimeoutError:
        why = f"no answer within {patience:g} s"
    return Listing(None, why)


def _said(status: int | None) -> str:
    return "no list of models" if status == 200 else f"HTTP {status}"


def names_in(answer: Any) -> list[str] | None:
    """The names in a list of models: `{"data": [{"id"}]}`, `{"models": [{"name"}]}`, or a bare list
    of either, or of names.  None when the answer is no such list.
    """
    if isinstance(answer, dict):
        answer = next((answer[key] for key in ("data", "models") if key in answer), None)
    if not isinstance(answer, list):
        return None
    found = (_name(entry) for entry in answer[:MOST_NAMES])
    return list(dict.fromkeys(name for name in found if name))


def _name(entry: Any) -> str | None:
    if isinstance(entry, dict):
        entry = next((entry[key] for key in ("id", "name", "model") if key in entry), None)
    if not isinstance(entry, str):
        return None
    return "".join(letter for letter in entry[:LONGEST_NAME] if letter.isprintable())


class Meanwhile:
    """The list of an endpoint, asked for in a thread of its own while rows are read."""

    def __init__(self, endpoint: Endpoint, at: Target, patience: float = PATIENCE) -> None:
        self._found: Listing | None = None
        self._until = time.monotonic() + patience
        self._thread = threading.Thread(
            target=self._ask, args=(endpoint, at, patience), daemon=True
        )
        self._thread.start()

    def _ask(self, endpoint: Endpoint, at: Target, patience: float) -> None:
        with suppress(UsageError):  # too few open files: the run itself will say so
            self._found = asyncio.run(listed(endpoint, at, patience))

    def names(self) -> list[str] | None:
        """The names, None when they did not come in time."""
        self._thread.join(max(0.0, self._until - time.monotonic()))
        return self._found.names if self._found else None


def unlisted(wanted: Iterable[str], names: list[str] | None) -> str | None:
    """A line of notice about the models that `names` lacks, None when there are none.  Raises
    JobError for one that is a misspelling of a name there.
    """
    lacking = sorted(set(wanted).difference(names)) if names else []
    if not names or not lacking:
        return None
    said = [f"{model!r}{_nearest(model, names)}" for model in lacking[:MOST_WANTED]]
    more = f" and {len(lacking) - MOST_WANTED} more" if len(lacking) > MOST_WANTED else ""
    return (
        f"the endpoint does not list a model {', '.join(said)}{more}; it may know it all the same"
    )


def _nearest(model: str, names: list[str]) -> str:
    """The names most like `model`.  Raises JobError when one of them must be meant."""
    import difflib

    plain = {name.casefold(): name for name in reversed(names[:MOST_COMPARED])}
    near = difflib.get_close_matches(model.casefold(), plain, n=3, cutoff=SIMILAR)
    nearest = [plain[name] for name in near]
    meant = next((name for name in nearest if _is_meant(model, name)), None)
    if meant is not None:
        raise JobError(
            f"the endpoint has no model {model!r}; did you mean {meant!r}?", hint=WAY_OUT
        )
    return f" (nearest: {', '.join(nearest)})" if nearest else ""


def _is_meant(written: str, name: str) -> bool:
    """Whether `written` can only be `name`.  A name that is known elsewhere may be served here, too."""
    return is_misspelling(written, name) and (
        is_slip(written, name) or not price_lists.is_known(written)
    )


def is_slip(written: str, name: str) -> bool:
    """Whether two names differ only in case, separators, or two letters that changed places."""
    one, other = (re.sub(r"[^a-z0-9/]", "", each.casefold()) for each in (written, name))
    differs = [at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    if len(one) != len(other) or not differs:
        return one == other
    first, last = differs[0], differs[-1]
    return last == first + 1 and one[first : last + 1] == other[first : last + 1][::-1]


def is_misspelling(written: str, name: str) -> bool:
    """Whether `written` is `name` but for some letters.

    Other digits (versions, sizes, dates), another word, or a part more or less at either end make
    another name, which a server may well know.
    """
    return (
        _likeness(written, name) >= NEAR
        and _likeness(*_other_words(written, name)) >= NEAR_WORD
        and re.sub(r"\D", "", written) == re.sub(r"\D", "", name)
        and not _is_part(written, name)
        and not _is_part(name, written)
    )


def _likeness(one: str, other: str) -> float:
    import difflib

    return difflib.SequenceMatcher(None, one.casefold(), other.casefold()).ratio()


def _other_words(one: str, other: str) -> tuple[str, str]:
    """The words of each name that the other lacks, run together."""
    words, others = (re.split(r"[^a-z0-9]+", name.casefold()) for name in (one, other))
    return (
        "".join(word for word in words if word not in others),
        "".join(word for word in others if word not in words),
    )


def _is_part(short: str, long: str) -> bool:
    """Whether `long` is `short` with something set off before or behind it: `gpt-x-mini` or
    `vendor/gpt-x` of `gpt-x`.
    """
    return bool(re.search(rf"(?:^|[/:]){re.escape(short)}(?:$|[-:@/._+])", long)) and short != long
