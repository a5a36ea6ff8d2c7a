"""One choice of a streamed chat, piece by piece, into the shape it has in an answer that is whole."""

from __future__ import annotations

from typing import Any

from batch.apis import contents, finish_reasons, tool_calls
from batch.apis.chunks import merged

PIECES = frozenset({"delta", "index", "message", "text", "finish_reason"})
SOUND = ("audio", "images")
AUDIO = frozenset({"data", "transcript"})
"""Texts of a streamed `audio` that come in pieces."""


class StreamedChoice:
    """A choice, as far as it has come.

    Some servers tell the whole message once more at the end.  It is told once.
    """

    def __init__(self, index: int) -> None:
        self._fields: dict[str, Any] = {"index": index, "finish_reason": None}
        self._message: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._parts: list[contents.Part] = []  # of its content, where it comes in parts
        self._calls = tool_calls.Calls()
        self._by_message = False  # its pieces come as messages, not as deltas
        self._with_role = 0  # pieces of content that came with a role
        self.finished = False

    def add(self, raw: dict[str, Any], is_whole: bool = False) -> bool:
        """Take in what one chunk says; whether a token came with it.  `is_whole`: the chunk calls
        itself an answer, after others that did not.
        """
        for key, value in raw.items():
            if value is not None and key not in PIECES:
                self._fields[key] = merged(self._fields.get(key), value)
        reason = raw.get("finish_reason")
        if reason is not None and finish_reasons.is_said(reason):
            self._fields["finish_reason"] = reason
            self.finished = True
        piece, field = _piece(raw)
        again = is_whole or (field == "message" and not self._by_message and self._has_begun())
        if again or (self.finished and self._is_told(piece)):
            tokens = [self._tell_again(key, value) for key, value in piece.items()]
        else:
            tokens = [self._add_field(key, value) for key, value in piece.items()]
        self._by_message = self._by_message or (field == "message" and not again)
        self._with_role += "role" in piece and bool(piece.get("content"))
        return any(tokens)

    def say(self, words: str) -> None:
        """Take in a piece of its content."""
        self._texts.setdefault("content", []).append(words)

    def folded(self) -> dict[str, Any]:
        """The choice in the blocking shape."""
        texts = {key: "".join(pieces) for key, pieces in self._texts.items()}
        message = {"role": "assistant", "content": None, **self._message, **texts}
        if self._parts:
            message["content"] = self._content()
        if self._calls:
            message["tool_calls"] = self._calls.folded()
        return {**self._fields, "message": message}

    def _has_begun(self) -> bool:
        return bool(self._calls or self._parts) or any(map(any, self._texts.values()))

    def _is_told(self, piece: dict[str, Any]) -> bool:
        """Whether a last piece says once more all that others have said."""
        said, known = piece.get("content"), self._texts.get("content")
        if not known or not isinstance(said, str) or not said.strip():
            return False
        if said.strip() != "".join(known).strip():
            return False
        pieces = sum(map(bool, known))
        return pieces > 1 or ("role" in piece and self._with_role < pieces)

    def _tell_again(self, key: str, value: Any) -> bool:
        """Take in a field of the whole message; what has been said of it is not said twice."""
        if not value or key == "role":
            return False
        if key == "content":
            return self._tell_content_again(value)
        known = "".join(self._texts.get(key, ())).strip()
        if isinstance(value, str) and known.endswith(value.strip()):
            return False
        if key == "tool_calls":
            self._calls = tool_calls.Calls()
        elif not isinstance(value, str) or value.strip().startswith(known):
            self._message.pop(key, None)
            self._texts.pop(key, None)
        return self._add_field(key, value)

    def _tell_content_again(self, content: Any) -> bool:
        said, known = contents.read(content), contents.read(self._content())
        text, before = (said.text or "").strip(), (known.text or "").strip()
        thought = said.reasoning in (None, known.reasoning)
        if before.endswith(text) and thought and not said.wordless:
            return False
        if text.startswith(before) and not (known.reasoning and thought):
            self._texts.pop("content", None)
            self._parts = []
        return self._add_field("content", content)

    def _content(self) -> Any:
        said = "".join(self._texts.get("content", ()))
        if not self._parts:
            return said if "content" in self._texts else None
        return contents.gone_on([*self._parts], contents.parts(said))

    def _add_field(self, key: str, value: Any) -> bool:
        if isinstance(value, str) and key != "role":  # as most are
            self._texts.setdefault(key, []).append(value)
            return bool(value)
        if key == "tool_calls":
            return self._calls.add(value)
        if key == "content":
            return self._add_parts(value)
        known = self._message.get(key)
        if key == "function_call" and isinstance(value, dict):
            self._message[key] = tool_calls.gone_on(known if isinstance(known, dict) else {}, value)
            return True
        if key == "reasoning_details" and isinstance(value, list):
            self._message[key] = contents.gone_on(known if isinstance(known, list) else [], value)
            return bool(value)
        self._message[key] = merged(known, value, AUDIO)
        return key in SOUND and bool(value)

    def _add_parts(self, content: Any) -> bool:
        """Take in a piece of content that is no text; the text before it becomes a part, too."""
        if not (pieces := contents.parts(content)):
            return False
        said = "".join(self._texts.get("content", ()))
        self._texts["content"] = []
        self._parts = contents.gone_on(self._parts, [*contents.parts(said), *pieces])
        return True


def _piece(raw: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What a chunk says of the choice, and the field it stands in."""
    delta = raw.get("delta")
    if isinstance(delta, dict) and delta.get("content"):  # as most do
        return delta, "delta"
    told = [(raw[key], key) for key in ("delta", "message") if isinstance(raw.get(key), dict)]
    for piece, key in told:
        if any(value for name, value in piece.items() if name != "role"):
            return piece, key
    if isinstance(raw.get("text"), str):
        return {"content": raw["text"]}, "delta"
    return told[0] if told else ({}, "delta")
