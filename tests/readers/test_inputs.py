"""What stands on the command line as input, and what is said of how it is read."""

from __future__ import annotations

import gzip
import json

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch import readers
from batch.cli import options
from batch.spec import Job
from tests.fake_api import Step, answer_to
from tests.reading import asking, completions, rows, texts, until, write

SEMICOLON = "id;text\n1;one, more\n2;two\n"
NOTICE = "in.csv: ';' stands between its fields"


def kept(run):
    """How a run reads its files."""
    return json.loads((run / "run.json").read_text())["reading"]["dialects"]


# what was found out is said, once


def test_a_run_says_what_it_found_out_and_keeps_it(api, batchmill, tmp_path):
    (tmp_path / "in.csv").write_text(SEMICOLON)
    ended = batchmill("run", "in.csv", *asking(api))
    assert ended.exit_code == 0, ended.stderr
    assert ended.stderr.splitlines().count(NOTICE) == 1
    assert ended.stderr.splitlines()[0].endswith("runs/in (new)")
    assert set(api.prompts()) == {"one, more", "two"}
    assert [dialect["delimiter"] for dialect in kept(tmp_path / "runs/in")] == [";"]
    again = batchmill("run", "in.csv", *asking(api))
    assert again.exit_code == 0
    assert NOTICE not in again.stderr


@pytest.mark.parametrize("command", ["validate", "estimate"])
def test_what_is_found_out_is_said_beforehand(api, batchmill, tmp_path, command):
    (tmp_path / "in.csv").write_text(SEMICOLON)
    shown = batchmill(command, "in.csv", *asking(api))
    assert shown.exit_code == 0, shown.stderr
    assert NOTICE in shown.stdout
    asked = batchmill(command, "in.csv", *asking(api), "--json")
    assert json.loads(asked.stdout)["notices"] == [NOTICE]
    dry = batchmill("run", "in.csv", *asking(api), "--dry-run")
    assert dry.stdout.startswith(f"# {NOTICE}\n")


@pytest.mark.second_lane
def test_a_run_is_resumed_as_it_began(api, start, batchmill, tmp_path):
    header, *records = ["text,text,", *(f"{text},x{n},y" for n, text in enumerate(texts(300)))]
    (tmp_path / "in.csv").write_bytes("\r".join([header, *records]).encode("utf-16"))
    command = ("run", "in.csv", *asking(api, "--set", "output.part_rows=40", "-c", 8))
    for times in (1, 2):
        api.latency = 0.05
        process = start(*command)
        until(lambda times=times: len(api.ledger) >= 90 * times, process)
        process.kill()
        process.wait()
    api.latency = 0
    ended = batchmill("run", "runs/in")
    assert ended.exit_code == 0, ended.stderr
    found = rows(tmp_path / "runs/in")
    assert [row["row"] for row in found] == list(range(300))
    assert [row["text"] for row in found] == texts(300)
    assert [row["text_1"] for row in found] == [f"x{n}" for n in range(300)]
    assert {row["column_3"] for row in found} == {"y"}
    assert [row["completion"] for row in found] == [answer_to(text) for text in texts(300)]
    assert batchmill("verify", "runs/in", "--input").exit_code == 0


@pytest.mark.second_lane
def test_a_json_array_is_resumed_from_any_row(api, start, batchmill, tmp_path):
    prompts = texts(300)
    document = {"pages": 1, "data": [{"text": text} for text in prompts]}
    (tmp_path / "in.json").write_text(json.dumps(document, indent=1))
    command = ("run", "in.json", *asking(api, "--set", "output.part_rows=40", "-c", 8))
    for limit in (7, 90):
        assert batchmill(*command, "--limit", limit).exit_code == 0
    api.latency = 0.05
    process = start(*command)
    until(lambda: len(api.ledger) >= 200, process)
    process.kill()
    process.wait()
    api.latency = 0
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "runs/in") == [
        (row, answer_to(text)) for row, text in enumerate(prompts)
    ]
    assert batchmill("verify", "runs/in", "--input").exit_code == 0


def test_a_bad_row_that_is_recorded_keeps_its_id(api, batchmill, tmp_path):
    (tmp_path / "in.csv").write_bytes(b"id,text,note\n7,a\n8,caf\xe9,x\n9,b,y\n")
    refused = batchmill("run", "in.csv", *asking(api))
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: in.csv:2: 2 fields, but the header has 3")
    ended = batchmill("run", "in.csv", *asking(api, "--on-bad-row", "record"))
    assert ended.exit_code == 1, ended.stderr
    found = rows(tmp_path / "runs/in")
    assert [(row["id"], row["text"], row["error_class"]) for row in found] == [
        ("7", "a", "invalid_row"),
        ("8", "caf\N{REPLACEMENT CHARACTER}", "invalid_row"),
        ("9", "b", None),
    ]
    assert "--encoding cp1252" in found[1]["error_message"]


