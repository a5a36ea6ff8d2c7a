"""What the standard library has elsewhere and lacks on Windows, by the type stubs that mypy brings, and
where a file uses it without asking.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ELSEWHERE = ("linux", "darwin")
LACKING = ("mmap", "os", "select", "signal", "socket", "time")
"""Modules that lack something."""
LOOP = frozenset(
    {
        *("add_reader", "remove_reader", "add_writer", "remove_writer"),
        *("add_signal_handler", "remove_signal_handler"),
        *("create_unix_connection", "create_unix_server"),
    }
)
"""What the event loop does not offer: https://docs.python.org/3/library/asyncio-platforms.html"""

_ASKS = re.compile(r"hasattr\(|sys\.platform|os\.name|ImportError|NotImplementedError")
"""What stands in a function that does without."""


@cache
def names(module: str) -> frozenset[str]:
    """What a module lacks."""
    body = _body(module)
    there = (name for system in ELSEWHERE for name in _defined(body, system))
    return frozenset(there) - frozenset(_defined(body, "win32"))


@cache
def modules() -> frozenset[str]:
    """Modules that are not there; and uvloop."""
    stubs = {stub.stem for stub in _typeshed().glob("*.pyi") if "sys.platform" in _text(stub)}
    empty = {
        module
        for module in stubs
        if all(name[0] == "_" for name in _defined(_body(module), "win32"))
    }
    return frozenset(empty | {"uvloop"})


def _typeshed() -> Path:
    spec = find_spec("mypy")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "typeshed" / "stdlib"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _body(module: str) -> list[ast.stmt]:
    alone = _typeshed() / f"{module}.pyi"
    stub = alone if alone.exists() else _typeshed() / module / "__init__.pyi"
    return ast.parse(_text(stub)).body


def _defined(body: Iterable[ast.stmt], system: str) -> Iterator[str]:
    for each in body:
        match each:
            case ast.If():
                yield from _defined(each.body if _holds(each.test, system) else each.orelse, system)
            case ast.FunctionDef() | ast.ClassDef():
                yield each.name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.ImportFrom(module="_socket", names=found):
                yield from (one.asname or one.name for one in found)


def _holds(test: ast.expr, system: str) -> bool:
    """Whether a condition of a stub holds; one of versions is taken to."""
    match test:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_holds(each, system) for each in values)
        case ast.BoolOp(values=values):
            return any(_holds(each, system) for each in values)
        case ast.Compare(left=ast.Attribute(attr="platform"), ops=[op], comparators=[other]):
            return isinstance(op, ast.Eq) == (ast.literal_eval(other) == system)
    return True


# who uses it


_WORD = re.compile(r"\w+")


@cache
def _any() -> frozenset[str]:
    """Words of which one stands in a file that uses anything of it."""
    return modules() | LOOP | frozenset(name for module in LACKING for name in names(module))


def used_in(text: str, *, at_import: bool = False) -> list[str]:
    """What a file uses of it, with the line, in functions that do not ask whether it is there; or `at_import`
    what it uses outside of functions.
    """
    if _any().isdisjoint(_WORD.findall(text)):
        return []
    found = _used(ast.parse(text), text.split("\n"), at_import)
    return [f"{line}: {what}" for line, what in found]


def _used(scope: ast.AST, lines: list[str], at_import: bool) -> Iterator[tuple[int, str]]:
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for each in node.decorator_list:
                yield from _used(each, lines, at_import)
            if at_import or _ASKS.search("\n".join(lines[node.lineno - 1 : node.end_lineno])):
                continue
        match node:
            case ast.Import(names=found):
                yield from ((node.lineno, one.name) for one in found if one.name in modules())
            case ast.ImportFrom(module=str(module), names=found):
                lacking = names(module) if module in LACKING else frozenset[str]()
                gone = [one.name for one in found if module in modules() or one.name in lacking]
                yield from ((node.lineno, f"{module}.{name}") for name in gone)
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in LACKING:
                if name in names(module):
                    yield node.lineno, f"{module}.{name}"
            case ast.Attribute(attr=name) if name in LOOP:
                yield node.lineno, name
        yield from _used(node, lines, at_import)
