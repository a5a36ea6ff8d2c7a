"""`python -m tests.benchmarks.limits [ROWS]`: a server that takes 6,000 requests a minute.

Configured, announced, and undeclared with and without `retry-after-ms`; the last two beside the
openai package, if it is there, with its defaults.  Then a pool with a full replica, which refuses 5 or
20 % of the requests, beside a plain loop that asks until it is answered.  Prints rows answered,
requests sent per row and the wall time over the ideal one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fake_api import FakeAPI, Step
from tests.reading import asking, texts, write

PER_SECOND = 100.0
IN_FLIGHT = 200
LATENCY = 0.05
RETRY_AFTER: Mapping[str, str] = {"retry-after": "1"}
NOTHING: Mapping[str, str] = {}
POOL_IN_FLIGHT, POOL_LATENCY = 16, 0.2


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000
    show("client", "server", "answered", "sent/row", "wall/ideal")
    rate = ("--rpm", PER_SECOND * 60)
    many = ("-c", IN_FLIGHT)
    auto = ("--set", f"limits.concurrency_max={IN_FLIGHT}")
    measure("batchmill --rpm 6000", batchmill(count, *rate), count)
    measure("batchmill", batchmill(count, *auto), count, announces=True)
    for wait in (True, False):
        measure("batchmill", batchmill(count, *auto), count, retry_after_ms=wait)
        measure(f"batchmill -c {IN_FLIGHT}", batchmill(count, *many), count, retry_after_ms=wait)
        with contextlib.suppress(ImportError):
            measure("openai package", openai_package(count), count, retry_after_ms=wait)
    for share in (0.05, 0.2):
        for headers in (RETRY_AFTER, NOTHING):
            pool(count, share, headers)


def pool(count: int, share: float, headers: Mapping[str, str]) -> None:
    """A share of the requests is refused, however fast they leave."""
    clients: dict[str, Callable[[FakeAPI], None]] = {
        f"batchmill -c {POOL_IN_FLIGHT}": batchmill(count, "-c", POOL_IN_FLIGHT)
    }
    with contextlib.suppress(ImportError):
        clients["openai package"] = openai_package(count, POOL_IN_FLIGHT)
        clients["a plain loop"] = openai_package(count, POOL_IN_FLIGHT, retries=100)
    for client, run in clients.items():
        api = FakeAPI()
        api.latency = POOL_LATENCY
        api.script = {**some_refused(texts(count), share, Step(429, headers=headers))}
        kind = f"{share:.0%} 429{' + Retry-After' if headers else ''}"
        timed(client, kind, api, run, count, count * POOL_LATENCY / POOL_IN_FLIGHT)


def some_refused(prompts: list[str], share: float, refusal: Step) -> dict[str, list[Step]]:
    """A script by which each request meets the full replica with this chance."""
    chance, script = random.Random(7), dict[str, list[Step]]()
    for prompt in prompts:
        while chance.random() < share:
            script.setdefault(prompt, []).append(refusal)
    return script


def measure(client: str, run: Callable[[FakeAPI], None], count: int, **server: bool) -> None:
    """Let a client loose on a server of its own, and print what became of it."""
    api = FakeAPI()
    api.requests_per_second, api.latency = PER_SECOND, LATENCY
    for name, value in server.items():
        setattr(api, name, value)
    kind = ", ".join(f"{name}={value}" for name, value in server.items()) or "-"
    timed(client, kind, api, run, count, count / PER_SECOND)


def timed(
    client: str,
    kind: str,
    api: FakeAPI,
    run: Callable[[FakeAPI], None],
    count: int,
    ideal: float,
) -> None:
    began = time.monotonic()
    run(api)
    wall = time.monotonic() - began
    answered = len({asked.prompt for asked in api.ledger if asked.status == 200})
    sent = len(api.ledger) / count
    api.close()
    show(client, kind, f"{answered:,}", f"{sent:.3f}", f"{wall / ideal:.3f}")


def show(*words: str) -> None:
    print("{:<22} {:<22} {:>9} {:>9} {:>11}".format(*words), flush=True)


def batchmill(count: int, *flags: object) -> Callable[[FakeAPI], None]:
    def run(api: FakeAPI) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "in.jsonl", texts(count))
            words = ["run", "in.jsonl", *asking(api, "--quiet", *flags)]
            command = [sys.executable, "-m", "batch", *map(str, words)]
            root = str(Path(__file__).resolve().parent.parent.parent)
            subprocess.run(command, cwd=folder, env={"PYTHONPATH": root}, check=False)

    return run


def openai_package(
    count: int, in_flight: int = IN_FLIGHT, retries: int | None = None
) -> Callable[[FakeAPI], None]:
    """As its users write it: a semaphore and a gather, the package's own two retries, or more."""
    import openai

    async def ask_all(api: FakeAPI) -> None:
        slots = asyncio.Semaphore(in_flight)
        most = openai.DEFAULT_MAX_RETRIES if retries is None else retries
        async with openai.AsyncOpenAI(base_url=api.url, api_key="none", max_retries=most) as client:

            async def ask(text: str) -> None:
                async with slots:
                    with contextlib.suppress(openai.OpenAIError):
                        await client.chat.completions.create(
                            model="m", messages=[{"role": "user", "content": text}]
                        )

            await asyncio.gather(*map(ask, texts(count)))

    return lambda api: asyncio.run(ask_all(api))


if __name__ == "__main__":
    main()