# what is said


def test_flags_say_how_text_is_read(api, batchmill, tmp_path):
    (tmp_path / "in.csv").write_bytes("id~text\n1~naïve, café\n".encode("cp1252"))
    flags = ("--delimiter", "~", "--encoding", "cp1252")
    for command in ("validate", "estimate", "run"):
        ended = batchmill(command, "in.csv", *asking(api), *flags)
        assert ended.exit_code == 0, ended.stderr
        assert "stands between" not in ended.stdout + ended.stderr
    assert set(api.prompts()) == {"naïve, café"}
    assert batchmill("run", "in.csv", *asking(api)).exit_code == 0


def test_a_job_file_says_how_its_input_is_read(api, batchmill, tmp_path):
    (tmp_path / "in.dat").write_bytes("id~text\n1~café\n".encode("cp1252"))
    (tmp_path / "job.toml").write_text(
        'input = "in.dat"\ninput_format = "csv"\ndelimiter = "~"\nencoding = "cp1252"\n'
        f'prompt.user = "{{{{ text }}}}"\nrequest.model = "m"\nendpoint.base_url = "{api.url}"\n'
    )
    for command in (("validate", "job.toml"), ("run", "job.toml"), ("run", "runs/job")):
        ended = batchmill(*command)
        assert ended.exit_code == 0, ended.stderr
    assert set(api.prompts()) == {"café"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--delimiter", ","), "with the delimiter ';', and not ','"),
        (("--encoding", "latin-1"), "with the encoding 'utf-8'"),
        (("--input-format", "lines"), "as csv, and not as lines"),
    ],
)
def test_a_run_that_reads_otherwise_is_refused(api, batchmill, tmp_path, flags, said):
    (tmp_path / "in.csv").write_text(SEMICOLON)
    assert batchmill("run", "in.csv", *asking(api)).exit_code == 0
    refused = batchmill("run", "in.csv", *asking(api), *flags)
    assert refused.exit_code == 4
    assert said in refused.stderr
    assert len(api.ledger) == 2


def test_a_run_without_an_answer_gives_way_to_what_is_said_now(api, batchmill, tmp_path):
    (tmp_path / "in.csv").write_bytes("id,text\n1,café\n".encode("mac_roman"))
    api.always = Step(400, body={"error": {"message": "cursed"}})
    command = ("run", "in.csv", *asking(api), "--encoding")
    assert batchmill(*command, "cp1252").exit_code == 3
    api.always = None
    ended = batchmill(*command, "mac_roman")
    assert ended.exit_code == 0, ended.stderr
    assert [row["text"] for row in rows(tmp_path / "runs/in")] == ["café"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--encoding", "cp99"), "unknown encoding 'cp99'"),
        (("--delimiter", "ab"), "delimiter 'ab'"),
        (("--input-format", "jsonl", "--delimiter", ";"), "only CSV has one"),
    ],
)
def test_what_cannot_be_said_is_refused(api, batchmill, tmp_path, flags, said):
    (tmp_path / "in.csv").write_text(SEMICOLON)
    refused = batchmill("run", "in.csv", *asking(api), *flags)
    assert refused.exit_code == 2
    assert said in refused.stderr


def test_a_retry_cannot_change_how_the_input_is_read(api, batchmill, tmp_path):
    write(tmp_path / "in.csv", texts(2))
    assert batchmill("run", "in.csv", *asking(api)).exit_code == 0
    for key in ("delimiter=;", "encoding=cp1252", "input_format=lines"):
        assert batchmill("retry", "runs/in", "--set", key).exit_code == 2


def test_the_formats_of_the_flag_are_those_of_the_readers():
    command = options.rows(lambda: None)
    params = vars(command)["__click_params__"]
    (offered,) = [each.type for each in params if each.name == "input_format"]
    assert {"run", *(offered.convert(name, None, None) for name in readers.FORMATS)} == {
        *readers.READERS
    }
    with pytest.raises(click.BadParameter):
        offered.convert("run", None, None)
    assert {"input_format", "delimiter", "encoding"} <= set(Job.__struct_fields__)


# other kinds, from beginning to end


