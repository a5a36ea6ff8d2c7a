"""A run in a thread of its own: beside loops, other runs and whoever wants it to end."""

from __future__ import annotations

import _thread
import asyncio
import errno
import io
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context

import polars as pl
import pytest

import batch
from batch import background, events
from batch.background import Background
from batch.engine.notices import DRAIN_SECONDS
from batch.errors import Interrupted, Refused, StorageError, UsageError
from tests import reading
from tests.door.conftest import tables
from tests.fake_api import Step
from tests.reading import ROOT, texts

FRAME = pl.DataFrame({"text": texts(40)})
HANGS = Step(hang=True)


def few_at_once(api, **more):
    return batch.job(**tables(api, limits={"concurrency": 4}, **more))


async def until(condition) -> None:
    await asyncio.to_thread(reading.until, condition)


async def test_preparing_and_running_leave_the_callers_loop_free(api, job):
    """The data come no sooner than the loop has turned; so do the answers."""
    turns = 0

    async def turning():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def rows():
        reading.until(lambda: turns > 100)
        yield from ({"text": text} for text in texts(40))

    other = asyncio.create_task(turning())
    seen = []
    run = await batch.arun(job, rows(), to="run", on_event=lambda event: seen.append(turns))
    other.cancel()
    assert run.status().ok == 40
    assert 100 < seen[0] <= seen[-1]
    assert seen == sorted(seen)


async def test_events_come_in_the_callers_loop_and_end_before_it_goes_on(api, job):
    loop, seen = asyncio.get_running_loop(), []

    def hear(event):
        assert asyncio.get_running_loop() is loop
        seen.append(event)

    await batch.arun(job, FRAME, to="run", on_event=hear)
    assert isinstance(seen[-1], events.Ended) and seen[-1].exit_code == 0
    assert sum(len(e.results) for e in seen if isinstance(e, events.RowsDone)) == 40


def test_events_come_in_the_runs_thread_where_nobody_has_a_loop(api, job):
    threads = set()
    batch.run(job, FRAME, to="run", on_event=lambda _: threads.add(threading.current_thread()))
    assert len(threads) == 1 and threading.main_thread() not in threads


@pytest.mark.parametrize("failure", [KeyError, ValueError, OSError])
def test_a_consumer_that_fails_changes_nothing_in_the_run_and_is_told_of_once(api, job, failure):
    heard = []

    def fail(event):
        heard.append(event)
        raise failure("mine")

    with pytest.warns(RuntimeWarning, match="mine") as told:
        run = batch.run(job, FRAME, to="run", on_event=fail)
    assert (run.status().ok, len(heard), len(told)) == (40, 1, 1)
    assert "in fail" in str(told[0].message)


async def test_a_consumer_that_fails_in_a_loop_is_told_of_once(api, job):
    def fail(event):
        raise ValueError("mine")

    with pytest.warns(RuntimeWarning, match="mine") as told:
        run = await batch.arun(job, FRAME, to="run", on_event=fail)
    assert (run.status().ok, len(told)) == (40, 1)


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text):
        raise OSError(errno.EIO, "gone")


def test_a_bar_whose_stream_has_gone_is_no_reason_for_a_word(api, job, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Gone())
    assert batch.run(job, FRAME, to="run", progress=True).status().ok == 40


@pytest.mark.parametrize("in_loop", [True, False])
def test_events_are_heard_with_the_context_variables_of_the_caller(api, job, in_loop):
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    heard = set()

    def hear(event):
        heard.add(whose.get())

    async def ask():
        whose.set("mine")
        await batch.arun(job, FRAME, to="run", on_event=hear)

    def ask_here():
        whose.set("mine")
        batch.run(job, FRAME, to="run", on_event=hear)

    if in_loop:
        asyncio.run(ask())
    else:
        copy_context().run(ask_here)
    assert heard == {"mine"}


