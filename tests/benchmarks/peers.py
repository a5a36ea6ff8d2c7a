"""`python -m tests.benchmarks.peers NAME URL INPUT OUTPUT IN_FLIGHT`: the same work by others.

Each reads a JSONL file with the column `text`, asks for a chat completion of every row, and writes
completion and usage, a JSON line a row, as its users write that.  `plain` is the loop everybody
writes on aiohttp: a semaphore, a task a row, the json module; `plain_streaming` is its like for
answers that are streamed.  `lean` is the least that reads every answer: workers on one iterator and the
json module, and nothing is kept; `leanest` is the same on uvloop.  `bare` is no user's loop but the
floor: it asks through aiohttp on uvloop, and throws the answers away unread.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TextIO

MODEL = "m"


async def plain(url: str, texts: list[str], out: TextIO, in_flight: int) -> None:
    import aiohttp

    slots = asyncio.Semaphore(in_flight)
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(row: int, text: str) -> None:
            async with slots:
                body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    response.raise_for_status()
                    said = await response.json()
            _write(out, row, said["choices"][0]["message"]["content"], said["usage"])

        await asyncio.gather(*(ask(row, text) for row, text in enumerate(texts)))


async def plain_streaming(url: str, texts: list[str], out: TextIO, in_flight: int) -> None:
    import aiohttp

    slots = asyncio.Semaphore(in_flight)
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(row: int, text: str) -> None:
            pieces, usage = [], None
            async with slots:
                body = {
                    "model": MODEL,
                    "messages": [{"role": "user", "content": text}],
                    "stream": True,
                    "stream_options": {"include_usage": True},
                }
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    response.raise_for_status()
                    async for line in response.content:
                        data = line.removeprefix(b"data: ").strip()
                        if not data or data == b"[DONE]":
                            continue
                        chunk = json.loads(data)
                        usage = chunk.get("usage") or usage
                        pieces += [
                            choice["delta"].get("content") or "" for choice in chunk["choices"]
                        ]
            _write(out, row, "".join(pieces), usage)

        await asyncio.gather(*(ask(row, text) for row, text in enumerate(texts)))


async def lean(url: str, texts: list[str], out: TextIO, in_flight: int) -> None:
    import aiohttp

    left = iter(texts)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def ask() -> None:
            for text in left:
                body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    said = json.loads(await response.read())
                said["choices"][0]["message"]["content"], said["usage"]

        await asyncio.gather(*(ask() for _ in range(in_flight)))


async def bare(url: str, texts: list[str], out: TextIO, in_flight: int) -> None:
    import aiohttp

    left = iter(texts)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def ask() -> None:
            for text in left:
                body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    while await response.content.readany():
                        pass

        await asyncio.gather(*(ask() for _ in range(in_flight)))


async def openai(url: str, texts: list[str], out: TextIO, in_flight: int) -> None:
    from openai import AsyncOpenAI

    slots = asyncio.Semaphore(in_flight)
    async with AsyncOpenAI(base_url=url, api_key="none") as client:

        async def ask(row: int, text: str) -> None:
            async with slots:
                said = await client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": text}]
                )
            usage = said.usage.model_dump() if said.usage else None
            _write(out, row, said.choices[0].message.content, usage)

        await asyncio.gather(*(ask(row, text) for row, text in enumerate(texts)))


async def litellm(url: str, texts: list[str], out: TextIO, in_flight: int) -> None:
    from litellm import acompletion

    slots = asyncio.Semaphore(in_flight)

    async def ask(row: int, text: str) -> None:
        async with slots:
            said = await acompletion(
                model=f"openai/{MODEL}",
                api_base=url,
                api_key="none",
                messages=[{"role": "user", "content": text}],
            )
        _write(out, row, said.choices[0].message.content, said.usage.model_dump())

    await asyncio.gather(*(ask(row, text) for row, text in enumerate(texts)))


async def lm_deluge(url: str, texts: list[str], out: TextIO, in_flight: int) -> None:
    import os

    from lm_deluge import LLMClient
    from lm_deluge.models import register_model

    os.environ["BENCHMARK_KEY"] = "none"
    register_model(
        id=MODEL,
        name=MODEL,
        api_base=url,
        api_key_env_var="BENCHMARK_KEY",
        supports_json=False,
        supports_logprobs=False,
        supports_responses=False,
        api_spec="openai",
        input_cost=0,
        output_cost=0,
    )
    client = LLMClient(
        MODEL,
        max_concurrent_requests=in_flight,
        max_requests_per_minute=10_000_000,
        max_tokens_per_minute=1_000_000_000,
        progress="manual",
    )
    for row, said in enumerate(await client.process_prompts_async(texts, show_progress=False)):
        usage = said.usage.to_dict() if said.usage else None
        _write(out, row, said.completion, usage)


Peer = Callable[[str, list[str], TextIO, int], Coroutine[Any, Any, None]]
LOOPS: dict[str, Peer] = {
    "plain": plain,
    "plain_streaming": plain_streaming,
    "lean": lean,
    "leanest": lean,
    "bare": bare,
}
ON_UVLOOP = ("leanest", "bare")
PACKAGES: dict[str, Peer] = {"openai": openai, "litellm": litellm, "lm_deluge": lm_deluge}


def installed() -> list[str]:
    """The packages that can be imported here."""
    return [name for name in PACKAGES if importlib.util.find_spec(name)]


def _write(out: TextIO, row: int, completion: str | None, usage: object) -> None:
    out.write(json.dumps({"row": row, "completion": completion, "usage": usage}) + "\n")


def _on_uvloop(story: Coroutine[Any, Any, None]) -> None:
    import uvloop

    uvloop.run(story)


def main() -> None:
    name, url, source, target, in_flight = sys.argv[1:]
    texts = [json.loads(line)["text"] for line in Path(source).read_text().splitlines()]
    with Path(target).open("w") as out:
        story = {**LOOPS, **PACKAGES}[name](url, texts, out, int(in_flight))
        run = _on_uvloop if name in ON_UVLOOP else asyncio.run
        run(story)


if __name__ == "__main__":
    main()
