"""A run as the input of the next: what was carried and what was answered, for a further question."""

from __future__ import annotations

import signal

from tests.fake_api import Step, answer_to
from tests.reading import asking, rows, texts, tree, until, write

REJECTED = Step(400, body={"error": {"message": "cursed"}})
ROWS = 50
CURSED = (3, 11, 12, 30)


def first_run(api, batchmill, tmp_path):
    """A finished run in parts of 7 rows, four of which failed; gives the prompts of the others."""
    api.script = {f"text {row:05d}": [REJECTED, ...] for row in CURSED}
    write(tmp_path / "in.jsonl", texts(ROWS))
    command = ("run", "in.jsonl", *asking(api, "-o", "first", "--set", "output.part_rows=7"))
    assert batchmill(*command).exit_code == 1
    api.reset_ledger()
    return [text for row, text in enumerate(texts(ROWS)) if row not in CURSED]


def again(api, *more):
    """The flags of a second question about the first answers."""
    template = "{{ id }}: {{ text }} -> {{ completion }}"
    return ("-m", "second", "-p", template, "--base-url", api.url, *more)


def second_prompt(text):
    return f"{int(text[-5:])}: {text} -> {answer_to(text)}"


def test_a_run_does_not_move_to_another_folder(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    assert batchmill("run", "in.jsonl", *asking(api, "-o", "first")).exit_code == 0
    refused = batchmill("run", "first", "-o", "second")
    assert refused.exit_code == 2
    assert "first is a run and stays where it is" in refused.stderr
    assert batchmill("run", "first", "-o", "first").exit_code == 0
    assert len(api.ledger) == 2


def test_an_exported_run_that_is_asked_again_has_one_line_for_all_renamed_columns(
    api, batchmill, tmp_path
):
    write(tmp_path / "in.jsonl", texts(1))
    assert batchmill("run", "in.jsonl", *asking(api, "-o", "first.jsonl")).exit_code == 0
    ended = batchmill("run", "first.jsonl", *again(api, "-o", "second"))
    (line,) = [line for line in ended.stderr.splitlines() if "carried" in line]
    assert line.endswith(" more") and "row as input_row, " in line


def test_carried_columns_and_answers_are_there_for_the_next_prompt(api, batchmill, tmp_path):
    answered = first_run(api, batchmill, tmp_path)
    ended = batchmill("run", "in.jsonl", *again(api, "-o", "second"), "--set", 'input="first"')
    assert ended.exit_code == 0, ended.stderr
    prompts = [second_prompt(text) for text in answered]
    assert api.prompts() == dict.fromkeys(prompts, 1)
    found = rows(tmp_path / "second")
    assert [row["completion"] for row in found] == [answer_to(prompt) for prompt in prompts]
    assert [row["row"] for row in found] == list(range(len(answered)))
    assert [row["text"] for row in found] == answered
    assert [row["input_completion"] for row in found] == [answer_to(text) for text in answered]
    assert batchmill("verify", "second", "--input").exit_code == 0


def chained(tmp_path, api):
    """A job file that asks about the first run."""
    (tmp_path / "second.toml").write_text(
        'input = "first"\nprompt.user = "{{ id }}: {{ text }} -> {{ completion }}"\n'
        f'request.model = "second"\nendpoint.base_url = "{api.url}"\noutput.part_rows = 5\n'
    )
    return ("run", "second.toml")


def test_a_chained_run_resumes_from_any_row(api, start, batchmill, tmp_path):
    answered = first_run(api, batchmill, tmp_path)
    command = chained(tmp_path, api)
    for limit in (2, 9, 17):
        assert batchmill(*command, "--limit", limit).exit_code == 0
    api.latency = 0.05
    process = start(*command, "-c", 2)
    until(lambda: len(api.ledger) >= 30, process)
    process.kill()
    process.wait()
    api.latency = 0
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    found = rows(tmp_path / "runs/second")
    assert [row["row"] for row in found] == list(range(len(answered)))
    assert [row["text"] for row in found] == answered
    assert [row["completion"] for row in found] == [
        answer_to(second_prompt(text)) for text in answered
    ]
    assert set(api.prompts()) == {second_prompt(text) for text in answered}
    assert batchmill("verify", "runs/second", "--input").exit_code == 0


def test_a_retry_in_the_first_run_is_another_input_for_the_second(api, batchmill, tmp_path):
    first_run(api, batchmill, tmp_path)
    command = chained(tmp_path, api)
    assert batchmill(*command).exit_code == 0
    before = tree(tmp_path / "runs")
    api.script = {}
    assert batchmill("retry", "first").exit_code == 0
    api.reset_ledger()
    assert batchmill(*command).exit_code == 4
    assert tree(tmp_path / "runs") == before
    ended = batchmill(*command, "--reuse", "runs/second")
    assert ended.exit_code == 0, ended.stderr
    asked = {second_prompt(texts(ROWS)[row]) for row in CURSED}
    assert api.prompts() == dict.fromkeys(asked, 1)
    assert [row["text"] for row in rows(tmp_path / "runs/second")] == texts(ROWS)


def test_an_unfinished_run_is_refused_and_what_to_do_is_said(api, start, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(60))
    api.latency = 0.3
    first = ("run", "in.jsonl", *asking(api, "-o", "first", "-c", 2))
    hint = "       finish it first: batchmill run "
    for number in (signal.SIGINT, signal.SIGKILL):
        before = len(api.ledger)
        process = start(*first)
        until(lambda before=before: len(api.ledger) >= before + 4, process)
        beside = batchmill(*chained(tmp_path, api))
        process.send_signal(number)
        process.communicate(timeout=20)
        after = batchmill(*chained(tmp_path, api))
        for ended in (beside, after):
            assert ended.exit_code == 2
            assert ended.stderr.splitlines()[-1] == f"{hint}{tmp_path / 'first'}"
    assert not (tmp_path / "runs/second").exists()
    api.latency = 0
    assert batchmill("run", str(tmp_path / "first")).exit_code == 0
    assert batchmill(*chained(tmp_path, api)).exit_code == 0
    assert len(rows(tmp_path / "runs/second")) == 60
