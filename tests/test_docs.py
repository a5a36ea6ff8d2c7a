"""What the program has is documented, and what the documentation names is there.

Whoever adds a flag, a key, a column, a flag of rows, an error class or an exit code is asked here for
its documentation.
"""

from __future__ import annotations

import re
import tomllib

import click
import pytest

from batch import cli, columns, errors, outcome, places, spec
from batch.cli import signals
from batch.cli.options import KEYS
from batch.costs import prices
from batch.readers import jsonl
from tests import docs

COMMANDS = {
    name: cli.batchmill.get_command(click.Context(cli.batchmill), name) for name in cli.COMMANDS
}
EVERYWHERE = {"-h", "--help", "--version"}
FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def agree(what, documented, real):
    """Both ways."""
    missing = sorted(map(str, real - documented))
    assert not missing, f"{what} without documentation: {', '.join(missing)}"
    invented = sorted(map(str, documented - real))
    assert not invented, f"{what} that are documented and not there: {', '.join(invented)}"


def first_cells(header):
    return {name for cell, _ in docs.table(header, "") for name in docs.spans(cell)}


def flags(command):
    options = [one for one in COMMANDS[command].params if isinstance(one, click.Option)]
    return [{*one.opts, *one.secondary_opts} for one in options]


def flags_of_requests(command):
    """Those that are no flags of ours, but parameters of requests."""
    of = COMMANDS[command]
    assert of is not None
    hidden = [one for one in of.get_params(click.Context(of)) if getattr(one, "hidden", False)]
    return {name for one in hidden for name in one.opts}


def flags_shown():
    """Those of the program that stand in code font, and in its commands in blocks."""
    texts = [span for span in docs.spans() if not span.startswith(("pip ", "python "))]
    return {flag for text in [*texts, *docs.commands()] for flag in FLAG.findall(text)}


# the command line


def test_every_command_is_documented_and_there():
    agree("commands", {call.split()[1] for call in docs.commands()}, set(COMMANDS))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_documented(command):
    shown = flags_shown()
    missing = [max(names, key=len) for names in flags(command) if not names & shown]
    assert not missing, f"flags of {command} without documentation: {', '.join(missing)}"


def test_every_flag_that_is_documented_is_there():
    real = {name for command in COMMANDS for names in flags(command) for name in names}
    real |= flags_of_requests("run")
    invented = flags_shown() - real - EVERYWHERE
    assert not invented, f"flags that are documented and not there: {', '.join(sorted(invented))}"


@pytest.mark.parametrize("call", docs.commands())
def test_a_command_that_is_shown_takes_its_flags(call):
    _, command, *words = call.partition(" #")[0].split()
    known = {name for names in flags(command) for name in names} | EVERYWHERE
    known |= flags_of_requests(command)
    given = {found[0] for word in words if (found := FLAG.match(word))}
    assert given <= known, f"{command} has no {', '.join(sorted(given - known))}"


def test_the_key_that_a_flag_sets_is_documented_and_true():
    told = {}
    for names, key in docs.table("flag", "key"):
        *_, long = docs.spans(names)
        told[long.removeprefix("--").replace("-", "_")], *_ = docs.spans(key)
        assert any(set(docs.spans(names)) == flags_ for flags_ in flags("run")), names
    real = {(name.removesuffix("_"), key) for name, key in KEYS.items()}
    agree("flags that set a key", set(told.items()), real)


