"""What the tree of a template tells before it is compiled."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jinja2 import meta, nodes

from batch.requests.templates.names import Named
from batch.requests.templates.sandbox import Sandbox
from batch.requests.templates.template import BadTemplate

DEEPEST = 200
"""Levels of a template's tree.  Jinja writes about one pair of parentheses a level, and Python takes
200 in each other.
"""


def check_depth(parsed: nodes.Template) -> None:
    """Called first: Jinja goes through the tree in recursions, some of which take the square or the cube
    of its depth.  300 filters in a row took ten seconds, and Python then refused them.
    """
    level: list[nodes.Node] = [parsed]
    for _ in range(DEEPEST):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    raise BadTemplate(f"the template is nested more than {DEEPEST} levels deep")


def check_filters(parsed: nodes.Template, sandbox: Sandbox) -> None:
    """Also inside an `if`, where Jinja finds out when the condition holds for the first time."""
    known = {nodes.Filter: sandbox.filters, nodes.Test: sandbox.tests}
    for node in parsed.find_all((nodes.Filter, nodes.Test)):
        assert isinstance(node, nodes.Filter | nodes.Test)
        if node.name not in known[type(node)]:
            kind = type(node).__name__.lower()
            raise BadTemplate(
                f"line {node.lineno} of the template: there is no {kind} {node.name!r}"
            )


def head(parsed: nodes.Template) -> int:
    """How many characters stand before all that depends on a row."""
    length = 0
    for node in parsed.body:
        for part in node.nodes if isinstance(node, nodes.Output) else [node]:
            if not isinstance(part, nodes.TemplateData):
                return length
            length += len(part.data)
    return length


def named(parsed: nodes.Template, words: Collection[str]) -> Named:
    """The names of a template.  `words` are those that mean something without a column."""
    names = meta.find_undeclared_variables(parsed)
    if not any(parsed.find_all(nodes.Block)):
        names |= {name.name for name in parsed.find_all(nodes.Name) if name.name == "self"}
    called = _only_called(parsed, names.intersection(words))
    if "row" not in names:
        return Named(frozenset(names), called)
    looked_up = dict(_of_row(parsed))
    uses = [name for name in parsed.find_all(nodes.Name) if name.name == "row"]
    columns = (names - {"row"}) | set(looked_up.values())
    return Named(frozenset(columns), called, True, len(uses) > len(looked_up))


def _only_called(parsed: nodes.Template, words: Collection[str]) -> frozenset[str]:
    """Those of `words` that stand nowhere but where something is called."""
    called = {id(call.node) for call in parsed.find_all(nodes.Call)}
    names = (name for name in parsed.find_all(nodes.Name) if id(name) not in called)
    return frozenset(words) - {name.name for name in names}


def _of_row(parsed: nodes.Template) -> Iterator[tuple[int, str]]:
    """The columns in `row["a"]` and `row.a`, each with its place in the template."""
    for node in parsed.find_all((nodes.Getattr, nodes.Getitem)):
        assert isinstance(node, nodes.Getattr | nodes.Getitem)
        if not isinstance(node.node, nodes.Name) or node.node.name != "row":
            continue
        if isinstance(node, nodes.Getattr):
            yield id(node), node.attr
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            yield id(node), node.arg.value
