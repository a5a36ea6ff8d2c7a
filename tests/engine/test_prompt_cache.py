"""Rows with one beginning: the first writes it to the server's cache, the others read it there."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from batch import runner, spec
from batch.engine.feed import MOST_PARKED_BYTES
from batch.reports import report
from batch.store import plan
from tests import virtual
from tests.fake_api import FakeAPI, Step
from tests.fake_cache import FakeCache
from tests.reading import completions, rows, until

DOCUMENTS, QUESTIONS = 30, 5
LATENCY = 2.0
SOME = {"limits": {"concurrency": 16}}
"""So many at a time that the rows of all documents take nine rounds."""


def document(number: int, size: int = 6_000) -> str:
    return (f"Document {number:05d} says this and that. " * (size // 35 + 1))[:size]


def written(path, documents=DOCUMENTS, *, questions=QUESTIONS, shuffled=False, size=6_000):
    lines = [
        {"doc": document(number, size), "question": f"number {number} question {asked}"}
        for number in range(documents)
        for asked in range(questions)
    ]
    if shuffled:
        random.Random(5).shuffle(lines)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(path)


SHARED = {"shared": "{{ doc }}", "user": "{{ question }}"}
SYSTEM = {"system": "{{ doc }}", "user": "{{ question }}"}


PRICE = {"input": 2, "cached_input": 0.2, "cache_write": 2.5, "output": 2}


class Server(FakeAPI):
    """One that holds what it has read."""

    def __init__(self, cache: FakeCache | None = None) -> None:
        super().__init__(in_a_thread=False)
        self.cache = cache or FakeCache()
        self.latency = LATENCY


def job(api, source, prompt, **tables):
    return spec.check(
        {
            "input": source,
            "prompt": prompt,
            "request": {"model": "gpt-5.4", **tables.pop("request", {})},
            "endpoint": {"base_url": api.url, "api_key_env": "", "provider": "openai"},
            "limits": {"concurrency": 64},
            "prices": {"gpt-5.6": PRICE, "gpt-5.4": PRICE},
            **tables,
        }
    )


def ask(folder, source, prompt, api, *meanwhile, **tables):
    """Ask all, and return for how long."""
    terms, around = virtual.how(api, *meanwhile)
    ended = runner.run(job(api, source, prompt, **tables), folder / "run", terms, around)
    api.close()
    assert ended.exit_code == 0
    return ended.seconds


def cost(run):
    return sum(row["cost_usd"] for row in rows(run))


@pytest.mark.parametrize(
    ("prompt", "documents", "shuffled", "limits"),
    [
        (SHARED, 120, True, {}),
        (SHARED, DOCUMENTS, False, SOME),
        (SYSTEM, DOCUMENTS, True, SOME),
        (SYSTEM, DOCUMENTS, False, SOME),
    ],
)
def test_each_document_is_written_once_and_read_by_the_others(
    tmp_path, prompt, documents, shuffled, limits
):
    source = written(tmp_path / "in.jsonl", documents, shuffled=shuffled)
    without = Server()
    before = ask(tmp_path / "off", source, {**prompt, "cache": "off"}, without, **limits)
    api = Server()
    took = ask(tmp_path / "auto", source, prompt, api, **limits)
    assert (api.cache.writes, api.cache.reads) == (documents, 4 * documents)
    assert without.cache.writes > documents
    assert took <= before * 1.05
    found = rows(tmp_path / "auto/run")
    assert sum(row["cached_tokens"] > 0 for row in found) == 4 * documents
    assert completions(tmp_path / "auto/run") == completions(tmp_path / "off/run")


def test_of_many_rows_with_one_beginning_one_writes(tmp_path):
    api = Server()
    source = written(tmp_path / "in.jsonl", 1, questions=64)
    assert ask(tmp_path, source, SHARED, api) < 2.5 * LATENCY
    assert (api.cache.writes, api.cache.reads) == (1, 63)


def moments(api, *, of=""):
    """When requests came, from the first on."""
    began = api.ledger[0].at
    return sorted(asked.at - began for asked in api.ledger if of in asked.prompt)


def test_what_is_too_short_to_be_cached_is_not_waited_for(tmp_path):
    source = written(tmp_path / "in.jsonl", 1, questions=64, size=1_200)
    short, off = Server(), Server()
    took = ask(tmp_path / "auto", source, SHARED, short)
    before = ask(tmp_path / "off", source, {**SHARED, "cache": "off"}, off)
    assert took == pytest.approx(before, abs=0.1)
    assert moments(short)[-1] == pytest.approx(moments(off)[-1], abs=0.1)
    assert len(short.ledger) == 64


@pytest.mark.parametrize(
    "tables",
    [
        {"prompt": {**SHARED, "cache": "off"}},
        {"endpoint": {"provider": "cerebras"}},
        {"endpoint": {}},
        {"request": {"model": "gpt-4"}},
        {"request": {"model": "m", "api": "embeddings"}, "prompt": {"user": "{{ doc }}"}},
    ],
)
def test_nobody_waits_where_that_would_not_help(tmp_path, tables):
    api = Server()
    source = written(tmp_path / "in.jsonl", 1, questions=8)
    made = {"request": {"model": "gpt-5.4"}, "prompt": SHARED, **tables}
    endpoint = {
        "base_url": api.url,
        "api_key_env": "",
        **tables.get("endpoint", {"provider": "openai"}),
    }
    how = virtual.how(api)
    table = {"input": source, **made, "endpoint": endpoint, "dedupe": False}
    assert runner.run(spec.check(table), tmp_path / "run", *how).exit_code == 0
    api.close()
    assert moments(api)[-1] < 0.5


def test_where_a_prefix_is_found_out_by_the_second_request_two_lead(tmp_path):
    api = Server(FakeCache(64, second=True))
    source = written(tmp_path / "in.jsonl", 10, questions=8)
    endpoint = {"base_url": api.url, "api_key_env": "", "provider": "deepseek"}
    ask(tmp_path, source, SHARED, api, endpoint=endpoint, request={"model": "deepseek-chat"})
    assert (api.cache.writes, api.cache.reads) == (20, 60)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("api_name", ["chat", "responses"])
def test_a_leader_that_fails_is_replaced(tmp_path, api_name, streamed):
    api = Server()
    api.script = {"question 0": [Step(503, delay=1.0)], "question 1": [Step(400, delay=1.0)]}
    source = written(tmp_path / "in.jsonl", 1, questions=8)
    sent = {"model": "gpt-5.4", "api": api_name, "stream": streamed}
    terms, around = virtual.how(api)
    runner.run(job(api, source, SHARED, request=sent), tmp_path / "run", terms, around)
    api.close()
    assert (api.cache.writes, api.cache.reads) == (1, 6)
    came = moments(api)
    assert len(came) == 9
    assert sum(moment < 3.9 for moment in came) == 3  # leaders, one behind the other
    assert max(came) < 10.0


@pytest.mark.parametrize(
    "lost",
    [Step(hang=True), Step(reset=True, delay=3.0), Step(500, delay=3.0)],
    ids=["hangs", "reset", "fails"],
)
def test_nobody_waits_longer_than_the_patience(tmp_path, lost):
    api = Server()
    api.script = {"question 0": [lost]}
    source = written(tmp_path / "in.jsonl", 1, questions=30)
    patient = {**SHARED, "leader_patience": 4}
    endpoint = {"base_url": api.url, "api_key_env": "", "provider": "openai", "total_timeout": 60}
    ask(tmp_path, source, patient, api, endpoint=endpoint)
    others = [
        asked.at - api.ledger[0].at for asked in api.ledger if "question 0" not in asked.prompt
    ]
    assert max(others) <= 4.0 + LATENCY + 0.1 if not lost.hang else max(others) <= 4.1


@pytest.mark.parametrize(
    ("provider", "model", "waits"),
    [("openrouter", "anthropic/claude-sonnet-5", 2.0), ("openai", "gpt-5.4", 7.0)],
)
def test_where_a_prefix_can_be_read_when_the_answer_begins_that_is_enough(
    tmp_path, provider, model, waits
):
    api = Server()
    words = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in "abcd"]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    used = {
        "choices": [],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
    }
    slow = Step(events=[*words, end, used, "[DONE]"], delay=1.0, event_delay=1.0)
    api.script = {"question 0": [slow]}
    source = written(tmp_path / "in.jsonl", 1, questions=8)
    endpoint = {"base_url": api.url, "api_key_env": "", "provider": provider}
    ask(tmp_path, source, SHARED, api, endpoint=endpoint, request={"model": model, "stream": True})
    came = moments(api)
    assert len(came) == 8
    assert came[1:] == pytest.approx([waits] * 7, abs=1.2)


def test_other_prefixes_go_on_behind_one_that_hangs(tmp_path):
    api = Server()
    api.script = {"number 0 question 0": [Step(hang=True)]}
    source = written(tmp_path / "in.jsonl", 20)
    endpoint = {"base_url": api.url, "api_key_env": "", "provider": "openai", "total_timeout": 60}
    ask(tmp_path, source, SHARED, api, endpoint=endpoint)
    came = [asked.at - api.ledger[0].at for asked in api.ledger if "number 0 " not in asked.prompt]
    assert max(came) < 2.5 * LATENCY
    assert api.cache.writes <= 19 + QUESTIONS


def test_more_rows_than_are_held_wait_for_one(tmp_path):
    api, size = Server(), 150_000
    count = MOST_PARKED_BYTES // size + 16
    source = written(tmp_path / "in.jsonl", 1, questions=count, size=size)
    ask(tmp_path, source, SHARED, api)
    assert (api.cache.writes, api.cache.reads) == (1, count - 1)


@pytest.mark.parametrize("prompt", [SHARED, SYSTEM])
def test_where_nothing_is_read_nobody_waits_for_long(tmp_path, prompt):
    api = Server(FakeCache(1_000_000))
    source = written(tmp_path / "in.jsonl", 50)
    before = ask(tmp_path / "off", source, {**prompt, "cache": "off"}, Server(), **SOME)
    assert ask(tmp_path / "auto", source, prompt, api, **SOME) <= before * 1.05 + LATENCY


def test_found_concurrency_is_what_it_is_without(tmp_path):
    source = written(tmp_path / "in.jsonl", 300)
    limits = {"concurrency": "auto"}
    off, api = Server(), Server()
    before = ask(tmp_path / "off", source, {**SHARED, "cache": "off"}, off, limits=limits)
    assert ask(tmp_path / "auto", source, SHARED, api, limits=limits) <= before * 1.1
    assert api.cache.writes == 300


def test_rows_with_their_own_messages_wait_for_those_they_have_in_common(tmp_path):
    api = Server()
    lines = []
    for number in range(90):
        said = [
            {"role": "system", "content": document(number % 3)},
            {"role": "user", "content": document(number % 9, 5_000)},
            {"role": "assistant", "content": "I see."},
            {"role": "user", "content": f"question {number}"},
        ]
        lines.append(json.dumps({"messages": said}) + "\n")
    (tmp_path / "in.jsonl").write_text("".join(lines))
    ask(tmp_path, str(tmp_path / "in.jsonl"), {}, api)
    assert api.cache.writes == 3
    assert api.cache.reads == 87
    whole = 9 * (6_000 + 5_000) // 4
    assert api.cache.written_tokens < whole


NEW = {"model": "gpt-5.6"}


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(
    ("prompt", "api_name"), [(SHARED, "chat"), (SYSTEM, "chat"), (SHARED, "responses")]
)
def test_a_cache_that_writes_all_is_told_where_the_beginning_ends(
    tmp_path, prompt, api_name, shuffled
):
    source, sent = written(tmp_path / "in.jsonl", shuffled=shuffled), {**NEW, "api": api_name}
    without = Server(FakeCache(breakpoints=True))
    off = {**prompt, "cache": "off"}
    before = ask(tmp_path / "off", source, off, without, request=sent, **SOME)
    api = Server(FakeCache(breakpoints=True))
    took = ask(tmp_path / "auto", source, prompt, api, request=sent, **SOME)
    assert (without.cache.writes, without.cache.reads) == (150, 0)
    assert (api.cache.writes, api.cache.reads) == (30, 120)
    assert took <= before * 1.05
    assert api.cache.cost(1.0) < 0.35 * without.cache.cost(1.0)
    assert cost(tmp_path / "auto/run") < 0.5 * cost(tmp_path / "off/run")
    assert {(row["row"], row["request_hash"]) for row in rows(tmp_path / "auto/run")} == {
        (row["row"], row["request_hash"]) for row in rows(tmp_path / "off/run")
    }


def test_what_shares_nothing_is_not_written(tmp_path):
    api = Server(FakeCache(breakpoints=True))
    source = written(tmp_path / "in.jsonl", 30, questions=1)
    ask(tmp_path, source, {"user": "{{ doc }}{{ question }}"}, api, request=NEW)
    assert (api.cache.writes, api.cache.reads) == (0, 0)


@pytest.mark.parametrize("marks", [True, False])
@pytest.mark.parametrize("cache", ["auto", "off"])
@pytest.mark.parametrize("system", [None, document(999)])
def test_a_report_tells_by_document_what_was_written_and_never_read(tmp_path, marks, cache, system):
    lines = [
        {"doc": document(number), "question": f"number {number} question {asked}"}
        for number in range(20)
        for asked in range(1 if number % 4 == 0 else 5)
    ]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    api = Server(FakeCache(breakpoints=marks))
    prompt = {**SHARED, "cache": cache, **({} if system is None else {"system": system})}
    ask(tmp_path, str(tmp_path / "in.jsonl"), prompt, api, request=NEW)
    known = plan.read(tmp_path / "run")
    assert known is not None
    made = report.of([(tmp_path / "run", known)], ())
    assert made.prefixes is not None
    assert (made.prefixes.columns, made.prefixes.count) == (["doc"], 20)
    told = [*made.prefixes.most, made.prefixes.others]
    assert sum(each.cache_write_tokens for each in told) == api.cache.written_tokens
    assert sum(each.cached_tokens for each in told) == api.cache.read_tokens
    assert sum(each.cache_unread_tokens for each in told) == made.cache_unread_tokens
    assert made.cache_unread_tokens <= api.cache.unread_tokens
    if marks:
        assert made.cache_unread_tokens == api.cache.unread_tokens > 0


class Refusing(Server):
    """One that takes no request with a field of this name, wherever it stands."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def _refusal(self, asked):
        if self.name not in json.dumps(asked.body):
            return super()._refusal(asked)
        words = f"Unknown parameter: 'messages[0].content[0].{self.name}'."
        return Step(400, body={"error": {"message": words, "code": "unknown_parameter"}})


