"""A row asks what its template says, or what it says itself, and never a prompt with a hole."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.apis import APIS, Parameters, build
from batch.errors import JobError
from batch.model import Row, Unreadable
from batch.requests.prompts import BadRow, Prompt, Prompter, Question


def ask(values: dict[str, Any], id_column: str | None = None, **prompt: Any) -> Question:
    return Prompter(Prompt(**prompt), id_column, apis=APIS).question(Row(0, values, "in.jsonl:1"))


def refusal(values: dict[str, Any], id_column: str | None = None, **prompt: str) -> str:
    with pytest.raises(BadRow) as caught:
        ask(values, id_column, **prompt)
    return str(caught.value)


def said(text: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": text}


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("Say {{ text }}!\n", {"text": "hi"}, "Say hi!\n"),
        ("{{ text }}", {"text": "<b> & {{ x }}"}, "<b> & {{ x }}"),
        ("{{ text }}", {"text": ""}, ""),
        ("{{ n }}", {"n": 0}, "0"),
        ("{{ note or '' }}.", {"note": None}, "."),
        ("{{ maybe | default('none') }}", {}, "none"),
        ("{% if note %}{{ note }}{% else %}-{% endif %}", {"note": None}, "-"),
        ("{{ a.b[1] }}", {"a": {"b": [1, 2]}}, "2"),
        ("{{ tags | join(', ') }}", {"tags": ["x", "y"]}, "x, y"),
        ("no column", {}, "no column"),
    ],
)
def test_a_template_is_filled_with_the_row(template, values, text):
    assert ask(values, user=template).messages == [said(text)]


def test_the_system_message_comes_first():
    asked = ask({"text": "hi", "tone": "dry"}, system="Be {{ tone }}.", user="{{ text }}")
    assert asked.messages == [said("Be dry.", "system"), said("hi")]


def test_a_missing_column_is_named_with_those_there_are():
    message = refusal({"title": "x", "id": 1}, user="{{ text }}")
    assert "'text'" in message and "title, id" in message


def test_a_null_column_is_named_with_the_way_out():
    message = refusal({"text": None}, user="Say {{ text }}")
    assert "text is null" in message and "{{ text or '' }}" in message


@pytest.mark.parametrize(
    "template",
    [
        "{{ text + 1 }}",
        "{{ 1 // 0 }}",
        "{{ range(10000000) | list }}",
        "{{ text | int('x') + items }}",
    ],
)
def test_what_cannot_be_rendered_is_a_bad_row(template):
    assert "cannot be rendered" in refusal({"text": "a", "items": []}, user=template)


@pytest.mark.parametrize(("role", "line"), [("system", 1), ("user", 2)])
def test_a_broken_template_names_its_table_key_and_line(role, line):
    source = "\n" * (line - 1) + "{{ text"
    with pytest.raises(JobError, match=rf"^\[prompt\] {role}: line {line} of the template"):
        Prompter(Prompt(**{role: source}))


def test_columns_are_those_the_templates_name():
    prompter = Prompter(Prompt(system="{{ a }}", user="{% for x in b %}{{ x }}{% endfor %}"))
    assert prompter.columns() == {"a", "b"}


MESSAGES = [said("be brief", "system"), said("hi")]


@pytest.mark.parametrize("wrap", [lambda value: value, json.dumps])
def test_a_row_may_bring_its_messages(wrap):
    assert ask({"messages": wrap(MESSAGES)}).messages == MESSAGES


def test_a_row_may_bring_its_prompt():
    assert ask({"prompt": "hi"}).messages == [said("hi")]
    assert ask({"prompt": "hi"}, system="Short.").messages == [said("Short.", "system"), said("hi")]


def test_a_template_wins_over_what_the_row_brings():
    assert ask({"prompt": "hi", "messages": MESSAGES}, user="no").messages == [said("no")]


@pytest.mark.parametrize(
    ("url", "api"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/responses", "responses"),
        ("/v1/completions", "completions"),
        ("https://host/v1/embeddings/", "embeddings"),
        ("/v1/responses?api-version=1", "responses"),
        (None, None),
        ("", None),
    ],
)
@pytest.mark.parametrize("wrap", [lambda value: value, json.dumps])
def test_a_batch_line_brings_its_body_and_api(url, api, wrap):
    body = {"model": "m", "messages": MESSAGES}
    asked = ask({"custom_id": "a", "method": "POST", "url": url, "body": wrap(body)})
    assert asked == Question(body=body, api=api, custom_id="a")


@pytest.mark.parametrize("url", ["/v1/images/generations", "/v1/moderations", "/v1/else"])
def test_a_batch_line_for_an_api_we_do_not_speak_is_not_sent_to_another(url):
    assert f"url: '{url}'" in refusal({"url": url, "body": {"model": "m", "messages": MESSAGES}})


@pytest.mark.parametrize(
    "values", [{}, {"text": "x"}, {"prompt": ""}, {"prompt": 3}, {"messages": []}, {"body": "[1]"}]
)
def test_a_row_that_asks_nothing_is_refused(values):
    message = refusal(values)
    assert message.startswith("no prompt") and (", ".join(values) or "none") in message


def test_a_row_that_could_not_be_read_says_why():
    with pytest.raises(BadRow, match="torn"):
        Prompter(Prompt(user="x")).question(Row(0, {}, "in.jsonl:1", fault="torn"))


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, {}) for name in ("body", "messages", "prompt", "custom_id")),
        ("photo", {"images": "photo", "user": "x"}),
        ("key", {"id_column": "key", "user": "x"}),
    ],
)
def test_what_cannot_be_read_is_an_error_where_the_row_speaks_with_it(name, more):
    assert refusal({name: Unreadable("torn")}, **more) == "torn"


@pytest.mark.parametrize(
    ("id_column", "values", "custom_id"),
    [
        (None, {"custom_id": "a"}, "a"),
        (None, {}, None),
        ("key", {"key": 12}, "12"),
        ("key", {"key": None, "custom_id": "a"}, None),
    ],
)
def test_custom_id_is_text_from_its_column(id_column, values, custom_id):
    assert ask(values, id_column, user="x").custom_id == custom_id


def test_an_id_column_that_is_missing_is_named():
    assert "'key'" in refusal({"a": 1}, "key", user="x")


PIECES = st.sampled_from(["{{ a }}", "{{b}}", "text", "{# note #}", "\n", "{{ '{' }}", "é {{ a }}"])
VALUES = st.one_of(st.text(), st.integers(), st.booleans(), st.floats(allow_nan=False))


@given(st.lists(PIECES, max_size=6).map("".join), st.fixed_dictionaries({"a": VALUES, "b": VALUES}))
def test_names_and_text_alone_say_what_jinja_says(template, values):
    whole = jinja2.Template(template, keep_trailing_newline=True).render(values)
    assert ask(values, user=template).messages == [said(whole)]


@pytest.mark.parametrize("template", ["{{ range }}", "{{ a }}{{ dict }}"])
def test_a_column_may_have_the_name_of_something_in_jinja(template):
    values = {"a": "x", "range": "y", "dict": "z"}
    assert ask(values, user=template).messages == [said("y" if "range" in template else "xz")]


DOCUMENT = {"doc": "All of it.", "n": 7}


@pytest.mark.parametrize("api", APIS)
def test_what_rows_share_is_the_beginning_of_the_same_text(api):
    parameters = Parameters(api, "m")
    apart = ask(DOCUMENT, shared="{{ doc }}", user="Question {{ n }}")
    together = ask(DOCUMENT, user="{{ doc }}\n\nQuestion {{ n }}")
    one, other = build(apart, parameters, 0), build(together, parameters, 0)
    assert apart.messages == together.messages == [said("All of it.\n\nQuestion 7")]
    assert (one.body, one.hash) == (other.body, other.hash)
    assert one.shared == len("All of it.\n\n")


@pytest.mark.parametrize(
    ("user", "head"),
    [
        ("Is this good? {{ doc }}", "Is this good? "),
        ("{{ doc }}?", ""),
        ("{% if n %}a{% endif %}", ""),
        ("Yes, {# no #}or no: {% for i in [1] %}{{ i }}{% endfor %}", "Yes, or no: "),
        ("All of it", "All of it"),
    ],
)
def test_without_it_rows_share_how_their_template_begins(user, head):
    asked = ask(DOCUMENT, user=user)
    assert asked.messages is not None
    text = asked.messages[0]["content"]
    assert text[: asked.shared] == head


def test_columns_of_what_rows_share_are_known():
    prompter = Prompter(Prompt(shared="{{ doc }}", user="Why?"))
    assert prompter.columns() == {"doc"}
    assert not prompter.same_for_all(["doc"])
    assert Prompter(Prompt(shared="x", user="Why?")).same_for_all(["doc"])


def test_what_rows_share_comes_before_a_part_of_the_users():
    with pytest.raises(JobError, match="user"):
        Prompter(Prompt(shared="{{ doc }}"))
    assert "'doc'" in refusal({"n": 1}, shared="{{ doc }}", user="Why?")


def test_rows_with_their_own_messages_share_nothing():
    own = [said("a"), said("b", "assistant"), said("c")]
    assert ask({"messages": own}).shared == 0
