"""Several endpoints behind one run: who is asked, what a server's faults cost, and what stays true.

Runs and servers have a time of their own, so what is counted is the same on a busy machine.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from batch import pooling, runner, spec
from batch.engine.events import Event, Progressed
from batch.engine.lane_file import LaneFile
from batch.engine.lanes import Lanes
from batch.errors import Stopped, StorageError, UsageError
from batch.limits.limits import Limits
from batch.limits.pool import Listed
from batch.planning.prepare import prepare
from batch.planning.terms import Terms
from batch.reports.summary import Ended
from batch.runner import Surroundings
from tests import virtual
from tests.fake_api import FakeAPI, Step, answer_to
from tests.reading import completions, rows, texts, write

LATENCY = 0.6
"""Seconds: a run of a few hundred rows takes long enough for something to happen meanwhile."""
DEAD = Step(reset=True)
FULL = Step(429, body={"error": {"message": "no room", "type": "rate_limit_error"}})
REFUSED_KEY = Step(401, body={"error": {"message": "wrong key", "code": "invalid_api_key"}})
NO_MODEL = Step(404, body={"error": {"message": "no such model", "code": "model_not_found"}})


@pytest.fixture
def servers() -> Iterator[list[FakeAPI]]:
    """Four that answer in the loop of the run that asks them."""
    made = [FakeAPI(in_a_thread=False) for _ in range(4)]
    for api in made:
        api.latency = LATENCY
    yield made
    for api in made:
        api.close()


class Servers:
    """A run over servers, and how long it took by its own clock."""

    def __init__(self, servers: list[FakeAPI], folder: Path) -> None:
        self.servers = servers
        self.folder = folder
        self.seconds = 0.0
        self.said: list[str] = []
        self.shown: list[str] = []

    def run(
        self,
        prompts: list[str],
        *meanwhile: Callable[[], Coroutine[Any, Any, object]],
        endpoint: Any = None,
        environment: dict[str, str] | None = None,
        hearing: Any = nullcontext,
        **tables: Any,
    ) -> Ended:
        """Ask them all, unless `endpoint` says whom; `tables` are those of the job."""
        made: dict[str, Any] = {
            "input": str(write(self.folder / "in.jsonl", prompts)),
            "prompt": {"user": "{{ text }}"},
            "request": {"model": "m"},
            "endpoint": endpoint
            or {"base_url": [api.url for api in self.servers], "api_key_env": ""},
            "limits": {"concurrency": 32},
            **tables,
        }
        clock = virtual.Clock()
        around = Surroundings(
            consumers=(virtual.notices_to(self.said), self._see),
            clock=clock.read,
            hearing=hearing,
            playing=lambda story: virtual.play(self._served(story, meanwhile), clock),
        )
        how = Terms(environment=environment or {}, bounds=False)
        began = clock.now
        ended = runner.run(spec.check(made), self.folder / "run", how, around)
        self.seconds = clock.now - began
        return ended

    def _see(self, event: Event) -> None:
        if isinstance(event, Progressed):
            self.shown.append(event.waiting)

    async def _served(self, story: Any, meanwhile: Any) -> Any:
        async with AsyncExitStack() as stack:
            for api in self.servers:
                await stack.enter_async_context(api.serving())
            others = [asyncio.create_task(each()) for each in meanwhile]
            try:
                return await story
            finally:
                for other in others:
                    other.cancel()
                await asyncio.gather(*others, return_exceptions=True)

    @property
    def asked(self) -> list[int]:
        return [len(api.ledger) for api in self.servers]


@pytest.fixture
def pool(servers: list[FakeAPI], tmp_path: Path) -> Servers:
    return Servers(servers, tmp_path)


def answered(run: Path, prompts: list[str]) -> None:
    """Every row once, with its own answer."""
    assert completions(run) == [(row, answer_to(text)) for row, text in enumerate(prompts)]


# who is asked


def test_servers_that_are_alike_share_alike(pool, tmp_path):
    prompts = texts(400)
    assert pool.run(prompts, pool={"affinity": "off"}).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert sum(pool.asked) == 400 and max(pool.asked) - min(pool.asked) <= 12
    ends = {row["endpoint"] for row in rows(tmp_path / "run")}
    assert ends == {f"127.0.0.1:{api.port}/v1" for api in pool.servers}


def test_a_weight_is_a_share(pool):
    tables = [
        {"base_url": api.url, "api_key_env": "", "name": f"s{n}", "weight": weight}
        for n, (api, weight) in enumerate(zip(pool.servers, (1, 1, 2, 4), strict=True))
    ]
    assert pool.run(texts(800), endpoint=tables, pool={"affinity": "off"}).exit_code == 0
    assert pool.asked[3] > 1.6 * pool.asked[2] > 2.5 * pool.asked[0]


def test_a_slow_server_one_that_dies_and_returns_and_one_that_joins_fail_no_row(
    pool, servers, tmp_path
):
    """The four-server case: wall time at most 1.15 of the ideal split of their slots."""
    prompts, urls = texts(1_000), tmp_path / "servers.txt"
    urls.write_text("".join(f"{api.url}\n" for api in servers[:3]))
    for api in servers:
        api.slots = 8
    servers[1].latency = 2 * LATENCY

    async def dies_and_returns():
        await asyncio.sleep(4)
        servers[2].always = DEAD
        await asyncio.sleep(6)
        servers[2].always = None

    async def joins():
        await asyncio.sleep(6)
        urls.write_text(urls.read_text() + f"{servers[3].url}\n")

    ended = pool.run(
        prompts,
        dies_and_returns,
        joins,
        endpoint={"api_key_env": ""},
        pool={"urls_file": str(urls), "affinity": "off"},
        limits={"concurrency": 64},
    )
    assert ended.exit_code == 0
    answered(tmp_path / "run", prompts)
    a, b, slow = 8 / LATENCY, 8 / (2 * LATENCY), 1_000
    # what each could answer in a second, while it was there
    ideal = next(
        t / 10
        for t in range(1, 10_000)
        if a * t / 10 + b * t / 10 + a * max(0, t / 10 - 6) + a * max(0, t / 10 - 10) >= slow
    )
    assert pool.seconds <= 1.15 * ideal + 1
    assert any("is asked, too" in line for line in pool.said)


def test_a_server_that_leaves_the_file_is_drained(pool, servers, tmp_path):
    urls = tmp_path / "servers.txt"
    urls.write_text("".join(f"{api.url} 1  # gpu\n\n" for api in servers))
    seen = []

    async def leaves():
        await asyncio.sleep(3)
        urls.write_text("".join(f"{api.url}\n" for api in servers[1:]))
        await asyncio.sleep(3)
        seen.append((len(servers[0].ledger), servers[0].in_flight))

    prompts = texts(700)
    listed = {"urls_file": str(urls), "affinity": "off"}
    assert pool.run(prompts, leaves, endpoint={"api_key_env": ""}, pool=listed).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert [(len(servers[0].ledger), 0)] == seen
    assert all(each.completed for each in servers[0].ledger)
    assert sum("is asked no more" in line for line in pool.said) == 1


def test_a_file_that_is_spoilt_changes_nothing_and_is_told_once(pool, servers, tmp_path):
    urls = tmp_path / "servers.txt"
    urls.write_text("".join(f"{api.url}\n" for api in servers))

    async def spoils():
        await asyncio.sleep(3)
        urls.write_text("http://a b c\n")
        await asyncio.sleep(11)
        urls.unlink()

    prompts = texts(1_000)
    listed = {"urls_file": str(urls), "affinity": "off"}
    assert pool.run(prompts, spoils, endpoint={"api_key_env": ""}, pool=listed).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert sum("line 1" in line for line in pool.said) == 1


@pytest.mark.parametrize("line", ["http://[::1]x/v1", "https://xn--a", "local", "http://8.8.8.8"])
def test_a_line_that_is_no_server_is_told_and_the_run_goes_on(pool, servers, tmp_path, line):
    urls = tmp_path / "servers.txt"
    urls.write_text("".join(f"{api.url}\n" for api in servers[:3]))

    async def spoils():
        await asyncio.sleep(3)
        urls.write_text(f"{line}\n" + "".join(f"{api.url}\n" for api in servers))

    prompts = texts(700)
    listed = {"urls_file": str(urls), "affinity": "off"}
    assert pool.run(prompts, spoils, endpoint={"api_key_env": ""}, pool=listed).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert sum(str(urls) in said for said in pool.said) == 1
    assert len(servers[3].ledger) > 35


@pytest.mark.parametrize("line", ["http://[::1]x/v1", "https://xn--a", "local", "http://8.8.8.8"])
def test_a_run_does_not_begin_with_a_line_that_is_no_server(pool, servers, tmp_path, line):
    urls = tmp_path / "servers.txt"
    urls.write_text(f"{servers[0].url}\n{line}\n")
    with pytest.raises(UsageError, match=r"urls_file: .*servers\.txt: "):
        pool.run(texts(5), endpoint={"api_key_env": ""}, pool={"urls_file": str(urls)})
    assert pool.asked == [0] * 4


def test_a_file_that_cannot_be_followed_any_more_ends_no_run(tmp_path):
    """Whatever it is, it is said once, and what the run has goes on."""
    path = tmp_path / "servers.txt"
    said: list[str] = []
    nobody: Any = None
    path.write_text("http://a\n")

    def way(line):
        raise LookupError("no such thing")

    async def story():
        lanes = Lanes(Limits(), 8, nobody, nobody, said.append)
        async with LaneFile(path, lanes, way, frozenset(), said.append).followed():
            await asyncio.sleep(60)
        return "ended"

    assert virtual.play(story()) == "ended"
    assert len(said) == 1 and "no such thing" in said[0]


def test_a_server_that_was_refused_is_asked_again_when_its_line_comes_back(pool, servers, tmp_path):
    """And not at any other change of the file."""
    urls, counts = tmp_path / "servers.txt", []
    every = [f"{api.url}\n" for api in servers]
    urls.write_text("".join(every))
    servers[0].always = REFUSED_KEY

    async def changes():
        for lines in (["# one more\n", *every], every[1:], every):
            await asyncio.sleep(7)
            counts.append(len(servers[0].ledger))
            urls.write_text("".join(lines))
        servers[0].always = None

    prompts = texts(2_000)
    listed = {"urls_file": str(urls), "affinity": "off"}
    assert pool.run(prompts, changes, endpoint={"api_key_env": ""}, pool=listed).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert counts[0] == counts[1] == counts[2] > 0
    assert len(servers[0].ledger) > counts[2] + 35
    assert sum("is asked no more" in line for line in pool.said) == 1


def test_the_weights_of_the_job_hold_beside_those_of_the_file(pool, servers, tmp_path):
    """A server of the file is as heavy as the job's, times what its line says; the job's own stays."""
    urls = tmp_path / "servers.txt"
    urls.write_text(f"{servers[0].url} 9\n{servers[1].url}\n{servers[2].url} 0.25\n")
    pool.servers = servers[:3]
    ended = pool.run(
        texts(1_400),
        endpoint={"base_url": servers[0].url, "api_key_env": "", "weight": 4},
        pool={"urls_file": str(urls), "affinity": "off"},
        limits={"concurrency": 36},
    )
    assert ended.exit_code == 0 and pool.seconds > 15
    one, other, light = pool.asked
    assert 0.8 < one / other < 1.25 and one > 2.5 * light


def test_a_server_of_the_file_has_all_that_its_job_says_but_the_url(pool, servers, tmp_path):
    """Those that are there from the start, and one that joins: key, limits and weight."""
    urls = tmp_path / "servers.txt"
    urls.write_text(f"{servers[0].url}\n{servers[1].url} 2\n")
    for api in servers[:3]:
        api.key, api.requests_per_second = "sesame", 20

    async def joins():
        await asyncio.sleep(3)
        urls.write_text(urls.read_text() + f"{servers[2].url}\n")

    prompts = texts(900)
    ended = pool.run(
        prompts,
        joins,
        endpoint={"api_key_env": "KEY", "requests_per_minute": 1_200},
        environment={"KEY": "sesame"},
        pool={"urls_file": str(urls), "affinity": "off"},
    )
    assert ended.exit_code == 0
    answered(tmp_path / "run", prompts)
    assert {each.status for api in servers for each in api.ledger} == {200}
    assert len(servers[2].ledger) > 100


def test_a_server_without_a_price_joins_no_run_with_a_cap(tmp_path):
    """The list price of a public host is none of a server of one's own."""
    tables = {
        "input": str(write(tmp_path / "in.jsonl", ["a"])),
        "prompt": {"user": "{{ text }}"},
        "request": {"model": "gpt-4o-mini", "max_tokens": 5},
        "endpoint": {"base_url": "https://api.openai.com/v1"},
    }
    line = Listed("http://10.0.0.1:8000")
    for limits, joins in (({}, True), ({"max_cost_usd": 1.0}, False)):
        job = spec.check({**tables, "limits": limits})
        with ExitStack() as stack:
            terms = Terms(environment={"OPENAI_API_KEY": "k"}, bounds=False)
            prepared = prepare(job, terms, stack)
            if joins:
                assert pooling.way(prepared, line).endpoint.base_url == line.url
            else:
                with pytest.raises(UsageError, match="no price is known for gpt-4o-mini"):
                    pooling.way(prepared, line)