@pytest.mark.parametrize("field", ["prompt_cache_options", "prompt_cache_breakpoint"])
def test_marks_go_to_no_server_that_has_refused_them(tmp_path, field):
    api = Refusing(field)
    source = written(tmp_path / "in.jsonl", 30)
    ask(tmp_path, source, SHARED, api, request=NEW)
    marked = ["prompt_cache" in json.dumps(seen.body) for seen in api.ledger]
    assert 1 <= sum(marked) <= 64
    assert not any(marked[64:])
    keys = {seen.headers["idempotency-key"] for seen in api.ledger}
    assert len(keys) == len(api.ledger) == 150 + sum(marked)
    assert {row["status"] for row in rows(tmp_path / "run")} == {"ok"}


def serving(api):
    async def serve():
        async with api.serving():
            await asyncio.Event().wait()

    return serve


def pooled(folder, source, prompt, apis, model="gpt-5.6", provider="openai"):
    """Ask several servers."""
    tables = [
        {"name": f"n{at}", "base_url": api.url, "api_key_env": "", "provider": provider}
        for at, api in enumerate(apis)
    ]
    sent = {"model": model}
    ask(folder, source, prompt, apis[0], serving(apis[1]), endpoint=tables, request=sent)
    apis[1].close()


def test_several_servers_that_write_all_are_told_what_to_write(tmp_path):
    source = written(tmp_path / "in.jsonl", 30)
    spent = {}
    for cache in ("auto", "off"):
        apis = [Server(FakeCache(breakpoints=True)) for _ in range(2)]
        pooled(tmp_path / cache, source, {**SHARED, "cache": cache}, apis)
        marked = [
            "prompt_cache_options" in (seen.body or {}) for api in apis for seen in api.ledger
        ]
        assert len(marked) == 150
        assert all(marked) if cache == "auto" else not any(marked)
        spent[cache] = sum(api.cache.cost(1.0) for api in apis)
    assert spent["auto"] < spent["off"]
    apis = [Server(FakeCache(breakpoints=True)) for _ in range(2)]
    pooled(tmp_path / "alone", source, {"user": "{{ doc }} {{ question }}"}, apis)
    assert [api.cache.writes for api in apis] == [0, 0]


