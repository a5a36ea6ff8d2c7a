"""What a job would take is told before it is run, from every row and from rows already done."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batch.costs.forecast import Forecast
from batch.limits.limits import Limits
from batch.planning.estimate import Pace, seconds
from tests.conftest import ROOT
from tests.fake_api import Step
from tests.reading import asking, completions, texts, write

PRICED = ("--set", "prices.m={input=2.0, output=10.0}")
CAPPED = ("--set", "request.max_tokens=40")
USED = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


def told(ended: Any) -> Any:
    assert ended.exit_code == 0, ended.stderr
    return json.loads(ended.stdout)


def forecast(rows: int, input_tokens: int = 0, output_tokens: int | None = None) -> Forecast:
    return Forecast(
        model=None,
        rows=rows,
        input_tokens=input_tokens,
        input_from={},
        output_tokens_likely=output_tokens,
        output_tokens_most=None,
        uncapped_rows=0,
        cost_input_usd=None,
        cost_likely_usd=None,
        cost_most_usd=None,
        cost_source=None,
    )


@pytest.mark.parametrize(
    ("total", "pace", "limits", "expected"),
    [
        (forecast(100), Pace(), Limits(), (None, None)),
        (forecast(100), Pace(), Limits(requests_per_minute=50), (120, None)),
        (forecast(9, 900, 600), Pace(), Limits(tokens_per_minute=500), (180, None)),
        (forecast(9, 900), Pace(), Limits(requests_per_minute=1, tokens_per_minute=500), (540, None)),
        (forecast(100), Pace(10, 20.0, 5.0), Limits(), (2 * 100 / 8, 50)),
        (forecast(4), Pace(10, 20.0, 5.0), Limits(), (2, 2)),
        (forecast(100), Pace(10, 20.0, 5.0), Limits(requests_per_minute=50), (120, 120)),
        (forecast(0), Pace(10, 20.0, 5.0), Limits(), (0, 0)),
    ],
)  # fmt: skip
def test_time_is_between_all_slots_at_work_and_the_pace_so_far(total, pace, limits, expected):
    assert seconds(total, pace, limits, 8) == pytest.approx(expected)


def test_nothing_is_sent_and_no_key_is_needed(batchmill, tmp_path):
    write(tmp_path / "in.csv", texts(300))
    asked = (
        "-m",
        "gpt-5.4-mini",
        "-p",
        "Say {{ text }}",
        "--set",
        "request.max_completion_tokens=7",
    )
    found = told(batchmill("estimate", "in.csv", *asked, "--json"))
    assert (found["rows"], found["done"], found["models"][0]["cost_source"]) == (300, 0, "list")
    total = found["total"]
    assert (total["rows"], total["output_tokens_most"]) == (300, 2_100)
    assert (total["output_tokens_likely"], total["cost_likely_usd"]) == (None, None)
    assert 0 < total["cost_input_usd"] < total["cost_most_usd"]
    assert total["input_from"] == {"counted": 300}
    assert not (tmp_path / "runs").exists()


def test_an_unknown_price_is_said_and_never_zero(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(5))
    ended = batchmill("estimate", "in.jsonl", *asking(api))
    assert ended.exit_code == 0
    assert "cost      unknown" in ended.stdout
    assert "no price is known for m" in ended.stdout
    assert "$" not in ended.stdout
    assert (api.ledger, api.listings) == ([], [])


def test_the_embedded_model_is_free(batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(5))
    ended = batchmill("estimate", "in.jsonl", "-p", "{{ text }}", "-m", "any", "--local")
    assert ended.exit_code == 0, ended.stderr
    assert "free: the embedded model" in ended.stdout
    assert "unknown" not in ended.stdout.partition("cost ")[2].splitlines()[0]


def test_a_probe_stays_in_the_run_and_is_sent_once(api, batchmill, tmp_path):
    prompts = texts(30)
    write(tmp_path / "in.jsonl", prompts)
    api.always = Step(usage=USED)
    flags = asking(api, *PRICED, *CAPPED)
    found = told(batchmill("estimate", "in.jsonl", *flags, "--probe", 6, "--json"))
    assert api.prompts() == dict.fromkeys(prompts[:6], 1)
    assert (found["rows"], found["done"], found["learnt_rows"]) == (30, 6, 6)
    total = found["total"]
    assert total["input_from"] == {"learnt": 24}
    assert (total["input_tokens"], total["output_tokens_likely"]) == (2_400, 240)
    assert total["output_tokens_most"] == 24 * 40
    assert total["cost_likely_usd"] == pytest.approx(2_400 * 2e-6 + 240 * 10e-6)
    assert total["cost_most_usd"] == pytest.approx(2_400 * 2e-6 + 960 * 10e-6)
    assert 0 < found["seconds_least"] <= found["seconds_most"]

    assert "limit" not in json.loads((tmp_path / "runs/in/run.json").read_text())["job"]
    assert batchmill("run", "in.jsonl", *flags).exit_code == 0
    assert api.prompts() == dict.fromkeys(prompts, 1)
    assert [row for row, _ in completions(tmp_path / "runs/in")] == list(range(30))
    found = told(batchmill("estimate", "runs/in", "--json"))
    assert (found["done"], found["total"]["rows"], found["seconds_most"]) == (30, 0, 0)


def test_a_probe_that_is_there_is_not_asked_again(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(9))
    for _ in range(2):
        assert batchmill("estimate", "in.jsonl", *asking(api), "--probe", 3).exit_code == 0
    assert len(api.ledger) == 3


def test_a_probe_that_cannot_be_made_says_so(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(9))
    api.key = "right"
    ended = batchmill("estimate", "in.jsonl", *asking(api), "--probe", 3)
    assert (ended.exit_code, ended.stdout) == (3, "")
    piped = batchmill("estimate", "-", *asking(api), "--probe", 3, stdin='{"text": "a"}\n')
    assert piped.exit_code == 2
    assert "standard input" in piped.stderr


def test_a_probe_writes_no_file_of_results(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(9))
    flags = asking(api, "-o", "out.csv")
    assert batchmill("estimate", "in.jsonl", *flags, "--probe", 3).exit_code == 0
    assert not (tmp_path / "out.csv").exists()
    assert (tmp_path / "out.csv.run").is_dir()


def test_rows_that_would_be_asked_again_count_as_to_ask(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(10))
    refused = Step(400, body={"error": {"message": "no", "code": "content_policy_violation"}})
    api.script = {"00003": [503, ...], "00005": [refused, ...]}
    hasty = ("--set", "retry.max_attempts=1")
    assert batchmill("run", "in.jsonl", *asking(api, *hasty)).exit_code == 1
    found = told(batchmill("estimate", "in.jsonl", *asking(api, *hasty), "--json"))
    assert (found["done"], found["total"]["rows"], found["learnt_rows"]) == (9, 1, 8)


def test_a_run_of_another_job_teaches_nothing_and_is_named(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(10))
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    ended = batchmill("estimate", "in.jsonl", *asking(api), "-p", "Say: {{ text }}")
    assert ended.exit_code == 0
    assert "prompt.user changed" in ended.stdout
    assert "10 to ask" in ended.stdout
    assert len(api.ledger) == 10


def test_bad_rows_are_counted_apart(api, batchmill, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n{"other": "b"}\n{"text": "c"}\n')
    found = told(batchmill("estimate", "in.jsonl", *asking(api), "--json"))
    assert (found["rows"], found["bad_rows"], found["total"]["rows"]) == (3, 1, 2)


def test_each_model_of_the_rows_has_a_line_and_sums_say_what_they_lack(api, batchmill, tmp_path):
    bodies = [
        {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": text}]}
        for model, text in (("m", "a"), ("m", "b"), ("dear", "c"))
    ]
    lines = [
        {"custom_id": str(at), "method": "POST", "url": "/v1/chat/completions", "body": body}
        for at, body in enumerate(bodies)
    ]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    flags = ("--base-url", api.url, *PRICED)
    shown = batchmill("estimate", "in.jsonl", *flags).stdout
    assert [line.split()[0] for line in shown.splitlines()[-3:]] == ["m", "dear", "total"]
    assert "no price is known for dear" in shown
    assert [line.count(" + ?") for line in shown.splitlines()[-3:]] == [1, 0, 2]
    assert told(batchmill("estimate", "in.jsonl", *flags, "--json"))["unpriced_models"] == ["dear"]


def test_no_estimate_is_told_as_a_lower_bound(api, batchmill, tmp_path):
    """The server may count fewer tokens than are expected, and take cached ones for less."""
    write(tmp_path / "in.jsonl", texts(20))
    api.always = Step(usage={"prompt_tokens": 2, "completion_tokens": 1})
    flags = asking(api, *PRICED)
    shown = batchmill("estimate", "in.jsonl", *flags).stdout
    [expected] = {float(found) for found in re.findall(r"\$([\d.]+) \+ \?", shown)}
    assert "≥" not in shown
    assert batchmill("run", "in.jsonl", *flags).exit_code == 0
    charged = sum(2 * asked.input_tokens + 10 * asked.output_tokens for asked in api.ledger) / 1e6
    assert 0 < charged < expected


def job_file(folder, name, rows, api, model="m", **more):
    write(folder / f"{name}.jsonl", texts(rows))
    tables = {
        "prompt": {"user": "{{ text }}"},
        "request": {"model": model, "max_tokens": 40},
        "endpoint": {"base_url": api.url, "api_key_env": ""},
        "prices": {"m": {"input": 2.0, "output": 10.0}},
    }
    lines = [f'input = "{name}.jsonl"']
    for table, keys in tables.items():
        lines.append(f"[{table}]")
        for key, value in keys.items():
            said = json.dumps(value) if table != "prices" else "{ input = 2.0, output = 10.0 }"
            lines.append(f"{key} = {said}")
    (folder / f"{name}.toml").write_text("\n".join(lines))


def test_several_jobs_have_a_line_each_and_a_sum(api, batchmill, tmp_path):
    for name, rows, model in (("a", 10, "m"), ("b", 25, "m"), ("c", 3, "dear")):
        job_file(tmp_path, name, rows, api, model)
    jobs = ("a.toml", "b.toml", "c.toml")
    shown = batchmill("estimate", *jobs).stdout
    lines = [line.split() for line in shown.splitlines()[2:6]]
    assert [line[:2] for line in lines] == [
        ["a.toml", "10"],
        ["b.toml", "25"],
        ["c.toml", "3"],
        ["total", "38"],
    ]
    assert "c.toml: no price is known for dear" in shown
    assert max(map(len, shown.splitlines()[:6])) <= 100
    found = told(batchmill("estimate", *jobs, "--json"))
    assert [each["job"] for each in found] == list(jobs)
    for name, each in zip(jobs, found, strict=True):
        alone = told(batchmill("estimate", name, "--json"))
        assert alone == each
    assert (api.ledger, api.listings) == ([], [])


def test_runs_are_jobs_too_and_what_is_for_one_job_is_refused_for_several(api, batchmill, tmp_path):
    job_file(tmp_path, "a", 4, api)
    job_file(tmp_path, "b", 6, api)
    assert batchmill("run", "b.toml", "--limit", 2).exit_code == 0
    found = told(batchmill("estimate", "a.toml", "runs/b", "--json"))
    assert [(each["rows"], each["done"]) for each in found] == [(4, 0), (2, 2)]
    assert "runs/b: 2 of 2 rows are done" in batchmill("estimate", "a.toml", "runs/b").stdout
    for more in (("--probe", 2), ("-o", "x"), ("a.jsonl",)):
        assert batchmill("estimate", "a.toml", "b.toml", *more).exit_code == 2


@pytest.mark.parametrize("api_name", ["chat", "responses"])
def test_a_schema_is_counted_as_the_server_reads_it(batchmill, tmp_path, api_name):
    write(tmp_path / "in.jsonl", texts(10))
    asked = ("in.jsonl", "-m", "gpt-5.4", "-p", "{{ text }}", "--api", api_name, "--json")
    schema = '{"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}}'
    plain = told(batchmill("estimate", *asked))["total"]
    held = told(batchmill("estimate", *asked, "--schema", schema))["total"]
    assert plain["input_from"] == held["input_from"] == {"counted": 10}
    more = held["input_tokens"] - plain["input_tokens"]
    assert more % 10 == 0
    assert more / 10 > 20


def test_works_without_the_extra_and_says_so(tmp_path):
    write(tmp_path / "in.jsonl", texts(8))
    code = (
        "import sys; sys.modules['toktok'] = None\n"
        "from batch.cli import main\n"
        "sys.argv = ['batchmill', 'estimate', 'in.jsonl', '-m', 'gpt-5.4', '-p', '{{ text }}']\n"
        "main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "a quarter token a byte" in ended.stdout
    assert "batchmill[tokens]" in ended.stdout


def test_the_table_fits_a_terminal(api, batchmill, tmp_path: Path):
    write(tmp_path / "in.jsonl", texts(4))
    flags = asking(api, *PRICED, *CAPPED, "-m", "m" * 90)
    shown = batchmill("estimate", "in.jsonl", *flags, "--set", f"prices.{'m' * 90}.input=1.0",
                      "--set", f"prices.{'m' * 90}.output=1.0").stdout  # fmt: skip
    title, rule, line = shown.splitlines()[-3:]
    assert len(title) == len(rule) == len(line) <= 100


def test_a_probe_that_reaches_the_cap_names_a_run_to_go_on_with(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(50))
    priced = ("--set", "prices.m.input=100", "--set", "prices.m.output=1000")
    capped = ("--set", "request.max_tokens=40", "--set", "limits.max_cost_usd=0.2")
    ended = batchmill("estimate", "in.jsonl", *asking(api, *priced, *capped), "--probe", "50")
    assert ended.exit_code == 3, ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("to go on with a higher cap: batchmill run in.jsonl ")
    ended = batchmill(*shlex.split(last.partition(": batchmill ")[2]))
    assert ended.exit_code in (0, 3), ended.stderr
    assert "cap left" in ended.stderr
