"""One template: read once, rendered for every row."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from batch.requests.templates import bounds, plain
from batch.requests.templates.names import Named

if TYPE_CHECKING:
    from batch.requests.templates.compiled import Compiled

SURE = bounds.MOST_TEXT // 4
"""Characters that are certainly no more bytes than a prompt may have."""


class BadTemplate(Exception):
    """A template that cannot be read; `hint` is the way out, if one is known."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Unrenderable(ValueError):
    """A row of which a template makes no prompt.  `line` is the template's, if it matters."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class Template:
    """A template and the names in it."""

    def __init__(self, source: str) -> None:
        """Raises BadTemplate."""
        self.source = source
        self._parts = plain.parts(source)
        if self._parts is None:
            self.named, self.head = self._compiled.named, self._compiled.head
            """`head` is how many characters every text of it begins with."""
        else:
            columns = frozenset(name for _, name in self._parts if name is not None)
            self.named, self.head = Named(columns, frozenset()), plain.head(self._parts)

    @cached_property
    def _compiled(self) -> Compiled:
        from batch.requests.templates.compiled import Compiled  # with Jinja: 20 ms

        return Compiled(self.source)

    def render(self, values: dict[str, Any]) -> str:
        """The text for a row.  Raises Unrenderable."""
        if self._parts is not None:
            try:  # in 0.4 us, where Jinja takes 4 to set up all that others may need
                text = "".join(
                    [text if name is None else values[name] for text, name in self._parts]
                )
            except (KeyError, TypeError):
                pass
            else:
                if len(text) <= SURE:
                    return text
        return self._compiled.render(values)
