"""One template: read once, rendered for every row."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any

from jinja2 import Template as Compiled
from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.utils import internal_code

from batch.requests.templates import bounds, names
from batch.requests.templates.lookups import NoColumn, NoKey
from batch.requests.templates.names import Named
from batch.requests.templates.sandbox import GLOBALS, Sandbox, WholeRow
from batch.requests.templates.texts import NoText, Null

FAULTS = (
    *(TemplateError, NoText, bounds.TooMuch, ArithmeticError, AssertionError, AttributeError),
    *(LookupError, MemoryError, NameError, OSError, RuntimeError, TypeError, ValueError, re.error),
)
"""What rendering data may raise: each is the row's fault, and stops no run."""

UNCOMPILED = (*FAULTS, SyntaxError)
"""What a template raises that Python cannot take, as one of 30 loops in each other."""

DEEPEST = 200
"""Levels of a template's tree; Python takes no more parentheses in each other, which Jinja writes."""

LONGEST_REASON = 300
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
        self.named, self._compiled, self._parts, self.head = _read(source)
        """`head` is how many characters every text of it begins with."""
        self._root = self._compiled.root_render_func

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
        try:
            return self._rendered(values)
        except FAULTS as error:
            raise self._unrenderable(error, values) from None

    def _rendered(self, values: dict[str, Any]) -> str:
        bounds.begin()
        given = {"row": WholeRow(values), **values} if self.named.row else values
        pieces = self._root(self._compiled.new_context(given))
        return bounds.written(bounds.concatenated(pieces))

    def _unrenderable(self, error: Exception, values: dict[str, Any]) -> Unrenderable:
        line = self._line(error.__traceback__)
        several = line if "\n" in self.source.rstrip("\n") else None
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
        meant = names.meant(name, self.source, values.keys())
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
                line = self._compiled.get_corresponding_lineno(at.tb_lineno)
            at = at.tb_next
        return line


def _read(source: str) -> tuple[Named, Compiled, list[tuple[str, str | None]] | None, int]:
    sandbox = Sandbox()
    try:
        source.encode()
        parsed = sandbox.parse(source)
        _check_depth(parsed)
        _check_filters(parsed, sandbox)
        named = names.named(parsed, GLOBALS)
        parts, head = _parts(parsed), _head(parsed)
        compiled = sandbox.from_string(parsed, globals=GLOBALS)
    except TemplateSyntaxError as error:
        odd = names.odd(source)
        hint = f"a column whose name is more than a word is written {odd}" if odd else None
        raise BadTemplate(f"line {error.lineno} of the template: {error.message}", hint) from None
    except UNCOMPILED as error:
        raise BadTemplate(f"the template is too much for its language: {_reason(error)}") from None
    compiled.globals = dict(compiled.globals)  # copied for each row: 7 us as a ChainMap
    return named, compiled, parts, head


def _check_depth(parsed: nodes.Template) -> None:
    """Before anything that goes through it in calls within calls, of which some take the square or the
    cube of the depth: ten seconds for 300 filters in a row, which Python then refuses.
    """
    level: list[nodes.Node] = [parsed]
    for _ in range(DEEPEST):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    raise BadTemplate(f"the template is nested more than {DEEPEST} levels deep")


def _check_filters(parsed: nodes.Template, sandbox: Sandbox) -> None:
    """Also inside an `if`, where Jinja finds out when the condition holds for the first time."""
    known = {nodes.Filter: sandbox.filters, nodes.Test: sandbox.tests}
    for node in parsed.find_all((nodes.Filter, nodes.Test)):
        assert isinstance(node, nodes.Filter | nodes.Test)
        if node.name not in known[type(node)]:
            kind = type(node).__name__.lower()
            raise BadTemplate(
                f"line {node.lineno} of the template: there is no {kind} {node.name!r}"
            )


def _parts(parsed: nodes.Template) -> list[tuple[str, str | None]] | None:
    """The template as texts and names of columns, in order; None where it is more than these."""
    parts: list[tuple[str, str | None]] = []
    for node in parsed.body:
        for part in node.nodes if isinstance(node, nodes.Output) else [node]:
            if isinstance(part, nodes.TemplateData):
                parts.append((part.data, None))
            elif isinstance(part, nodes.Name):
                parts.append(("", part.name))
            else:
                return None
    return parts


def _head(parsed: nodes.Template) -> int:
    """How many characters stand before all that depends on a row."""
    length = 0
    for node in parsed.body:
        for part in node.nodes if isinstance(node, nodes.Output) else [node]:
            if not isinstance(part, nodes.TemplateData):
                return length
            length += len(part.data)
    return length


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or goes into itself without end"
    if isinstance(error, MemoryError):
        return "it takes too much memory"
    if isinstance(error, KeyError):
        return f"there is no {error}"
    said = str(error) or type(error).__name__
    return said if len(said) <= LONGEST_REASON else f"{said[:LONGEST_REASON]}…"
