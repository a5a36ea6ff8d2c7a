"""Jinja2 as templates of prompts need it: values are data, and every step is counted.

The compiler is told to ask us where a template looks something up, goes through a loop, puts a value
out or joins texts.  What else a template may do is Jinja's sandbox.
"""

from __future__ import annotations

import json
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.runtime import (
    BlockReference,
    Context,
    LoopContext,
    Macro,
    TemplateReference,
    Undefined,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace, missing

from batch.model import Unreadable
from batch.requests.templates import bounds, filters, lookups, operations
from batch.requests.templates.lookups import NOTHING, Missing, unread
from batch.requests.templates.texts import items, text

GLOBALS: dict[str, Any] = {
    "range": bounds.span,
    "dict": dict,
    "cycler": Cycler,
    "joiner": Joiner,
    "namespace": Namespace,
}
"""What a template may call.  A column of that name wins."""


class WholeRow(dict[str, Any]):
    """`row`: what it lacks is a column."""


def spelled(node: nodes.Node | None) -> str | None:
    """How a template names a value, as in `order.items[0]`; None for what is more than a name."""
    if isinstance(node, nodes.Name):
        return node.name
    if not isinstance(node, nodes.Getattr | nodes.Getitem) or not (base := spelled(node.node)):
        return None
    if isinstance(node, nodes.Getattr):
        return f"{base}.{node.attr}"
    if isinstance(node.arg, nodes.Const):
        return f"{base}[{json.dumps(node.arg.value, ensure_ascii=False, default=str)}]"
    return f"{base}[…]"


class _Code(CodeGenerator):
    """Where a value is looked up or made text of, the environment is asked."""

    _called: nodes.Node | None = None

    def _make_finalize(self) -> CodeGenerator._FinalizeInfo:
        return self._FinalizeInfo(None, "environment.put(")  # never while it is compiled

    def _output_child_post(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        self.write(f", {spelled(node)!r}")
        super()._output_child_post(node, frame, finalize)

    def visit_Name(self, node: nodes.Name, frame: Frame) -> None:
        if node.name == "self" and node.ctx == "load" and not self.blocks:
            self.write("context.resolve('self')")  # of no use without blocks: then it is a column
        else:
            super().visit_Name(node, frame)

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        self._called = node.node
        super().visit_Call(node, frame, forward_caller=forward_caller)

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:
        self.write(f"environment.{'method' if node is self._called else 'getattr'}(")
        self.visit(node.node, frame)
        self.write(f", {node.attr!r}, {spelled(node)!r})")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        self.write(f"environment.{'part' if isinstance(node.arg, nodes.Slice) else 'getitem'}(")
        self.visit(node.node, frame)
        self.write(", ")
        if isinstance(node.arg, nodes.Slice):
            self._visit_ends(node.arg, frame)
        else:
            self.visit(node.arg, frame)
        self.write(f", {spelled(node)!r})")

    def _visit_ends(self, node: nodes.Slice, frame: Frame) -> None:
        self.write("(")
        for end in (node.start, node.stop, node.step):
            self.visit(end or nodes.Const(None), frame)
            self.write(", ")
        self.write(")")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.together((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Pair(self, node: nodes.Pair, frame: Frame) -> None:
        self.write("environment.named(")
        self.visit(node.key, frame)
        self.write("): ")
        self.visit(node.value, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("{")
        for pair in node.items:
            self.visit(pair, frame)
            self.write(", ")
        self.write("}")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        self.write("(")
        self._visit_weighed(node.expr, frame)
        for compared in node.ops:
            self.write(f" {operators[compared.op]} ")
            self._visit_weighed(compared.expr, frame)
        self.write(")")

    def _visit_weighed(self, node: nodes.Expr, frame: Frame) -> None:
        self.write("environment.weighed(")
        self.visit(node, frame)
        self.write(")")

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        path = nodes.Const(spelled(node.iter), lineno=node.lineno)
        asked = nodes.EnvironmentAttribute("drawn", lineno=node.lineno)
        given = [node.iter, path]
        node.iter = nodes.Call(asked, given, [], None, None, lineno=node.lineno)
        super().visit_For(node, frame)


class _Context(Context):
    """The names of one rendering."""

    def resolve_or_missing(self, key: str) -> Any:
        value = super().resolve_or_missing(key)
        return unread(value) if type(value) is Unreadable else value


class Sandbox(ImmutableSandboxedEnvironment):
    code_generator_class = _Code
    context_class = _Context
    concat = staticmethod(bounds.concatenated)
    intercepted_binops = frozenset(operations.OPERATORS)

    def __init__(self) -> None:
        super().__init__(
            undefined=Missing, autoescape=False, keep_trailing_newline=True, optimized=False
        )
        self.filters: dict[str, Any] = filters.FILTERS
        self.tests: dict[str, Any] = filters.TESTS
        self.globals.clear()  # each template is given them, so that analysis sees their names

    def put(self, value: Any, path: str | None) -> str:
        """The text of a value that is put out."""
        said = value if type(value) is str else text(value, path)
        bounds.put(len(said))
        return said

    def together(self, values: tuple[Any, ...]) -> str:
        """`a ~ b`."""
        return operations.together([text(value) for value in values])

    def named(self, key: Any) -> Any:
        """`key`, under which a template puts a value."""
        if isinstance(key, list | tuple):
            raise TypeError("a list cannot be the name of a value")
        return key

    def weighed(self, value: Any) -> Any:
        """`value`, which is compared."""
        if type(value) not in _LIGHT:
            bounds.look(value)
        return value

    def drawn(self, values: Any, path: str | None = None) -> Any:
        """`values`, which a loop goes through."""
        return items(values, path)

    def part(self, value: Any, ends: tuple[Any, Any, Any], path: str | None) -> Any:
        """`value[start:stop:step]`."""
        made = value[slice(*ends)]
        bounds.make(len(made) if isinstance(made, str) else bounds.PLACE * len(made))
        return made

    def getattr(self, obj: Any, attribute: str, path: str | None = None) -> Any:
        """`obj.attribute`: a key, and never Python's attribute, where `obj` is data."""
        if isinstance(obj, _OURS):
            return super().getattr(obj, attribute)
        return self.getitem(obj, attribute, path)

    def getitem(self, obj: Any, argument: Any, path: str | None = None) -> Any:
        """`obj[argument]`: the same."""
        if isinstance(obj, _OURS):
            return super().getitem(obj, argument)
        if isinstance(obj, Unreadable):
            return unread(obj)
        found = lookups.key(obj, argument)
        if found is NOTHING:
            at = missing if type(obj) is WholeRow else obj
            return Missing(obj=at, name=argument, path=path)
        return unread(found) if type(found) is Unreadable else found

    def method(self, obj: Any, name: str, path: str | None = None) -> Any:
        """`obj.name`, which is called: a key first, then a method that data of that kind has."""
        known = lookups.kind(obj)
        if known is None or lookups.key(obj, name) is not NOTHING or name not in known[1]:
            found = self.getattr(obj, name, path)
            if known is not None and not isinstance(found, Undefined) and not callable(found):
                raise lookups.calls_a_value(name, path)
            return found
        return operations.method(self, obj, name)

    def call(__self, __context: Context, __obj: Any, *args: Any, **named: Any) -> Any:
        bounds.make(0)
        if isinstance(__obj, LoopContext | Macro | BlockReference):
            bounds.call()
        if isinstance(__obj, LoopContext):  # a loop goes on with what is inside an item
            args = tuple(map(bounds.drawn, args))
        return super().call(__context, __obj, *args, **named)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return operations.calculated(operator, left, right)


_OURS = (Undefined, LoopContext, Namespace, Cycler, Macro, TemplateReference, BlockReference)
"""What has attributes that are meant, and no keys."""
_LIGHT = frozenset({int, float, bool, type(None)})