def test_every_exit_code_is_documented_and_there():
    told = {
        int(code) for cell, _ in docs.table("exit code", "") for code in re.findall(r"\d+", cell)
    }
    kinds = [errors.BatchError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    real = {0, cli.BUG, *(kind.exit_code for kind in kinds), *signals.EXIT_CODES.values()}
    agree("exit codes", told, real)


# the job


def keys_of_a_job():
    """`table.key`, or the key alone where it stands in no table."""
    rooms = {name: kind.__struct_fields__ for name, kind in spec.TABLES.items()}
    rooms |= {"request": spec.OURS, "prices": prices.Price.__struct_fields__}
    rooms["endpoint"] = places.KEYS
    plain = {name for name in spec.KEYS[""] if name not in rooms}
    return plain | {f"{table}.{key}" for table, keys in rooms.items() for key in keys}


def keys_in(example):
    for name, value in tomllib.loads(example).items():
        if name == "prices":
            yield from (f"prices.{key}" for price in value.values() for key in price)
        elif name == "endpoint" and isinstance(value, list):
            yield from (f"endpoint.{key}" for table in value for key in table)
        elif isinstance(value, dict) and name != "tags":
            yield from (f"{name}.{key}" for key in value if name != "request" or key in spec.OURS)
        else:
            yield name


def test_every_key_of_a_job_stands_in_an_example():
    shown = {key for example in docs.blocks("toml") for key in keys_in(example)}
    agree("keys of a job", shown, keys_of_a_job())


@pytest.mark.parametrize("example", docs.blocks("toml"))
def test_every_example_of_a_job_is_one(example):
    spec.check(tomllib.loads(example))


def test_every_key_that_is_named_with_its_table_is_there():
    tables = "|".join([*spec.TABLES])
    named = {found for span in docs.spans() for found in re.findall(rf"\b(?:{tables})\.\w+", span)}
    assert "retry.max_attempts" in named
    invented = {key for key in named if key.split(".")[1] not in ("md", "toml", "txt", "parquet")}
    invented -= keys_of_a_job()
    assert not invented, f"keys that are documented and not there: {', '.join(sorted(invented))}"


# the output


def test_every_column_is_documented_and_there():
    own = {column.name for column in (*columns.COLUMNS, *columns.OF_APIS, columns.REQUEST_JSON)}
    agree("columns", first_cells("column"), own | {columns.PARSED, jsonl.EXTRA.name})


def test_every_flag_of_a_row_is_documented_and_there():
    agree("flags of rows", first_cells("`flags`"), set(columns.FLAGS))
    assert set(re.findall(r"\bflag(?:ged)? `(\w+)`", docs.TEXT)) <= set(columns.FLAGS)


def test_every_error_class_is_documented_and_there():
    final, transient = [set(docs.spans(cell)) for cell, _ in docs.table("`error_class`", "")]
    agree("final error classes", final, set(outcome.FINAL))
    agree("passing error classes", transient, set(outcome.TRANSIENT))


# the pages


@pytest.mark.parametrize(("page", "link"), docs.links())
def test_every_link_leads_somewhere(page, link):
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists(), f"{page.name}: there is no {path}"
    assert not anchor or anchor in docs.anchors(target), f"{page.name}: no heading is #{anchor}"


def test_the_page_people_land_on_is_short():
    assert len((docs.ROOT / "README.md").read_text("utf-8").splitlines()) <= 200


def test_pictures_are_small():
    pictures = [*(docs.ROOT / ".github" / "pictures").iterdir()]
    assert pictures
    assert all(picture.stat().st_size < 150_000 for picture in pictures)


# the page for those who change the program

TO_BE_WRITTEN = re.compile(r"\bNAME\b")
"""The part of a path that a recipe leaves to its reader."""


def paths_named():
    """What stands in code font there and is a path, without the test that may follow it."""
    named = {span.partition("::")[0] for span in docs.spans(docs.CONTRIBUTING)}
    paths = {name for name in named if re.fullmatch(r"[\w./-]+", name)}
    files = {path for path in paths if "/" in path or path.endswith((".md", ".toml"))}
    return {path for path in files if not TO_BE_WRITTEN.search(path)}


def recipes():
    """By title: what each says."""
    after = docs.CONTRIBUTING.partition("\n## How to add\n")[2]
    return dict(section.split("\n", 1) for section in after.split("\n### ")[1:])


def test_every_path_that_contributors_are_sent_to_is_there():
    assert {"batch/engine/retry.py", "tests/", "README.md"} <= paths_named()
    missing = sorted(path for path in paths_named() if not (docs.ROOT / path).exists())
    assert not missing, f"paths that are documented and not there: {', '.join(missing)}"


def test_every_room_is_on_the_map():
    folders = (docs.ROOT / "batch").iterdir()
    real = {f"batch/{folder.name}/" for folder in folders if (folder / "__init__.py").exists()}
    rooms = {
        docs.spans(cell)[0]
        for cell, _ in docs.table("Room", "What it is for", text=docs.CONTRIBUTING)
    }
    agree("rooms", rooms, real)


def test_the_floors_are_those_of_the_import_contract():
    settings = tomllib.loads((docs.ROOT / "pyproject.toml").read_text("utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    (floors,) = re.findall(r"^```text\n(.*?)^```$", docs.CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert floors.splitlines() == [layer.replace("batch.", "") for layer in layers]
    assert len(layers) <= 14


def test_there_is_a_recipe_for_all_that_is_often_added():
    often = ("input format", "API", "report format", "headers", "retry rule", "column")
    assert not [what for what in often if not any(what in title for title in recipes())]


@pytest.mark.parametrize("title", recipes())
def test_a_recipe_is_carried_out_by_a_test(title):
    (named,) = re.findall(r"^Test: `(\S+)::(\w+)`$", recipes()[title], re.MULTILINE)
    path, test = named
    assert re.search(rf"^def {test}\(", (docs.ROOT / path).read_text("utf-8"), re.MULTILINE)