def test_what_stops_a_run_over_several_is_told_as_it_is(pool):
    """An error beside the loop of a run comes out as itself, and in no group."""

    @contextmanager
    def hearing(interrupt):
        raise StorageError("the disk is full")
        yield

    with pytest.raises(StorageError, match="the disk is full"):
        pool.run(texts(5), hearing=hearing)


# limits


def test_the_rate_of_a_run_is_that_of_all_its_servers_together(pool):
    assert pool.run(texts(300), limits={"requests_per_minute": 600}).exit_code == 0
    assert 29 <= pool.seconds <= 34


def test_each_server_keeps_the_limits_of_its_own(pool, servers, tmp_path):
    """Used to 98 %, and nothing is refused."""
    for api, rate in zip(servers, (5, 10), strict=False):
        api.requests_per_second = rate
    tables = [
        {
            "base_url": api.url,
            "api_key_env": "",
            "name": f"k{rate}",
            "requests_per_minute": rate * 60,
        }
        for api, rate in zip(servers, (5, 10), strict=False)
    ]
    pool.servers = servers[:2]
    prompts = texts(600)
    assert pool.run(prompts, endpoint=tables).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert {each.status for api in pool.servers for each in api.ledger} == {200}
    assert pool.seconds <= 600 / 15 / 0.98 + 2
    assert {row["endpoint"].partition("#")[2] for row in rows(tmp_path / "run")} == {"k5", "k10"}


