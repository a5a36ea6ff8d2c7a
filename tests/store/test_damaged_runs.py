"""Damaged run folders: found, named, contained, and mended."""

from __future__ import annotations

import pytest

from batch import readers
from batch.errors import Damaged
from batch.planning import begun
from batch.run_folder import RunFolder, part_name
from batch.store import contents, parts
from tests.damaged_runs import DAMAGES, Damaging, a_fifo, a_folder, a_loop, deleted
from tests.fake_api import FakeAPI, Step
from tests.reading import asking, completions, texts, until, write


@pytest.fixture(scope="module")
def damaging(tmp_path_factory):
    api = FakeAPI()
    yield Damaging(api, tmp_path_factory.mktemp("damaged"))
    api.close()


@pytest.mark.parametrize("seed", range(15))
def test_no_damage_is_a_bug_or_a_hang_or_costs_a_healthy_row(damaging, seed):
    damaging.one(seed)


@pytest.mark.second_lane
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize(
    "name",
    [
        *("run.json", "run.json.copy", "lock", "run.log", "usage.parquet", "schema.copy"),
        *("completions/_schema.parquet", "completions/part-00000001.parquet"),
        *("open/part-00000001/journal.jsonl", "open/part-00000001/input.arrow"),
        "open/sent-00000001",
    ],
)
def test_every_damage_to_every_kind_of_file(damaging, name, damage):
    damaging.with_damage(name, damage, seed=1)


@pytest.mark.parametrize("damage", [deleted, a_folder, a_fifo, a_loop], ids=lambda d: d.__name__)
def test_a_damaged_run_does_not_hide_its_neighbours(batchmill, damaging, tmp_path, damage):
    path = damaging.copied(tmp_path) / "runs/in/run.json"
    damage(path, None)
    for command in (("runs",), ("report", "runs")):
        told = batchmill(*command)
        assert told.exit_code == 5
        assert "neighbour" in told.stdout or "24 ok" in told.stdout
        assert "runs/in/run.json" in told.stdout + told.stderr
        assert "batchmill verify --repair runs/in" in told.stderr


def test_what_is_set_aside_is_kept_whole(batchmill, damaging, tmp_path):
    run = RunFolder(damaging.copied(tmp_path) / "runs/in")
    content = bytearray(run.sealed(1).read_bytes())
    content[200] ^= 1
    run.sealed(1).write_bytes(content)
    told = batchmill("verify", "--repair", "runs/in")
    assert told.exit_code == 1
    kept = run.damaged / "completions-part-00000001.parquet.1"
    assert kept.read_bytes() == bytes(content)
    assert str(kept.relative_to(tmp_path)) in told.stderr


def test_neighbouring_parts_that_are_lost_are_asked_again(batchmill, damaging, tmp_path):
    run = RunFolder(damaging.copied(tmp_path) / "runs/in")
    for number in (0, 1, 2):
        run.sealed(number).unlink()
    damaging.api.reset_ledger()
    assert batchmill(*damaging.command).exit_code == 5
    assert batchmill("verify", "--repair", "runs/in").exit_code == 1
    assert batchmill(*damaging.command).exit_code == 0
    assert [row for row, _ in completions(run.path)] == list(range(24))
    assert damaging.api.prompts() == dict.fromkeys(texts(24)[:18], 1)
    assert batchmill("verify", "runs/in").exit_code == 0


