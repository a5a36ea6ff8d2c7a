"""Every command that is printed works when it is pasted, whatever things are called."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas  # noqa: F401  # a printed line reads with it
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch import command_line
from batch.errors import InputError
from batch.readers import kinds
from batch.reports import summary
from tests.reading import asking, texts, write

UGLY = [
    "plain", "-x", "--new", "-", "~", "~root", "~/x", "a b", " a", "a'b", 'a"b', "a'b\"c", "a\\b", "$HOME",
    "`id`", "a!b", "#a", "a*b", "a?[b]", "{a,b}", "a;b", "a&b", "a|b>c", "(a)", "a=b", "tab\tb", "line\nb",
    "esc\x1b[31mb", "ü", "\u202eabc", "\xa0", "%s", "a'$b", "a'\\b",
]  # fmt: skip


def pasted(command: str, folder: Path, home: Path) -> subprocess.CompletedProcess:
    """What a shell makes of a command; `batchmill` and the like are programs that tell their words."""
    programs = folder.parent / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("batchmill", "jq", "unzip", "duckdb"):
        tell = "import sys; print(ascii(sys.argv[1:]))"
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{tell}" "$@"\n')
        (programs / name).chmod(stat.S_IRWXU)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(home)}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", UGLY)
def test_a_path_arrives_as_it_is_and_a_word_as_it_was_said(name, tmp_path):
    (tmp_path / "in").mkdir()
    line = command_line.of("show", Path(name), "-p", name)

    assert line.isprintable()
    show, path, _, word = eval(pasted(line, tmp_path / "in", tmp_path).stdout)
    assert (show, word) == ("show", name)
    assert Path(command_line.home(path)) == Path(name)
    assert not path.startswith("-")


@pytest.mark.parametrize("name", [name for name in UGLY if "/" not in name])
def test_the_results_are_opened_whatever_the_folder_is_called(name, tmp_path, monkeypatch):
    folder = tmp_path / "in" / name
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"row": [1]}), folder / "part-0.parquet")
    monkeypatch.chdir(tmp_path / "in")
    monkeypatch.setenv("HOME", str(tmp_path))

    *duck, panda = summary.opening(Path(name)).split("   or   ")

    assert duck or "\\" in name
    for line in duck:
        _, select = eval(pasted(line, tmp_path / "in", tmp_path).stdout)
        assert duckdb.sql(select).fetchall() == [(1,)]
    assert list(eval(panda).row) == [1]


@pytest.mark.parametrize("name", [name for name in UGLY if "/" not in name])
@pytest.mark.parametrize("kind", ["zip", "orc"])
def test_the_way_out_of_a_format_names_the_file(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = str(kinds.other(str(tmp_path / name), kind))
    command = said[said.rindex("; python -c " if kind == "orc" else "; unzip ") + 2 :]
    if kind == "orc":
        path = "ast.parse(sys.argv[2]).body[1].value.func.value.args[0].value"
        tell = f"import ast, sys; print(ascii([{path}]))"
        command = command.replace("python -c", f"{sys.executable} -c '{tell}' -c", 1)

    done = pasted(command, tmp_path, tmp_path)
    assert isinstance(kinds.other(name, kind), InputError)
    assert Path(eval(done.stdout)[0]) == Path(name), done.stderr
    assert not eval(done.stdout)[0].startswith(("-", "~"))


@pytest.mark.parametrize("name", ["-x", "~", "a b", "a'b\"c$HOME", "a\\b", "esc\x1bb"])
def test_what_a_run_prints_last_goes_on_with_it(name, api, batchmill, tmp_path):
    """The run stops at its cap, is looked at, and goes on, all by pasted lines."""
    folder = tmp_path / name
    folder.mkdir()
    write(folder / "-in.jsonl", texts(4))
    table = {"m": {"input": 1, "output": 1_000_000}}
    args = ["-m", "m", "--max-cost", "0.001", "--set", "request.max_tokens=5"]
    args += ["--set", f"prices={str(table).replace(': ', '=')}", "-o", f"./{name}/run"]

    first = batchmill("run", *asking(api, *args), "--", f"./{name}/-in.jsonl")
    assert first.exit_code == 3, first.stderr
    last = first.stderr.splitlines()[-1]
    command = last[last.index("batchmill ") :].removeprefix("batchmill ")
    again = f"batchmill {re.sub(r'--max-cost [0-9.]+$', '--max-cost none', command)}"
    second = batchmill(*eval(pasted(again, tmp_path, tmp_path).stdout))

    assert second.exit_code == 0, second.stderr
    assert (folder / "run/run.json").exists()


@pytest.mark.parametrize("written", ["flag", "argument", "job", "prompt", "schema"])
def test_home_is_meant_wherever_a_path_is_given(written, api, batchmill, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    write(home / "in.jsonl", texts(2))
    (home / "p.txt").write_text("Say {{ text }}")
    (home / "s.json").write_text('{"a": "string"}')
    (home / "job.toml").write_text(
        f'input = "~/in.jsonl"\n[prompt]\nfile = "~/p.txt"\n[output]\npath = "~/out"\n'
        f'[request]\nmodel = "m"\n[endpoint]\nbase_url = "{api.url}"\napi_key_env = ""\n'
    )
    (home / "env").write_text("NOTHING=1")
    given = {
        "flag": ["~/in.jsonl", *asking(api), "-o", "~/out", "--env-file", "~/env"],
        "argument": ["~/in.jsonl", *asking(api), "-o", "~/out"],
        "job": ["~/job.toml"],
        "prompt": [
            "~/in.jsonl",
            *asking(api)[2:],
            "-m",
            "m",
            "--prompt-file",
            "~/p.txt",
            "-o",
            "~/out",
        ],
        "schema": ["~/in.jsonl", *asking(api), "--schema", "~/s.json", "-o", "~/out", "--dry-run"],
    }[written]

    done = batchmill("run", *given, env={"HOME": str(home)})

    assert done.exit_code == 0, done.stderr
    if written != "schema":
        assert (home / "out/run.json").exists()
        assert batchmill("status", "~/out", env={"HOME": str(home)}).exit_code == 0