def test_a_run_learns_what_answers_take_of_its_tokens(pool, tmp_path):
    """As where there is one server: they take far less than they may."""
    prompts = texts(300)
    ended = pool.run(
        prompts,
        request={"model": "m", "max_tokens": 1_000},
        limits={"tokens_per_minute": 200_000, "concurrency": 32},
    )
    assert ended.exit_code == 0
    answered(tmp_path / "run", prompts)
    assert pool.seconds <= 15


def test_the_concurrency_of_one_is_its_own(pool, servers):
    tables = [
        {"base_url": api.url, "api_key_env": "", "name": f"s{n}", "concurrency": 2 + n}
        for n, api in enumerate(servers)
    ]
    assert pool.run(texts(300), endpoint=tables).exit_code == 0
    assert [api.peak_in_flight for api in servers] == [2, 3, 4, 5]


# faults


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_server_without_room_is_its_own_matter(pool, servers, tmp_path, share):
    """Wall time at most 1.2 of three good ones."""
    prompts = texts(500)
    for api in servers:
        api.slots = 8
    if share == 1.0:
        servers[0].always = FULL
    else:
        servers[0].script = {text: [FULL] for text in prompts[::2]}
    assert pool.run(prompts, pool={"affinity": "off"}).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert pool.seconds <= 1.2 * 500 * LATENCY / 24
    assert all(row["status"] == "ok" for row in rows(tmp_path / "run"))


