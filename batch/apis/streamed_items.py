"""The items of a streamed response, piece by piece, into the shape they have in an answer that is
whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batch.apis import contents
from batch.apis.answers import as_text, text

Item = dict[str, Any]

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Kind of an item that calls a tool -> its field with what the tool is given."""
TEXTS = {
    "response.output_text": ("message", "output_text", "text"),
    "response.refusal": ("message", "refusal", "refusal"),
    "response.reasoning_text": ("reasoning", "reasoning_text", "text"),
    "response.reasoning": ("reasoning", "reasoning_text", "text"),
    "response.reasoning_summary_text": ("reasoning", "summary_text", "text"),
    "response.reasoning_summary": ("reasoning", "summary_text", "text"),
    "response.function_call_arguments": ("function_call", "", "arguments"),
    "response.custom_tool_call_input": ("custom_tool_call", "", "input"),
}
"""Events that bring a text, `.delta` by `.delta` and whole as `.done` -> kind of the item and of its
part, and the field that holds it.
"""
MARKS = ("type", "output_index", "item_id", "content_index", "summary_index")
"""Fields that the deltas of one text have in common."""
ANNOUNCED = frozenset(kind for kind, _, _ in TEXTS.values())


class _Item:
    """An item as far as it has come: what its event says of it, and the texts of its parts."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.told: Item = {"type": kind}
        self.is_whole = False
        self.texts: dict[tuple[str, str], list[str]] = {}  # by kind and number of the part

    def folded(self) -> Item:
        """The item in the blocking shape."""
        texts = {key: "".join(pieces) for key, pieces in self.texts.items()}
        if not texts or (self.is_whole and words(self.told)):
            return self.told
        if self.kind in CALLS:
            return {**self.told, CALLS[self.kind]: "".join(texts.values())}
        made: Item = {"role": "assistant"} if self.kind == "message" else {}
        for (part, _), said in texts.items():
            field = "summary" if part == "summary_text" else "content"
            of_part = "refusal" if part == "refusal" else "text"
            made.setdefault(field, []).append({"type": part, of_part: said})
        return {**self.told, **made}


class Items:
    """The items of one stream.

    Events of the same item have its number or its id in common, where a server gives any.
    """

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._named: dict[tuple[str, str, str], _Item] = {}
        self._spoken: tuple[list[Any], list[str]] = ([], [])  # the last delta's marks and pieces

    def take(self, event: Item) -> None:
        """Take in what an event says of an item."""
        marks, pieces = self._spoken
        if marks and marks == [*map(event.get, MARKS)]:  # as most do
            pieces.append(text(event.get("delta")) or "")
            return
        self._spoken = ([], [])
        stem, _, how = (text(event.get("type")) or "").rpartition(".")
        item = event.get("item")
        if stem == "response.output_item" and isinstance(item, dict):
            self._take_item(event, item, how == "done")
        elif stem in TEXTS:
            self._take_text(event, stem, how)

    def folded(self) -> list[Item]:
        """The items in the blocking shape; one that was told whole elsewhere is left out."""
        whole = [(item.kind, words(item.told)) for item in self._items if item.is_whole]
        folded = [(item, item.folded()) for item in self._items]
        return [
            told for item, told in folded if item.is_whole or (item.kind, words(told)) not in whole
        ]

    def _take_item(self, event: Item, item: Item, is_whole: bool) -> None:
        kind = text(item.get("type")) or ""
        if is_whole or kind in ANNOUNCED:
            known = self._item(kind, event, item, fresh=True)
            if is_whole or not known.is_whole:
                known.told, known.is_whole = item, is_whole

    def _take_text(self, event: Item, stem: str, how: str) -> None:
        kind, part, field = TEXTS[stem]
        said = text(event.get("delta" if how == "delta" else field))
        if not said:
            return
        number = event.get("content_index", event.get("summary_index", 0))
        texts = self._item(kind, event, {}).texts
        if how == "delta":
            pieces = texts.setdefault((part, str(number)), [])
            pieces.append(said)
            self._spoken = ([*map(event.get, MARKS)], pieces)
        elif how == "done":
            texts[part, str(number)] = [said]

    def _item(self, kind: str, event: Item, item: Item, fresh: bool = False) -> _Item:
        """The item that an event is about, which may be new.  `fresh`: without a name it is none
        that is whole.
        """
        names = [*_names(kind, event, item)]
        found = next((self._named[name] for name in names if name in self._named), None)
        if found is None and not names:
            last = next((each for each in reversed(self._items) if each.kind == kind), None)
            found = None if last is not None and fresh and last.is_whole else last
        if found is None:
            found = _Item(kind)
            self._items.append(found)
        for name in names:
            self._named[name] = found
        return found


def words(item: Item) -> str:
    """All that an item says."""
    given = CALLS.get(text(item.get("type")) or "")
    if given is not None:
        return as_text(item.get(given)) or ""
    told = (item.get(field) for field in ("content", "summary", "text", "refusal"))
    return "".join(contents.words(each)[0] for each in told)


def _names(kind: str, event: Item, item: Item) -> Iterator[tuple[str, str, str]]:
    """What tells an item from others of its kind."""
    if (number := event.get("output_index")) is not None:
        yield kind, "number", str(number)
    if (id_ := event.get("item_id") or item.get("id")) is not None:
        yield kind, "id", str(id_)
