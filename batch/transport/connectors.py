"""What makes the connections of a session: over TCP, to a unix socket, or through a SOCKS proxy."""

from __future__ import annotations

from typing import Any

import aiohttp

from batch.transport.endpoint import Target

DNS_SECONDS = 60


def connector(target: Target) -> aiohttp.BaseConnector:
    """Its pool has no limit: how many connections there are is for others to say."""
    if target.socket is not None:
        return aiohttp.UnixConnector(target.socket, limit=0)
    tcp: dict[str, Any] = {"limit": 0, "ttl_dns_cache": DNS_SECONDS}
    if target.tls is not None:
        tcp["ssl"] = target.tls
    if target.proxy is None or not target.proxy.is_socks:
        return aiohttp.TCPConnector(**tcp)
    from batch.transport.socks import SocksConnector  # an extra, which few have

    return SocksConnector(target.proxy, **tcp)