def test_of_several_servers_the_one_that_refuses_marks_gets_them_no_more(tmp_path):
    apis = [Refusing("prompt_cache_options"), Server(FakeCache(breakpoints=True))]
    source = written(tmp_path / "in.jsonl", 60)
    pooled(tmp_path, source, SHARED, apis)
    there, here = (["prompt_cache" in json.dumps(seen.body) for seen in api.ledger] for api in apis)
    assert 1 <= sum(there) <= 64
    assert not any(there[64:])
    assert all(here)
    assert {row["status"] for row in rows(tmp_path / "run")} == {"ok"}


def test_several_servers_get_no_marks_that_might_cost_more(tmp_path):
    apis = [Server(), Server()]
    source = written(tmp_path / "in.jsonl", 10)
    pooled(tmp_path, source, SHARED, apis, "anthropic/claude-sonnet-5", "openrouter")
    assert not any("cache_control" in json.dumps(seen.body) for api in apis for seen in api.ledger)


class LiteLLM(Refusing):
    """A proxy that tells its name with each answer."""

    def __init__(self, name: str = "nothing like that") -> None:
        super().__init__(name)
        self.announces = True

    def _announced(self):
        return {"X-LiteLLM-Version": "1.102.1"}


CLAUDE = {"model": "team/claude-sonnet-5"}


