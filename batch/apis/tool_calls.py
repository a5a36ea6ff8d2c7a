"""The tools that an answer calls, whole or in the pieces of a stream, whichever way a server numbers
and names them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from batch.apis.answers import as_text, beyond, dicts
from batch.apis.chunks import merged
from batch.model import ToolCall

Call = dict[str, Any]

KINDS = ("function", "custom")
"""Kind of a tool, and the field of a call that tells what is called."""
NUMBERS = frozenset({"index", "id", "type"})
HELD = NUMBERS | {*KINDS}
GIVEN = ("arguments", "input")
"""Where it says what the tool is given."""
HELD_IN_FUNCTION = frozenset({"name", *GIVEN})


def read(message: dict[str, Any]) -> tuple[list[ToolCall] | None, bool]:
    """The calls of a message, and whether their column holds all they say."""
    sent, older = message.get("tool_calls"), message.get("function_call")
    calls = dicts(listed(sent))
    whole = len(calls) == len(listed(sent)) and not any(map(_holds_more, calls))
    told = [made(call.get("id"), _function(call)) for call in calls]
    if isinstance(older, dict):
        call = made(None, older)
        if not any((each.name, each.arguments) == (call.name, call.arguments) for each in told):
            told.append(call)
        whole = whole and not beyond(older, HELD_IN_FUNCTION)
    return told or None, whole


def made(id_: Any, function: Call) -> ToolCall:
    """One call, of a function or (with `input`) of a custom tool."""
    given = next((function[key] for key in GIVEN if function.get(key) is not None), None)
    return ToolCall(as_text(id_), as_text(function.get("name")), as_text(given))


def listed(sent: Any) -> list[Any]:
    """Calls as a list; some servers send a single one as it is."""
    return sent if isinstance(sent, list) else [] if sent is None else [sent]


def gone_on(before: Call, piece: Call) -> Call:
    """What is called, as far as it has come: its texts go on, whatever they are called."""
    known = dict(before)
    for key, value in piece.items():
        if value is None:
            known.setdefault(key, None)
        elif key == "name":
            known[key] = _name(known.get(key), value)
        elif key in GIVEN:
            known[key] = _given(as_text(known.get(key)) or "", as_text(value) or "")
        elif isinstance(known.get(key), str) and isinstance(value, str):
            known[key] += value
        else:
            known[key] = merged(known.get(key), value)
    return known


class Calls:
    """The calls of one choice of a stream.

    A piece belongs to the call of its index.  Where servers give all the same index, or none, an id
    that is new begins another call, and so does a name after arguments that are whole.
    """

    def __init__(self) -> None:
        self._places: dict[int, list[Call]] = {}
        self._last = 0

    def __bool__(self) -> bool:
        return bool(self._places)

    def add(self, sent: Any) -> bool:
        """Take in what one chunk says; whether it says anything."""
        pieces = dicts(listed(sent))
        for position, piece in enumerate(pieces):
            call = self._call(piece, None if len(pieces) == 1 else position)
            _take(call, piece)
        return bool(pieces)

    def folded(self) -> list[Call]:
        """The calls in the blocking shape."""
        return [call for place in sorted(self._places) for call in self._places[place]]

    def _call(self, piece: Call, position: int | None) -> Call:
        """The call that a piece belongs to, which may be new."""
        at = _index(piece)
        for place, call in self._named(piece.get("id"), at):
            if not _begins(call, piece):
                self._last = place
                return call
        if at is None:
            at = self._last if position is None else position
        self._last = at
        calls = self._places.setdefault(at, [])
        if not calls or _begins(calls[-1], piece):
            calls.append({})
        return calls[-1]

    def _named(self, id_: Any, index: int | None) -> Iterator[tuple[int, Call]]:
        """The calls of that id, where one is given, and of that index, each with its place."""
        for place in [*self._places] if id_ else ():
            for call in self._places[place] if index in (None, place) else ():
                if call.get("id") == id_:
                    yield place, call


def _take(call: Call, piece: Call) -> None:
    """Add a piece to its call."""
    kind = next((kind for kind in KINDS if piece.get(kind)), None)
    function = _function(piece)
    if function:
        known = call.get(kind or KINDS[0])
        call[kind or KINDS[0]] = gone_on(known if isinstance(known, dict) else {}, function)
    for key in ("id", "type"):
        if piece.get(key) and not call.get(key):
            call[key] = piece[key]
    told = {kind} if kind else HELD_IN_FUNCTION
    for key in piece.keys() - NUMBERS - (told if function else frozenset()):
        call[key] = merged(call.get(key), piece[key])


def _begins(last: Call, piece: Call) -> bool:
    """Whether a piece is the first of another call than the last at its place.

    Some servers make a new id for every piece: only the first one has a name.
    """
    said, before = _function(piece), as_text(_function(last).get("arguments")) or ""
    given = as_text(said.get("arguments")) or ""
    ids = last.get("id"), piece.get("id")
    if all(ids) and ids[0] != ids[1]:
        return bool(said.get("name")) or not given
    if not said.get("name") or given[:1] != "{" or not _is_whole(before):
        return False
    return not all(ids) or (before != "{}" and before != given and _is_whole(given))


def _index(piece: Call) -> int | None:
    """Its number, which some servers write as a text; None where it has none."""
    given = piece.get("index")
    if isinstance(given, str) and given.isdecimal() and len(given) < 6:
        return int(given)
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _function(call: Call) -> Call:
    """What is called, and with what; some servers say it in the call itself."""
    for kind in KINDS:
        if call.get(kind):
            return call[kind] if isinstance(call[kind], dict) else {}
    return {key: call[key] for key in HELD_IN_FUNCTION & call.keys()}


def _holds_more(call: Call) -> bool:
    nested = any(call.get(kind) for kind in KINDS)
    said = _function(call)
    return (
        beyond(call, HELD if nested else HELD | HELD_IN_FUNCTION)
        or beyond(said, HELD_IN_FUNCTION)
        or (nested and not said)
        or all(said.get(key) is not None for key in GIVEN)
    )


def _name(known: Any, piece: Any) -> Any:
    """A name may come in pieces, or whole again with every piece of the arguments."""
    if not isinstance(known, str) or not isinstance(piece, str):
        return known or piece
    if piece.startswith(known):
        return piece
    return known + piece


def _given(known: str, piece: str) -> str:
    """What a tool is given; an object after an object stands in its place."""
    return piece if piece[:1] == "{" and _is_whole(known) else known + piece


def _is_whole(arguments: str) -> bool:
    """Whether it is a whole JSON object."""
    if arguments[:1] != "{" or arguments[-1:] != "}":
        return False
    try:
        msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return False
    return True
