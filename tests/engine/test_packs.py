"""Texts share requests for embeddings, and each row has what it would have had alone."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from batch import runner, spec
from batch.reports.summary import Ended
from tests import virtual
from tests.fake_api import Embedder, FakeAPI, Step, embedding_of
from tests.reading import rows, table, texts, write

PRICES = {"m": {"input": 100.0, "output": 0.0}}


@pytest.fixture
def api() -> Iterator[FakeAPI]:
    api = FakeAPI(in_a_thread=False)
    api.latency = 0.2
    yield api
    api.close()


class Made(NamedTuple):
    ended: Ended
    rows: list[dict[str, Any]]


def run(api: FakeAPI, folder: Path, prompts: list[str], *meanwhile: Any, **more: Any) -> Made:
    """A run of embeddings whose time is its own; `more` are keys of [limits], or tables."""
    limits = {key: more.pop(key) for key in [*more] if key in LIMITS}
    request = more.pop("request", {})
    folder.mkdir(exist_ok=True)
    job = spec.check(
        {
            "input": str(write(folder / "in.jsonl", prompts)),
            "prompt": {"user": "{{ text }}"},
            "request": {"model": "m", "api": "embeddings", **request},
            "endpoint": {"base_url": api.url, "api_key_env": ""},
            "limits": {"concurrency": 4, **limits},
            "retry": {"first_delay": 0.1, "max_delay": 2},
            "prices": PRICES,
            **more,
        }
    )
    ended = runner.run(job, folder / "run", *virtual.how(api, *meanwhile))
    return Made(ended, rows(folder / "run"))


LIMITS = (
    "concurrency",
    "inputs_per_request",
    "requests_per_minute",
    "tokens_per_minute",
    "max_cost_usd",
)


def asked(api: FakeAPI) -> list[int]:
    """How many texts each request had that was answered."""
    return [len(each.texts) for each in api.ledger if each.status == 200]


def check(
    api: FakeAPI, made: Made, prompts: list[str], failed: frozenset[int] = frozenset()
) -> None:
    """Every row is there once, with its own vector, and tokens and cost are the server's."""
    assert [row["row"] for row in made.rows] == list(range(len(prompts)))
    for row, prompt in zip(made.rows, prompts, strict=True):
        if row["row"] in failed:
            assert row["status"] == "failed"
        else:
            assert (row["status"], row["embedding"]) == ("ok", embedding_of(prompt)), row
    tokens = sum(each.input_tokens for each in api.ledger)
    assert sum(row["input_tokens"] or 0 for row in made.rows) == tokens
    assert sum(row["requests"] for row in made.rows) == len(api.ledger)
    assert made.ended.whole.totals().requests == len(api.ledger)
    costs = [row["cost_usd"] or 0.0 for row in made.rows]
    assert sum(costs) == pytest.approx(tokens * 100e-6)


def test_texts_share_requests_and_keep_their_rows_vectors_tokens_and_costs(api, tmp_path):
    prompts = [f"{text} {'word ' * (number % 7)}" for number, text in enumerate(texts(1000))]
    made = run(api, tmp_path, prompts)
    check(api, made, prompts)
    assert len(api.ledger) <= 12
    assert {tuple(row["flags"]) for row in made.rows} == {("usage_shared",)}
    assert {row["attempts"] for row in made.rows} == {1}
    assert {row["response_json"] for row in made.rows} == {None}
    assert made.ended.whole.flags == {}


def test_one_text_a_request_is_what_it_was(api, tmp_path):
    prompts = texts(30)
    made = run(api, tmp_path, prompts, inputs_per_request=1)
    check(api, made, prompts)
    assert len(api.ledger) == 30
    assert {each.body["encoding_format"] for each in api.ledger} == {"float"}
    assert {tuple(row["flags"]) for row in made.rows} == {()}


@pytest.mark.parametrize("most", [2, 7, 50])
def test_no_request_has_more_texts_than_the_job_says(api, tmp_path, most):
    prompts = texts(200)
    check(api, run(api, tmp_path, prompts, inputs_per_request=most), prompts)
    assert max(asked(api)) == most


@pytest.mark.parametrize("index", ["reversed", "no first", "none", "zero"])
def test_items_find_their_rows_however_they_say_where_they_belong(api, tmp_path, index):
    api.embedder.index = index
    prompts = texts(300)
    check(api, run(api, tmp_path, prompts), prompts)
    assert len(api.ledger) <= 8


