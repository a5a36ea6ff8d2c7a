"""Anew or again: `--new` and `--reuse` keep the old run, `retry` asks chosen rows of this one."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.fake_api import Step, answer_to
from tests.reading import asking, completions, rows, texts, tree, until, write

REJECTED = Step(400, body={"error": {"message": "cursed"}})
HASTY = tuple(
    f"--set={key}"
    for key in ("retry.max_attempts=2", "retry.first_delay=0.01", "output.part_rows=10")
)
"""Settings under which a row fails soon."""


def answers(prompts: list[str]) -> list[tuple[int, str]]:
    return [(row, answer_to(prompt)) for row, prompt in enumerate(prompts)]


def totals(run):
    """The sums over usage.parquet."""
    found = pq.read_table(run / "usage.parquet").to_pylist()
    counted = [name for name, value in found[0].items() if not isinstance(value, str | None)]
    return {name: sum(group[name] for group in found) for name in counted}


def summed(run):
    """The same sums, over the rows."""
    found = rows(run)
    names = ("attempts", "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")
    return {
        "rows_ok": sum(row["status"] == "ok" for row in found),
        "rows_failed": sum(row["status"] == "failed" for row in found),
        "rows_reused": sum(row["reused"] for row in found),
        **{name: sum(row[name] or 0 for row in found) for name in names},
    }


def assert_adds_up(run):
    kept = totals(run)
    assert {name: kept[name] for name in summed(run)} == summed(run)


def kept_plan(run):
    return json.loads((run / "run.json").read_text())


def test_new_keeps_the_old_run_under_the_next_free_name(api, batchmill, tmp_path):
    prompts = texts(12)
    write(tmp_path / "in.jsonl", prompts)
    command = ("run", "in.jsonl", *asking(api))
    assert batchmill(*command).exit_code == 0
    first = {**tree(tmp_path / "runs/in"), "lock": b""}
    ended = batchmill(*command, "--new")
    assert ended.exit_code == 0, ended.stderr
    assert "the run that was there is kept as runs/in~1" in ended.stderr
    assert {**tree(tmp_path / "runs/in~1"), "lock": b""} == first  # it names who held it last
    second = tree(tmp_path / "runs/in")
    assert batchmill("run", "in.jsonl", *asking(api), "-s", "Be brief.", "--new").exit_code == 0
    assert {**tree(tmp_path / "runs/in~1"), "lock": b""} == first
    assert {**tree(tmp_path / "runs/in~2"), "lock": b""} == {**second, "lock": b""}
    assert kept_plan(tmp_path / "runs/in")["job"]["prompt"]["system"] == "Be brief."
    assert len(api.ledger) == 3 * len(prompts)


def test_new_where_nothing_is_yet_just_starts(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    assert batchmill("run", "in.jsonl", *asking(api, "--new")).exit_code == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["in"]


def test_new_with_a_faulty_input_leaves_the_old_run_where_it_is(api, batchmill, tmp_path):
    source = write(tmp_path / "in.jsonl", texts(3))
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    before = tree(tmp_path / "runs")
    source.write_text('{"text": \n')
    assert batchmill("run", "in.jsonl", *asking(api, "--new")).exit_code == 2
    assert tree(tmp_path / "runs") == before


@pytest.mark.parametrize("way_out", ["--new", "--reuse"])
def test_the_printed_commands_work_as_they_are(api, batchmill, tmp_path, way_out):
    prompts = texts(20)
    write(tmp_path / "it's in.jsonl", prompts)
    command = ("run", "it's in.jsonl", *asking(api, "-o", "my run"))
    assert batchmill(*command).exit_code == 0
    prompts[3:5] = ["edited", "inserted", "too"]
    write(tmp_path / "it's in.jsonl", prompts)
    refused = batchmill(*command)
    assert refused.exit_code == 4
    line = next(line for line in refused.stderr.splitlines() if f" {way_out}" in line)
    api.reset_ledger()
    ended = batchmill(*shlex.split(line[line.index("batchmill ") :])[1:])
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "my run") == answers(prompts)
    asked = prompts if way_out == "--new" else ["edited", "inserted", "too"]
    assert api.prompts() == dict.fromkeys(asked, 1)
    assert (tmp_path / "my run~1/run.json").exists()


def test_a_run_of_standard_input_can_be_started_anew(api, batchmill, tmp_path):
    text = write(tmp_path / "in.jsonl", texts(9)).read_text()
    assert batchmill("run", "-", *asking(api), stdin=text).exit_code == 0
    refused = batchmill("run", "runs/stdin", "-s", "Be brief.")
    assert refused.exit_code == 4
    line = next(line for line in refused.stderr.splitlines() if line.endswith("--new"))
    ended = batchmill(*shlex.split(line[line.index("batchmill ") :])[1:])
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "runs/stdin") == answers(texts(9))
    assert (tmp_path / "runs/stdin/input.jsonl").read_text() == text


def test_reuse_takes_what_was_answered_and_sends_the_rest(api, batchmill, tmp_path):
    prompts = texts(30)
    api.script = {"text 00007": [REJECTED, ...]}
    write(tmp_path / "old.jsonl", prompts)
    assert batchmill("run", "old.jsonl", *asking(api, *HASTY)).exit_code == 1
    old = {row["text"]: row for row in rows(tmp_path / "runs/old")}
    before = tree(tmp_path / "runs/old")
    api.script = {}
    api.reset_ledger()
    changed = ["new 1", *prompts[20:], "new 2", *prompts[:10]]
    write(tmp_path / "in.csv", changed)
    ended = batchmill("run", "in.csv", *asking(api, *HASTY, "--reuse", "runs/old"))
    assert ended.exit_code == 0, ended.stderr
    assert tree(tmp_path / "runs/old") == before
    assert api.prompts() == dict.fromkeys(["new 1", "new 2", "text 00007"], 1)
    assert completions(tmp_path / "runs/in") == answers(changed)
    found = rows(tmp_path / "runs/in")
    assert [row["text"] for row in found if not row["reused"]] == ["new 1", "new 2", "text 00007"]
    for row in found:
        if not row["reused"]:
            continue
        assert row["attempts"] == row["maybe_billed_attempts"] == row["cost_usd"] == 0
        assert row["input_tokens"] == row["output_tokens"] == row["reasoning_tokens"] == 0
        assert row["attempt_log"] is None
        for name in ("completion", "finish_reason", "served_model", "request_hash", "request_id"):
            assert row[name] == old[row["text"]][name]
    assert_adds_up(tmp_path / "runs/in")
    kept = totals(tmp_path / "runs/in")
    assert (kept["rows_ok"], kept["rows_reused"], kept["attempts"]) == (len(changed), 19, 3)
    assert kept["input_tokens"] == sum(asked.input_tokens for asked in api.ledger)
    assert kept["output_tokens"] == sum(asked.output_tokens for asked in api.ledger)
    assert (kept["unpriced_rows"], kept["unknown_usage_rows"]) == (3, 0)
    assert batchmill("verify", "runs/in", "--input").exit_code == 0


def test_the_kth_row_that_asks_the_same_takes_the_kth_answer(api, batchmill, tmp_path):
    api.script = {"roll": [Step(content=f"rolled {n}") for n in range(8)]}
    write(tmp_path / "old.jsonl", ["roll", "a", "roll", "roll", "b"])
    assert batchmill("run", "old.jsonl", *asking(api, "-c", 1)).exit_code == 0
    api.reset_ledger()
    write(tmp_path / "in.jsonl", ["c", "roll", "b", "roll", "roll", "roll"])
    reuse = ("--reuse", "runs/old", "--set", "output.part_rows=2")
    assert batchmill("run", "in.jsonl", *asking(api, *reuse)).exit_code == 0
    said = [completion for _, completion in completions(tmp_path / "runs/in")]
    rolled = ["rolled 0", "rolled 1", "rolled 2", "rolled 3"]
    assert said == [answer_to("c"), rolled[0], answer_to("b"), *rolled[1:]]
    assert api.prompts() == {"c": 1, "roll": 1}


@pytest.mark.second_lane
@pytest.mark.parametrize(("number", "part_rows"), [(signal.SIGINT, 16), (signal.SIGKILL, 1000)])
def test_a_run_that_reuses_goes_on_reusing(api, start, batchmill, tmp_path, number, part_rows):
    prompts = texts(60)
    api.script = {"roll": [Step(content=f"rolled {n}") for n in range(8)]}
    write(tmp_path / "old.jsonl", ["roll", *prompts, "roll", "roll"])
    assert batchmill("run", "old.jsonl", *asking(api, "-c", 1)).exit_code == 0
    api.reset_ledger()
    api.latency = 0.1
    new = texts(80)[60:]
    write(tmp_path / "in.jsonl", ["roll", *prompts[:30], *new, "roll", *prompts[30:], "roll"])
    command = ("run", "in.jsonl", *asking(api, "-c", 2, "--set", f"output.part_rows={part_rows}"))
    process = start(*command, "--reuse", "runs/old")
    until(lambda: len(api.ledger) >= 12, process)
    process.send_signal(number)
    process.communicate(timeout=30)
    api.latency = 0
    plan = kept_plan(tmp_path / "runs/in")
    assert plan["reuse"] == str(tmp_path / "runs/old")
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    found = rows(tmp_path / "runs/in")
    rolled = [row["completion"] for row in found if row["text"] == "roll"]
    assert rolled == ["rolled 0", "rolled 1", "rolled 2"]
    assert [(row["row"], row["completion"]) for row in found if row["text"] != "roll"] == [
        (row["row"], answer_to(row["text"])) for row in found if row["text"] != "roll"
    ]
    assert [row["text"] for row in found if not row["reused"]] == new
    assert set(api.prompts()) == set(new)
    if number == signal.SIGINT:
        assert api.prompts() == dict.fromkeys(new, 1)
    assert_adds_up(tmp_path / "runs/in")


@pytest.mark.second_lane
def test_reuse_takes_what_a_killed_run_had_answered(api, start, batchmill, tmp_path):
    prompts = texts(30)
    write(tmp_path / "in.jsonl", prompts)
    api.script = {"text 00029": [Step(hang=True)]}
    process = start("run", "in.jsonl", *asking(api, "--set", "output.part_rows=20"))
    journals = [tmp_path / f"runs/in/open/part-0000000{n}/journal.jsonl" for n in (0, 1)]
    until(lambda: not journals[0].exists() and journals[1].exists(), process)
    until(lambda: journals[1].read_bytes().count(b"\n") == 10, process)
    process.kill()
    process.wait()
    write(tmp_path / "in.jsonl", ["edited", *prompts[1:]])
    refused = batchmill("run", "in.jsonl", *asking(api))
    assert refused.exit_code == 4
    api.reset_ledger()
    pasted = refused.stderr.splitlines()[-1]
    ended = batchmill(*shlex.split(pasted[pasted.index("batchmill ") :])[1:])
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "runs/in") == answers(["edited", *prompts[1:]])
    assert api.prompts() == {"edited": 1, "text 00029": 1}


def test_reuse_of_what_is_no_run_changes_nothing(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    before = tree(tmp_path / "runs")
    ended = batchmill("run", "in.jsonl", *asking(api, "--reuse", "runs/nothing"))
    assert ended.exit_code == 2
    assert "runs/nothing is no run" in ended.stderr
    assert tree(tmp_path / "runs") == before


def failing(api):
    """Thirty rows, of which one fails for the moment and one for good; two are cut short."""
    short = Step(content="cut", finish_reason="length")
    api.script = {
        "text 00007": [500, 500],
        "text 00021": [REJECTED],
        "text 00013": [short],
        "text 00025": [short, 500, 500],
    }
    return texts(30)


@pytest.fixture
def failed(api, batchmill, tmp_path):
    prompts = failing(api)
    write(tmp_path / "in.jsonl", prompts)
    assert batchmill("run", "in.jsonl", *asking(api, *HASTY)).exit_code == 1
    return prompts


@pytest.mark.parametrize(
    ("chosen", "asked"),
    [
        ((), ["text 00007", "text 00021"]),
        (("--class", "invalid_request"), ["text 00021"]),
        (("--class", "server_error", "--flag", "length", "--class", "timeout"), None),
        (("--class", "context_length"), []),
    ],
    ids=["all failed", "one class", "class or flag", "none"],
)
def test_retry_asks_the_chosen_rows_and_no_other(api, batchmill, tmp_path, failed, chosen, asked):
    asked = ["text 00007", "text 00013", "text 00025"] if asked is None else asked
    api.script = {}
    before = rows(tmp_path / "runs/in")
    api.reset_ledger()
    ended = batchmill("retry", "runs/in", *chosen)
    after = rows(tmp_path / "runs/in")
    still_failed = sorted({"text 00007", "text 00021"} - set(asked))
    assert ended.exit_code == bool(still_failed), ended.stderr
    assert api.prompts() == dict.fromkeys(asked, 1)
    assert [row["row"] for row in after] == list(range(30))
    for old, new in zip(before, after, strict=True):
        if new["text"] not in asked:
            assert new == old
            continue
        assert (new["status"], new["completion"]) == ("ok", answer_to(new["text"]))
        assert new["attempts"] == old["attempts"] + 1 == len(new["attempt_log"])
        assert new["input_tokens"] > (old["input_tokens"] or 0)
    assert_adds_up(tmp_path / "runs/in")


def test_retry_with_a_changed_parameter_keeps_the_use_of_both(api, batchmill, tmp_path, failed):
    before = rows(tmp_path / "runs/in")
    api.script = {}
    api.reset_ledger()
    more = ("--set", "request.max_tokens=2000", "--set", "request.model=bigger")
    assert batchmill("retry", "runs/in", "--flag", "length", *more).exit_code == 1
    assert api.prompts() == {"text 00013": 1, "text 00025": 1}
    assert {(asked.body["max_tokens"], asked.body["model"]) for asked in api.ledger} == {
        (2000, "bigger")
    }
    after = rows(tmp_path / "runs/in")
    for asked in api.ledger:
        old, new = (found[int(asked.prompt[-2:])] for found in (before, after))
        assert (new["flags"], new["model"], new["attempts"]) == ([], "bigger", 2)
        assert new["input_tokens"] == old["input_tokens"] + asked.input_tokens
        assert new["output_tokens"] == old["output_tokens"] + asked.output_tokens
        first, second = new["attempt_log"]
        assert first["output_tokens"] == old["output_tokens"]
        assert second["output_tokens"] == asked.output_tokens
        assert new["request_hash"] != old["request_hash"]
    assert_adds_up(tmp_path / "runs/in")
    retries = kept_plan(tmp_path / "runs/in")["retries"]
    assert [each["flags"] for each in retries] == [["length"]]
    assert retries[0]["settings"] == {"request.max_tokens": 2000, "request.model": "bigger"}
    assert batchmill("verify", "runs/in", "--input").exit_code == 0
    api.reset_ledger()
    job = ("run", "in.jsonl", *asking(api, *HASTY))
    assert batchmill(*job).exit_code == 1
    assert api.prompts() == {"text 00007": 1}
    assert "max_tokens" not in api.ledger[0].body


def test_a_paid_answer_does_not_give_way_to_a_failure(api, batchmill, tmp_path, failed):
    before = rows(tmp_path / "runs/in")[25]
    ended = batchmill("retry", "runs/in", "--flag", "length")
    assert ended.exit_code == 1, ended.stderr
    after = rows(tmp_path / "runs/in")
    assert after[13]["completion"] == answer_to(failed[13])
    assert (after[25]["status"], after[25]["completion"]) == ("ok", "cut")
    assert after[25]["flags"] == before["flags"] == ["length"]
    assert (after[25]["attempts"], len(after[25]["attempt_log"])) == (3, 3)
    assert after[25]["output_tokens"] == before["output_tokens"]
    assert_adds_up(tmp_path / "runs/in")
    assert batchmill("verify", "runs/in").exit_code == 0


@pytest.mark.second_lane
def test_a_killed_retry_leaves_paid_answers_alone(api, start, batchmill, tmp_path, failed):
    api.script = {"text 00025": [500, 500], "text 00013": [Step(hang=True)]}
    process = start("retry", "runs/in", "--flag", "length")
    journal = tmp_path / "runs/in/open/part-00000002/journal.jsonl"
    until(lambda: journal.exists() and b'"failed"' in journal.read_bytes(), process)
    process.kill()
    process.wait()
    status = json.loads(batchmill("status", "runs/in", "--json").stdout)
    assert (status["state"], status["ok"], status["failed"]) == ("interrupted", 28, 2)
    api.script = {}
    api.reset_ledger()
    assert batchmill("run", "runs/in").exit_code == 1
    assert api.prompts() == {"text 00007": 1}
    found = rows(tmp_path / "runs/in")
    assert (found[25]["completion"], found[25]["attempts"]) == ("cut", 3)
    assert (found[13]["completion"], found[13]["attempts"]) == ("cut", 1)
    assert_adds_up(tmp_path / "runs/in")


def test_retry_of_a_limited_run_asks_nothing_that_is_missing(api, batchmill, tmp_path):
    prompts = failing(api)
    write(tmp_path / "in.jsonl", prompts)
    command = ("run", "in.jsonl", *asking(api, *HASTY))
    assert batchmill(*command, "--limit", 15).exit_code == 1
    api.reset_ledger()
    assert batchmill("retry", "runs/in", "--class", "server_error").exit_code == 0
    assert api.prompts() == {"text 00007": 1}
    assert [row["row"] for row in rows(tmp_path / "runs/in")] == list(range(15))
    api.reset_ledger()
    api.script = {}
    assert batchmill(*command).exit_code == 0
    assert api.prompts() == dict.fromkeys(prompts[15:], 1)
    assert [row["row"] for row in rows(tmp_path / "runs/in")] == list(range(30))
    assert_adds_up(tmp_path / "runs/in")


def _journalled(run: Path) -> int:
    """Results in open parts; a part that is being sealed may go away under our eyes."""
    try:
        journals = list((run / "open").rglob("journal.jsonl"))
        return sum(path.read_bytes().count(b'"status"') for path in journals)
    except FileNotFoundError:
        return 0


@pytest.mark.second_lane
def test_retry_of_a_killed_run_leaves_the_missing_rows_to_the_next_start(
    api, start, batchmill, tmp_path
):
    prompts = failing(api)
    hanging = {prompt: [Step(hang=True)] for prompt in ("text 00008", "text 00024", "text 00029")}
    api.script = {**api.script, **hanging}
    write(tmp_path / "in.jsonl", prompts)
    # with --yes no refusal is held back until a later request is answered, which may never leave
    command = ("run", "in.jsonl", *asking(api, *HASTY), "--yes")
    process = start(*command)
    run, sealed = tmp_path / "runs/in", tmp_path / "runs/in/completions/part-00000001.parquet"
    until(lambda: sealed.exists() and _journalled(run) == 17, process)
    process.kill()
    process.wait()
    done = [7, 21]
    api.script = {}
    api.reset_ledger()
    ended = batchmill("retry", "runs/in")
    assert ended.exit_code == 0, ended.stderr
    assert api.prompts() == {prompts[row]: 1 for row in done}
    missing = [8, 24, 29]
    assert [row["row"] for row in rows(tmp_path / "runs/in")] == [
        row for row in range(30) if row not in missing
    ]
    assert batchmill("verify", "runs/in").exit_code == 1
    status = json.loads(batchmill("status", "runs/in", "--json").stdout)
    assert status["state"] == "interrupted"
    api.reset_ledger()
    assert batchmill(*command).exit_code == 0
    assert api.prompts() == {prompts[row]: 1 for row in missing}
    assert [row["row"] for row in rows(tmp_path / "runs/in")] == list(range(30))
    assert batchmill("verify", "runs/in").exit_code == 0


@pytest.mark.second_lane
@pytest.mark.parametrize("short", [("retry", "runs/in"), ("run", "runs/in", "--set", "limit=5")])
def test_what_a_killed_run_had_read_ahead_is_left_to_the_next_start(
    api, start, batchmill, tmp_path, short
):
    prompts = texts(23)
    write(tmp_path / "in.jsonl", prompts)
    command = ("run", "in.jsonl", *asking(api, "-c", 1, "--set", "output.part_rows=7"))
    api.always = Step(hang=True)
    process = start(*command)
    until(lambda: (tmp_path / "runs/in/open/part-00000003/input.arrow").exists(), process)
    process.kill()
    process.wait()
    api.always = None
    api.reset_ledger()
    ended = batchmill(*short)
    assert ended.exit_code == 0, ended.stderr
    asked = 0 if short[0] == "retry" else 5
    assert completions(tmp_path / "runs/in") == answers(prompts[:asked])
    assert batchmill("verify", "runs/in").exit_code == 1
    assert batchmill(*command).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(prompts)
    assert api.prompts() == dict.fromkeys(prompts, 1)
    assert batchmill("verify", "runs/in").exit_code == 0


def test_a_choice_that_cannot_be_is_refused(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    before = tree(tmp_path / "runs")
    choices = {
        ("--class", "server_eror"): "known: bad_response, blocked, connection",
        ("--flag", "lenght"): "content_filter, duplicate, empty",
        ("--set", "input=x"): "a retry cannot change that",
        ("--set", "prompt.user=x"): "a retry cannot change that",
        ("--set", "request.api=embeddings"): "a retry cannot change that",
        ("--set", "request={api='embeddings'}"): "a retry cannot change that",
        ("--set", "limits.wibble=1"): "unknown key 'wibble'",
    }
    for choice, said in choices.items():
        ended = batchmill("retry", "runs/in", *choice)
        assert ended.exit_code == 2
        assert said in ended.stderr
    assert tree(tmp_path / "runs") == before
    assert len(api.ledger) == 3


def test_retry_refuses_an_input_that_was_edited(api, batchmill, tmp_path, failed):
    before = tree(tmp_path / "runs")
    write(tmp_path / "in.jsonl", ["edited", *failed[1:]])
    ended = batchmill("retry", "runs/in")
    assert ended.exit_code == 4
    assert tree(tmp_path / "runs") == before
    line = ended.stderr.splitlines()[-1]
    assert line.endswith("batchmill run runs/in --reuse runs/in")
    api.script = {}
    api.reset_ledger()
    assert batchmill(*shlex.split(line[line.index("batchmill ") :])[1:]).exit_code == 0
    assert api.prompts() == {"edited": 1, "text 00007": 1, "text 00021": 1}


def test_a_run_that_cost_nothing_gives_way_to_a_changed_job(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    api.key = "right"
    refused = batchmill("run", "in.jsonl", *asking(api))
    assert refused.exit_code == 3 and not rows(tmp_path / "runs/in")
    api.key = None
    changed = batchmill("run", "in.jsonl", *asking(api), "--set", "request.temperature=0.5")
    assert changed.exit_code == 0, changed.stderr
    assert "cost nothing" in changed.stderr
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["in"]
    once_more = batchmill("run", "in.jsonl", *asking(api))
    assert once_more.exit_code == 4


def test_what_is_not_ours_in_a_run_that_cost_nothing_is_kept(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    api.key = "right"
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 3
    (tmp_path / "runs/in/notes.txt").write_text("mine")
    api.key = None
    changed = batchmill("run", "in.jsonl", *asking(api), "--set", "request.temperature=0.5")
    assert changed.exit_code == 0, changed.stderr
    assert [path.name for path in (tmp_path / "runs/in~1").iterdir()] == ["notes.txt"]


def test_what_may_have_been_billed_binds(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    api.script = {texts(1)[0]: [Step(reset=True)] * 9}
    fast = ("--set", "retry.max_attempts=1", "--set", "retry.max_maybe_billed=1")
    assert batchmill("run", "in.jsonl", *asking(api, *fast)).exit_code == 1
    changed = batchmill("run", "in.jsonl", *asking(api, *fast), "--set", "request.temperature=0.5")
    assert changed.exit_code == 4


def test_reuse_says_how_many_rows_it_took(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(5))
    assert batchmill("run", "in.jsonl", *asking(api, "--limit", 3)).exit_code == 0
    again = batchmill("run", "in.jsonl", *asking(api), "--reuse", "runs/in")
    assert again.exit_code == 0, again.stderr
    assert "reused    3 rows" in again.stderr


def test_retry_keeps_a_run_that_holds_nothing_when_its_input_was_edited(api, batchmill, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"other": 1}\n' * 2)
    command = ("run", "in.jsonl", *asking(api), "--on-bad-row", "record")
    assert batchmill(*command, "--same-prompt").exit_code == 1
    before = tree(tmp_path / "runs" / "in")
    path.write_text('{"text": "snow"}\n' * 2)
    ended = batchmill("retry", "runs/in")
    assert ended.exit_code == 4
    assert tree(tmp_path / "runs" / "in") == before
