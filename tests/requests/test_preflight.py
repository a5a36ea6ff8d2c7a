"""What every server would refuse is found before it costs anything, and nothing else is."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from batch import job_toml, spec
from batch.apis import APIS, Parameters, bounded
from batch.errors import JobError
from batch.requests.preflight import (
    CLIENT_SIDE,
    Bounds,
    OutOfBounds,
    client_side,
    of_body,
    of_parameters,
)
from batch.requests.prompts import Question
from tests.fake_api import FakeAPI, Step
from tests.reading import asking, rows, texts, write

USER = {"role": "user", "content": "Hi"}


def found(parameters: dict[str, Any], host: str = "", api: str = "chat") -> list[str]:
    return [str(finding) for finding in of_parameters(APIS[api], parameters, host)]


def found_in(messages: Any) -> list[str]:
    return [str(finding) for finding in of_body(APIS["chat"], {"model": "m", "messages": messages})]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *(("temperature", value) for value in (0, 0.7, 2, 2.0, None)),
        *(("top_p", value) for value in (0, 0.1, 1, None)),
        *(("presence_penalty", value) for value in (-2, 0, 1.5, 2)),
        *(("frequency_penalty", value) for value in (-2.0, 2)),
        *(("max_tokens", value) for value in (1, 100_000, None)),
        *(("max_completion_tokens", value) for value in (1, 16)),
        *(("max_output_tokens", value) for value in (1, 16)),
        *(("n", value) for value in (1, 8)),
        *(("seed", value) for value in (-1, 0, 7)),
        *(("stop", value) for value in ("a", ["a"], ["a", "b", "c", "d"], [], None)),
        *(("logit_bias", value) for value in ({}, {"50256": -100, "7": 100.0}, [[7, False]])),
        *(("tool_choice", value) for value in ("auto", "none", "required", "any")),
        ("tool_choice", {"type": "function", "function": {"name": "look_up"}}),
        ("tool_choice", {"type": "function", "name": "look_up"}),
        ("tool_choice", {"type": "allowed_tools", "mode": "auto"}),
        *(("stream", value) for value in (True, False)),
        *(("input", value) for value in ("text", "", ["a", "b"], [1, 2], [USER])),
        *(("prompt", value) for value in ("text", "", ["a", "b"], {"id": "pmpt_1"})),
        ("modalities", ["text", "audio"]),
        ("top_k", -1),
        ("chat_template_kwargs", {"enable_thinking": False}),
    ],
)
def test_what_servers_accept_is_not_found(parameter, value):
    assert found({parameter: value}) == []


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("temperature", 2.01, "expected a number from 0 to 2, not 2.01"),
        ("temperature", -0.1, "expected a number from 0 to 2"),
        ("temperature", "0.7", 'expected a number from 0 to 2, not "0.7"'),
        ("temperature", True, "expected a number from 0 to 2, not true"),
        ("temperature", float("nan"), "expected a number from 0 to 2"),
        ("top_p", 1.5, "expected a number from 0 to 1, not 1.5"),
        ("top_p", -1, "expected a number from 0 to 1"),
        ("presence_penalty", 3, "expected a number from -2 to 2, not 3"),
        ("frequency_penalty", -2.5, "expected a number from -2 to 2"),
        ("max_tokens", 0, "expected a whole number of at least 1, not 0"),
        ("max_tokens", 100.0, "expected a whole number of at least 1, not 100.0"),
        ("max_completion_tokens", -5, "expected a whole number of at least 1"),
        ("max_output_tokens", "many", "expected a whole number of at least 1"),
        ("n", 0, "expected a whole number of at least 1, not 0"),
        ("n", True, "expected a whole number of at least 1, not true"),
        ("seed", 0.5, "expected a whole number, not 0.5"),
        ("stop", ["a", "b", "c", "d", "e"], "expected a text, or at most 4 of them"),
        ("stop", ["a", 3], "expected a text, or at most 4 of them"),
        ("stop", 3, "expected a text, or at most 4 of them"),
        ("logit_bias", {"7": 101}, "expected tokens with numbers from -100 to 100"),
        ("logit_bias", {"7": "ban"}, "expected tokens with numbers from -100 to 100"),
        ("logit_bias", "7", "expected tokens with numbers from -100 to 100"),
        ("tool_choice", "always", "expected auto, none, required, any or a function by name"),
        ("tool_choice", {"type": "function"}, "or a function by name"),
        ("tool_choice", {"function": {"name": "f"}}, "or a function by name"),
        ("tools", {"type": "function"}, "expected a list"),
        ("stream", "yes", "expected true or false"),
        ("modalities", "audio", "expected a list"),
        ("input", [], "expected text, or a list that is not empty"),
        ("prompt", [], "expected text, or a list that is not empty"),
        ("prompt", 3, "expected text, or a list that is not empty"),
    ],
)
def test_a_parameter_out_of_bounds_is_named_with_what_it_should_be(parameter, value, said):
    (finding,) = found({"model": "m", parameter: value})
    assert finding.startswith(f"{parameter}: ")
    assert said in finding


def test_a_long_value_is_not_shown_whole():
    (finding,) = found({"stop": ["x" * 5_000] * 5})
    assert len(finding) < 150


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        [{"role": role, "content": "x"} for role in ("system", "developer", "assistant")],
        [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            {"role": "tool", "tool_call_id": "1", "content": "21 °C"},
            {"role": "function", "name": "f", "content": "x"},
            {"role": "assistant"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
            {"role": "assistant", "content": "", "refusal": "No."},
            {"role": "assistant", "content": " ", "reasoning_content": "Hm."},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "http://h/a"}}],
            },
        ],
    ],
)
def test_messages_that_can_be_sent_are_not_found(messages):
    assert found_in(messages) == []


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (None, "messages: expected at least one"),
        ([], "messages: expected at least one"),
        ("Hi", "messages: expected at least one"),
        (["Hi"], 'messages[0]: expected an object with role and content, not "Hi"'),
        ([USER, {"content": "x"}], "messages[1]: role: expected one of system, developer"),
        ([{"role": "usr", "content": "x"}], 'not "usr"'),
        ([{"role": ["user"], "content": "x"}], "messages[0]: role: "),
        ([{"role": "user"}], "messages[0]: content: expected text or a list of parts, not nothing"),
        ([{"role": "user", "content": []}], "messages[0]: content: "),
        ([{"role": "user", "content": 5}], "messages[0]: content: "),
        *(
            ([USER, {"role": role, "content": text}], "messages[1]: content: expected a text that")
            for role in ("system", "developer", "user", "assistant", "tool", "function")
            for text in ("", " ", "\n\t\u00a0")
        ),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}],
                }
            ],
            'messages[0]: content[1]: expected a text that is not empty, not ""',
        ),
    ],
)
def test_messages_that_no_server_takes_are_named_by_number(messages, said):
    (finding,) = found_in(messages)
    assert said in finding


def test_other_apis_need_no_messages():
    assert not list(of_body(APIS["responses"], {"model": "m", "input": "Hi"}))
    assert not list(of_body(APIS["completions"], {"model": "m", "prompt": "Hi"}))


@pytest.mark.parametrize(
    ("api", "body", "said"),
    [
        ("embeddings", {}, ["input: is missing"]),
        ("embeddings", {"input": ""}, ['input: expected a text that is not empty, not ""']),
        ("responses", {}, ["input: is missing"]),
        (
            "embeddings",
            {"input": ["a", " "]},
            ['input[1]: expected a text that is not empty, not " "'],
        ),
        ("embeddings", {"input": [1, 2]}, []),
        ("responses", {"input": ""}, ['input: expected a text that is not empty, not ""']),
        ("responses", {"input": "", "previous_response_id": "resp_1"}, []),
        (
            "responses",
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": ""}]}]},
            ['input[0]: content[0]: expected a text that is not empty, not ""'],
        ),
        ("responses", {"input": [{"type": "function_call_output", "output": ""}]}, []),
        ("responses", {"prompt": {"id": "pmpt_1"}}, []),
        ("responses", {"previous_response_id": "resp_1"}, []),
        ("completions", {}, ["prompt: is missing"]),
        ("completions", {"prompt": "\n"}, ['prompt: expected a text that is not empty, not "\\n"']),
        (
            "completions",
            {"prompt": ["a", ""]},
            ['prompt[1]: expected a text that is not empty, not ""'],
        ),
    ],
)
def test_a_body_that_asks_nothing_is_found(api, body, said):
    assert [str(finding) for finding in of_body(APIS[api], {"model": "m", **body})] == said


@pytest.mark.parametrize("key", ["api_key", "timeout", "extra_body"])
def test_a_setting_of_a_client_in_a_row_is_found(key):
    (finding,) = of_body(APIS["chat"], {"model": "m", "messages": [USER], key: "secret"})
    assert str(finding).startswith(f"{key}: no server reads this; write ")
    assert "secret" not in str(finding)


@pytest.mark.parametrize("api", list(APIS))
@pytest.mark.parametrize(
    "message", [{"role": "usr", "content": "x"}, {"role": "assistant", "content": 5}]
)
def test_messages_are_judged_whatever_api_they_go_to(api, message):
    questions = [
        Question(messages=[message]),
        Question(body={"messages": [message]}, api=api),
    ]
    for question in questions:
        with pytest.raises(OutOfBounds, match=r"^messages\[0\]: (role|content): expected"):
            bounded(question, Parameters(api, "m"), 0, Bounds())


@pytest.mark.parametrize(
    "model", ["o1", "o3-pro", "o4-mini", "gpt-5", "gpt-5.4-mini", "ft:o4-mini-2025-04-16:acme::1"]
)
def test_openais_reasoning_models_are_asked_with_the_other_name_of_max_tokens(model):
    body = {"model": model, "max_tokens": 5}
    (finding,) = found(body, "api.openai.com")
    assert finding == f"max_tokens: {model} refuses it; write max_completion_tokens"
    assert found(body, "eu.api.openai.com")
    assert not found(body, "gateway.example") + found(body, "api.openai.com.evil.example")
    assert not found(body, "api.openai.com", "completions")
    assert not found({"model": model, "max_completion_tokens": 5}, "api.openai.com")


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4.1-mini", "omni", "gpt-50", "openai/gpt-5", None]
)
def test_other_models_may_have_max_tokens(model):
    assert not found({"model": model, "max_tokens": 5}, "api.openai.com")


@pytest.mark.parametrize("key", sorted(CLIENT_SIDE))
def test_a_setting_of_a_client_is_sent_to_its_own_table(tmp_path, key):
    path = tmp_path / "job.toml"
    path.write_text(f'[request]\nmodel = "m"\n{key} = 3\n')
    with pytest.raises(JobError) as caught:
        spec.check(job_toml.read(path), path)
    said = str(caught.value).removeprefix(f"{tmp_path}/")
    assert said.startswith(f"job.toml:3: [request] {key}: no server reads this; write ")
    assert any(table in said for table in ("[endpoint]", "[limits]", "[retry]", "[request] itself"))


def batch_file(path: Path, bodies: list[dict[str, Any]]) -> Path:
    lines = [
        {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body}
        for n, body in enumerate(bodies)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


BODIES: list[dict[str, Any]] = [
    {"model": "m", "messages": [USER]},
    {"model": "m", "messages": [USER], "temperature": 3},
    {"model": "m", "messages": []},
    {"model": "m", "messages": [{"role": "user", "content": "Bye"}]},
]


def test_a_job_out_of_bounds_is_not_begun(api: FakeAPI, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(2))
    (tmp_path / "job.toml").write_text('input = "in.jsonl"\n[request]\n\ntop_p = 7\n')
    ended = batchmill("run", "job.toml", *asking(api))
    assert ended.exit_code == 2
    assert ended.stderr == (
        "error: job.toml:4: [request] top_p: expected a number from 0 to 1, not 7\n"
        "       --no-preflight leaves that to the server\n"
    )
    assert api.ledger == api.listings == []
    assert not (tmp_path / "runs").exists()
    assert batchmill("run", "job.toml", *asking(api, "--dry-run")).exit_code == 2


def test_a_row_out_of_bounds_is_named_by_file_and_line(api: FakeAPI, batchmill, tmp_path):
    batch_file(tmp_path / "in.jsonl", BODIES)
    ended = batchmill("run", "in.jsonl", "--base-url", api.url)
    assert ended.exit_code == 2
    assert ended.stderr.startswith(
        "error: in.jsonl:2: temperature: expected a number from 0 to 2, not 3\n"
    )
    assert "--on-bad-row record; --no-preflight leaves that to the server" in ended.stderr
    assert api.ledger == []


def test_rows_out_of_bounds_can_be_recorded(api: FakeAPI, batchmill, tmp_path):
    batch_file(tmp_path / "in.jsonl", BODIES)
    ended = batchmill("run", "in.jsonl", "--base-url", api.url, "--on-bad-row", "record")
    assert ended.exit_code == 1
    output = rows(tmp_path / "runs/in")
    assert [row["error_class"] for row in output] == [None, "invalid_row", "invalid_row", None]
    assert output[2]["error_message"] == "in.jsonl:3: messages: expected at least one"
    assert len(api.ledger) == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("-p", "{{ text }}"), "the prompt is empty here"),
        (("-p", " {{ text }}\n", "--api", "embeddings"), "the prompt is empty here"),
        (("-p", "Hi", "-s", "{{ text }}"), "the system prompt is empty here"),
    ],
)
def test_a_prompt_that_is_empty_for_a_row_is_that_rows_fault(
    api: FakeAPI, batchmill, tmp_path, flags, said
):
    write(tmp_path / "in.jsonl", ["good", "", " \n"])
    flags = ("in.jsonl", "-m", "m", "--base-url", api.url, *flags)
    told = batchmill("run", *flags)
    assert told.exit_code == 2
    assert told.stderr == (
        f"error: in.jsonl:2: {said}\n"
        "       mend it, or let such rows fail by themselves: --on-bad-row record;"
        " --no-preflight leaves that to the server\n"
    )
    told = batchmill("validate", *flags)
    assert told.stdout.splitlines()[:2] == [f"in.jsonl:2: {said}", f"in.jsonl:3: {said}"]
    assert batchmill("validate", *flags, "--no-preflight").exit_code == 0
    assert api.ledger == []
    assert batchmill("run", *flags, "--on-bad-row", "record").exit_code == 1
    assert [row["error_class"] for row in rows(tmp_path / "runs/in")] == [
        None,
        "invalid_row",
        "invalid_row",
    ]
    assert len(api.ledger) == 1


def test_pictures_may_stand_for_themselves(batchmill, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"photo": "https://h.example/a.png", "text": ""}\n')
    flags = ("in.jsonl", "-m", "m", "--set", "prompt.images=photo", "--base-url", "h.example")
    told = batchmill("run", *flags, "-p", "", "-s", "What is it?", "--dry-run")
    assert told.exit_code == 0, told.stderr
    assert '"text"' not in told.stdout
    assert batchmill("run", *flags, "-p", "{{ text }}", "--dry-run").exit_code == 2


def test_without_preflight_the_server_decides(api: FakeAPI, batchmill, tmp_path):
    batch_file(tmp_path / "in.jsonl", BODIES)
    ended = batchmill("run", "in.jsonl", "--base-url", api.url, "--no-preflight")
    assert ended.exit_code == 0, ended.stderr
    assert len(api.ledger) == 4
    assert api.listings == []


def test_validate_judges_every_row_and_sends_nothing(api: FakeAPI, batchmill, tmp_path):
    batch_file(tmp_path / "in.jsonl", BODIES * 2 + [{"messages": [USER]}])
    told = batchmill("validate", "in.jsonl", "--base-url", api.url, "-n", 2)
    assert (told.exit_code, told.stderr) == (1, "")
    assert told.stdout.splitlines() == [
        "in.jsonl:2: temperature: expected a number from 0 to 2, not 3",
        "in.jsonl:3: messages: expected at least one",
        "… and 3 more",
        "in.jsonl: 9 rows, 5 of them bad",
    ]
    shown = json.loads(batchmill("validate", "in.jsonl", "--base-url", api.url, "--json").stdout)
    assert (shown["rows"], shown["bad_rows"], shown["models"]) == (9, 5, ["m"])
    assert shown["faults"][-1]["where"] == "in.jsonl:9"
    rendered = batchmill("validate", "in.jsonl", "--no-preflight", "--limit", 8)
    assert (rendered.exit_code, rendered.stdout) == (0, "in.jsonl: 8 rows, all is well\n")
    assert api.ledger == api.listings == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--set", "request.n=0"),
        ("-p", "{{ text"),
        ("--set", "keep=['z']"),
        ("--schema", '{"a": "strng"}'),
        ("--base-url", "htp://foo"),
    ],
)
def test_validate_tells_a_bad_job_from_bad_rows(batchmill, tmp_path, wrong):
    write(tmp_path / "in.jsonl", texts(1))
    assert batchmill("validate", "in.jsonl", "-m", "m", "-p", "{{ text }}", *wrong).exit_code == 2


def test_a_schema_that_is_none_is_named_with_its_place(batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    schema = '{ type = "object", properties = { a = { type = "strng" } } }'
    (tmp_path / "job.toml").write_text(
        f'input = "in.jsonl"\n[request]\nmodel = "m"\nschema = {schema}\n'
    )
    told = batchmill("validate", "job.toml", "-p", "{{ text }}")
    assert told.exit_code == 2
    assert told.stderr.startswith("error: job.toml:4: [request] schema: at properties/a/type: ")


def test_ctrl_c_before_anything_is_asked_is_said_in_one_line(start, tmp_path):
    process = start("run", "-", "-m", "m", "-p", "x", "--base-url", "h.example", stdin=PIPE)
    process.stdin.write("{}\n" * 100_000)  # more than a pipe holds: now it is being read
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "error: interrupted\n")


def test_a_misspelt_model_is_found_before_anything_is_sent(api: FakeAPI, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    api.models = ["gpt-5.4", "gpt-5.4-mini"]
    misspelt = ("run", "in.jsonl", "-p", "{{ text }}", "--base-url", api.url, "-m", "gpt-5.4-mimi")
    ended = batchmill(*misspelt)
    assert (ended.exit_code, len(api.listings)) == (2, 1)
    assert ended.stderr == (
        "error: the endpoint has no model 'gpt-5.4-mimi'; did you mean 'gpt-5.4-mini'?\n"
        "       --no-preflight leaves that to the server\n"
    )
    assert api.ledger == []
    assert not (tmp_path / "runs").exists()
    assert batchmill(*misspelt, "--no-preflight").exit_code == 0


def test_a_model_that_is_not_listed_is_asked_with_one_line_of_notice(
    api: FakeAPI, batchmill, tmp_path
):
    write(tmp_path / "in.jsonl", texts(1))
    ended = batchmill("run", "in.jsonl", "-p", "{{ text }}", "--base-url", api.url, "-m", "auto")
    assert ended.exit_code == 0
    said = ended.stderr.splitlines()
    assert said[1] == f"asking {api.url}/chat/completions"
    assert said[2].startswith("the endpoint does not list a model 'auto'")


@pytest.mark.parametrize("step", [Step(403), Step(hang=True)])
def test_a_gateway_without_a_list_starts_as_ever(api: FakeAPI, batchmill, tmp_path, step):
    write(tmp_path / "in.jsonl", texts(1))
    api.listing = step
    ended = batchmill("run", "in.jsonl", *asking(api))
    assert ended.exit_code == 0
    assert "model" not in ended.stderr.splitlines()[2]


def test_models_lists_what_an_endpoint_offers(api: FakeAPI, batchmill, tmp_path):
    api.models = ["b", "a"]
    (tmp_path / "job.toml").write_text(f'endpoint.base_url = "127.0.0.1:{api.port}"\n')
    assert batchmill("models", "--base-url", api.url).stdout == "b\na\n"
    assert json.loads(batchmill("models", "job.toml", "--json").stdout) == {"models": ["b", "a"]}
    assert batchmill("models", "job.toml", "--local").stdout == "smollm2-135m-instruct\n"


def test_models_says_why_there_is_no_list(api: FakeAPI, batchmill):
    api.listing = Step(404)
    ended = batchmill("models", "--base-url", api.url)
    assert (ended.exit_code, ended.stdout) == (3, "")
    assert f"no list of its models ({api.url}/chat/models: HTTP 404)" in ended.stderr


@pytest.mark.parametrize("value", [False, None])
def test_answers_that_are_waited_for_may_be_asked_for(value):
    assert client_side({"background": value}) is None


def test_answers_that_nobody_would_fetch_are_refused():
    assert str(client_side({"background": True})).startswith("background: nobody would fetch")
