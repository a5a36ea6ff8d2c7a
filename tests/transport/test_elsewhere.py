"""A base URL that may lack its version is completed by what its server says, once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batch.transport.client import Client, Hooks
from batch.transport.endpoint import Endpoint, target
from batch.transport.paths import elsewhere, url_of
from tests.fake_api import FakeAPI, answer_to
from tests.transport.test_client import request, text_of

CHAT = "/chat/completions"


@pytest.mark.parametrize(
    ("base_url", "asked", "then"),
    [
        ("https://h.example/models", "/models", ""),
        ("https://h.example/gw/models?api-version=1", "/gw/models", "/gw"),
        ("https://h.example/tokenoff", "/tokenoff", "/tokenoff/v1"),
        ("https://h.example/a/b/?x=1", "/a/b", "/a/b/v1"),
        ("https://h.example", "/v1", ""),
        ("https://h.example/api", "/api/v1", "/api"),
        ("https://h.example/v1", "/v1", None),
        ("https://h.example/v1/models", "/v1", None),
        ("https://h.example/v1beta/openai", "/v1beta/openai", None),
        ("https://h.example/compatible-mode/v1", "/compatible-mode/v1", None),
        ("https://h.example/x/chat/completions", "/x", None),
        ("https://r.openai.azure.com/openai/deployments/m", "/openai/deployments/m", None),
        ("unix:///run/x.sock", "unix:///run/x.sock:/v1", "unix:///run/x.sock:"),
    ],
)
def test_where_an_api_may_be(base_url: str, asked: str, then: str | None) -> None:
    start = "" if asked.startswith("unix:") else "https://" + base_url.split("/")[2]
    query = base_url.partition("?")[2]
    end = f"{CHAT}?{query}" if query else CHAT
    assert url_of(base_url, CHAT) == f"{start.partition('?')[0]}{asked}{end}"
    other = elsewhere(base_url)
    assert (other and url_of(other, CHAT)) == (None if then is None else f"{start}{then}{end}")


class Served:
    """A server that answers at one path, and the lines that were said."""

    def __init__(self, root: str, missing: int = 404) -> None:
        self.root, self.missing = root, missing
        self.asked: list[str] = []
        self.said: list[str] = []

    async def answer(self, reader: Any, writer: Any) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            size = int(head.lower().partition(b"content-length:")[2].split()[0])
            await reader.readexactly(size)
            self.asked.append(head.split()[1].decode())
            there = self.asked[-1] == f"{self.root}{CHAT}"
            body = b'{"choices": []}' if there else b'{"error": {"message": "none"}}'
            status = 200 if there else self.missing
            writer.write(
                b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
            )

    async def statuses(self, path: str, rounds: list[int]) -> list[int | None]:
        """What becomes of requests, so many at a time."""
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
        table = Endpoint(base_url=base_url, api_key_env="")
        hooks = Hooks(say=self.said.append)
        found: list[int | None] = []
        async with Client(table, target(table, {}), connections=8, hooks=hooks) as client:
            for together in rounds:
                sent = [client.send(request()) for _ in range(together)]
                found += [attempt.status for attempt in await asyncio.gather(*sent)]
        server.close()
        return found


async def test_v1_below_a_path_is_tried_once_and_used():
    served = Served("/tokenoff/v1")
    assert await served.statuses("/tokenoff", [1, 2]) == [200] * 3
    assert served.asked == [f"/tokenoff{CHAT}", *[f"/tokenoff/v1{CHAT}"] * 3]
    [line] = served.said
    assert "nothing is at 127.0.0.1" in line and line.endswith("/tokenoff/v1: asking there")


async def test_many_that_find_nothing_look_once():
    served = Served("/tokenoff/v1")
    assert await served.statuses("/tokenoff", [5]) == [200] * 5
    assert len(served.said) == 1
    assert sorted(served.asked) == sorted([f"/tokenoff{CHAT}"] * 5 + [f"/tokenoff/v1{CHAT}"] * 5)


async def test_where_nothing_is_there_either_it_stays():
    served = Served("/elsewhere")
    assert await served.statuses("/tokenoff", [1, 3]) == [404] * 4
    assert (served.asked.count(f"/tokenoff/v1{CHAT}"), served.said) == (1, [])


@pytest.mark.parametrize("path", ["/v1", "/v2/x", "/x/chat/completions"])
async def test_a_path_that_says_all_is_left_alone(path: str):
    served = Served("/elsewhere")
    assert await served.statuses(path, [1]) == [404]
    assert len(served.asked) == 1


async def test_models_may_be_the_root():
    served = Served("/models")
    assert await served.statuses("/models", [2]) == [200] * 2
    assert served.asked == [f"/models{CHAT}"] * 2


async def test_another_status_than_404_is_the_endpoints_answer():
    served = Served("/tokenoff/v1", missing=503)
    assert await served.statuses("/tokenoff", [2]) == [503] * 2
    assert len(served.asked) == 2


async def test_a_whole_answer_ends_the_search(api: FakeAPI):
    table = Endpoint(base_url=api.url.removesuffix("/v1"), api_key_env="")
    api.script = {"second": [404]}
    async with Client(table, target(table, {}), connections=1) as client:
        assert text_of(await client.send(request())) == answer_to("snow")
        assert (await client.send(request("second"))).status == 404
    assert len(api.ledger) == 2
