"""A pool in which one replica has no room turns a share of the requests away, however fast they leave."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from batch import runner, spec
from batch.reports.summary import Ended
from tests import virtual
from tests.fake_api import FakeAPI, Step
from tests.reading import completions, texts, write

IN_FLIGHT = 16
LATENCY = 0.2


@pytest.fixture
def api() -> Iterator[FakeAPI]:
    api = FakeAPI(in_a_thread=False)
    api.latency = LATENCY
    yield api
    api.close()


def some_refused(prompts: list[str], share: float, refusal: Step) -> dict[str, list[Step]]:
    """A script by which each request meets the full replica with this chance."""
    chance = random.Random(7)
    script: dict[str, list[Step]] = {}
    for prompt in prompts:
        refusals = 0
        while chance.random() < share:
            refusals += 1
        if refusals:
            script[prompt] = [refusal] * refusals
    return script


def run(api: FakeAPI, folder: Path, prompts: list[str]) -> Ended:
    job = spec.check(
        {
            "input": str(write(folder / "in.jsonl", prompts)),
            "prompt": {"user": "{{ text }}"},
            "request": {"model": "m"},
            "endpoint": {"base_url": api.url, "api_key_env": ""},
            "limits": {"concurrency": IN_FLIGHT},
        }
    )
    return runner.run(job, folder / "run", *virtual.how(api))


def plain(api: FakeAPI, prompts: list[str]) -> float:
    """Seconds that the loop takes which everybody writes: so many at once, each asks until it is
    answered, and waits as it is told or a growing while.
    """
    chance = random.Random(8)

    async def ask_all() -> float:
        began = asyncio.get_running_loop().time()
        slots = asyncio.Semaphore(IN_FLIGHT)
        async with api.serving(), aiohttp.ClientSession() as session:

            async def ask(prompt: str) -> None:
                body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
                async with slots:
                    for tries in range(20):
                        async with session.post(f"{api.url}/chat/completions", json=body) as got:
                            await got.read()
                            if got.status == 200:
                                return
                        wait = float(got.headers.get("retry-after", 0.5 * 2**tries))
                        await asyncio.sleep(wait * chance.uniform(0.75, 1))

            await asyncio.gather(*map(ask, prompts))
        return asyncio.get_running_loop().time() - began

    return virtual.play(ask_all())


@pytest.mark.parametrize("share", [0.05, 0.2])
@pytest.mark.parametrize("headers", [{"retry-after": "1"}, {}])
@pytest.mark.parametrize("status", [429, 503])
def test_a_full_replica_holds_nobody_up(api, tmp_path, share, headers, status):
    prompts = texts(300)
    api.script = some_refused(prompts, share, Step(status, headers=headers, delay=0.01))
    ended = run(api, tmp_path, prompts)
    assert (ended.exit_code, len(completions(ended.run.path))) == (0, len(prompts))
    sent = len(api.ledger)
    api.script = api.script  # all over again
    assert ended.seconds <= 1.5 * plain(api, prompts)
    assert sent == len(api.ledger) - sent, "refusals are asked again as often as by anybody"
