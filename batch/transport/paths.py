"""Where the APIs of an endpoint are, by the path of its base URL.

A path is read as its author meant it: with or without a version, or that of one API, and perhaps behind
the path of a unix socket.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit, urlunsplit

from batch.apis import APIS

UNVERSIONED = ("", "/api", "/openai")
"""Paths that no server answers under by themselves: their version is /v1."""

AZURE_DEPLOYMENT = "/openai/deployments/"
"""In the path of an Azure endpoint whose URL, not the body, names the model; it reads the key in
the header `api-key`.  https://learn.microsoft.com/azure/ai-services/openai/reference
"""

UNIX_PATH = re.compile(r"(.*?\.sock(?:et)?(?=[:/])|[^:]*(?=:/)|.*):?(/.*)?")
"""The path of a unix socket, and that of a URL behind it."""

VERSION = re.compile(r"/v\d[^/]*(?:/|$)")

CHAT, LIST = "/chat/completions", "/models"
LISTS = ("/chat/models", LIST)
"""Where models are listed, below the root of an endpoint."""


def unix_socket(parts: SplitResult) -> tuple[str | None, str]:
    """The path of the socket in `unix:///run/x.sock/v1` (or `unix:///run/x:/v1`), and what follows on it;
    None where a URL is another.
    """
    if parts.scheme != "unix":
        return None, parts.path
    found = UNIX_PATH.fullmatch(parts.path)
    assert found is not None  # any path is one
    return found[1], found[2] or ""


def url_of(base_url: str, path: str) -> str:
    """The URL of one API below `base_url`, which may come with or without its version or the path
    of an API (not always this one), and keeps its query.
    """
    return _below(base_url, path, root_of)


def wire_url(url: str) -> str:
    """What a server is asked for: of a URL on a unix socket, that behind the socket's path."""
    parts = urlsplit(url)
    socket, path = unix_socket(parts)
    if socket is None:
        return url
    return urlunsplit(("http", "localhost", path, parts.query, ""))


def elsewhere(base_url: str) -> str | None:
    """Where the APIs may be, should nothing be at `base_url`: with the version that it lacks, or without
    the one it was given here; None where it says itself what it means.
    """
    _, path = unix_socket(urlsplit(base_url))
    root = _plain(path)
    if _named(root) is not None or VERSION.search(root) or AZURE_DEPLOYMENT in f"{root}/":
        return None
    if root.endswith(LIST):
        return _below(base_url, CHAT, lambda _: root.removesuffix(LIST))
    return _below(base_url, CHAT, lambda _: root if root in UNVERSIONED else f"{root}/v1")


def _below(base_url: str, path: str, root: Callable[[str], str]) -> str:
    parts = urlsplit(base_url)
    socket, given = unix_socket(parts)
    if socket is None:
        return urlunsplit((parts.scheme, parts.netloc, root(given) + path, parts.query, ""))
    query = f"?{parts.query}" if parts.query else ""
    return f"unix://{socket}:{root(given)}{path}{query}"


def root_of(path: str) -> str:
    """The path before that of an API.  A path that names an API (or, behind a version, a list of models)
    is complete; others get a version where one must be missing.
    """
    root = _plain(path)
    named = _named(root)
    if named is not None:
        return root.removesuffix(named)
    return f"{root}/v1" if root in UNVERSIONED else root


def _plain(path: str) -> str:
    return re.sub("//+", "/", path).rstrip("/")


def _named(root: str) -> str | None:
    """The API that a path ends in, or the list of models.  `/models` without a version is no list but
    the root of all APIs, as Azure has it.
    """
    ends = (*sorted((api.PATH for api in APIS.values()), key=len, reverse=True), *LISTS)
    named = next((end for end in ends if root.endswith(end)), None)
    if named == LIST and not VERSION.search(root):
        return None
    return named


def lists_of(base_url: str) -> list[str]:
    """URLs at which the models of an endpoint may be listed, the likeliest first; none where its URL
    names the model.
    """
    parts = urlsplit(base_url)
    root = root_of(unix_socket(parts)[1])
    if AZURE_DEPLOYMENT in root:
        return []
    roots = [root, root.removesuffix("/api/v1") + "/v1"] if root.endswith("/api/v1") else [root]
    paths = [f"{each}/models" for each in roots] + [f"{root}/chat/models"]
    return [_below(base_url, path, lambda _: "") for path in paths]
