"""Proxies in front of the scripted API, and authorities for their certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.fake_api import FakeAPI
from tests.proxies import proxy
from tests.proxies.authority import Authority
from tests.proxies.proxy import Proxy, Setup


@pytest.fixture
def proxied(api: FakeAPI, tmp_path: Path) -> Iterator[Callable[[str, Setup], Proxy]]:
    """Starts a proxy by its name in front of `api`; it ends with the test."""
    with ExitStack() as running:

        def proxied(name: str, setup: Setup) -> Proxy:
            folder = tmp_path / name
            folder.mkdir()
            return running.enter_context(proxy.PROXIES[name](folder, api.port, setup))

        yield proxied


@pytest.fixture
def nginx(proxied: Callable[[str, Setup], Proxy]) -> Callable[[Setup], Proxy]:
    """Starts nginx in front of `api`."""
    return partial(proxied, "nginx")


@pytest.fixture
def haproxy(proxied: Callable[[str, Setup], Proxy]) -> Callable[[Setup], Proxy]:
    """Starts haproxy in front of `api`."""
    return partial(proxied, "haproxy")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that nobody trusts yet."""
    return Authority.made(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another one."""
    return Authority.made(tmp_path_factory.mktemp("stranger"))
