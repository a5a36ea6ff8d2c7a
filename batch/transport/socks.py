"""Connections through a SOCKS proxy, made by aiohttp-socks (the extra `socks`)."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import aiohttp_socks
from aiohttp.client_proto import ResponseHandler

from batch.transport.proxies import Proxy

PORT = 1080
TYPES = {
    "socks4": aiohttp_socks.ProxyType.SOCKS4,
    "socks4a": aiohttp_socks.ProxyType.SOCKS4,
}
FAILURES = (
    aiohttp_socks.ProxyError,
    aiohttp_socks.ProxyConnectionError,
    aiohttp_socks.ProxyTimeoutError,
    EOFError,
)
"""EOFError: what was reached hangs up on SOCKS."""


class SocksConnector(aiohttp_socks.ProxyConnector):
    """Makes connections through a proxy, which resolves the names."""

    def __init__(self, proxy: Proxy, **more: Any) -> None:
        parts = urlsplit(proxy.url)
        super().__init__(
            host=parts.hostname or "",
            port=parts.port or PORT,
            proxy_type=TYPES.get(parts.scheme, aiohttp_socks.ProxyType.SOCKS5),
            username=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
            rdns=None if parts.scheme == "socks4" else True,
            **more,
        )

    async def _wrap_create_connection(self, *args: Any, **more: Any) -> tuple[Any, ResponseHandler]:
        try:
            return await super()._wrap_create_connection(*args, **more)
        except FAILURES as error:
            raise aiohttp.ClientProxyConnectionError(
                more["req"].connection_key, OSError(str(error) or "no connection")
            ) from error
