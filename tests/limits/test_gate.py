"""One at a time at the front, and nobody waits for nothing."""

from __future__ import annotations

import asyncio

import pytest

from batch.limits.gate import Gate


async def test_only_one_is_at_the_front():
    gate, inside, most = Gate(), 0, 0

    async def work():
        nonlocal inside, most
        for _ in range(20):
            async with gate:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

    await asyncio.gather(*(work() for _ in range(10)))
    assert most == 1 and not gate.is_taken


async def test_whoever_comes_while_the_front_is_free_goes_at_once():
    gate, order = Gate(), []

    async def wait():
        async with gate:
            order.append("waited")

    async with gate:
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
    async with gate:  # the one who waited has been called, and has not come yet
        order.append("at once")
    await waiting
    assert order == ["at once", "waited"]


async def test_one_who_gives_up_when_called_calls_the_next():
    gate, gone = Gate(), []

    async def wait(name):
        async with gate:
            gone.append(name)

    async with gate:
        tasks = [asyncio.create_task(wait(name)) for name in "abc"]
        await asyncio.sleep(0)
    tasks[0].cancel()  # it has been called already
    await asyncio.gather(*tasks[1:])
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert gone == ["b", "c"] and not gate.is_taken


async def test_one_who_gives_up_while_waiting_is_passed_over():
    gate = Gate()

    async def wait():
        async with gate:
            pass

    async with gate:
        tasks = [asyncio.create_task(wait()) for _ in range(2)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
    await tasks[1]
    assert tasks[0].cancelled() and not gate.is_taken
