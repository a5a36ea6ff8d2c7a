"""`limits.max_cost_usd`: what the server charges never exceeds it, and little of it is left unused."""

from __future__ import annotations

import json
import random
import shlex
import time
from functools import partial

import msgspec
import pytest

from batch import apis
from batch.apis import Parameters
from batch.costs import token_bounds
from batch.costs.budget import Boundless, WorstCase
from batch.costs.prices import Price, Pricer, Seller
from batch.requests.prompts import Question
from tests.fake_api import Step
from tests.reading import asking, ran, rows, texts, until, write

PRICES = {"m": {"input": 100.0, "output": 1000.0}, "fake-model": {"input": 100.0, "output": 1000.0}}
PRICED = ("--set", "prices.m.input=100", "--set", "prices.m.output=1000")
LENGTH = ("--set", "request.max_tokens=40")
KEPT = {"max_tokens": 40}
HASTE = {"first_delay": 0.001, "max_delay": 0.01, "max_wait": 5, "max_maybe_billed": 3}


def bill(api):
    """USD that the server charges."""
    return sum(asked.input_tokens * 100e-6 + asked.output_tokens * 1000e-6 for asked in api.ledger)


def prompts(count):
    return [{"prompt": text} for text in texts(count)]


def capped(api, folder, cap, count=200, request=KEPT, *, concurrency=4, **more):
    """A run in this process, whose limit is on its cost."""
    limits = {"concurrency": concurrency, "max_cost_usd": cap}
    return ran(api, folder, prompts(count), request, limits=limits, prices=PRICES, **more)


def test_the_cap_stops_the_run_when_nearly_all_of_it_is_used(api, tmp_path):
    done = capped(api, tmp_path, 1.0)
    assert done.exit_code == 3
    assert "(limits.max_cost_usd)" in done.stopped
    assert 0.9 <= bill(api) <= 1.0
    assert sum(row["cost_usd"] for row in done.rows) == pytest.approx(bill(api))


def test_a_higher_cap_goes_on_and_a_lower_one_does_not(api, tmp_path):
    first = capped(api, tmp_path, 0.5)
    again = capped(api, tmp_path, 0.5)
    lower = capped(api, tmp_path, 0.2)
    assert [done.exit_code for done in (first, again, lower)] == [3, 3, 3]
    assert len(first.rows) == len(again.rows) == len(lower.rows)
    assert 0.4 < bill(api) <= 0.5
    assert capped(api, tmp_path, 1.0).exit_code == 3
    assert 0.9 < bill(api) <= 1.0
    done = capped(api, tmp_path, 100.0)
    assert (done.exit_code, len(done.rows)) == (0, 200)
    assert set(api.prompts().values()) == {1}


def test_what_was_spent_without_a_cap_counts_too(api, tmp_path):
    capped(api, tmp_path, 0.3)
    assert capped(api, tmp_path, None, limit=120).exit_code == 0
    before = bill(api)
    assert before > 0.5
    assert capped(api, tmp_path, before).exit_code == 3
    assert bill(api) == before
    assert capped(api, tmp_path, before + 0.3).exit_code == 3
    assert before + 0.2 < bill(api) <= before + 0.3


@pytest.mark.parametrize("step", [Step(close=True), Step(504), Step(usage=None)])
def test_what_nobody_knows_counts_at_its_worst(api, tmp_path, step):
    api.script = {"text": [step, ...]}
    done = capped(api, tmp_path, 1.0, retry=HASTE)
    assert done.exit_code == 3, done
    least = 40 * 1000e-6 + len("text 00000") * 100e-6
    assert 5 <= len(api.ledger) <= 1.0 / least


def test_what_was_refused_costs_nothing(api, tmp_path):
    api.script = {"text": [429, Step(429), 500]}
    done = capped(api, tmp_path, 1.0, count=18, retry=HASTE)
    assert done.exit_code == 0, done
    assert len(api.ledger) == 4 * 18
    assert len(api.ledger) * 40 * 1000e-6 > 1.0  # what they had reserved


