"""A sample is a run of its own: the same N rows again, however often it is begun, cut off or asked."""

from __future__ import annotations

import gzip
import json
import shlex
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.sampling import Chosen
from tests.fake_api import answer_to
from tests.reading import asking, completions, parts, rows, texts, tree, until, write

PROMPTS = texts(200)
SIZE = 30
SMALL_PARTS = ("--set", "output.part_rows=7")


def chosen(size=SIZE, seed=0):
    return list(Chosen(len(PROMPTS), size, seed).numbers)


def answers(numbers, prompts=PROMPTS):
    return [(row, answer_to(prompts[row])) for row in numbers]


def jsonl_with_blank_lines(folder):
    write(folder / "in.jsonl", PROMPTS)
    lines = (folder / "in.jsonl").read_text().splitlines()
    text = "".join(f"{line}\n" + "\n" * (at % 3 == 0) for at, line in enumerate(lines))
    (folder / "in.jsonl").write_text(text)
    return "in.jsonl"


def csv(folder):
    return write(folder / "in.csv", PROMPTS).name


def csv_gz(folder):
    plain = write(folder / "in.csv", PROMPTS)
    (folder / "in.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return "in.csv.gz"


def parquet(folder):
    return write(folder / "in.parquet", PROMPTS).name


def arrow(folder):
    with pa.ipc.new_file(folder / "in.arrow", pa.schema([("text", pa.string())])) as file:
        for first in range(0, len(PROMPTS), 64):
            file.write_batch(pa.record_batch({"text": PROMPTS[first : first + 64]}))
    return "in.arrow"


def document(folder):
    found = [{"text": prompt} for prompt in PROMPTS]
    (folder / "in.json").write_text(json.dumps(found, indent=1))
    return "in.json"


def several_files(folder):
    """The second has another column, and one has few rows, of which none may be chosen."""
    (folder / "in").mkdir()
    write(folder / "in/1.jsonl", PROMPTS[:90])
    write(folder / "in/2.jsonl", PROMPTS[90:93])
    lines = [json.dumps({"text": prompt, "more": at}) for at, prompt in enumerate(PROMPTS[93:])]
    (folder / "in/3.jsonl").write_text("\n".join(lines))
    return "in"


def several_parquets(folder):
    """Their columns are of two types, so that batches are fitted."""
    (folder / "in").mkdir()
    for number, (first, kind) in enumerate([(0, pa.int32()), (100, pa.int64())]):
        ids = pa.array(range(first, first + 100), kind)
        made = pa.table({"id": ids, "text": PROMPTS[first : first + 100]})
        pq.write_table(made, folder / f"in/{number}.parquet")
    return "in"


INPUTS = [
    *(jsonl_with_blank_lines, csv, csv_gz, parquet, arrow, document, several_files),
    several_parquets,
]


@pytest.mark.parametrize("make", INPUTS, ids=lambda make: make.__name__)
def test_the_rows_of_a_sample_are_chosen_by_their_number_in_any_input(
    api, batchmill, tmp_path, make
):
    name = make(tmp_path)
    ended = batchmill("run", name, *asking(api, "--sample", SIZE, *SMALL_PARTS))
    assert ended.exit_code == 0, ended.stderr
    assert "a sample of 30 of 200 rows, by seed 0" in ended.stderr
    run = tmp_path / "runs/in"
    assert completions(run) == answers(chosen())
    assert [row["text"] for row in rows(run)] == [PROMPTS[row] for row in chosen()]
    assert [pq.read_metadata(part).num_rows for part in parts(run)] == [7, 7, 7, 7, 2]
    assert api.prompts() == {PROMPTS[row]: 1 for row in chosen()}
    checked = batchmill("verify", run, "--input")
    assert (checked.exit_code, checked.stdout) == (0, f"{run}: all is well\n")


@pytest.mark.parametrize("make", INPUTS, ids=lambda make: make.__name__)
def test_a_row_of_a_sample_is_called_by_its_place_in_the_input(batchmill, tmp_path, make):
    command = ("validate", make(tmp_path), "-m", "m", "-p", "{{ text }}{{ nothing }}", "--local")

    def faults(*more):
        ended = batchmill(*command, "-n", 200, "--json", *more)
        assert ended.exit_code == 1, ended.stderr
        return json.loads(ended.stdout)["faults"]

    whole = faults()
    assert len({fault["where"] for fault in whole}) == len(PROMPTS)
    assert faults("--sample", SIZE) == [whole[row] for row in chosen()]


def test_the_same_sample_is_chosen_again_and_a_smaller_one_lies_in_it(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS)
    for name, size, seed in (("a", 30, 5), ("b", 30, 5), ("c", 10, 5), ("d", 30, 6)):
        asked = asking(api, "--sample", size, "--seed", seed, "-o", name)
        assert batchmill("run", "in.jsonl", *asked).exit_code == 0
    a, b, c, d = ([row["row"] for row in rows(tmp_path / name)] for name in "abcd")
    assert a == b == chosen(30, 5)
    assert set(c) < set(a) != set(d)


def test_a_sample_larger_than_the_input_takes_all(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS[:20])
    ended = batchmill("run", "in.jsonl", *asking(api, "--sample", 500))
    assert "the sample is all 20 rows: there are no more" in ended.stderr
    assert completions(tmp_path / "runs/in") == answers(range(20))


def test_a_limit_asks_the_first_rows_of_a_sample(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS)
    command = ("run", "in.jsonl", *asking(api, "--sample", SIZE, *SMALL_PARTS))
    assert batchmill(*command, "--limit", 12).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(chosen()[:12])
    now = status(batchmill)
    assert (now["rows"], now["ok"], now["pending"], now["limit"]) == (SIZE, 12, 18, 12)
    assert batchmill(*command).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(chosen())
    assert len(api.ledger) == SIZE


def test_standard_input_is_sampled(api, batchmill, tmp_path):
    lines = write(tmp_path / "in.jsonl", PROMPTS).read_text()
    asked = asking(api, "--sample", SIZE, "--input-format", "jsonl", "-o", "out", "--limit", 9)
    assert batchmill("run", "-", *asked, stdin=lines).exit_code == 0
    ended = batchmill("run", "out", "--set", "limit=30")
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "out") == answers(chosen())