@pytest.mark.parametrize("provider", [None, "openai"])
@pytest.mark.parametrize(("sent", "marks"), [(CLAUDE, True), ({"model": "smart"}, False)])
def test_a_proxy_that_passes_marks_on_to_claude_gets_them_once_it_has_told_its_name(
    tmp_path, sent, marks, provider
):
    api = LiteLLM()
    api.cache = FakeCache(breakpoints=True)
    source = written(tmp_path / "in.jsonl", 40)
    endpoint = {"base_url": api.url, "api_key_env": ""}
    endpoint |= {} if provider is None else {"provider": provider}
    limits = {"concurrency": 8}
    ask(tmp_path, source, SHARED, api, request=sent, endpoint=endpoint, limits=limits)
    marked = ["cache_control" in json.dumps(seen.body) for seen in api.ledger]
    assert not any(marked[:8])
    assert all(marked[8:]) if marks else not any(marked)
    if marks:
        assert 39 <= api.cache.writes <= 40 + 8
        assert api.cache.reads >= 200 - 40 - 8


def test_a_proxy_that_refuses_marks_gets_them_no_more(tmp_path):
    api = LiteLLM("cache_control")
    source = written(tmp_path / "in.jsonl", 40)
    endpoint = {"base_url": api.url, "api_key_env": ""}
    ask(tmp_path, source, SHARED, api, request=CLAUDE, endpoint=endpoint)
    marked = ["cache_control" in json.dumps(seen.body) for seen in api.ledger]
    assert 1 <= sum(marked) <= 64
    assert not any(marked[128:])
    assert {row["status"] for row in rows(tmp_path / "run")} == {"ok"}


