"""What a message says, in whichever shape: a text, or parts that are text, thinking, refusal, or
more than words.
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.apis.answers import as_text, beyond

Part = dict[str, Any]

KINDS = {
    **dict.fromkeys(("text", "output_text", "input_text"), "text"),
    **dict.fromkeys(("thinking", "redacted_thinking", "thought", "reasoning"), "reasoning"),
    **dict.fromkeys(("reasoning_text", "reasoning_content", "summary_text"), "reasoning"),
    "refusal": "refusal",
}
"""Type of a part -> the column that holds its words."""
FIELDS = (
    "text",
    "thinking",
    "reasoning",
    "reasoning_text",
    "refusal",
    "content",
    "summary",
    "value",
)
"""Where a part may have its words, which may be parts themselves; the first that says any counts."""
SPOKEN = frozenset(FIELDS)
"""Fields of a part whose texts come in pieces."""
PLAIN = frozenset({"type", "id", "index", "status", "format", "closed", "thought"})
"""Fields of a part that nobody misses."""
HELD = {field: PLAIN | {field} for field in FIELDS}
"""Field with the words of a part -> what of the part is held then."""
NAMES = frozenset({"type", "id", "index"})
"""Fields that tell one part from another."""
DEEPEST = 5
"""How many levels of parts in parts are read."""


class Content(msgspec.Struct, frozen=True):
    """What is said on each channel.  `wordless` tells that there are sounds or pictures, `more` that
    something has no column.
    """

    text: str | None
    reasoning: str | None = None
    refusal: str | None = None
    wordless: bool = False
    more: bool = False


def read(content: Any) -> Content:
    """The content of a message."""
    if content is None or isinstance(content, str):
        return Content(content)
    said: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": [], "sound": []}
    wordless = more = False
    for part in parts(content):
        channel = _channel(part)
        told, is_all = _heard(part) if channel == "sound" else words(part)
        said[channel].append(told)
        wordless = wordless or (channel == "sound" and not is_all)
        more = more or not is_all
    joined = {channel: "".join(pieces) or None for channel, pieces in said.items()}
    written = joined["text"] or joined["sound"]
    return Content(written, joined["reasoning"], joined["refusal"], wordless, more)


def parts(content: Any) -> list[Part]:
    """A content as a list of parts, nothing of which is lost: what is none is JSON."""
    if not isinstance(content, list):
        return [content] if _is_part(content) else _text_part(content)
    if all(isinstance(each, dict) and "type" in each for each in content):  # as most are
        return content
    if not any(isinstance(each, str) or _has_part(each) for each in content):
        return _text_part(content)
    return [part for each in content for part in ([each] if _has_part(each) else _text_part(each))]


def words(value: Any, deepest: int = DEEPEST) -> tuple[str, bool]:
    """The words in a text, a part or a list of them; and whether they are all it says."""
    if value is None or isinstance(value, str):
        return value or "", True
    if deepest == 0:
        return "", not value
    if isinstance(value, list):
        told = [words(each, deepest - 1) for each in value]
        return "".join(text for text, _ in told), all(is_all for _, is_all in told)
    if not isinstance(value, dict):
        return "", not value
    field = "text" if value.get("text") else next(filter(value.get, FIELDS), "text")
    text, is_all = words(value.get(field), deepest - 1)
    return text, is_all and not beyond(value, HELD[field])


def gone_on(before: list[Any], pieces: list[Any]) -> list[Any]:
    """`before` (which may be changed) with `pieces` after it.  A piece of the same part goes on with
    its texts, so that a character which came in halves is one.
    """
    for piece in pieces:
        if before and _is_same_part(before[-1], piece):
            before[-1] = {**before[-1], **_joined(before[-1], piece)}
        else:
            before.append(piece)
    return before


def _has_part(value: Any) -> bool:
    """Whether it is a part, among others."""
    return isinstance(value, dict) and ("type" in value or "text" in value)


def _is_part(value: Any) -> bool:
    """Whether it is a part, and not an object that a model was asked for."""
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    known = isinstance(kind, str) and kind in KINDS
    return known or ("text" in value and PLAIN | {"text"} >= value.keys() and kind is None)


def _text_part(content: Any) -> list[Part]:
    said = None if content in (None, False, [], {}) else as_text(content)
    return [{"type": "text", "text": said}] if said else []


def _channel(part: Part) -> str:
    """The column for its words; `sound` for parts that are no words."""
    if part.get("thought") is True:
        return "reasoning"
    kind = part.get("type")
    known = KINDS.get(kind) if isinstance(kind, str) else None
    return known or ("text" if isinstance(part.get("text"), str) else "sound")


def _heard(part: Part) -> tuple[str, bool]:
    """What is said in sound."""
    transcript = part.get("transcript")
    return (transcript if isinstance(transcript, str) else ""), not beyond(part, PLAIN)


def _is_same_part(before: Any, piece: Any) -> bool:
    """Whether `piece` has words, and nothing that `before` says otherwise."""
    if not isinstance(before, dict) or not isinstance(piece, dict):
        return False
    others = piece.keys() - SPOKEN
    spoken = len(others) < len(piece) and before.get("thought") == piece.get("thought")
    return spoken and all(
        piece[key] in (None, before.get(key)) or (before.get(key) is None and key not in NAMES)
        for key in others
    )


def _joined(before: Part, piece: Part) -> Part:
    made: Part = {}
    for key, value in piece.items():
        known = before.get(key)
        if isinstance(known, str) and isinstance(value, str) and key in SPOKEN:
            made[key] = known + value
        elif isinstance(known, list) and isinstance(value, list):
            made[key] = gone_on(known, value)
        elif value is not None:
            made[key] = value
    return made