# going on


@pytest.mark.second_lane
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_sample_that_was_cut_off_goes_on_with_the_same_rows(
    api, start, batchmill, tmp_path, number
):
    write(tmp_path / "in.jsonl", PROMPTS)
    command = ("run", "in.jsonl", *asking(api, "-c", 4, "--sample", 100, *SMALL_PARTS))
    api.latency = 0.03
    for more in (20, 45):
        process = start(*command)
        until(lambda more=more: len(api.ledger) >= more, process)
        process.send_signal(number)
        process.communicate(timeout=30)
        now = status(batchmill)
        assert now["rows"] == 100
        assert now["pending"] == 100 - now["ok"] > 0
        assert batchmill("verify", "runs/in").exit_code == 1
    api.latency = 0
    assert batchmill("run", "runs/in").exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(chosen(100))
    assert len(api.ledger) <= 100 + (8 if number == signal.SIGKILL else 0)
    assert batchmill("verify", "runs/in", "--input").exit_code == 0


def test_an_input_that_grew_does_not_change_the_sample(api, batchmill, tmp_path):
    source = write(tmp_path / "in.jsonl", PROMPTS)
    command = ("run", "in.jsonl", *asking(api, "--sample", SIZE))
    assert batchmill(*command, "--limit", 12).exit_code == 0
    with source.open("ab") as file:
        file.writelines(b'{"id": 0, "text": "more"}\n' for _ in range(300))
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    assert "the sample stays that of its first 200 rows" in ended.stderr
    assert "asked too" not in ended.stderr
    assert completions(tmp_path / "runs/in") == answers(chosen())
    assert batchmill("verify", "runs/in", "--input").exit_code == 0


def test_run_json_keeps_the_sample_and_from_how_many_rows_it_was_chosen(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS)
    asked = asking(api, "--sample", SIZE, "--seed", 9)
    assert batchmill("run", "in.jsonl", *asked).exit_code == 0
    kept = json.loads((tmp_path / "runs/in/run.json").read_text())
    assert (kept["job"]["sample"], kept["job"]["seed"]) == (SIZE, 9)
    assert (kept["sampled_from"], kept["rows"]) == (200, SIZE)