async def test_cancelled_while_it_prepares_it_asks_nothing_and_has_no_folder(api, job, tmp_path):
    reads, cancelled = threading.Event(), threading.Event()

    def rows():
        reads.set()
        cancelled.wait()
        yield {"text": "a"}

    task = asyncio.create_task(batch.arun(job, rows(), to="run"))
    await asyncio.to_thread(reads.wait)
    task.cancel()
    await asyncio.sleep(0)
    cancelled.set()
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    assert isinstance(raised.value.__cause__, Interrupted)
    assert not api.ledger and not (tmp_path / "run").exists()


@pytest.fixture
def stuck():
    """Work that nothing ends but the test."""
    begun, let_go = threading.Event(), threading.Event()

    def work(_):
        begun.set()
        let_go.wait()

    yield begun, work
    let_go.set()


async def test_cancelled_once_it_leaves_what_does_not_end(stuck):
    begun, work = stuck
    task = asyncio.create_task(background.result(work, ending=0.01))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_ctrl_c_once_leaves_what_does_not_end(stuck, hears_ctrl_c):
    begun, work = stuck
    waiting = Background(work, ending=0.01)
    threading.Thread(target=press_after, args=(begun,)).start()
    with pytest.raises(KeyboardInterrupt):
        waiting.result()


def press_after(begun):
    begun.wait()
    _thread.interrupt_main()


def fails_in_the_end(ending: threading.Event):
    def work(background):
        ending.set()
        while background.failure is None:
            try:
                background.check()
            except Interrupted:
                raise StorageError("the disk is full") from None

    return work


async def test_an_error_in_the_end_of_what_was_cancelled_is_its_cause():
    begun = threading.Event()
    task = asyncio.create_task(background.result(fails_in_the_end(begun)))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    assert isinstance(raised.value.__cause__, StorageError)


def test_an_error_in_the_end_of_what_ctrl_c_ended_is_its_cause(hears_ctrl_c):
    begun = threading.Event()
    threading.Thread(target=press_after, args=(begun,)).start()
    with pytest.raises(KeyboardInterrupt) as raised:
        Background(fails_in_the_end(begun)).result()
    assert isinstance(raised.value.__cause__, StorageError)


def test_nothing_begins_before_somebody_hears_ctrl_c(hears_ctrl_c):
    """What is pressed between the two ends nothing, since nothing is there."""
    begun = threading.Event()
    waiting = Background(fails_in_the_end(begun))
    with pytest.raises(KeyboardInterrupt):
        _thread.interrupt_main()
        begun.wait(0.2)
    assert not begun.is_set()
    threading.Thread(target=press_after, args=(begun,)).start()
    with pytest.raises(KeyboardInterrupt):
        waiting.result()


async def test_cancelled_once_what_is_in_flight_is_kept_and_the_next_call_goes_on(api, job):
    """An answer under way when the caller is cancelled is waited for, written, and not paid again."""
    slow = few_at_once(api)
    api.always = Step(delay=0.2)
    task = asyncio.create_task(batch.arun(slow, FRAME, to="run"))
    await until(lambda: len(api.ledger) >= 8)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    asked = len(api.ledger)
    assert asked < 40 and all(each.completed for each in api.ledger)
    assert batch.open("run").status().ok == asked
    api.always = None
    run = await batch.arun(slow, FRAME, to="run")
    assert (run.status().ok, len(api.ledger)) == (40, 40)
    assert max(api.prompts().values()) == 1


async def test_cancelled_twice_nothing_is_waited_for(api, job):
    api.always = HANGS
    task = asyncio.create_task(batch.arun(few_at_once(api), FRAME, to="run"))
    await until(lambda: len(api.ledger) >= 4)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(api.ledger) == 4
    await until(lambda: not api.in_flight)  # the run left its connections


