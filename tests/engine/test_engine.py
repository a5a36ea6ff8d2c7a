"""A run is put together by hand, without a command line, and each of its parts by itself."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batch import columns, readers, spec
from batch.apis import Parameters
from batch.costs.budget import Budget, Reservations
from batch.costs.prices import Price, Pricer, Seller
from batch.engine import steps
from batch.engine.counts import Counts
from batch.engine.engine import Engine
from batch.engine.events import Consumer, Event, Events, Notice, RowsDone
from batch.engine.feed import Feed
from batch.engine.judge import Judge
from batch.engine.questions import Questions, Refused
from batch.engine.retry import Retry
from batch.engine.sender import Sender, Unsendable
from batch.engine.standing import Standing
from batch.engine.task import Task
from batch.errors import BatchError, CapReached, Interrupted
from batch.limits.limiter import Limiter
from batch.limits.limits import Limits
from batch.model import Request, Result, Row
from batch.planning import open_run
from batch.planning.prepare import prepare
from batch.planning.terms import Terms
from batch.readers import Changed
from batch.requests.prompts import Prompt, Prompter
from batch.results import Maker
from batch.run_folder import RunFolder
from batch.spec import Job
from batch.store import folder, sends
from batch.store.files import Disk
from batch.store.recover import Redo
from batch.store.reuse import Old, Reuse
from batch.store.seal import Layout
from batch.store.writer import Store
from batch.transport.client import Client, Hooks
from batch.transport.endpoint import Endpoint, Target
from tests.costs.accounts import Paper
from tests.fake_api import FakeAPI, Step, answer_to
from tests.reading import rows, texts, until, write

WORKERS = 4
PRICER = Pricer({"m": Price(input=1.0, output=1.0)}, Seller())
ASKING = Questions(Prompter(Prompt(user="{{ text }}")), Parameters(model="m"))
CAPPED = Questions(
    Prompter(Prompt(user="{{ text }}")), Parameters(model="m", sent={"max_tokens": 100})
)


class Looking(readers.Watched):
    """Counts how often it is asked whether the input is the same."""

    looks = 0

    def look_again(self) -> None:
        self.looks += 1
        super().look_again()


class Folder:
    """The folder of a new run, and what is to be asked."""

    def __init__(self, path: Path, prompts: list[str]) -> None:
        self.run, self.disk = RunFolder(path / "run"), Disk()
        self.source = readers.resolve(str(write(path / "in.jsonl", prompts)), path)
        self.watched = Looking(self.source)
        carried = self.source.schema(None)
        schema, _ = columns.schema(carried, columns.COLUMNS)
        carry = self.source.reader.carry
        self.layout = Layout(schema, columns.COLUMNS, lambda table: carry(table, carried, None))
        folder.make(self.disk, self.run)
        folder.begin(self.disk, self.run, schema)

    def store(self, done: list[Result]) -> Store:
        record = sends.Sends(self.disk, self.run)
        return Store(self.run, self.layout, [], part_rows=10, on_done=done.extend, sends=record)

    def feed(self, store: Store) -> Feed:
        todo = steps.of(self.run, self.watched, [], Redo(), None)
        return Feed(store, self.watched, todo, 100)


async def ask(
    api: FakeAPI, made: Folder, seen: list[Event], done: list[Result], workers: int = WORKERS
) -> Any:
    """Ask every row, and interrupt the run at the answer to "last", if one asks that."""
    store, limiter = made.store(done), Limiter(Limits(concurrency=workers), workers)
    hooks = Hooks(store.write_down, store.room)
    async with Client(Endpoint(), Target(api.url, {}), workers, hooks=hooks) as client:
        engine = Engine(
            ASKING,
            Sender(client, store, limiter),
            Judge(Retry(first_delay=0.001), [limiter], Maker(PRICER), Standing()),
            made.feed(store),
            store,
            Events(seen.append),
        )
        asking = asyncio.create_task(engine.run(workers))
        if api.script.get("last"):
            await asyncio.to_thread(until, lambda: api.asked("last"))
            engine.interrupt("a test", 130)
        return await asking


async def test_a_run_built_by_hand_asks_every_row_in_a_running_loop(api, tmp_path):
    api.script = {"00003": [503, 429], "00005": [400]}
    made = Folder(tmp_path, texts(25))
    done: list[Result] = []
    assert await ask(api, made, [], done) is None
    found = rows(made.run.path)
    assert [row["row"] for row in found] == list(range(25)) == sorted(each.row for each in done)
    assert [row["row"] for row in found if row["status"] != "ok"] == [5]
    assert all(row["completion"] == answer_to(row["text"]) for row in found if row["row"] != 5)
    assert (found[3]["attempts"], found[3]["cost_usd"] > 0) == (3, True)


async def test_a_run_built_by_hand_asks_every_row_in_a_thread(api, tmp_path):
    made = Folder(tmp_path, texts(25))
    assert await asyncio.to_thread(asyncio.run, ask(api, made, [], [])) is None
    assert [row["status"] for row in rows(made.run.path)] == ["ok"] * 25


async def test_the_input_is_looked_at_once_at_the_end_however_many_workers_there_are(api, tmp_path):
    made = Folder(tmp_path, texts(25))
    assert await ask(api, made, [], []) is None
    assert made.watched.looks == 1


@pytest.mark.parametrize(("count", "workers"), [(3, 256), (20, 16), (100, 100)])
async def test_as_many_work_as_there_are_rows_and_hardly_more(api, tmp_path, count, workers):
    api.slots = 0
    before = len(asyncio.all_tasks())
    asking = asyncio.create_task(ask(api, Folder(tmp_path, texts(count)), [], [], workers))
    busy = min(count, workers)
    await asyncio.to_thread(until, lambda: api.in_flight == busy)
    assert busy <= len(asyncio.all_tasks()) - before <= 2 * busy + 10
    api.slots = None
    assert await asking is None
    assert len(api.ledger) == count


class Late(Looking):
    """Takes its time to find that the input has changed."""

    def look_again(self) -> None:
        self.looks += 1
        time.sleep(0.1)
        raise Changed("another", 0.0)


async def test_a_look_for_which_nobody_waits_any_more_ends_in_silence(tmp_path):
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: said.append(told))

    async def given_up(made: Folder) -> None:
        made.watched = Late(made.source)
        async with made.store([]) as store:
            feed = made.feed(store)
            task = await feed.take()
            assert task is not None
            feed.finish(task)
            waiting = asyncio.create_task(feed.take())
            await asyncio.to_thread(until, lambda: made.watched.looks)
            waiting.cancel()
            await asyncio.wait([waiting])
            await feed.close()
            await asyncio.sleep(0.05)  # in which the loop hears how it ended

    await given_up(Folder(tmp_path, texts(1)))
    gc.collect()
    assert said == []


async def run_of(job: Job, path: Path, *consumers: Consumer) -> Any:
    """Make a run of a job in a folder, out of its parts."""
    with ExitStack() as stack:
        prepared = prepare(job, Terms(environment={}, folder=path, bounds=False), stack)
        [target] = prepared.targets
        opened = open_run.opened(prepared, path, lambda _: None, stack)
        told, known = Events(*consumers), open_run.questions(prepared, opened, lambda _: None)
        record = sends.Sends(opened.disk, opened.run)
        store = opened.store(100, Counts(opened.held()).adding(told), record)
        todo = steps.of(opened.run, opened.watched, opened.found, prepared.redo, None)
        feed, limiter = Feed(store, opened.watched, todo, 100), Limiter(job.limits, WORKERS)
        judge = Judge(job.retry, [limiter], Maker(prepared.pricer), Standing())
        hooks = Hooks(store.write_down, store.room)
        async with Client(job.endpoint, target, WORKERS, hooks=hooks) as client:
            sender = Sender(client, store, limiter)
            return await Engine(known, sender, judge, feed, store, told).run(WORKERS)


def job_of(api: FakeAPI, path: Path, count: int) -> Job:
    write(path / "in.jsonl", texts(count))
    tables = {"input": str(path / "in.jsonl"), "prompt": {"user": "{{ text }}"}}
    return spec.check({**tables, "request": {"model": "m"}, "endpoint": {"base_url": api.url}})


@pytest.mark.parametrize("in_a_thread", [False, True])
async def test_a_run_is_built_from_planning_engine_and_store(api, tmp_path, in_a_thread):
    story = run_of(job_of(api, tmp_path, 25), tmp_path / "run")
    assert await (asyncio.to_thread(asyncio.run, story) if in_a_thread else story) is None
    assert [row["status"] for row in rows(tmp_path / "run")] == ["ok"] * 25


@pytest.mark.parametrize("error", [OSError, ValueError, KeyError, ZeroDivisionError])
async def test_a_consumer_that_fails_changes_nothing_in_the_run(api, tmp_path, error):
    seen: list[Event] = []

    def fails(event: Event) -> None:
        if isinstance(event, RowsDone):
            raise error("the bar is broken")

    assert await run_of(job_of(api, tmp_path, 400), tmp_path / "run", fails, seen.append) is None
    assert [row["status"] for row in rows(tmp_path / "run")] == ["ok"] * 400
    assert sum(len(event.results) for event in seen if isinstance(event, RowsDone)) == 400
    notices = [event.text for event in seen if isinstance(event, Notice)]
    assert [error.__name__ in text for text in notices] == [True] * (
        error not in (OSError, ValueError)
    )


async def test_what_is_in_flight_at_an_interrupt_is_waited_for(api, tmp_path):
    api.script = {"last": [Step(delay=0.3)]}
    made = Folder(tmp_path, [*texts(5), "last"])
    seen: list[Event] = []
    stopped: BatchError = await ask(api, made, seen, [])
    assert isinstance(stopped, Interrupted) and stopped.exit_code == 130
    assert any(isinstance(event, Notice) and "waiting up to" in event.text for event in seen)
    assert [row["status"] for row in rows(made.run.path)] == ["ok"] * 6


def row(**values: Any) -> Task:
    return Task(Row(7, values, "in.jsonl:8"))


async def test_a_row_becomes_the_request_it_asks():
    asked = await ASKING.of(row(text="Snow?"))
    assert isinstance(asked, Request)
    assert (asked.row, asked.model, asked.api) == (7, "m", "chat")
    assert b'"content":"Snow?"' in asked.body


async def test_a_row_that_cannot_be_asked_has_its_result():
    known = await ASKING.of(row(other="Snow?"))
    assert isinstance(known, Result)
    assert (known.row, known.error_class) == (7, "invalid_row")
    assert known.error_message is not None and known.error_message.startswith("in.jsonl:8: ")


async def test_a_row_that_was_tried_and_cannot_be_asked_again_is_refused():
    asked = await ASKING.of(row(text="Snow?"))
    assert isinstance(asked, Request)
    with pytest.raises(Refused) as refused:
        await ASKING.of(Task(Row(7, {}, "in.jsonl:8"), asked))
    assert (refused.value.request, refused.value.error.error_class) == (asked, "invalid_row")


async def test_a_row_that_another_run_has_answered_has_its_result(api, tmp_path):
    old = Folder(tmp_path, ["Snow?"])
    assert await ask(api, old, [], []) is None
    (tmp_path / "new").mkdir()
    new = Folder(tmp_path / "new", ["Snow?"])
    reusing = Questions(
        Prompter(Prompt(user="{{ text }}")),
        Parameters(model="m"),
        reuse=Reuse([Old(old.run, old.layout)], new.run),
    )
    known = await reusing.of(row(text="Snow?"))
    assert isinstance(known, Result)
    assert (known.row, known.reused, known.completion) == (7, True, answer_to("Snow?"))
    assert isinstance(await reusing.of(row(text="Snow?")), Request)


async def send_first(api: FakeAPI, made: Folder, cap: str, limits: Limits) -> Any:
    """Send the first row through all layers; the budget, the limiter and the row's recorded sends
    before and after it is settled.
    """
    store, limiter = made.store([]), Limiter(limits, WORKERS)
    budget = Budget(Decimal(cap), Decimal(0), Paper())
    feed = made.feed(store)
    hooks = Hooks(store.write_down, store.room)
    async with store, Client(Endpoint(), Target(api.url, {}), 1, hooks=hooks) as client:
        sender = Sender(client, store, limiter, Reservations(budget, PRICER))
        judge = Judge(Retry(), [limiter], Maker(PRICER), Standing())
        try:
            task = await feed.take()
            assert task is not None
            request = await CAPPED.of(task)
            assert isinstance(request, Request)
            assert await sender.admit(request)
            left, in_flight = budget.left, sender.under_way
            done, judged = judge.ended(request, await sender.send(request))
            sent = sends.read(made.run)
            sender.settle(request, done, judged)
            return done, sent, (left, budget.left), (in_flight, sender.under_way)
        finally:
            await feed.close()


async def test_a_request_is_reserved_counted_and_written_down_while_it_is_away(api, tmp_path):
    made = Folder(tmp_path, ["Snow?"])
    done, sent, left, in_flight = await send_first(api, made, "1", Limits())
    assert done.attempt.status == 200
    assert [(each.row, each.output_tokens) for lost in sent.values() for each in lost] == [(0, 100)]
    assert in_flight == (1, 0)
    assert left[0] < left[1] < 1
    assert left[1] == 1 - done.spent.cost.usd


async def test_what_may_cost_more_than_is_left_stops_the_run(api, tmp_path):
    made = Folder(tmp_path, ["Snow?"])
    with pytest.raises(CapReached):
        await send_first(api, made, "0.0001", Limits())
    assert api.ledger == []


async def test_what_is_larger_than_a_minute_allows_is_never_sent(api, tmp_path):
    made = Folder(tmp_path, ["Snow?"])
    with pytest.raises(Unsendable) as unsendable:
        await send_first(api, made, "1", Limits(tokens_per_minute=10))
    assert unsendable.value.error.error_class == "too_large"
    assert api.ledger == []