@pytest.mark.parametrize("at_first", [True, False])
def test_a_server_that_names_a_long_wait_is_waited_for_by_nobody(pool, servers, tmp_path, at_first):
    """Longer than a run has patience, and the others are free."""
    full = dataclasses.replace(FULL, headers={"Retry-After": "1000"})
    servers[0].always = full if at_first else None

    async def fills_up():
        await asyncio.sleep(1)
        servers[0].always = full

    prompts = texts(200)
    assert pool.run(prompts, fills_up, pool={"affinity": "off"}).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert pool.seconds <= 1.5 * 200 * LATENCY / 24
    refused = sum(each.status == 429 for each in servers[0].ledger)
    assert 0 < refused <= 32


def test_a_server_that_is_full_for_ever_holds_no_row_while_the_others_are_down(
    pool, servers, tmp_path
):
    """And those come back."""
    daily = {"message": "Rate limit exceeded: free-models-per-day", "code": 429}
    servers[0].always = Step(429, body={"error": daily})

    async def outage():
        await asyncio.sleep(0.5)
        for api in servers[1:]:
            api.always = Step(502)
        await asyncio.sleep(60)
        for api in servers[1:]:
            api.always = None

    prompts = texts(200)
    assert pool.run(prompts, outage, pool={"affinity": "off"}).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert 60 <= pool.seconds <= 150


