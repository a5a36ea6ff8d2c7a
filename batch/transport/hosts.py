"""Which hosts are one's own: they need no key, have no list price, and may be asked by plain http."""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from urllib.parse import unquote

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE = (".local", ".localhost", ".internal", ".lan")

_NUMBER = re.compile(r"(?:0x[0-9a-f]*|\d+)(?:\.(?:0x[0-9a-f]*|\d+))*")
"""What resolvers take for an IPv4 address: 134744072, 0x8080808 and 8.8.2056 are 8.8.8.8."""


def is_private(host: str) -> bool:
    """Whether a host is loopback, private or a single label."""
    name = _canonical(host)
    if (address := _address(name)) is not None:
        return address.is_private
    if _NUMBER.fullmatch(name):
        return False
    return "." not in name or name.endswith(_PRIVATE)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    name = _canonical(host)
    if (address := _address(name)) is not None:
        return address.is_loopback
    return name == "localhost" or name.endswith(".localhost")


def _canonical(host: str) -> str:
    """As it is looked up: wide digits and dots of other scripts are the usual ones."""
    name = unicodedata.normalize("NFKC", host if ":" in host else unquote(host))
    return name.replace("\u3002", ".").casefold().removesuffix(".")


def _address(name: str) -> Address | None:
    """The address that a host is in some notation; None for a name."""
    if _NUMBER.fullmatch(name):
        return _number(name)
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _number(name: str) -> Address | None:
    try:
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except OSError:
        return None