def test_answers_that_are_reused_cost_nothing(api, tmp_path):
    capped(api, tmp_path, 10.0, count=30)
    before = len(api.ledger)
    from batch import runner, spec
    from batch.planning.terms import Terms

    tables = json.loads((tmp_path / "run/run.json").read_text())["job"]
    tables["limits"]["max_cost_usd"] = 0.1
    how = Terms(environment={}, reuse=(tmp_path / "run",))
    ended = runner.run(spec.check(tables), tmp_path / "anew", how)
    assert (ended.exit_code, len(rows(tmp_path / "anew"))) == (0, 30)
    assert ended.cap_left is not None
    assert float(ended.cap_left) == 0.1
    assert len(api.ledger) == before


def has_sent_or_ended(api, count, process):
    return len(api.ledger) >= count or process.poll() is not None


@pytest.mark.second_lane
def test_twenty_kills_never_let_more_out_than_the_cap(api, start, batchmill, tmp_path):
    cap, chance, kills = 12.0, random.Random(), 0
    write(tmp_path / "in.jsonl", texts(2500))
    api.latency = 0.02
    length = ("--set", "request.max_tokens=6")
    command = ("run", "in.jsonl", *asking(api, "-c", 8, *PRICED, *length, "--max-cost", cap))
    lost = 8 * (0.006 + 130 * 100e-6) + cap / 100  # by a kill: what is in flight, and a slice
    while kills < 20:
        more = len(api.ledger) + chance.randint(1, 30)
        process = start(*command)
        until(partial(has_sent_or_ended, api, more, process))
        if process.poll() is not None:  # a slow machine: what is sent meanwhile uses the cap up
            assert process.returncode == 3 and kills >= 5
            break
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.wait()
        kills += 1
        drawn = json.loads((tmp_path / "runs/in/budget.json").read_text())
        assert bill(api) <= float(drawn["drawn_usd"]) <= cap
    ended = batchmill(*command)
    assert ended.exit_code == 3, ended.stderr
    assert "counts as spent: it was in flight at a kill" in ended.stderr
    assert cap - kills * lost - 0.1 < bill(api) <= cap


@pytest.mark.second_lane
def test_what_was_in_flight_at_a_kill_without_a_cap_counts_too(api, start, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(100))
    api.script = {"text": [Step(hang=True), ...]}
    command = ("run", "in.jsonl", *asking(api, "-c", 8, *PRICED, *LENGTH))
    process = start(*command)
    until(lambda: len(api.ledger) == 8, process)
    process.kill()
    process.wait()
    api.script = {}
    ended = batchmill(*command, "--max-cost", 0.2)
    assert ended.exit_code == 3, ended.stderr
    assert len(api.ledger) == 8


def test_says_what_was_spent_and_how_to_go_on(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(300))
    command = ("run", "in.jsonl", *asking(api, *PRICED, *LENGTH, "--max-cost", "0.5"))
    ended = batchmill(*command)
    assert ended.exit_code == 3, ended.stderr
    *_, error, last = ended.stderr.splitlines()
    assert error.startswith("error: the cap is reached: $0.")
    assert " of $0.50" in error
    assert "\ncap left  $0.0" in ended.stderr
    assert last.startswith("to go on with a higher cap: batchmill run in.jsonl ")
    assert last.endswith(" --max-cost 1")
    assert last.count("--max-cost") == 1
    ended = batchmill(*shlex.split(last.partition(": batchmill ")[2]))
    assert ended.exit_code == 3, ended.stderr
    assert 0.5 < bill(api) <= 1.0
    ended = batchmill("run", "runs/in", "--set", "limits.max_cost_usd=1000")
    assert ended.exit_code == 0, ended.stderr
    assert "\ncap left  $99" in ended.stderr