def test_a_row_waits_for_whichever_server_has_room_first(pool, servers, tmp_path):
    for api, wait in zip(servers, ("100", "200", "300", "400"), strict=True):
        api.always = dataclasses.replace(FULL, headers={"Retry-After": wait})

    async def has_room():
        await asyncio.sleep(99)
        servers[0].always = None

    prompts = texts(20)
    assert pool.run(prompts, has_room, pool={"affinity": "off"}).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert 100 <= pool.seconds <= 120


def test_all_down_for_a_while_is_one_outage_and_fails_no_row(pool, servers, tmp_path):
    async def outage():
        await asyncio.sleep(2)
        for api in servers:
            api.always = Step(502)
        await asyncio.sleep(20)
        for api in servers:
            api.always = None

    prompts = texts(700)
    assert pool.run(prompts, outage).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert pool.seconds <= 700 * LATENCY / 32 + 20 + 8


@pytest.mark.parametrize("refusal", [REFUSED_KEY, NO_MODEL])
def test_a_server_that_refuses_key_or_model_leaves_with_one_line(pool, servers, tmp_path, refusal):
    servers[0].always = servers[1].always = refusal
    prompts = texts(300)
    assert pool.run(prompts).exit_code == 0
    answered(tmp_path / "run", prompts)
    gone = [line for line in pool.said if "is asked no more" in line]
    assert len(gone) == 2 and all(str(api.port) in " ".join(gone) for api in servers[:2])
    assert max(pool.asked[:2]) <= 32


WRONG = Step(400, body={"error": {"message": "top_k is not supported", "code": "unsupported"}})
LONG = Step(400, body={"error": {"message": "too long", "code": "context_length_exceeded"}})


@pytest.mark.parametrize(("wrong", "seconds"), [(1, 0), (2, 0), (3, 0), (1, 2)])
def test_a_server_that_refuses_what_another_answers_leaves_with_one_line(
    pool, servers, tmp_path, wrong, seconds
):
    """From the start, or later."""

    async def goes_wrong():
        await asyncio.sleep(seconds)
        for api in servers[:wrong]:
            api.always = WRONG

    prompts = texts(200)
    assert pool.run(prompts, goes_wrong, pool={"affinity": "off"}).exit_code == 0
    answered(tmp_path / "run", prompts)
    gone = [line for line in pool.said if "is asked no more" in line]
    assert len(gone) == wrong and all("top_k is not supported" in line for line in gone)


def test_a_row_that_two_servers_refuse_fails_and_no_server_leaves(pool, servers, tmp_path):
    prompts = texts(400)
    for api in servers:
        api.script = {text: [WRONG, ...] for text in prompts[5::40]}
    assert pool.run(prompts, pool={"affinity": "off"}).exit_code == 1
    failed = [row for row in rows(tmp_path / "run") if row["status"] != "ok"]
    assert [row["row"] for row in failed] == list(range(5, 400, 40))
    assert {row["error_class"] for row in failed} == {"invalid_request"}
    for row in failed:
        places = [each["endpoint"] for each in row["attempt_log"]]
        assert len(set(places)) == len(places) >= 2
    assert [len(row["attempt_log"]) for row in failed[1:]] == [2] * 9
    assert not any("is asked no more" in line for line in pool.said)