def test_a_run_that_is_no_sample_keeps_no_seed(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS[:3])
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    kept = json.loads((tmp_path / "runs/in/run.json").read_text())
    assert not {"sample", "seed"} & kept["job"].keys()


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (["--sample", "30"], [], "sample"),
        ([], ["--sample", "30"], "sample"),
        (["--sample", "30"], ["--sample", "31"], "sample"),
        (["--sample", "30"], ["--sample", "30", "--seed", "1"], "seed"),
        ([], ["--sample", "30", "--seed", "1"], "sample, seed"),
    ],
)
def test_another_sample_is_another_run(api, batchmill, tmp_path, before, after, changed):
    write(tmp_path / "in.jsonl", PROMPTS)
    assert batchmill("run", "in.jsonl", *asking(api, *before)).exit_code == 0
    there = tree(tmp_path / "runs")
    refused = batchmill("run", "in.jsonl", *asking(api, *after))
    assert refused.exit_code == 4
    error, *ways = refused.stderr.splitlines()
    assert f"the run of another job: {changed} changed" in error
    same = ["run", "in.jsonl", *map(str, asking(api, *after))]
    pasted = [shlex.split(way[way.index("batchmill ") :])[1:] for way in ways]
    assert pasted == [[*same, "--new"], [*same, "--reuse", "runs/in"]]
    assert tree(tmp_path / "runs") == there
    assert batchmill("run", "runs/in").exit_code == 0


def test_the_whole_takes_the_answers_of_a_sample_for_nothing(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS)
    assert batchmill("run", "in.jsonl", *asking(api, "--sample", SIZE)).exit_code == 0
    ended = batchmill("run", "in.jsonl", *asking(api, "--reuse", "runs/in"))
    assert ended.exit_code == 0, ended.stderr
    assert "reused    30 rows, taken from runs/in~1" in ended.stderr
    found = rows(tmp_path / "runs/in")
    assert [row["row"] for row in found if row["reused"]] == chosen()
    assert completions(tmp_path / "runs/in") == answers(range(200))
    assert api.prompts() == dict.fromkeys(PROMPTS, 1)


def test_a_job_file_may_ask_for_a_sample(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS)
    (tmp_path / "job.toml").write_text(
        'input = "in.jsonl"\nsample = 30\nseed = 4\nprompt.user = "{{ text }}"\n'
        f'request.model = "m"\nendpoint.base_url = "{api.url}"\n'
    )
    assert batchmill("run", "job.toml").exit_code == 0
    assert completions(tmp_path / "runs/job") == answers(chosen(30, 4))
    assert batchmill("run", "job.toml", "--seed", 5).exit_code == 4


@pytest.mark.parametrize("flags", [["--sample", "0"], ["--seed", "-1", "--sample", "3"]])
def test_what_is_no_sample_is_refused(api, batchmill, tmp_path, flags):
    write(tmp_path / "in.jsonl", PROMPTS)
    assert batchmill("run", "in.jsonl", *asking(api, *flags)).exit_code == 2
    assert not (tmp_path / "runs").exists()


def test_a_seed_without_a_sample_is_refused(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS[:3])
    for command in ("run", "estimate"):
        ended = batchmill(command, "in.jsonl", *asking(api, "--seed", 3))
        assert ended.exit_code == 2
        assert "request.seed" in ended.stderr
    assert batchmill("run", "in.jsonl", *asking(api)).exit_code == 0
    assert batchmill("export", "runs/in", "-o", "out.csv", "--seed", 3).exit_code == 2


# looking at it


def status(batchmill):
    return json.loads(batchmill("status", "runs/in", "--json").stdout)


def test_failed_rows_of_a_sample_are_asked_again(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS)
    bad = [chosen()[place] for place in (0, 8, 29)]
    api.script = {PROMPTS[row]: [400, 400] for row in bad}
    command = ("run", "in.jsonl", *asking(api, "--sample", SIZE, *SMALL_PARTS))
    assert batchmill(*command).exit_code == 1
    now = status(batchmill)
    assert (now["rows"], now["ok"], now["failed"], now["sampled_from"]) == (SIZE, 27, 3, 200)
    assert "of 30, a sample of 200" in batchmill("status", "runs/in").stdout
    shown = batchmill("show", "runs/in", "--failed", "--json").stdout.splitlines()
    assert [json.loads(line)["row"] for line in shown] == bad
    [line] = batchmill("show", "runs/in", "--row", bad[1], "--json").stdout.splitlines()
    assert json.loads(line)["text"] == PROMPTS[bad[1]]
    assert batchmill("retry", "runs/in").exit_code == 1
    api.script = {}
    assert batchmill("retry", "runs/in").exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(chosen())
    told = json.loads(batchmill("report", "runs/in", "--format", "json").stdout)
    assert told["totals"]["rows_ok"] == SIZE
    assert told["totals"]["attempts"] == SIZE + 2 * len(bad)
    assert batchmill("verify", "runs/in", "--input").exit_code == 0


