"""The proxy that the environment names for a host, by the usual variables; ~/.netrc is not read.

NO_PROXY is read as curl and Go read it: names with all below them, addresses, networks as CIDR, each
perhaps with a port, and `*`.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import SplitResult, urlsplit

import msgspec

from batch.errors import UsageError
from batch.transport.hosts import is_loopback

SOCKS = ("socks", "socks4", "socks4a", "socks5", "socks5h")
SCHEMES = ("http", "https", *SOCKS)
PORTS = {"http": 80, "https": 443}
EXEMPT = r"(?:.*://)?(?P<name>\[[^\]]*\]|[^:]*|.*:.*:[^:]*?)(?::(?P<port>\d+))?"
"""An entry of NO_PROXY; an IPv6 address has a port only in brackets."""


class Proxy(msgspec.Struct, frozen=True):
    """A proxy, and the environment variable that names it.  Its URL may hold a password."""

    url: str
    variable: str

    def __repr__(self) -> str:
        return f"Proxy(${self.variable})"

    @property
    def host(self) -> str | None:
        """Where it is."""
        return urlsplit(self.url).hostname

    @property
    def is_socks(self) -> bool:
        """Whether it passes connections on without reading them."""
        return urlsplit(self.url).scheme in SOCKS


def of(parts: SplitResult, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for the URL in `parts`.  Raises UsageError where what is named is none."""
    if parts.scheme not in PORTS or is_loopback(parts.hostname or ""):
        return None
    of_scheme = f"{parts.scheme}_proxy"
    names = (of_scheme, of_scheme.upper(), "all_proxy", "ALL_PROXY")
    variable = next((name for name in names if environment.get(name)), None)
    if variable is None or _is_exempt(parts, environment):
        return None
    url = environment[variable].strip()
    return _checked(Proxy(url if "://" in url else f"http://{url}", variable))


def _checked(proxy: Proxy) -> Proxy:
    try:
        parts = urlsplit(proxy.url)
        is_one = parts.hostname and parts.port != 0 and parts.scheme in SCHEMES
    except ValueError:  # a port that is no number
        is_one = False
    if not is_one or re.search(r"[\s\x00-\x1f\x7f\\]", proxy.url):
        raise UsageError(
            f"{proxy.variable} names no proxy: expected http://host:port"
            f" (or https, {', '.join(SOCKS[1:])})"
        )
    if proxy.is_socks and find_spec("aiohttp_socks") is None:
        raise UsageError(
            f"{proxy.variable} names a SOCKS proxy, which takes one package more:"
            " pip install 'batchmill[socks]'",
            hint="where the endpoint needs no proxy, name its host in NO_PROXY",
        )
    return proxy


def _is_exempt(parts: SplitResult, environment: Mapping[str, str]) -> bool:
    exempt = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or PORTS.get(parts.scheme)
    entries = re.split(r"[\s,;]+", exempt.lower())
    return any(_covers(entry, host, port) for entry in entries if entry)


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY exempts a host."""
    found = re.fullmatch(EXEMPT, entry)
    if found is None or (found["port"] and int(found["port"]) != port):
        return False
    name = found["name"].strip("[]").rstrip(".")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        domain = name.removeprefix("*.").lstrip(".")
    return fnmatch.fnmatchcase(host, domain) or fnmatch.fnmatchcase(host, f"*.{domain}")