def test_a_row_too_long_for_one_server_is_answered_by_another(pool, servers, tmp_path):
    prompts = texts(400)
    for api in servers[:2]:
        api.script = {text: [LONG, ...] for text in prompts[::10]}
    tables = [
        {"base_url": api.url, "api_key_env": "", "name": f"s{n}"}
        for n, api in enumerate((servers[0], servers[2]))
    ]
    assert pool.run(prompts, endpoint=tables, pool={"affinity": "off"}).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert not any("is asked no more" in line for line in pool.said)


def test_the_run_stops_when_none_is_left(pool, servers, tmp_path):
    for api in servers:
        api.always = REFUSED_KEY
    ended = pool.run(texts(100))
    assert ended.exit_code == 3 and isinstance(ended.stopped, Stopped)
    assert rows(tmp_path / "run") == []


def test_a_row_tried_again_prefers_another_server(pool, servers, tmp_path):
    servers[0].always = Step(500)
    prompts = texts(60)
    assert pool.run(prompts, pool={"affinity": "off"}, limits={"concurrency": 4}).exit_code == 0
    answered(tmp_path / "run", prompts)
    for row in rows(tmp_path / "run"):
        for earlier, later in pairwise(row["attempt_log"] or []):
            assert earlier["endpoint"] != later["endpoint"]


def test_an_endpoint_that_never_comes_up_ends_the_run_after_wait_ready(pool, servers):
    urls = [f"http://127.0.0.1:{port}" for port in (9, 11)]  # nobody is there
    ended = pool.run(
        texts(50), endpoint={"base_url": urls, "api_key_env": ""}, pool={"wait_ready": 100}
    )
    assert ended.exit_code == 3
    assert 100 <= pool.seconds <= 130


# prefixes


def hits(ledger: list[Any], held: int = 30) -> tuple[int, int]:
    """How many prompts began as one of the last `held` beginnings did at this server."""
    cache: OrderedDict[str, None] = OrderedDict()
    found = 0
    for asked in ledger:
        begins = asked.body["messages"][0]["content"]
        found += begins in cache
        cache[begins] = None
        cache.move_to_end(begins)
        if len(cache) > held:
            cache.popitem(last=False)
    return found, len(ledger)


@pytest.mark.parametrize(("affinity", "least", "most"), [("auto", 0.8, 1.0), ("off", 0.0, 0.5)])
def test_prompts_that_begin_alike_go_to_one_server(pool, servers, affinity, least, most):
    """80 beginnings, some 20 at home at each server, which remembers 30."""
    prompts, chance = texts(1_500), random.Random(3)
    for api in servers:
        api.script = {text: [Step(delay=chance.uniform(0.1, 0.5))] for text in prompts}
    path = pool.folder / "rows.jsonl"
    order = sorted(range(1_500), key=lambda n: n * 7919 % 1_511)
    path.write_text(
        "".join(
            json.dumps({"text": prompts[n], "about": f"document {n % 80} " * 40}) + "\n"
            for n in order
        )
    )
    ended = pool.run(
        [],
        input=str(path),
        prompt={"system": "{{ about }}", "user": "{{ text }}"},
        pool={"affinity": affinity},
        limits={"concurrency": 128},
    )
    assert ended.exit_code == 0
    found = [hits(api.ledger) for api in servers]
    share = sum(hit for hit, _ in found) / sum(asked for _, asked in found)
    assert least <= share <= most
    assert max(pool.asked) <= 1.2 * 1_500 / 4


# identity, money, names


