"""A run as the input of the next: what was carried and what was answered, for a further question."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from batch import columns, readers
from batch.model import Position
from batch.readers import OF_RULES_1
from batch.store import spool
from tests.fake_api import Step, answer_to, embedding_of
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


@pytest.mark.second_lane
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
            assert ended.stderr.splitlines()[-1] == f"{hint}first"
    assert not (tmp_path / "runs/second").exists()
    api.latency = 0
    assert batchmill("run", str(tmp_path / "first")).exit_code == 0
    assert batchmill(*chained(tmp_path, api)).exit_code == 0
    assert len(rows(tmp_path / "runs/second")) == 60


NESTED: dict[str, Any] = {
    "text": "first",
    "choices": ["3", {"four": 4}],
    "model": {"n": 1, "none": None},
    "order": {"items": [{"id": 7}]},
    "mixed": "text",
    "completion": "their own",
    "input_status": "a",
    "status": "b",
}
OTHER: dict[str, Any] = {
    **NESTED,
    "text": "second",
    "choices": [],
    "mixed": ["x"],
    "completion": None,
}


def nested_run(api, batchmill, tmp_path, lines):
    """A finished run in `first` whose input had these lines."""
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    ended = batchmill("run", "in.jsonl", *asking(api, "-o", "first"))
    assert ended.exit_code == 0, ended.stderr
    api.reset_ledger()


def asked_about(api, batchmill, run, template, name):
    """The prompts of a run that asks about another."""
    more = ("-m", "m", "-p", template, "--base-url", api.url, "-o", name)
    ended = batchmill("run", "in.jsonl", *more, "--set", f'input="{run}"')
    assert ended.exit_code == 0, ended.stderr
    prompts = list(api.prompts())
    api.reset_ledger()
    return prompts


def test_nested_values_are_values_again_and_old_names_are_found(api, batchmill, tmp_path):
    nested_run(api, batchmill, tmp_path, [NESTED, OTHER])
    template = (
        "{{ choices | length }} {{ input_choices | length }} {{ model.n }}"
        " {{ order['items'][0].id }} {{ mixed }} {{ completion }}"
        " {{ input_completion or 'no' }} {{ status }} {{ input_status }} {{ input_input_status }}"
    )
    first, second = answer_to("first"), answer_to("second")

    prompts = asked_about(api, batchmill, "first", template, "second")

    assert sorted(prompts) == sorted(
        [f"2 2 1 7 text {first} their own b a b", f'0 0 1 7 ["x"] {second} no b a b']
    )


def test_a_run_on_a_run_on_a_run_knows_the_first_names_and_values(api, batchmill, tmp_path):
    nested_run(api, batchmill, tmp_path, [NESTED])
    (second,) = asked_about(api, batchmill, "first", "2: {{ choices[0] }}", "second")
    (third,) = asked_about(api, batchmill, "second", "3: {{ choices[1].four }}", "third")
    template = (
        "{{ choices }} {{ model }} {{ status }} | {{ completion }} | {{ input_completion }} |"
        " {{ input_input_completion }} | {{ input_input_input_completion }}"
    )

    (fourth,) = asked_about(api, batchmill, "third", template, "fourth")

    assert second == "2: 3"
    assert third == "3: 4"
    said = ["their own", answer_to("first"), answer_to("2: 3")]
    values = f"{json.dumps(NESTED['choices'])} {json.dumps(NESTED['model'])} b"
    assert fourth == " | ".join([values, answer_to("3: 4"), *said])
    (row,) = rows(tmp_path / "fourth")
    assert json.loads(row["input_choices"]) == NESTED["choices"]


def test_what_fitted_no_column_is_found_by_its_key(api, batchmill, tmp_path):
    lines = [{"text": f"{n}", "model": 0.5, "n": 1} for n in range(3)]
    lines[1] |= {"model": 2**60, "n": 2**63}
    nested_run(api, batchmill, tmp_path, lines)

    prompts = asked_about(api, batchmill, "first", "{{ text }}: {{ model }} {{ n }}", "second")
    again = asked_about(api, batchmill, "second", "{{ text }}; {{ model }} {{ n }}", "third")

    wanted = ["0: 0.5 1", f"1: {2**60} {2**63}", "2: 0.5 1"]
    assert sorted(prompts) == wanted
    assert sorted(again) == [prompt.replace(":", ";") for prompt in wanted]
    shown = batchmill("show", "second", "--row", "1")
    assert f"prompt      1: {2**60} {2**63}" in shown.stdout


def test_what_is_shown_of_a_chained_run_is_what_was_asked(api, batchmill, tmp_path):
    nested_run(api, batchmill, tmp_path, [NESTED])
    template = "{{ choices[1] }} {{ model.none or 'null' }} {{ order }}"
    (prompt,) = asked_about(api, batchmill, "first", template, "second")

    assert f"prompt      {prompt}" in batchmill("show", "second").stdout
    assert batchmill("verify", "second", "--input").exit_code == 0


def test_a_body_that_was_json_text_keeps_its_own_nulls(api, batchmill, tmp_path):
    body = {"messages": [{"role": "user", "content": "hi", "name": None}], "stop": None}
    (tmp_path / "in.jsonl").write_text(json.dumps({"custom_id": "a", "body": body}) + "\n")
    to = ("-m", "m", "--base-url", api.url)
    assert batchmill("run", "in.jsonl", *to, "-o", "first").exit_code == 0
    command = ("run", "in.jsonl", *to, "-o", "second", "--set", 'input="first"')
    assert batchmill(*command).exit_code == 0
    first, second = (asked.body for asked in api.ledger)
    assert first == second
    assert rows(tmp_path / "second")[0]["custom_id"] == "a"


def test_a_spooled_row_still_knows_names_and_nested_values(api, batchmill, tmp_path):
    nested_run(api, batchmill, tmp_path, [NESTED, OTHER])
    found = readers.resolve("first", tmp_path)
    (batch,) = found.batches()
    writer = spool.SpoolWriter(spool.Start(0, 1, 0, Position()))
    (tmp_path / "input.arrow").write_bytes(writer.add(batch))

    again = spool.read(tmp_path / "input.arrow")

    assert again is not None
    (spooled,) = again[1]
    for row, line in zip(found.rows(spooled, 0), [NESTED, OTHER], strict=True):
        assert {key: row.values[key] for key in line if key != "completion"} == {
            key: value for key, value in line.items() if key != "completion"
        }
        assert row.values["completion"] == answer_to(line["text"])
        assert row.values["input_completion"] == line["completion"]


def test_to_a_run_of_older_rules_nested_values_stay_text(api, batchmill, tmp_path):
    nested_run(api, batchmill, tmp_path, [NESTED])
    found = readers.resolve("first", tmp_path, reading=OF_RULES_1)
    (batch,) = found.batches()

    (row,) = found.rows(batch, 0)

    assert json.loads(row.values["order"]) == NESTED["order"]
    assert json.loads(row.values["input_choices"]) == NESTED["choices"]
    assert "choices" not in row.values
    assert not any(field.metadata for field in batch.table.schema)


@pytest.mark.parametrize("name", ["completion", "parsed", "embedding"])
def test_an_answer_wins_over_what_the_input_called_so(api, batchmill, tmp_path, name):
    lines = [{"text": "x", name: {"theirs": 1}}]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    more = {"parsed": ("--schema", '{"n": "integer"}'), "embedding": ("--api", "embeddings")}
    answers = {"completion": answer_to("x"), "parsed": {"n": 5}, "embedding": embedding_of("x")}
    api.always = Step(content='{"n": 5}') if name == "parsed" else None
    ended = batchmill("run", "in.jsonl", *asking(api, "-o", "first", *more.get(name, ())))
    assert ended.exit_code == 0, ended.stderr

    found = readers.resolve("first", tmp_path)
    (row,) = (row for batch in found.batches() for row in found.rows(batch, 0))

    assert row.values[f"input_{name}"] == {"theirs": 1}
    assert row.values[name] == answers[name]
    assert columns.role(found.schema(None).field(f"input_{name}")) == columns.JSON