def test_a_repair_waits_for_nobody(api, start, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    api.always = Step(hang=True)
    process = start("run", "in.jsonl", *asking(api))
    until(lambda: api.in_flight == 3, process)
    assert batchmill("verify", "--repair", "runs/in").exit_code == 4


def test_a_removed_lock_file_never_lets_two_write(api, start, batchmill, tmp_path):
    prompts = texts(60)
    write(tmp_path / "in.jsonl", prompts)
    api.latency = 0.1
    command = ("run", "in.jsonl", *asking(api, "-c", 4))
    first = start(*command)
    until(lambda: len(api.ledger) >= 12, first)
    (tmp_path / "runs/in/lock").unlink()
    second = start(*command)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 5
    assert "lock was removed" in said
    assert second.wait(timeout=60) == 0
    assert [row for row, _ in completions(tmp_path / "runs/in")] == list(range(60))
    assert sum(api.prompts().values()) <= 60 + 2 * 4
    assert batchmill("verify", "runs/in").exit_code == 0


def test_a_writer_that_looks_at_no_lock_is_noticed(api, start, batchmill, damaging, tmp_path):
    run = damaging.copied(tmp_path, killed=True) / "runs/in"
    (run / "lock").unlink()
    process = start(*damaging.command)
    with (run / "open/part-00000000/journal.jsonl").open("ab", buffering=0) as journal:
        until(lambda: journal.write(b"0") and process.poll() is not None)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "whose file lock was removed" in said


@pytest.mark.parametrize("length", [0, 1, 40])
def test_a_journal_of_which_a_kill_left_only_its_beginning_is_no_damage(
    batchmill, damaging, tmp_path, length
):
    run = RunFolder(damaging.copied(tmp_path, killed=True) / "runs/in")
    (number, part), *_ = run.open_parts().items()
    part.journal.write_bytes(part.journal.read_bytes()[:length])
    told = batchmill("verify", "runs/in")
    assert (told.exit_code, f"{part_name(number)}/journal" in told.stderr) == (1, False)


@pytest.mark.parametrize("damage", [deleted, a_folder, a_fifo, a_loop], ids=lambda d: d.__name__)
@pytest.mark.parametrize(
    "name",
    ["run.json", "completions/part-00000001.parquet", "completions/part-00000003.parquet"],
)
def test_a_damaged_run_as_input_is_named_and_not_waited_for(
    batchmill, damaging, tmp_path, name, damage
):
    folder = damaging.copied(tmp_path)
    damage(folder / "runs/in" / name, None)
    flags = asking(damaging.api, "-p", "{{ completion }}")
    (folder / "next.toml").write_text(
        f'input = "runs/in"\nprompt.user = "{{{{ completion }}}}"\nrequest.model = "m"\n'
        f'endpoint.base_url = "{damaging.api.url}"\n'
    )
    damaging.api.reset_ledger()
    commands = [("run", "next.toml"), ("run", "runs/in", "runs/neighbour", *flags, "-o", "out")]
    for command in (*commands, ("validate", "next.toml"), ("estimate", "next.toml")):
        told = batchmill(*command, timeout=30)
        assert told.exit_code == 5, told.stderr
        assert "runs/in/completions" in told.stderr or "runs/in/run.json" in told.stderr
        assert "verify --repair" in told.stderr
    assert not damaging.api.ledger
    assert not (folder / "out").exists()


def test_a_footer_that_changed_is_damage_wherever_the_bit_was(damaging, tmp_path):
    run = RunFolder(damaging.copied(tmp_path) / "runs/in")
    _, layout = begun.opened(run.path)
    good = run.sealed(1).read_bytes()
    start = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    ways = (
        lambda: contents.chosen(run, 1, layout, ["output_tokens"]),
        lambda: parts.footer(run.sealed(1)),
        lambda: list(contents.tables(run, layout)),
        lambda: readers.resolve(str(run.path), tmp_path),
    )
    for at in range(start, len(good) - 8, 97):
        content = bytearray(good)
        content[at] ^= 1 << at % 8
        run.sealed(1).write_bytes(content)
        for way in ways:
            with pytest.raises(Damaged):
                way()
    run.sealed(1).write_bytes(good)
    for way in ways:
        way()


@pytest.mark.parametrize("name", [b"output_tokens", b"row", b"status"])
def test_a_part_whose_columns_are_called_otherwise_is_named(batchmill, damaging, tmp_path, name):
    part = damaging.copied(tmp_path) / "runs/in/completions/part-00000001.parquet"
    head, mark, rest = part.read_bytes().rpartition(b"ARROW:schema")
    part.write_bytes(head.replace(name, name.upper()) + mark + rest)
    damaging.api.reset_ledger()
    for command in (
        ("show", "-n", "100", "runs/in"),
        ("report", "runs/in"),
        ("export", "runs/in", "-o", "x.csv"),
    ):
        told = batchmill(*command)
        assert told.exit_code == 5, told.stderr
        assert "part-00000001.parquet: its footer is damaged" in told.stderr
    assert batchmill("verify", "--repair", "runs/in").exit_code == 1
    assert batchmill(*damaging.command).exit_code == 0
    assert damaging.api.prompts() == dict.fromkeys(texts(24)[6:12], 1)


@pytest.mark.parametrize("damage", [deleted, a_folder, a_fifo, a_loop], ids=lambda d: d.__name__)
def test_a_damaged_run_in_a_folder_is_left_out_as_a_whole_one_is(
    batchmill, damaging, tmp_path, damage
):
    folder = damaging.copied(tmp_path)
    damage(folder / "runs/in/run.json", None)
    write(folder / "runs/more.jsonl", ["one"])
    damaging.api.reset_ledger()
    told = batchmill("run", "runs", *asking(damaging.api, "-o", "out"))
    assert told.exit_code == 0, told.stderr
    assert damaging.api.prompts() == {"one": 1}


@pytest.mark.parametrize("words", [("status",), ("show",), ("report",), ("verify",)])
def test_a_format_that_is_none_is_damage(api, batchmill, tmp_path, words):
    write(tmp_path / "in.jsonl", texts(3))
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    plan = tmp_path / "runs/in/run.json"
    plan.write_text(plan.read_text().replace('"jsonl"', '"jsnnl"'))
    said = batchmill(*words, "runs/in")
    assert said.exit_code == 5, said.stderr
    assert "jsnnl" in said.stdout + said.stderr