async def test_a_time_limit_of_the_callers_is_one(api, job):
    api.always = Step(delay=0.1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await batch.arun(few_at_once(api), FRAME, to="run")
    assert batch.open("run").status().ok == len(api.ledger) < 40


@pytest.fixture
def hears_ctrl_c():
    """What is started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_a_script_ends_it_in_good_order(api, job, hears_ctrl_c, times):
    """`times` once drains; twice leaves what hangs, and waits for nothing."""
    api.always = Step(delay=0.1) if times == 1 else HANGS
    heard, began = threading.Event(), time.monotonic()

    def hear(event):
        if isinstance(event, events.Notice) and "once more" in event.text:
            heard.set()

    pressing = threading.Thread(target=press, args=(api, times, heard))
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        batch.run(few_at_once(api), FRAME, to="run", on_event=hear)
    pressing.join()
    assert time.monotonic() - began < DRAIN_SECONDS / 2
    done = sum(each.completed for each in api.ledger)
    assert len(api.ledger) < 40 and (done == len(api.ledger)) == (times == 1)
    api.always = None
    assert wait_for_lock(lambda: batch.run("run")).status().ok == 40
    assert len(api.ledger) == 40 + (0 if times == 1 else 4)


def press(api, times, heard):
    """What is pressed again before anybody heard it is pressed once."""
    reading.until(lambda: len(api.ledger) >= 4)
    _thread.interrupt_main()
    heard.wait(60)
    if times == 2:
        _thread.interrupt_main()


def wait_for_lock(start):
    """A run that was left ends by itself soon after."""
    for _ in range(200):
        try:
            return start()
        except Refused:
            threading.Event().wait(0.05)
    raise AssertionError("it holds its lock")


def test_an_error_before_anything_is_sent_is_the_callers(api, job):
    with pytest.raises(UsageError, match="no such file"):
        batch.run(job, "nothing.csv")


def test_two_runs_at_once_in_one_process_are_apart(api, job):
    frames = [FRAME, pl.DataFrame({"text": [f"other {n}" for n in range(30)]})]
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda n: batch.run(job, frames[n], to=f"run{n}"), (0, 1)))
    assert [run.status().ok for run in runs] == [40, 30]
    assert max(api.prompts().values()) == 1


async def test_two_runs_at_once_in_one_loop_are_apart(api, job):
    frames = {"a": FRAME, "b": FRAME}
    runs = await asyncio.gather(*(batch.arun(job, data, to=to) for to, data in frames.items()))
    assert [run.status().ok for run in runs] == [40, 40]


async def test_one_folder_takes_one_run_at_a_time(api, job):
    api.always = Step(delay=0.2)
    first = asyncio.create_task(batch.arun(job, FRAME, to="run"))
    await until(lambda: api.ledger)
    with pytest.raises(Refused):
        await batch.arun(job, FRAME, to="run")
    assert (await first).status().ok == 40
    assert len(api.ledger) == 40


def test_in_the_loop_of_a_web_framework(api, job):
    import httpx
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/label")
    async def label(texts: list[str]) -> list[str]:
        run = await batch.arun(job, [{"text": text} for text in texts], to="run")
        return [row["completion"] for row in run]

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.post("/label", json=["a", "b"])

    assert len(asyncio.run(ask()).json()) == 2


UNTOUCHED = """
import asyncio, gc, resource, signal, sys, threading, warnings
import batch
from tests.door.conftest import tables
from tests.fake_api import FakeAPI, Step

def state():
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [gc.get_threshold(), gc.get_freeze_count(), resource.getrlimit(resource.RLIMIT_NOFILE),
            list(warnings.filters), list(sys.meta_path), [signal.getsignal(s) for s in signals],
            sys.excepthook, threading.excepthook, sys.stdout, sys.stderr]

resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
api = FakeAPI()
api.always = Step(delay=0.3)
job = batch.job(**tables(api))
rows = [{"text": str(n)} for n in range(20)]
async def main():
    await batch.arun(job, rows, to="first")  # what is imported late is there
    before, during = state(), []
    both = (batch.arun(job, rows, to=to, on_event=lambda _: during.append(state())) for to in "ab")
    await asyncio.gather(*both)
    assert state() == before and during and all(each == before for each in during)
asyncio.run(main())
api.close()
"""


def test_a_process_is_left_as_it_was_also_meanwhile_and_nothing_is_printed(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{UNTOUCHED}"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_bar_is_drawn_where_one_is_asked_for(api, job, capfd):
    batch.run(job, FRAME, to="quiet")
    assert capfd.readouterr() == ("", "")
    batch.run(job, FRAME, to="loud", progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "loud (new)" in err