def test_a_retry_cannot_choose_other_rows(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS)
    assert batchmill("run", "in.jsonl", *asking(api, "--sample", SIZE)).exit_code == 0
    for setting in ("sample=40", "seed=2"):
        assert batchmill("retry", "runs/in", "--set", setting).exit_code == 2


def test_a_row_that_cannot_be_asked_is_named_where_it_stands(api, batchmill, tmp_path):
    bad = chosen()[4]
    lines = [json.dumps({"text": prompt}) for prompt in PROMPTS]
    lines[bad] = '{"text": '
    lines[next(row for row in range(200) if row not in chosen())] = "no JSON, and not chosen"
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    command = ("run", "in.jsonl", *asking(api, "--sample", SIZE))
    refused = batchmill(*command)
    assert refused.exit_code == 2
    assert f"in.jsonl:{bad + 1}: " in refused.stderr
    assert batchmill(*command, "--on-bad-row", "record").exit_code == 1
    [failed] = [row for row in rows(tmp_path / "runs/in") if row["status"] == "failed"]
    assert failed["row"] == bad
    assert f"in.jsonl:{bad + 1}: " in failed["error_message"]


def test_what_is_lost_of_a_sample_is_told_and_asked_again(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS)
    command = ("run", "in.jsonl", *asking(api, "--sample", SIZE, *SMALL_PARTS))
    assert batchmill(*command).exit_code == 0
    parts(tmp_path / "runs/in")[2].write_bytes(b"nothing")
    assert batchmill("verify", "runs/in").exit_code == 5
    batchmill("verify", "runs/in", "--repair")
    assert batchmill(*command).exit_code == 0
    assert completions(tmp_path / "runs/in") == answers(chosen())
    assert len(api.ledger) == SIZE + 7
    assert batchmill("verify", "runs/in").exit_code == 0


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_a_sample_of_the_results_has_the_rows_of_a_run_that_is_one(api, batchmill, tmp_path, name):
    write(tmp_path / "in.jsonl", PROMPTS)
    asked = asking(api, *SMALL_PARTS, "-o", "whole")
    assert batchmill("run", "in.jsonl", *asked).exit_code == 0
    exported = batchmill("export", "whole", "-o", name, "--sample", SIZE, "--seed", 3)
    assert exported.exit_code == 0, exported.stderr
    if name.endswith(".parquet"):
        found = pq.read_table(tmp_path / name).to_pylist()
    else:
        found = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
    assert [(row["row"], row["completion"]) for row in found] == answers(chosen(30, 3))
    assert batchmill("export", "whole", "-o", "all.csv", "--sample", 500).exit_code == 0
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 201


def test_a_dry_run_shows_what_a_sample_asks(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS)
    told = batchmill("run", "in.jsonl", *asking(api, "--sample", SIZE, "--dry-run")).stdout
    assert [place for place in told.split() if place.startswith("in.jsonl:")] == [
        f"in.jsonl:{row + 1}" for row in chosen()[:3]
    ]
    assert all(PROMPTS[row] in told for row in chosen()[:3])
    assert not api.ledger


def test_an_estimate_is_that_of_a_run_of_the_sample(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", PROMPTS)
    command = ("estimate", "in.jsonl", *asking(api, "--sample", SIZE), "--json")
    found = json.loads(batchmill(*command).stdout)
    assert (found["rows"], found["total"]["rows"]) == (SIZE, SIZE)
    found = json.loads(batchmill(*command, "--probe", 10).stdout)
    assert (found["rows"], found["done"], found["learnt_rows"]) == (SIZE, 10, 10)
    assert completions(tmp_path / "runs/in") == answers(chosen()[:10])