def test_an_answer_that_contradicts_itself_is_not_trusted(api, tmp_path):
    api.embedder.index = "twice"
    prompts = texts(40)
    made = run(api, tmp_path, prompts)
    assert [row["embedding"] for row in made.rows] == [embedding_of(prompt) for prompt in prompts]
    tokens = sum(each.input_tokens for each in api.ledger)
    assert sum(row["input_tokens"] for row in made.rows) == tokens


@pytest.mark.parametrize("base64", ["given", "refused", "silently refused", "ignored"])
def test_vectors_come_whether_the_server_packs_them_or_not(api, tmp_path, base64):
    api.embedder.base64 = base64
    prompts = texts(500)
    check(api, run(api, tmp_path, prompts), prompts)
    assert len(api.ledger) <= 14


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize(
    "poisoned",
    [
        None,
        Step(413, body={"error": "too large"}),
        Step(422, body={"detail": "no"}),
        Step(
            500,
            body={
                "error": {
                    "code": 500,
                    "type": "server_error",
                    "message": "input (900 tokens) is too large to process. increase the physical"
                    " batch size (current batch size: 512)",
                }
            },
        ),
    ],
    ids=["400", "413", "422", "500"],
)
def test_a_bad_text_fails_alone(api, tmp_path, names, poisoned):
    prompts = texts(500)
    bad = frozenset(range(50, 500, 140))
    for row in bad:
        prompts[row] += " poison"
    api.embedder = Embedder(poison="poison", names=names, poisoned=poisoned)
    made = run(api, tmp_path, prompts)
    check(api, made, prompts, failed=bad)
    assert len(api.ledger) < 130
    assert all(row["attempts"] == 1 for row in made.rows if row["row"] not in bad)


def test_a_text_that_gets_no_item_is_asked_again(api, tmp_path):
    prompts = texts(300)
    api.embedder.loses = ("text 0001", 1)
    made = run(api, tmp_path, prompts)
    check(api, made, prompts)
    again = [row["row"] for row in made.rows if row["attempts"] == 2]
    assert again == list(range(10, 20))


@pytest.mark.parametrize(
    "said",
    [
        None,
        "at most 32 requests can be in one batch",
        "Value error, batch size is invalid, it should not be larger than 32.",
        "Too many inputs. The max number of inputs is limited to 32",
        "Invalid 'input': array too long. Expected an array with maximum length 32",
        "Bad request",
    ],
)
def test_what_a_server_takes_is_learnt_from_what_it_refuses(api, tmp_path, said):
    prompts = texts(1000)
    api.embedder.most = 32
    api.embedder.refusal = said and Step(400, body={"error": {"message": said}})
    check(api, run(api, tmp_path, prompts), prompts)
    assert len(api.ledger) < 88
    assert Counter(asked(api)).most_common(1)[0][0] == 32


@pytest.mark.parametrize("step", [429, 500, Step(close=True), 503])
def test_a_failure_of_the_server_is_waited_for_together(api, tmp_path, step):
    prompts = texts(300)
    api.script = {"text 0000": [step]}
    made = run(api, tmp_path, prompts)
    assert [row["status"] for row in made.rows] == ["ok"] * 300
    assert [row["embedding"] for row in made.rows] == [embedding_of(prompt) for prompt in prompts]
    assert len(api.ledger) <= 60  # it fails once for each company that the text is in


def test_a_text_on_which_the_server_breaks_fails_alone(api, tmp_path):
    prompts = texts(300)
    prompts[33] += " poison"
    api.script = {"poison": [500, ...]}
    made = run(api, tmp_path, prompts)
    check(api, made, prompts, failed=frozenset({33}))
    assert len(api.ledger) <= 60


def test_twenty_five_times_the_rows_a_minute(api, tmp_path):
    prompts = texts(2000)
    seconds = []
    for most, count in ((1, 200), ("auto", 2000)):
        made = run(
            api,
            tmp_path / str(most),
            prompts[:count],
            inputs_per_request=most,
            requests_per_minute=600,
            concurrency=16,
        )
        seconds.append(made.ended.seconds / count)
    assert seconds[0] / seconds[1] >= 15


def test_packs_are_no_larger_than_tokens_a_minute_allow(api, tmp_path):
    prompts = [f"{text} {'word ' * 40}" for text in texts(120)]
    made = run(api, tmp_path, prompts, tokens_per_minute=1500)
    check(api, made, prompts)
    assert max(each.input_tokens for each in api.ledger) <= 2200


