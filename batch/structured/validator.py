"""Whether an answer fits the job's schema: the JSON in it is found, checked and judged.  Pure, but for
the import of the validator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa

from batch import lenient_json
from batch.errors import JobError
from batch.model import Choice, Result
from batch.outcome import Accept, Outcome, Reject, TryAgain
from batch.structured import column_type
from batch.structured.schema import CONTAINERS, TYPES

MOST_STARTS = 20
"""Places in a text at which a JSON value is looked for: a text of nothing but brackets ends."""

QUOTED = 200
"""Characters that a message quotes."""

_LENIENT = json.JSONDecoder(strict=False)


class Reading(msgspec.Struct, frozen=True):
    """What was found in an answer: JSON that fits, or the reason why there is none.

    `repaired` tells that it had to be taken out of other text, or mended.
    """

    json: str | None = None
    repaired: bool = False
    problem: str = ""


class Checker:
    """Holds answers to one schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Raises JobError for a schema that is none, or that refers to another document."""
        import jsonschema_rs  # 50 ms, which only jobs with a schema pay

        try:
            self._validator = jsonschema_rs.validator_for(schema, retriever=_nothing_remote)
        except jsonschema_rs.ValidationError as error:
            path = [str(step) for step in error.instance_path]
            where = f"at {'/'.join(path)}: " if path else ""
            problem = error.message
            if path[-1:] == ["type"]:
                known = ", ".join(TYPES + CONTAINERS)
                problem = f"{error.instance!r} is no type (known: {known})"
            raise JobError(f"[request] schema: {where}{problem}") from None
        try:
            self.type: pa.DataType = column_type.column_type(schema)
            self.untypable: str | None = None
        except column_type.Untypable as reason:
            self.type, self.untypable = column_type.TEXT, str(reason)
        self._fits = None if self.untypable else column_type.fit(self.type)

    def judge(self, judged: Outcome) -> Outcome:
        """An accepted answer with what was parsed of it, or what is to become of one that does
        not fit.

        A refusal, a filtered answer and a call of a tool are answers of their own kind.  One that
        was cut off would be cut off again.
        """
        if not isinstance(judged, Accept) or not judged.completion.choices:
            return judged
        first = judged.completion.choices[0]
        found = self.read(first.completion or "")
        if found.json is not None:
            flags = [*judged.completion.flags, *(["json_repaired"] if found.repaired else [])]
            return Accept(
                msgspec.structs.replace(judged.completion, parsed=found.json, flags=flags)
            )
        if _is_no_text(first):
            return judged
        if first.finish_reason == "length":
            cut = f"cut off before it was whole, raise max_tokens ({found.problem})"
            return Reject("schema_mismatch", cut, completion=judged.completion)
        return TryAgain(
            "schema_mismatch", found.problem, mismatch=True, completion=judged.completion
        )

    def again(self, known: Result) -> Result | None:
        """An answer that another run took, with what is parsed of it here; None when it does not
        fit.
        """
        found = self.read(known.completion or "")
        other = known.refusal or known.tool_calls or known.finish_reason == "content_filter"
        if found.json is None and not other:
            return None
        return msgspec.structs.replace(known, parsed=found.json)

    def read(self, text: str) -> Reading:
        """The JSON in an answer's text that fits the schema."""
        problem = "" if text.strip() else "the answer is empty"
        for value, written, repaired in _found(text):
            fault = self._fault(value)
            if fault is None:
                return Reading(written, repaired)
            problem = problem or fault
        return Reading(problem=problem or f"no JSON: {_short(text.strip(), 60)}")

    def _fault(self, value: Any) -> str | None:
        """Where and why `value` does not fit; None when it does."""
        try:
            for error in self._validator.iter_errors(value):
                path = "".join(
                    f"[{step}]" if isinstance(step, int) else f".{step}"
                    for step in error.instance_path
                )
                return f"{path.removeprefix('.') or 'the answer'}: {_short(error.message)}"
            if self._fits is not None:
                self._fits(value)
        except column_type.Misfit as misfit:
            return _short(str(misfit))
        except ValueError as error:  # nested more deeply than the validator follows
            return f"the answer: {_short(str(error))}"
        return None


def _nothing_remote(uri: str) -> Any:
    raise ValueError(f"{uri} is another document, which is not fetched")


def _is_no_text(choice: Choice) -> bool:
    return bool(choice.refusal or choice.tool_calls or choice.finish_reason == "content_filter")


def _found(text: str) -> Iterator[tuple[Any, str, bool]]:
    """The JSON values that an answer may mean, as value, as JSON on one line, and whether it was
    not simply the whole text.
    """
    whole, mended = lenient_json.decode(text.encode())
    if whole is not None:
        yield whole, _compact(whole) if mended else _on_one_line(text), mended
        return
    text = text.rpartition("</think>")[2]
    fence = text.find("```")
    if fence >= 0:
        yield from _embedded(text, fence)
    yield from _embedded(text, 0)


def _embedded(text: str, start: int) -> Iterator[tuple[Any, str, bool]]:
    """The objects and arrays inside other text, from `start` on."""
    end = start
    for opening in _starts(text, start):
        if opening < end:  # inside the last one
            continue
        try:
            lenient, end = _LENIENT.raw_decode(text, opening)
        except (ValueError, RecursionError):
            continue
        value, _ = lenient_json.decode(json.dumps(lenient).encode())
        if value is not None:
            yield value, _compact(value), True


def _starts(text: str, start: int) -> Iterator[int]:
    for number, found in enumerate(re.compile(r"[{\[]").finditer(text, start)):
        if number == MOST_STARTS:
            return
        yield found.start()


def _on_one_line(text: str) -> str:
    """As it stands, numbers to the digit, but for the space around it."""
    return msgspec.json.format(text.removeprefix("\ufeff"), indent=-1)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _short(text: str, length: int = QUOTED) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