def test_one_request_that_may_cost_more_than_the_cap_is_not_sent(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    ended = batchmill("run", "in.jsonl", *asking(api, *PRICED, *LENGTH, "--max-cost", "0.01"))
    assert ended.exit_code == 3, ended.stderr
    assert "$0.00 of $0.01" in ended.stderr.replace("0.0100", "0.01")
    assert api.ledger == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (PRICED, "set max_tokens in [request]"),
        ((*PRICED, "--api", "responses"), "set max_output_tokens in [request]"),
        (LENGTH, "no price is known for m: put it under [prices]"),
        ((*PRICED, *LENGTH, "--max-cost", "0"), "max_cost_usd"),
        ((*PRICED, *LENGTH, "--max-cost", "nan"), "max_cost_usd"),
    ],
)
def test_a_cap_that_cannot_be_held_is_found_before_anything_is_sent(
    api, batchmill, tmp_path, flags, words
):
    write(tmp_path / "in.jsonl", texts(3))
    ended = batchmill("run", "in.jsonl", *asking(api, "--max-cost", "1", *flags))
    assert ended.exit_code == 2, ended.stderr
    assert "max_cost_usd" in ended.stderr
    assert words in ended.stderr
    assert api.ledger == []
    assert not (tmp_path / "runs").exists()


def test_the_key_of_a_job_file_is_named_by_its_line(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    (tmp_path / "job.toml").write_text(
        f"""input = "in.jsonl"
[prompt]
user = "{{{{ text }}}}"
[request]
model = "m"
[endpoint]
base_url = "{api.url}"
[limits]
max_cost_usd = 5
"""
    )
    ended = batchmill("run", "job.toml")
    assert ended.exit_code == 2, ended.stderr
    assert "job.toml:9: [limits] max_cost_usd: no price is known for m" in ended.stderr


def test_a_row_that_brings_its_own_request_is_named(api, tmp_path):
    from batch.errors import JobError

    lines = [{"body": {"messages": [{"role": "user", "content": "a"}], "max_tokens": 9}}] * 2
    lines.append({"body": {"messages": [{"role": "user", "content": "b"}]}})
    limits = {"max_cost_usd": 1.0}
    with pytest.raises(JobError, match=r"in.jsonl:3: nothing bounds how long an answer may be"):
        ran(api, tmp_path, lines, {}, limits=limits, prices=PRICES)
    done = ran(api, tmp_path, lines[:2], {}, limits=limits, prices=PRICES)
    assert done.exit_code == 0


def test_a_free_model_needs_no_bound(api, tmp_path):
    limits = {"max_cost_usd": 0.01}
    free = {"fake-model": {"input": 0.0, "output": 0.0}}
    done = ran(api, tmp_path, prompts(5), {}, limits=limits, prices=free)
    assert (done.exit_code, len(done.rows)) == (0, 5)


def worst(**parameters):
    """USD of one question at most."""
    pricer = Pricer({"m": Price(100.0, 1000.0)}, Seller())
    sent = msgspec.structs.replace(Parameters(model="m"), sent=parameters)
    question = Question(messages=[{"role": "user", "content": "Где? 日本"}])
    request = apis.build(question, sent, 0)
    return float(WorstCase(pricer).of(request, time.time())), len(request.body)


def test_the_worst_case_is_a_token_a_byte_and_all_output_of_all_answers():
    price, size = worst(max_tokens=50, n=3)
    most = size * 100e-6 + 150 * 1000e-6
    assert most <= price <= most * 17 / 16


PIXELS = "data:image/png;base64," + "A" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        f'<p><img src="{PIXELS}">',
        f"url({PIXELS}) " + "word " * 20_000,
        PIXELS,
        [{"type": "input_audio", "input_audio": {"data": "A" * 100_000, "format": "mp3"}}],
        [{"type": "file", "file": {"file_data": "data:application/pdf;base64," + "A" * 100_000}}],
    ],
)
def test_only_a_picture_counts_less_than_its_bytes(content):
    sent = Parameters(model="m")
    request = apis.build(Question(messages=[{"role": "user", "content": content}]), sent, 0)
    assert token_bounds.most_input(request) >= 100_000


