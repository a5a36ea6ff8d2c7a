"""What in a template had another meaning by rules 1, the first, by which older runs began.

Then Python's attributes came before keys, JSON was written for HTML, and lists as Python writes them.
What values of columns mean otherwise now (moments, lists, objects, empty cells of CSV) is not told
here: it depends on their types, and `Template.named` tells which columns there are.  Nor is what is
an error now (`order["items"]` without that key was a method): no other question is asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import Environment, meta, nodes

DICT_METHODS = frozenset(name for name in dir(dict) if not name.startswith("_"))
"""A key of such a name comes before the method now, so that it cannot be called."""

LISTS = frozenset(
    {
        *("batch", "dictsort", "groupby", "items", "list", "map", "reject", "rejectattr"),
        *("reverse", "select", "selectattr", "slice", "sort", "unique"),
    }
)
"""Filters that make lists."""
LIST_METHODS = frozenset({"partition", "rpartition", "rsplit", "split", "splitlines"})


def changed(source: str) -> Iterator[str]:
    """What a template does that has another meaning now, in words; nothing where it means the same
    whatever the row.  `source` has been read before.
    """
    parsed = Environment().parse(source)
    yield from _lookups(parsed)
    for filtered in parsed.find_all(nodes.Filter):
        if filtered.name in ("tojson", "pprint", "attr"):
            yield filtered.name
    outputs = [output.nodes for output in parsed.find_all(nodes.Output)]
    joined = [concat.nodes for concat in parsed.find_all(nodes.Concat)]
    if any(_is_list(put) for together in (*outputs, *joined) for put in together):
        yield "a list that is put as it is"
    names = meta.find_undeclared_variables(parsed)
    if any(name.name == "self" for name in parsed.find_all(nodes.Name)):
        yield "self"
    if "row" in names:
        yield "row"


def _lookups(parsed: nodes.Template) -> Iterator[str]:
    called = {id(call.node) for call in parsed.find_all(nodes.Call)}
    ours = {"loop", *_namespaces(parsed)}
    for found in parsed.find_all(nodes.Getattr):
        of_ours = isinstance(found.node, nodes.Name) and found.node.name in ours
        of_text = id(found) in called and found.attr not in DICT_METHODS
        if not of_ours and not of_text:
            yield f"the attribute .{found.attr}"


def _namespaces(parsed: nodes.Template) -> Iterator[str]:
    """The names that hold attributes of the template's own."""
    for made in parsed.find_all(nodes.Assign):
        match made.node, made.target:
            case nodes.Call(node=nodes.Name(name="namespace")), nodes.Name(name=name):
                yield name


def _is_list(put: nodes.Expr) -> bool:
    match put:
        case nodes.List() | nodes.Tuple() | nodes.Dict():
            return True
        case nodes.Filter(name=name):
            return name in LISTS
        case nodes.Call(node=nodes.Getattr(attr=name)):
            return name in LIST_METHODS
        case nodes.Call(node=nodes.Name(name=name)):
            return name in ("range", "dict")
        case nodes.CondExpr(expr1=one, expr2=other):
            return _is_list(one) or (other is not None and _is_list(other))
        case nodes.Or(left=one, right=other) | nodes.And(left=one, right=other):
            return _is_list(one) or _is_list(other)
    return False
