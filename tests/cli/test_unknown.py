"""A command or a flag that is none names the one that is meant."""

from __future__ import annotations

import pytest

from batch import cli
from batch.cli.options import KEYS
from tests.reading import texts, write


def slips(word: str) -> dict[str, str]:
    """A word as fingers make it, by kind."""
    middle = len(word) // 2
    return {
        "a letter twice": word[:middle] + word[middle] + word[middle:],
        "a letter less": word[:middle] + word[middle + 1 :],
        "two swapped": word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :],
        "another letter": word[:-1] + ("q" if word[-1] != "q" else "z"),
    }


KINDS = tuple(slips("word"))


def said_of(batchmill, *words) -> str:
    """The last line of what is refused."""
    refused = batchmill(*words)
    assert refused.exit_code == 2, refused
    return refused.stderr.splitlines()[-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["run", "status", "estimate", "validate", "export"])
def test_a_misspelt_command_names_the_nearest(batchmill, command, kind):
    typed = slips(command)[kind]
    assert f"did you mean batchmill {command} x --json?" in said_of(batchmill, typed, "x", "--json")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("resume", "run"),
        ("check", "validate"),
        ("ls", "runs"),
        ("cost", "report"),
        ("diff", "compare"),
    ],
)
def test_what_others_call_a_command_names_ours(batchmill, typed, meant):
    assert f"did you mean batchmill {meant}?" in said_of(batchmill, typed)


def test_a_word_like_nothing_tells_all_commands(batchmill):
    said = said_of(batchmill, "frobnicate")
    assert all(command in said for command in cli.COMMANDS)


@pytest.mark.parametrize("name", ["job.toml", "a file.csv"])
def test_a_file_in_place_of_a_command_is_to_be_run(batchmill, tmp_path, name):
    (tmp_path / name).write_text("")
    quoted = f"'{name}'" if " " in name else name
    assert f"to run it: batchmill run {quoted} --dry-run" in said_of(batchmill, name, "--dry-run")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("run", "--dry-run"),
        ("run", "--concurrency"),
        ("run", "--temperature"),
        ("validate", "--same-prompt"),
        ("show", "--failed"),
        ("report", "--format"),
    ],
)
def test_a_misspelt_flag_names_the_nearest(batchmill, command, flag, kind):
    typed = f"--{slips(flag[2:])[kind]}"
    assert f"there is no flag {typed}; did you mean {flag}?" in said_of(
        batchmill, command, "x", typed
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--maxTokens", "did you mean --max-tokens?"),
        ("--max-cost-usd", "write --set limits.max_cost_usd=VALUE"),
        ("--requests-per-minute", "write --rpm VALUE"),
        ("--max-attempts", "write --set retry.max_attempts=VALUE"),
        ("--id-column", "write --set id_column=VALUE"),
        ("--timeout", "write --set endpoint.total_timeout=VALUE"),
        ("--max_retries", "write --set retry.max_attempts=VALUE"),
        ("--random-seed", "write --set request.random_seed=VALUE"),
        ("--input", "write its name alone"),
        ("--new-parameter", "--set request.new_parameter=VALUE"),
    ],
)
@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_flag_that_is_no_flag_says_what_to_write(batchmill, command, typed, meant):
    assert meant in said_of(batchmill, command, "x", typed, "3")


@pytest.mark.parametrize(
    ("command", "typed", "owner"),
    [
        ("retry", "--shard", "run"),
        ("estimate", "--shard", "run"),
        ("run", "--watch", "status"),
        ("show", "--by", "report"),
    ],
)
def test_a_flag_of_another_command_names_that_command(batchmill, command, typed, owner):
    said = said_of(batchmill, command, "x", typed, "3")
    assert f"there is no flag {typed}; batchmill {owner} has one" in said


@pytest.mark.parametrize("key", sorted({*KEYS.values()} - {"prompt.user"}))
def test_the_key_of_a_flag_names_the_flag(batchmill, key):
    name = key.rpartition(".")[2].replace("_", "-")
    flag = next(flag for flag, of in KEYS.items() if of == key).replace("_", "-")
    if name not in KEYS and name != flag:
        assert f"--{flag}" in said_of(batchmill, "run", "x", f"--{name}", "3")


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("temperature=0", "did you mean request.temperature?"),
        ("max_attempts=3", "did you mean retry.max_attempts?"),
        ("limits.rpm=3", "did you mean requests_per_minute?"),
        ("limits.limit=3", "did you mean limit?"),
    ],
)
def test_a_setting_in_the_wrong_place_names_the_right_one(batchmill, tmp_path, setting, meant):
    write(tmp_path / "in.csv", texts(1))
    asked = ["in.csv", "-m", "m", "-p", "{{ text }}"]
    assert meant in said_of(batchmill, "run", *asked, "--dry-run", "--set", setting)


@pytest.mark.parametrize("kind", KINDS)
def test_a_misspelt_column_names_the_nearest(batchmill, tmp_path, kind):
    (tmp_path / "in.csv").write_text("id,Review\n1,good\n")
    for typed in (slips("Review")[kind], "review", "REVIEW"):
        said = said_of(
            batchmill, "run", "in.csv", "-m", "m", "-p", f"{{{{ {typed} }}}}", "--dry-run"
        )
        assert "did you mean {{ Review }}?" in said


def test_a_secret_is_not_repeated(batchmill):
    refused = batchmill("run", "x", "--api-key=sk-secret")
    assert "--api-key-env" in refused.stderr
    assert "sk-secret" not in refused.stderr


def test_a_flag_before_its_command_is_sent_behind_it(batchmill):
    assert "batchmill run … --quiet" in said_of(batchmill, "--quiet", "run", "x")
    assert "did you mean --version?" in said_of(batchmill, "--verson")