def test_answers_of_an_api_that_tells_no_output_are_settled_by_what_they_cost(api, tmp_path):
    free_output = {"fake-model": {"input": 100.0, "output": 0.0}}
    limits = {"max_cost_usd": 1.0}
    request = {"api": "embeddings"}
    done = ran(api, tmp_path, prompts(50), request, limits=limits, prices=free_output)
    assert done.exit_code == 0
    drawn = json.loads((tmp_path / "run/budget.json").read_text())
    assert float(drawn["drawn_usd"]) == pytest.approx(bill(api))


@pytest.mark.parametrize(
    "parameters",
    [
        {"web_search_options": {}},
        {"tools": [{"type": "web_search"}]},
        {"tools": ["odd"]},
        {"previous_response_id": "resp_1"},
        {"plugins": [{"id": "web"}]},
        {"max_tokens": -1},
    ],
)
def test_what_has_no_bound_is_told(parameters):
    with pytest.raises(Boundless):
        worst(**{"max_tokens": 50, **parameters})


def test_tools_that_we_run_have_a_bound():
    function = {"type": "function", "function": {"name": "plugins", "parameters": {"plugins": {}}}}
    assert worst(max_tokens=50, tools=[function], conversation=None)[0] > 0


@pytest.mark.parametrize(
    "url", ["https://example.org/a.png", "data:image/png;base64," + "A" * 90_000]
)
def test_a_picture_counts_as_a_large_one_wherever_it_is(url):
    pricer = Pricer({"m": Price(100.0, 1000.0)}, Seller())
    picture = {"type": "image_url", "image_url": {"url": url}}
    question = Question(messages=[{"role": "user", "content": [picture]}])
    request = apis.build(question, Parameters(model="m", sent={"max_tokens": 1}), 0)
    assert 2.0 <= float(WorstCase(pricer).of(request, time.time())) <= 2.2


def test_list_prices_are_those_of_the_dearest_tier():
    pricer = Pricer({}, Seller("openai"))
    question = Question(messages=[{"role": "user", "content": "Where?"}])
    request = apis.build(question, Parameters(model="gpt-5.4", sent={"max_tokens": 1000}), 0)
    usual = 1000 * 15e-6
    assert float(WorstCase(pricer).of(request, time.time())) >= 2 * usual


def test_a_cap_given_by_a_flag_holds_for_later_starts(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(200))
    command = ("run", "in.jsonl", *asking(api, "-c", 2, *PRICED, *LENGTH))
    assert batchmill(*command, "--max-cost", "0.5", "--limit", 3).exit_code == 0
    ended = batchmill(*command)
    assert ended.exit_code == 3, ended.stderr
    assert "the cap of $0.50 that a flag gave holds on" in ended.stderr
    spent = bill(api)
    assert batchmill("run", "runs/in").exit_code == 3
    assert 0.4 < spent <= bill(api) <= 0.5
    lifted = batchmill(*command, "--max-cost", "none")
    assert lifted.exit_code == 0, lifted.stderr
    assert "no cap holds any more" in lifted.stderr
    assert len(rows(tmp_path / "runs/in")) == 200


def test_a_lifted_cap_stays_lifted_until_the_job_file_says_another(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(200))
    job = """
        input = "in.jsonl"
        prompt.user = "{{ text }}"
        request = { model = "m", max_tokens = 40 }
        prices.m = { input = 100, output = 1000 }
        """
    (tmp_path / "job.toml").write_text(f"{job}\nlimits.max_cost_usd = 0.5")
    command = ("run", "job.toml", "--base-url", api.url, "-c", 2)
    assert batchmill(*command).exit_code == 3
    done = len(api.ledger)
    assert batchmill(*command, "--max-cost", "none", "--limit", done + 5).exit_code == 0
    assert batchmill(*command, "--limit", done + 10).exit_code == 0
    (tmp_path / "job.toml").write_text(f"{job}\nlimits.max_cost_usd = 0.4")
    assert batchmill(*command).exit_code == 3
    assert len(api.ledger) == done + 10