def test_the_cap_is_used_up_by_smaller_packs_before_the_run_stops(api, tmp_path):
    prompts = texts(3000)
    made = run(api, tmp_path, prompts, max_cost_usd=0.5)
    assert made.ended.exit_code == 3
    tokens = sum(each.input_tokens for each in api.ledger)
    assert 0.4 < tokens * 100e-6 <= 0.5
    assert sum(row["input_tokens"] for row in made.rows) == tokens


def test_rows_that_ask_for_something_else_go_in_other_company(api, tmp_path):
    inputs: list[Any] = [*texts(40)]
    inputs[7] = ["several", "words"]
    wanted = [8 if number < 20 else 4 for number in range(40)]
    lines = []
    for number, text in enumerate(inputs):
        body = {"model": "m", "input": text, "dimensions": wanted[number]}
        line = {"custom_id": str(number), "method": "POST", "url": "/v1/embeddings", "body": body}
        lines.append(json.dumps(line) + "\n")
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(lines))
    made = run(api, tmp_path, [], input=str(path), prompt={})
    assert [row["status"] for row in made.rows] == ["ok"] * 40
    for each in api.ledger:
        assert each.texts == ("several", "words") or "several" not in each.texts
        asked_for = {wanted[inputs.index(text)] for text in each.texts if text in inputs}
        assert asked_for <= {(each.body or {})["dimensions"]}
    assert len(api.ledger) < 8


def lines_of(folder: Path, bodies: list[dict[str, Any]]) -> str:
    """An input of whole requests."""
    lines = [
        {"custom_id": str(number), "method": "POST", "url": "/v1/embeddings", "body": body}
        for number, body in enumerate(bodies)
    ]
    folder.mkdir(exist_ok=True)
    path = folder / "lines.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(path)


def whole(api: FakeAPI, folder: Path, bodies: list[dict[str, Any]], **more: Any) -> Made:
    """A run of an input of whole requests, each row of which has the vector of its text."""
    made = run(api, folder, [], input=lines_of(folder, bodies), prompt={}, **more)
    assert [row["row"] for row in made.rows] == list(range(len(bodies)))
    for row, body in zip(made.rows, bodies, strict=True):
        assert row["status"] == "ok", row
        if isinstance(body["input"], str):
            assert row["embedding"] == embedding_of(body["input"])
    kind_of = {str(body["input"]): json.dumps({**body, "input": ""}) for body in bodies}
    for each in api.ledger:
        if each.status == 200:
            assert len({kind_of[text] for text in each.texts if text in kind_of}) == 1
    return made