def test_a_run_goes_on_with_other_servers_and_keeps_no_header_value(pool, servers, tmp_path):
    tables = [
        {
            "base_url": api.url,
            "api_key_env": "",
            "name": f"s{n}",
            "headers": {"X-Team": f"secret{n}"},
        }
        for n, api in enumerate(servers[:2])
    ]
    prompts = texts(100)
    assert pool.run(prompts, endpoint=tables, limit=40).exit_code == 0
    kept = (tmp_path / "run" / "run.json").read_text()
    assert "secret" not in kept and "X-Team" in kept
    assert {each.headers["x-team"] for each in servers[0].ledger} == {"secret0"}
    others = [{"base_url": servers[3].url, "api_key_env": ""}]
    assert pool.run(prompts, endpoint=others).exit_code == 0
    answered(tmp_path / "run", prompts)
    assert (sum(pool.asked), len(servers[3].ledger)) == (100, 60)


def test_each_server_has_its_key_and_its_name_for_the_model(pool, servers, tmp_path):
    for api, key in zip(servers, "abcd", strict=True):
        api.key = key
    tables = [
        {
            "base_url": api.url,
            "api_key_env": f"KEY_{key}",
            "name": key,
            "model": f"model-{key}",
        }
        for api, key in zip(servers, "abcd", strict=True)
    ]
    keys = {f"KEY_{key}": key for key in "abcd"}
    prompts = texts(40)
    assert pool.run(prompts, endpoint=tables, environment=keys).exit_code == 0
    for api, key in zip(servers, "abcd", strict=True):
        assert {each.body["model"] for each in api.ledger} == {f"model-{key}"}
    made = rows(tmp_path / "run")
    assert {
        (row["model"], row["served_model"] == f"model-{row['endpoint'][-1]}") for row in made
    } == {("m", True)}
    assert not any("model_differs" in row["flags"] for row in made)
    assert len({row["request_hash"] for row in made}) == 40


PER_MILLION = {"m": 1.0, "cheap": 10.0, "dear": 1000.0}


@pytest.mark.parametrize("capped", [False, True])
def test_a_cap_counts_the_dearest_by_the_name_that_each_gives_the_model(
    pool, servers, tmp_path, capped
):
    tables = [
        {"base_url": api.url, "api_key_env": "", "name": name, "model": name}
        for api, name in zip(servers, ("dear", "cheap"), strict=False)
    ]
    pool.servers = servers[:2]
    limits = {"concurrency": 16, **({"max_cost_usd": 1.0} if capped else {})}
    ended = pool.run(
        texts(300),
        endpoint=tables,
        request={"model": "m", "max_tokens": 10},
        prices={name: {"input": price, "output": price} for name, price in PER_MILLION.items()},
        limits=limits,
        pool={"affinity": "off"},
    )
    assert ended.exit_code == (3 if capped else 0)
    charged = sum(
        (each.input_tokens + each.output_tokens) * PER_MILLION[each.body["model"]] / 1e6
        for api in pool.servers
        for each in api.ledger
    )
    assert (0.5 < charged <= 1.0) if capped else charged > 1.1
    booked = sum(row["cost_usd"] for row in rows(tmp_path / "run"))
    assert booked == pytest.approx(charged)


def test_a_server_that_joins_is_priced_by_what_it_calls_the_model(tmp_path):
    tables = {
        "input": str(write(tmp_path / "in.jsonl", ["a"])),
        "prompt": {"user": "{{ text }}"},
        "request": {"model": "m", "max_tokens": 5},
        "endpoint": {"base_url": "http://10.0.0.2:8000", "model": "own"},
        "prices": {"own": {"input": 1, "output": 1}},
        "limits": {"max_cost_usd": 1.0},
    }
    with ExitStack() as stack:
        prepared = prepare(spec.check(tables), Terms(environment={}, bounds=False), stack)
        assert pooling.way(prepared, Listed("http://10.0.0.1:8000")).endpoint.model == "own"


def test_what_each_has_in_flight_is_shown(pool, servers):
    async def outage():
        await asyncio.sleep(2)
        servers[0].always = DEAD

    assert pool.run(texts(700), outage).exit_code == 0
    down = f"127.0.0.1:{servers[0].port}/v1 down"
    assert any(down in words and f"{servers[1].port}/v1 " in words for words in pool.shown)


def test_what_the_end_of_a_run_waits_for_is_shown(pool, servers):
    prompts = texts(20)
    for api in servers:
        api.script = {prompts[3]: [Step(delay=30)]}
    assert pool.run(prompts).exit_code == 0
    assert any("waiting for the last answer" in words for words in pool.shown)
