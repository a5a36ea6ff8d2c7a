"""What may change between two starts of a run, and what makes it another run."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil

from tests.fake_api import answer_to
from tests.reading import asking, completions, texts, tree, write

PROMPTS = texts(30)


def answers(prompts: list[str]) -> list[tuple[int, str]]:
    return [(row, answer_to(prompt)) for row, prompt in enumerate(prompts)]


def edited(lines):
    return [*lines[:7], lines[7].replace(b"00007", b"70000"), *lines[8:]]


def inserted(lines):
    return [*lines[:7], b'{"id": 99, "text": "between"}\n', *lines[7:]]


def reordered(lines):
    return [lines[1], lines[0], *lines[2:]]


def deduplicated(lines):
    return [*lines[:7], *lines[8:]]


def edited_and_grown(lines):
    return [*edited(lines), b'{"id": 99, "text": "after"}\n']


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def test_other_lines_are_another_input_and_every_byte_of_the_run_stays(api, batchmill, tmp_path):
    source = write(tmp_path / "in.jsonl", PROMPTS)
    lines = lines_of(source)
    command = ("run", "in.jsonl", *asking(api))
    assert batchmill(*command).exit_code == 0
    before = tree(tmp_path / "runs")
    for change in (edited, inserted, reordered, deduplicated, edited_and_grown):
        source.write_bytes(b"".join(change(lines)))
        ended = batchmill(*command)
        assert ended.exit_code == 4, change
        assert "another input: in.jsonl differs" in ended.stderr
        assert tree(tmp_path / "runs") == before
    assert len(api.ledger) == len(PROMPTS)


def test_a_line_edited_behind_the_rows_that_were_asked_is_another_input_too(
    api, batchmill, tmp_path
):
    source = write(tmp_path / "in.jsonl", PROMPTS)
    assert batchmill("run", "in.jsonl", *asking(api, "--limit", 5)).exit_code == 0
    before = tree(tmp_path / "runs")
    source.write_bytes(b"".join(edited(lines_of(source))))
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 4
    assert tree(tmp_path / "runs") == before


def test_a_refused_start_prints_both_ways_out_ready_to_paste(api, batchmill, tmp_path):
    write(tmp_path / "in put.jsonl", PROMPTS)
    command = ("run", "in put.jsonl", *asking(api, "-c", "4"))
    assert batchmill(*command).exit_code == 0
    write(tmp_path / "in put.jsonl", PROMPTS[1:])
    lines = batchmill(*command).stderr.splitlines()
    assert lines[0].startswith("error: runs/in put is the run of another input")
    assert lines[0].endswith("; nothing was changed")
    pasted = [shlex.split(line[line.index("batchmill ") :])[1:] for line in lines[1:]]
    same = [str(word) for word in command]
    assert pasted == [[*same, "--new"], [*same, "--reuse", "runs/in put"]]


def test_the_same_rows_packed_anew_are_another_input(api, batchmill, tmp_path):
    source = write(tmp_path / "in.jsonl.gz", PROMPTS)
    command = ("run", "in.jsonl.gz", *asking(api))
    assert batchmill(*command).exit_code == 0
    before = tree(tmp_path / "runs")
    source.write_bytes(gzip.compress(gzip.decompress(source.read_bytes()), 1, mtime=7))
    ended = batchmill(*command)
    assert ended.exit_code == 4
    assert "another input: in.jsonl.gz differs" in ended.stderr
    assert tree(tmp_path / "runs") == before


def test_a_line_that_was_not_ended_has_not_grown_but_changed(api, batchmill, tmp_path):
    source = write(tmp_path / "in.jsonl", PROMPTS)
    source.write_bytes(source.read_bytes().rstrip(b"\n"))
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    source.write_bytes(source.read_bytes() + b'\n{"id": 99, "text": "more"}\n')
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 4


def test_what_is_appended_is_asked_when_the_run_had_not_come_to_the_end(api, batchmill, tmp_path):
    source = write(tmp_path / "in.jsonl", PROMPTS)
    assert batchmill("run", "in.jsonl", *asking(api, "--limit", 20)).exit_code == 0
    with source.open("ab") as file:
        file.write(b'{"id": 30, "text": "one more"}\n')
    ended = batchmill("run", "in.jsonl", *asking(api))
    assert ended.exit_code == 0, ended.stderr
    assert "grew" in ended.stderr
    assert completions(tmp_path / "runs/in") == answers([*PROMPTS, "one more"])
    assert api.prompts() == dict.fromkeys([*PROMPTS, "one more"], 1)


def test_a_file_that_comes_after_the_others_is_more_input(api, batchmill, tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data/1.jsonl", PROMPTS[:10])
    command = ("run", "data/*.jsonl", *asking(api))
    assert batchmill(*command).exit_code == 0
    write(tmp_path / "data/2.jsonl", PROMPTS[10:])
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    assert "2.jsonl came after" in ended.stderr
    assert completions(tmp_path / "runs/data") == answers(PROMPTS)
    assert api.prompts() == dict.fromkeys(PROMPTS, 1)


def test_a_file_that_comes_before_the_others_is_another_input(api, batchmill, tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data/2.jsonl", PROMPTS[10:])
    command = ("run", "data/*.jsonl", *asking(api))
    assert batchmill(*command).exit_code == 0
    before = tree(tmp_path / "runs")
    write(tmp_path / "data/1.jsonl", PROMPTS[:10])
    assert batchmill(*command).exit_code == 4
    assert tree(tmp_path / "runs") == before


def renamed(source):
    return source.rename(source.with_name("other.jsonl"))


def moved(source):
    (source.parent / "deep/er").mkdir(parents=True)
    return source.rename(source.parent / "deep/er" / source.name)


def copied(source):
    return shutil.copy(source, source.with_name("copy.jsonl"))


def touched(source):
    source.write_bytes(source.read_bytes())
    return source


def test_the_same_bytes_elsewhere_are_the_same_input(api, batchmill, tmp_path):
    source = write(tmp_path / "in.jsonl", PROMPTS)
    flags = asking(api, "--set", "output.part_rows=8", "-o", "mine")
    assert batchmill("run", "in.jsonl", *flags, "--limit", 5).exit_code == 0
    for limit, change in ((11, touched), (17, renamed), (23, moved), (100, copied)):
        source = change(source)
        ended = batchmill("run", source, *flags, "--limit", limit)
        assert ended.exit_code == 0, ended.stderr
        assert "(resuming)" in ended.stderr
    assert completions(tmp_path / "mine") == answers(PROMPTS)
    assert api.prompts() == dict.fromkeys(PROMPTS, 1)


JOB = {
    "input": '"in.jsonl"',
    "prompt.system": '"Be brief."',
    "prompt.user": '"{{ text }}"',
    "request.model": '"m"',
    "request.temperature": "0.5",
}


def write_job(path, keys):
    path.write_text("".join(f"{key} = {value}\n" for key, value in keys.items()))


def test_another_question_is_another_job_and_the_key_is_named(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS[:5])
    job = {**JOB, "endpoint.base_url": f'"{api.url}"'}
    write_job(tmp_path / "ask.toml", job)
    assert batchmill("run", "ask.toml").exit_code == 0
    before = tree(tmp_path / "runs")
    changes = {
        "prompt.system": '"Be long."',
        "prompt.shared": '"A guide."',
        "prompt.user": '"{{ text }}!"',
        "request.model": '"another"',
        "request.temperature": "1.0",
        "request.stop": '["x"]',
    }
    for key, value in changes.items():
        write_job(tmp_path / "ask.toml", {**job, key: value})
        ended = batchmill("run", "ask.toml")
        assert ended.exit_code == 4
        assert f"another job: {key} changed; nothing was changed" in ended.stderr
    del job["request.temperature"]
    write_job(tmp_path / "ask.toml", job)
    assert "another job: request.temperature changed" in batchmill("run", "ask.toml").stderr
    assert tree(tmp_path / "runs") == before
    assert len(api.ledger) == 5


def test_all_keys_that_changed_are_named(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS[:2])
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    ended = batchmill("run", "in.jsonl", *asking(api, "-m", "x", "--set", "request.seed=1"))
    assert ended.exit_code == 4
    assert "another job: request.model, request.seed changed" in ended.stderr


def test_how_it_is_asked_may_change(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS)
    job = {**JOB, "endpoint.base_url": f'"{api.url}"'}
    write_job(tmp_path / "ask.toml", {**job, "limit": "5"})
    assert batchmill("run", "ask.toml").exit_code == 0
    changes = [
        {"limits.concurrency": "1", "limits.requests_per_minute": "100_000", "limit": "10"},
        {"retry.max_attempts": "2", "retry.first_delay": "0.1", "limit": "15"},
        {"request.stream": "true", "limit": "20"},
        {"prompt.cache": '"off"', "prompt.leader_patience": "3", "limit": "22"},
        {"endpoint.headers.x-team": '"blue"', "endpoint.total_timeout": "60", "limit": "25"},
        {"output.part_rows": "3", "output.response": "true", "tags.customer": '"acme"'},
    ]
    for change in changes:
        write_job(tmp_path / "ask.toml", {**job, **change})
        ended = batchmill("run", "ask.toml")
        assert ended.exit_code == 0, ended.stderr
        assert "(resuming)" in ended.stderr
    assert len(api.ledger) == len(PROMPTS)
    assert [row for row, _ in completions(tmp_path / "runs/ask")] == list(range(len(PROMPTS)))
    kept = json.loads((tmp_path / "runs/ask/run.json").read_text())
    assert kept["resumed"] == len(changes)
    assert kept["job"]["tags"] == {"customer": "acme"}
    assert "blue" not in (tmp_path / "runs/ask/run.json").read_text()
