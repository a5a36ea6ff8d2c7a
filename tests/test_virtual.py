"""A time of one's own does not run ahead of what two sockets tell each other."""

from __future__ import annotations

import asyncio

import pytest

from tests import virtual


@pytest.mark.parametrize("size", [1, 1_000, 8 << 20])
def test_no_time_passes_while_bytes_are_under_way_and_all_are_counted(size):
    async def story() -> tuple[float, bytes, int]:
        loop, said_back = asyncio.get_running_loop(), asyncio.Event()
        assert isinstance(loop, virtual.VirtualLoop)

        async def say_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while said := await reader.read(1 << 16):
                writer.write(said)
            writer.close()
            await writer.wait_closed()
            said_back.set()

        server = await asyncio.start_server(say_back, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        began, always_due = loop.time(), asyncio.create_task(virtual.until(lambda: False))
        for _ in range(3):
            writer.write(bytes(size))
            await reader.readexactly(size)
        held = loop.wire.bytes
        writer.write_eof()
        rest = await reader.read()
        took = loop.time() - began
        always_due.cancel()
        writer.close()
        await said_back.wait()
        server.close()
        return took, rest, held

    took, rest, held = virtual.play(story())
    assert (rest, held) == (b"", 0)
    assert took < 0.002 + size * 1e-9