@pytest.mark.parametrize("name", ["in.json", "in.arrow", "in.feather", "in.txt", "in.json.gz"])
def test_every_kind_is_asked_and_carried(api, batchmill, tmp_path, name):
    prompts = texts(30)
    table = pa.table({"text": prompts})
    if name == "in.txt":
        (tmp_path / name).write_text("\n".join(prompts))
    elif "json" in name:
        text = json.dumps(table.to_pylist(), indent=2).encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    else:
        with pa.ipc.new_file(tmp_path / name, table.schema) as file:
            file.write_table(table, max_chunksize=7)
    flags = ("--input-format", "lines") if name == "in.txt" else ()
    for limit in (("--limit", 11), ()):
        ended = batchmill("run", name, *asking(api), *flags, *limit)
        assert ended.exit_code == 0, ended.stderr
    found = rows(tmp_path / "runs/in")
    assert [row["text"] for row in found] == prompts
    assert [row["completion"] for row in found] == [answer_to(text) for text in prompts]
    assert len(api.ledger) == 30
    assert batchmill("verify", "runs/in", "--input").exit_code == 0


# standard input


@pytest.mark.parametrize(
    ("content", "flags", "name"),
    [
        (b'{"text": "one"}\n{"text": "two"}\n', (), "input.jsonl"),
        (b'\xef\xbb\xbf \n{"text": "one"}\n{"text": "two"}\n', (), "input.jsonl"),
        ('{"text": "one"}\n{"text": "two"}\n'.encode("utf-16"), (), "input.jsonl"),
        (b'{\n"text": "one"}\n{"text": "two"}\n', (), "input.jsonl"),
        (b'[{"text": "one"}, {"text": "two"}]', (), "input.json"),
        (gzip.compress(b'{"text": "one"}\n{"text": "two"}\n', mtime=0), (), "input.jsonl.gz"),
        (b"text\none\ntwo\n", ("--input-format", "csv"), "input.csv"),
        (b"id;text\n1;one\n2;two\n", ("--input-format", "csv"), "input.csv"),
        (gzip.compress(b"text\none\ntwo\n", mtime=0), ("--input-format", "csv"), "input.csv.gz"),
        (b"one\ntwo\n", ("--input-format", "lines"), "input.txt"),
        ("parquet", (), "input.parquet"),
        ("arrow", (), "input.arrow"),
    ],
)
def test_standard_input_is_looked_at(api, start, batchmill, tmp_path, content, flags, name):
    if isinstance(content, str):
        content = binary(tmp_path, content)
    (tmp_path / "piped").write_bytes(content)
    with (tmp_path / "piped").open() as piped:
        process = start("run", "-", *asking(api), *flags, stdin=piped)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert set(api.prompts()) == {"one", "two"}
    assert (tmp_path / "runs/stdin" / name).read_bytes() == content
    assert batchmill("run", "runs/stdin").exit_code == 0
    assert batchmill("verify", "runs/stdin", "--input").exit_code == 0


def binary(tmp_path, kind):
    table, path = pa.table({"text": ["one", "two"]}), tmp_path / "table"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(path, table.schema) as file:
            file.write_table(table)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id,text\n1,one\n", "say what it is: --input-format csv"),
        (gzip.compress(b"id,text\n1,one\n", mtime=0), "say what it is: --input-format csv"),
        (b"PK\x03\x04 xl/workbook.xml", "standard input: a spreadsheet; save it as CSV"),
        (b"\xfd7zXZ\0....", "standard input: compressed with xz; xz -d"),
    ],
)
def test_standard_input_that_nobody_knows_says_what_to_do(api, start, tmp_path, content, said):
    (tmp_path / "piped").write_bytes(content)
    for command in ("validate", "run"):
        with (tmp_path / "piped").open() as piped:
            process = start(command, "-", *asking(api), stdin=piped)
            _, stderr = process.communicate(timeout=60)
        assert process.returncode == 2
        assert said in stderr
    assert not (tmp_path / "runs").exists()


# several inputs


def test_several_inputs_are_one_job(api, batchmill, tmp_path):
    prompts = texts(9)
    for place, name in enumerate(("b.csv", "a.csv", "c.csv")):
        write(tmp_path / name, prompts[place * 3 : place * 3 + 3])
    command = ("run", "b.csv", *asking(api), "a.csv", "c.csv")
    ended = batchmill(*command)
    assert ended.exit_code == 0, ended.stderr
    assert completions(tmp_path / "runs/b") == [
        (row, answer_to(text)) for row, text in enumerate(prompts)
    ]
    assert batchmill(*command).exit_code == 0
    assert batchmill("run", "runs/b").exit_code == 0
    assert len(api.ledger) == 9
    elsewhere = batchmill("run", "a.csv", "c.csv", *asking(api, "-o", "out.jsonl"))
    assert elsewhere.exit_code == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize("command", ["validate", "estimate"])