def test_rows_that_mark_their_requests_themselves_are_left_alone(tmp_path):
    api = Server()
    block = {"type": "text", "text": document(1), "cache_control": {"type": "ephemeral"}}
    lines = [
        json.dumps(
            {"messages": [{"role": "user", "content": [block, {"type": "text", "text": f"{n}"}]}]}
        )
        for n in range(5)
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    ask(tmp_path, str(tmp_path / "in.jsonl"), {}, api, request=NEW)
    assert not any("prompt_cache" in json.dumps(seen.body) for seen in api.ledger)


@pytest.mark.second_lane
def test_after_kills_a_document_is_written_once_more_at_most(start, batchmill, tmp_path):
    api = FakeAPI()
    api.cache, api.latency = FakeCache(), 0.05
    source = written(tmp_path / "in.jsonl", 40)
    tables = {
        "input": source,
        "prompt": SHARED,
        "request": {"model": "gpt-5.4"},
        "endpoint": {"base_url": api.url, "api_key_env": "", "provider": "openai"},
        "limits": {"concurrency": 8},
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in flat(tables)]
    (tmp_path / "ask.toml").write_text("\n".join(lines))
    for _ in range(3):
        before = len(api.ledger)
        process = start("run", "ask.toml")
        until(lambda before=before: len(api.ledger) >= before + 30, process)
        process.kill()
        process.wait()
    assert batchmill("run", "ask.toml").exit_code == 0
    api.close()
    assert {row["status"] for row in rows(tmp_path / "runs/ask")} == {"ok"}
    assert api.cache.writes <= 40 + 3 * 8


def flat(tables, before=""):
    """The keys of tables within tables, dotted."""
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
