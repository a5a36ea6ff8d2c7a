"""A job file becomes one value, or one line that says where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batch import job_toml, spec
from batch.errors import JobError
from batch.spec import Job


def save(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> str:
    """What is said about a job file, without its folder."""
    path = save(folder, text)
    with pytest.raises(JobError) as caught:
        spec.check(job_toml.read(path), path)
    return str(caught.value).replace(f"{folder}/", "")


def test_an_empty_file_is_a_job_of_defaults(tmp_path):
    path = save(tmp_path, "")
    assert spec.check(job_toml.read(path), path) == Job()


def test_defaults_are_those_the_documentation_names():
    made = Job()
    assert (made.request.api, made.endpoint.total_timeout, made.endpoint.idle_timeout) == (
        "chat",
        900.0,
        120.0,
    )
    assert (made.endpoint.connect_timeout, made.limits.concurrency) == (10.0, "auto")
    assert (made.retry.max_attempts, made.retry.max_maybe_billed) == (8, 2)
    assert (made.retry.first_delay, made.retry.max_delay, made.retry.max_wait) == (0.5, 60.0, 900.0)
    assert (made.output.part_rows, made.output.response, made.output.request) == (
        5000,
        "auto",
        False,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("inptu = 'x'", "job.toml:1: unknown key 'inptu' (did you mean input?)"),
        ("\n\nlimit = 0", "job.toml:3: limit: "),
        ("limit = 'all'", "job.toml:1: limit: "),
        ("keep = [1]", "job.toml:1: keep: "),
        ("[tags]\na = 'x'\nb = 2", "job.toml:1: tags: "),
        (
            "[retry]\nmax_attempt = 3",
            "job.toml:2: [retry] unknown key 'max_attempt' (did you mean max_attempts",
        ),
        ("retry = { max_attempts = 0 }", "job.toml:1: [retry] max_attempts: "),
        ("retry.max_attempts = 0", "job.toml:1: [retry] max_attempts: "),
        (
            "# retry\n[retry]\n\n# first\n  max_delay = -1",
            "job.toml:5: [retry] max_delay: ",
        ),
        ("[limits]\nzzz = 1", "job.toml:2: [limits] unknown key 'zzz' (known: requests_per_minute"),
        (
            "[limits]\nconcurrency = 0",
            'job.toml:2: [limits] concurrency: expected "auto" or a number of at least 1, not 0',
        ),
        ("limits = 3", "job.toml:1: limits: "),
        (
            "[request]\nmodel = 3",
            "job.toml:2: [request] model: ",
        ),
        ("[request]\napi = 'telnet'", "job.toml:2: [request] api: expected one of chat"),
        ("[endpoint]\nheaders = { X-A = 3 }", "job.toml:2: [endpoint] headers: "),
        (
            "[endpoint]\ntotal_timeout = 0",
            "job.toml:2: [endpoint] total_timeout: ",
        ),
        ("[endpoint]\napi_key = 'k'", "job.toml:2: [endpoint] unknown key 'api_key' (did you mean"),
        ("[prompt]\nusr = 'x'", "job.toml:2: [prompt] unknown key 'usr' (did you mean user?)"),
        (
            "temperature = 0",
            "job.toml:1: unknown key 'temperature' (did you mean temperature in [request]?)",
        ),
        (
            "[prompt]\ntemprature = 0",
            "job.toml:2: [prompt] unknown key 'temprature' (did you mean temperature",
        ),
        (
            "[limits]\nrpm = 5",
            "job.toml:2: [limits] unknown key 'rpm' (did you mean requests_per_minute?)",
        ),
        (
            "[limits]\nmax_tokens = 5",
            "job.toml:2: [limits] unknown key 'max_tokens' (did you mean max_tokens in",
        ),
        (
            "[endpoint]\nurl = 'x'",
            "job.toml:2: [endpoint] unknown key 'url' (did you mean base_url?)",
        ),
        (
            "[prompt]\nlimit = 5",
            "job.toml:2: [prompt] unknown key 'limit' (did you mean limit, which stands",
        ),
        (
            "[limits]\ntimeout = 5",
            "job.toml:2: [limits] unknown key 'timeout' (did you mean total_timeout in",
        ),
        ("[output]\nresponse = 'never'", "job.toml:2: [output] response: "),
        ("name = ]", "job.toml:1: not TOML: "),
        ("[retry]\n[retry]", "job.toml:2: not TOML: "),
        ("\n\nkeep = [", "job.toml:3: not TOML: "),
    ],
)
def test_an_error_names_file_line_table_and_key(tmp_path, text, said):
    assert complaint(tmp_path, text).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[prompt]\nimages = 'photo'",
            "job.toml:4: [prompt] images: the embedded model reads text",
        ),
        ("[prompt]\naudio = ['a']", "job.toml:4: [prompt] audio: the embedded model reads text"),
        ("[request]\napi = 'embeddings'", "job.toml:4: [request] api: the embedded model gives no"),
    ],
)
def test_what_the_embedded_model_cannot_do_is_refused(tmp_path, text, said):
    assert complaint(tmp_path, f"[endpoint]\nbase_url = 'local'\n{text}").startswith(said)
    path = save(tmp_path, text)
    assert not spec.check(job_toml.read(path), path).endpoint.local


@pytest.mark.parametrize(
    ("line", "way_out"),
    [
        ("input = r.csv", 'text stands in quotes: input = "…"'),
        ("model = gpt-5.4-mini  # the model", 'text stands in quotes: model = "…"'),
        ("api_key_env = sk-secret", 'text stands in quotes: api_key_env = "…"'),
        ("allow_http = True", "write allow_http = true"),
        ("name =", "leave name out, or give it a value"),
        ("name = None", "leave name out, or give it a value"),
        ("input: 'r.csv'", "a key is set by ="),
        ('input = "C:\\data\\r.csv"', "a backslash is doubled"),
        ('user = "one\ntwo"', 'user = """…"""'),
        ("limit = 5\nlimit = 6", None),
        ("keep = [", None),
    ],
)
def test_a_line_that_is_no_toml_says_what_to_write(tmp_path, line, way_out):
    path = save(tmp_path, line)
    with pytest.raises(JobError, match=r"job\.toml:\d: not TOML: ") as refused:
        job_toml.read(path)
    hint = refused.value.hint
    assert hint is None if way_out is None else way_out in (hint or "")
    assert "secret" not in f"{refused.value} {hint}"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(JobError, match=r"no such job file: .*nothing\.toml"):
        job_toml.read(tmp_path / "nothing.toml")


def test_a_file_that_is_no_text_is_one_line(tmp_path):
    (tmp_path / "job.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(JobError, match=r"job\.toml: cannot be read"):
        job_toml.read(tmp_path / "job.toml")
    with pytest.raises(JobError, match="cannot be read"):
        job_toml.read(tmp_path)


def test_a_byte_order_mark_is_no_key(tmp_path):
    assert job_toml.read(save(tmp_path, "\ufeffname = 'a'")) == {"name": "a"}


def test_an_error_of_a_flag_names_no_file():
    tables: dict[str, Any] = {}
    spec.put(tables, "limits.concurrency", "many")
    with pytest.raises(JobError) as caught:
        spec.check(tables)
    assert str(caught.value).startswith("[limits] concurrency: expected")


def test_any_key_of_request_is_sent_as_it_is():
    made = spec.check({"request": {"model": "m", "temperature": 0, "top_k": {"x": [1]}}})
    assert (made.request.model, made.request.sent) == ("m", {"temperature": 0, "top_k": {"x": [1]}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ('"3"', "3"),
        ("[1, 2]", [1, 2]),
        ("{ a = 1 }", {"a": 1}),
        ("gpt-5.4-mini", "gpt-5.4-mini"),
        ("True", "True"),
        ("", ""),
        ("two words", "two words"),
    ],
)
def test_a_set_value_is_toml_where_it_is_toml(text, value):
    assert spec.value_of(text) == value


def test_set_reaches_any_depth_and_keeps_the_rest():
    tables: dict[str, Any] = {"request": {"model": "m"}}
    spec.put(tables, "request.chat_template_kwargs.enable_thinking", False)
    spec.put(tables, "name", "n")
    assert tables == {
        "request": {"model": "m", "chat_template_kwargs": {"enable_thinking": False}},
        "name": "n",
    }


def test_set_below_a_plain_value_is_refused():
    with pytest.raises(JobError, match=r"--set name\.first: name is no table"):
        spec.put({"name": "n"}, "name.first", 1)


@pytest.mark.parametrize("given", ["-", "https://host/in.jsonl", "s3://bucket/in.parquet"])
def test_an_input_that_is_no_path_stays(tmp_path, given):
    assert job_toml.absolute({"input": given}, tmp_path)["input"] == given


def test_paths_are_taken_from_the_folder_of_the_file(tmp_path):
    (tmp_path / "ask.txt").write_text("Say {{ text }}\n", encoding="utf-8")
    made = job_toml.absolute(
        {
            "input": ["a.jsonl", "/b.jsonl"],
            "output": {"path": "out.parquet"},
            "prompt": {"file": "ask.txt"},
            "endpoint": {"base_url": "local:tiny.gguf"},
        },
        tmp_path,
    )
    assert made == {
        "input": [f"{tmp_path}/a.jsonl", "/b.jsonl"],
        "output": {"path": f"{tmp_path}/out.parquet"},
        "prompt": {"user": "Say {{ text }}\n"},
        "endpoint": {"base_url": f"local:{tmp_path}/tiny.gguf"},
    }


def test_at_leaves_what_it_was_given(tmp_path):
    tables = {"output": {"path": "out.parquet"}}
    job_toml.absolute(tables, tmp_path)
    assert tables == {"output": {"path": "out.parquet"}}


def test_a_prompt_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(JobError, match=r"^\[prompt\] file: cannot read .*ask\.txt"):
        job_toml.absolute({"prompt": {"file": "ask.txt"}}, tmp_path)


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"name": "n", "keep": ["a"], "tags": {"customer": "acme"}},
        {"request": {"model": "m", "temperature": 0}, "limits": {"concurrency": 4}},
        {"request": {"metadata": {}, "chat_template_kwargs": {"tools": {}}}},
        {"prompt": {"user": ""}, "output": {"response": False}},
    ],
)
def test_a_job_is_made_again_of_its_tables(tables):
    made = spec.check(tables)
    assert spec.check(spec.tables_of(made)) == made


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def test_a_schema_asks_for_its_format_and_is_not_sent_itself():
    made = spec.check({"request": {"model": "m", "schema": {"a": "string"}}})
    assert made.request.schema == SCHEMA
    assert list(made.request.sent) == ["response_format"]
    assert made.request.sent["response_format"]["json_schema"]["schema"] == SCHEMA
    tables = spec.tables_of(made)
    assert tables["request"] == {"api": "chat", "model": "m", "schema": SCHEMA}
    assert spec.check(tables) == made


def test_a_schema_may_be_a_file_beside_the_job(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(SCHEMA))
    for given in ("a.json", json.dumps(SCHEMA)):
        made = job_toml.absolute({"request": {"schema": given}}, tmp_path)
        assert spec.check(made).request.schema == SCHEMA


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ('schema = { a = "strng" }', r"job\.toml:2: \[request\] schema: a: 'strng' is no type"),
        ("schema = 3", r"\[request\] schema: expected a JSON Schema"),
        (
            'schema = { a = "string" }\nresponse_format = { type = "json_object" }',
            r"\[request\] schema: response_format says it too",
        ),
        (
            'api = "responses"\nschema = { a = "string" }\ntext.format.type = "json_object"',
            r"job\.toml:3: \[request\] schema: text\.format says it too",
        ),
        (
            'schema = "none.json"',
            r"job\.toml:2: \[request\] schema: cannot read [^\[]*/none\.json: [^']+$",
        ),
        ('schema = "{broken"', r"\[request\] schema: cannot read: "),
    ],
)
def test_a_wrong_schema_is_named_with_its_place(tmp_path, request_, said):
    path = tmp_path / "job.toml"
    path.write_text(f"[request]\n{request_}\n")
    with pytest.raises(JobError, match=said):
        spec.check(job_toml.absolute(job_toml.read(path), tmp_path, path), path)


@pytest.mark.parametrize("written", ["htp://foo", "", "https://user:pass@h.example"])
def test_a_wrong_base_url_is_named_with_its_place(tmp_path, written):
    path = tmp_path / "job.toml"
    path.write_text(f'[endpoint]\n\nbase_url = "{written}"\n')
    with pytest.raises(JobError, match=r"job\.toml:3: \[endpoint\] base_url: "):
        spec.check(job_toml.absolute(job_toml.read(path), tmp_path), path)


def test_folders_of_files_are_relative_to_the_job(tmp_path):
    tables = {"prompt": {"images": "p", "files_from": ["pics", "/data"]}}
    made = spec.check(job_toml.absolute(tables, tmp_path)).prompt
    assert made.files_from == [str(tmp_path / "pics"), "/data"]