def test_several_inputs_are_judged_together(api, batchmill, tmp_path, command):
    for name in ("a.csv", "b.csv"):
        write(tmp_path / name, texts(3))
    ended = batchmill(command, "a.csv", "b.csv", *asking(api))
    assert ended.exit_code == 0, ended.stderr
    assert "a.csv and 1 more: 6" in ended.stdout


def test_a_job_file_and_standard_input_stand_alone(api, batchmill, tmp_path):
    write(tmp_path / "a.csv", texts(3))
    (tmp_path / "job.toml").write_text('input = "a.csv"\n')
    for others in (("job.toml", "a.csv"), ("a.csv", "job.toml")):
        refused = batchmill("run", *others, *asking(api))
        assert refused.exit_code == 2
        assert "job.toml is a job file, which stands alone" in refused.stderr
    refused = batchmill("run", "a.csv", "-", *asking(api))
    assert refused.exit_code == 2
    assert "standard input stands alone" in refused.stderr
    assert batchmill("run").exit_code in (0, 2)


# a run as input


def second(api, *more):
    return ("-m", "m2", "-p", "{{ text }}: {{ completion }}", "--base-url", api.url, *more)


def test_a_run_with_a_prompt_is_an_input(api, batchmill, tmp_path):
    write(tmp_path / "in.csv", texts(5))
    assert batchmill("run", "in.csv", *asking(api)).exit_code == 0
    api.reset_ledger()
    ended = batchmill("run", "runs/in", *second(api))
    assert ended.exit_code == 0, ended.stderr
    asked = {f"{text}: {answer_to(text)}" for text in texts(5)}
    assert set(api.prompts()) == asked
    assert [row["text"] for row in rows(tmp_path / "runs/in-2")] == texts(5)
    assert len(rows(tmp_path / "runs/in")) == 5
    for command in (("runs/in", *second(api)), ("runs/in-2",), ("runs/in",)):
        assert batchmill("run", *command).exit_code == 0
    assert len(api.ledger) == 5
    third = ("-m", "m", "-p", "{{ completion }}", "--base-url", api.url)
    assert batchmill("run", "runs/in-2", *third).exit_code == 0
    assert len(rows(tmp_path / "runs/in-3")) == 5
    assert batchmill("validate", "runs/in", *second(api)).exit_code == 0


@pytest.mark.parametrize("how", ["--prompt-file", "--set"])
def test_a_prompt_may_be_given_in_other_words(api, batchmill, tmp_path, how):
    write(tmp_path / "in.csv", texts(2))
    assert batchmill("run", "in.csv", *asking(api)).exit_code == 0
    (tmp_path / "prompt.txt").write_text("{{ completion }}")
    prompt = {"--prompt-file": "prompt.txt", "--set": "prompt.user='{{ completion }}'"}[how]
    ended = batchmill(
        *("run", "runs/in", "-m", "m", how, prompt, "--base-url", api.url, "-o", "other")
    )
    assert ended.exit_code == 0, ended.stderr
    assert len(rows(tmp_path / "other")) == 2


def test_several_runs_are_an_input_where_there_is_a_prompt(api, batchmill, tmp_path):
    for name in ("a.csv", "b.csv"):
        write(tmp_path / name, texts(2))
        assert batchmill("run", name, *asking(api)).exit_code == 0
    ended = batchmill("run", "runs/a", "runs/b", *second(api, "-o", "both"))
    assert ended.exit_code == 0, ended.stderr
    assert len(rows(tmp_path / "both")) == 4
    refused = batchmill("run", "runs/a", "runs/b")
    assert refused.exit_code == 2
    assert "name it alone to go on with it, or say with -p what to ask" in refused.stderr


@pytest.mark.parametrize("flags", [("-s", "Be brief."), ("-m", "other")])
def test_a_run_without_a_prompt_goes_on(api, batchmill, tmp_path, flags):
    write(tmp_path / "in.csv", texts(2))
    assert batchmill("run", "in.csv", *asking(api)).exit_code == 0
    refused = batchmill("run", "runs/in", *flags)
    assert refused.exit_code == 4
    assert "is the run of another job" in refused.stderr
    assert batchmill("run", "runs/in", *flags, "--new").exit_code == 0
    assert (tmp_path / "runs/in~1").is_dir()
