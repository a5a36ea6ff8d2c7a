"""A template that Jinja reads, and renders."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.utils import internal_code

from batch.requests.templates import bounds, names, trees
from batch.requests.templates.lookups import NoColumn, NoKey
from batch.requests.templates.sandbox import GLOBALS, Sandbox, WholeRow
from batch.requests.templates.template import BadTemplate, Unrenderable
from batch.requests.templates.texts import NoText, Null

FAULTS = (
    *(TemplateError, NoText, bounds.TooMuch, ArithmeticError, AssertionError, AttributeError),
    *(LookupError, MemoryError, NameError, OSError, RuntimeError, TypeError, ValueError, re.error),
)
"""What rendering data may raise: each is the row's fault, and stops no run."""

UNCOMPILED = (*FAULTS, SyntaxError)
"""What a template raises that Python cannot take, as one of 30 loops in each other."""

LONGEST_REASON = 300


class Compiled:
    """A template of any kind, and the names in it."""

    def __init__(self, source: str) -> None:
        """Raises BadTemplate."""
        self._source = source
        sandbox = Sandbox()
        try:
            source.encode()
            parsed = sandbox.parse(source)
            trees.check_depth(parsed)
            trees.check_filters(parsed, sandbox)
            self.named = trees.named(parsed, GLOBALS)
            self.head = trees.head(parsed)
            """How many characters stand before all that depends on a row."""
            self._made = sandbox.from_string(parsed, globals=GLOBALS)
        except TemplateSyntaxError as error:
            odd = names.odd(source)
            hint = f"a column whose name is more than a word is written {odd}" if odd else None
            at = f"line {error.lineno} of the template"
            raise BadTemplate(f"{at}: {error.message}", hint) from None
        except UNCOMPILED as error:
            why = _reason(error)
            raise BadTemplate(f"the template is too much for its language: {why}") from None
        self._made.globals = dict(self._made.globals)  # copied for each row: 7 us as a ChainMap
        self._root = self._made.root_render_func

    def render(self, values: dict[str, Any]) -> str:
        """The text for a row.  Raises Unrenderable."""
        try:
            return self._rendered(values)
        except FAULTS as error:
            raise self._unrenderable(error, values) from None

    def _rendered(self, values: dict[str, Any]) -> str:
        bounds.begin()
        given = {"row": WholeRow(values), **values} if self.named.row else values
        pieces = self._root(self._made.new_context(given))
        return bounds.written(bounds.concatenated(pieces))

    def _unrenderable(self, error: Exception, values: dict[str, Any]) -> Unrenderable:
        line = self._line(error.__traceback__)
        several = line if "\n" in self._source.rstrip("\n") else None
        if isinstance(error, NoColumn):
            return Unrenderable(self._no_column(error.message or "", values), several)
        if isinstance(error, Null):
            null = [error.path] if error.path else self._null(values)
            way_out = f"`{{{{ {null[0] if null else '…'} or '' }}}}` in the prompt allows that"
            return Unrenderable(f"{', '.join(null) or 'a value'} is null here; {way_out}", several)
        if isinstance(error, NoKey | NoText):
            return Unrenderable(str(error), several)
        return Unrenderable(f"the prompt cannot be rendered: {_reason(error)}", line)

    def _no_column(self, name: str, values: dict[str, Any]) -> str:
        meant = names.meant(name, self._source, values.keys())
        ask = f"; did you mean {meant}?" if meant else ""
        known = names.listed(values.keys())
        return f"the prompt names column {name!r}, which this row lacks (columns: {known}){ask}"

    def _null(self, values: dict[str, Any]) -> list[str]:
        """The columns that are null, where it is not clear which of them was met."""
        return sorted(name for name in self.named.columns if values.get(name, 0) is None)

    def _line(self, at: TracebackType | None) -> int | None:
        """The line of the template where something went wrong."""
        line = None
        while at is not None:
            in_template = at.tb_frame.f_globals is self._root.__globals__
            if in_template and at.tb_frame.f_code not in internal_code:
                line = self._made.get_corresponding_lineno(at.tb_lineno)
            at = at.tb_next
        return line


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or goes into itself without end"
    if isinstance(error, MemoryError):
        return "it takes too much memory"
    if isinstance(error, KeyError):
        return f"there is no {error}"
    said = str(error) or type(error).__name__
    return said if len(said) <= LONGEST_REASON else f"{said[:LONGEST_REASON]}…"