@pytest.mark.parametrize(("kinds", "most"), [(2, 20), (7, 30), (30, 60)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_of_several_kinds_by_turns_share_requests_with_their_kind(
    api, tmp_path, kinds, most, shuffled
):
    bodies = [
        {"model": "m", "input": text, "user": f"user {number % kinds}"}
        for number, text in enumerate(texts(1500))
    ]
    if shuffled:
        random.Random(3).shuffle(bodies)
    whole(api, tmp_path, bodies)
    assert len(api.ledger) <= most
    alone = [each.texts for each in api.ledger if len(each.texts) == 1]
    assert len(alone) <= 2


def test_rows_that_share_nothing_leave_in_their_order(api, tmp_path):
    bodies = [
        {"model": "m", "input": text, "user": str(number)} for number, text in enumerate(texts(200))
    ]
    whole(api, tmp_path, bodies, concurrency=1)
    assert [each.texts for each in api.ledger] == [(body["input"],) for body in bodies]


def test_a_row_of_its_own_kind_waits_for_no_more_than_the_kinds_before_it(api, tmp_path):
    prompts = texts(5_000)
    bodies = [{"model": "m", "input": text, "user": "many"} for text in prompts]
    for number in range(10, 5_000, 250):
        bodies[number]["user"] = "few"
    whole(api, tmp_path, bodies, concurrency=1, inputs_per_request=25)
    places = [at for at, each in enumerate(api.ledger) if (each.body or {})["user"] == "few"]
    assert places[0] <= 2
    assert max(there - 11 * at for at, there in enumerate(places)) <= 2


def test_a_row_that_failed_is_asked_again_before_rows_of_other_kinds_that_were_ready(api, tmp_path):
    bodies = [
        {"model": "m", "input": text, "user": str(number)} for number, text in enumerate(texts(120))
    ]
    api.script = {"text 00000": [500]}
    whole(api, tmp_path, bodies, concurrency=1)
    places = [at for at, each in enumerate(api.ledger) if each.texts == ("text 00000",)]
    assert len(places) == 2 and places[1] <= 4


def test_an_outage_fails_no_row_that_was_set_aside(api, tmp_path):
    """More rows are set aside than may be the last of a run, when the endpoint lists its models only."""
    prompts = [f"{text} {'long ' * 400}" for text in texts(3_000)]
    bodies = [
        {"model": "m", "input": text, "user": str(number % 40)}
        for number, text in enumerate(prompts)
    ]

    async def outage() -> None:
        await asyncio.sleep(0.5)
        api.always = Step(500)
        await asyncio.sleep(150)
        api.always = Step()

    made = run(
        api, tmp_path, [], outage, input=lines_of(tmp_path, bodies), prompt={}, concurrency=1
    )
    assert [row["row"] for row in made.rows if row["status"] != "ok"] == []


@pytest.mark.parametrize("fault", [429, 503, Step(close=True)])
def test_kinds_by_turns_outlive_failures_and_bad_texts(api, tmp_path, fault):
    prompts = texts(600)
    for number in (100, 101, 355):
        prompts[number] += " poison"
    api.embedder.poison = "poison"
    api.script = {"text 00007": [fault], "text 00300": [fault]}
    bodies = [
        {"model": "m", "input": text, "user": str(number % 3)}
        for number, text in enumerate(prompts)
    ]
    made = run(api, tmp_path, [], input=lines_of(tmp_path, bodies), prompt={})
    assert [row["row"] for row in made.rows] == list(range(600))
    assert [row["row"] for row in made.rows if row["status"] != "ok"] == [100, 101, 355]
    assert sum(row["requests"] for row in made.rows) == len(api.ledger)


def test_a_kept_answer_is_the_rows_own_and_says_its_own_share(api, tmp_path):
    prompts = texts(20)
    made = run(api, tmp_path, prompts, output={"response": True})
    check(api, made, prompts)
    for row, prompt in zip(made.rows, prompts, strict=True):
        answer = json.loads(row["response_json"])
        (item,) = answer["data"]
        assert (item["index"], item["embedding"]) == (0, embedding_of(prompt))
        assert answer["usage"]["prompt_tokens"] == row["input_tokens"]


@pytest.mark.parametrize("by", [1.0, 3.0])
@pytest.mark.parametrize("most", ["auto", 1])
@pytest.mark.parametrize("form", ["given", "ignored"])
def test_a_vector_is_what_came_to_the_bit(api, tmp_path, form, most, by):
    api.embedder.base64, api.embedder.by = form, by
    prompts = texts(60)
    run(api, tmp_path, prompts, inputs_per_request=most, output={"response": True})
    made = table(tmp_path / "run")
    sent = [[number / by for number in embedding_of(prompt)] for prompt in prompts]
    held = pa.array(sent, pa.list_(pa.float32()))
    assert made["embedding"].combine_chunks().to_pylist() == held.to_pylist()
    came_as_base64 = form == "given" and most == "auto"
    told = [json.loads(text)["data"][0]["embedding"] for text in made["response_json"].to_pylist()]
    assert told == (held.to_pylist() if came_as_base64 else sent)


def test_a_row_is_the_same_question_alone_and_in_company(api, tmp_path):
    prompts = texts(30)
    alone = run(api, tmp_path / "alone", prompts, inputs_per_request=1)
    together = run(api, tmp_path / "together", prompts)
    hashes = [[row["request_hash"] for row in made.rows] for made in (alone, together)]
    assert hashes[0] == hashes[1]


def test_a_job_that_is_wrong_stops_after_a_few_refusals(api, tmp_path):
    api.always = Step(400, body={"error": {"message": "no such parameter"}})
    made = run(api, tmp_path, texts(5000), concurrency=8)
    assert made.ended.exit_code != 0 and made.ended.stopped is not None
    assert len(api.ledger) <= 60
    assert made.rows == []


def test_several_servers_share_the_packs(api, tmp_path):
    other = FakeAPI(in_a_thread=False)
    other.latency = 0.2
    other.embedder.most = 32

    async def serve() -> None:
        async with other.serving():
            await asyncio.Event().wait()

    prompts = texts(1000)
    made = run(
        api,
        tmp_path,
        prompts,
        serve,
        endpoint={"base_url": [api.url, other.url], "api_key_env": ""},
        inputs_per_request=64,
    )
    other.close()
    assert [row["embedding"] for row in made.rows] == [embedding_of(prompt) for prompt in prompts]
    assert api.ledger and other.ledger
    assert len(api.ledger) + len(other.ledger) < 100
