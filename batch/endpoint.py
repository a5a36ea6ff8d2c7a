"""Where requests go: base URL, headers and key, resolved from a job and the environment.

Keys are named in a job, never written there; what is resolved is never stored.
"""

from __future__ import annotations

import ipaddress
import urllib.request
from typing import Annotated
from urllib.parse import SplitResult, urlsplit, urlunsplit

import msgspec

from batch.apis import APIS
from batch.errors import JobError, UsageError

Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[endpoint]` of a job.  Timeouts are seconds; `idle_timeout` counts after the first byte
    of a stream.
    """

    base_url: str | None = None
    api_key_env: str | None = None
    headers: dict[str, str] = {}
    connect_timeout: Seconds = 10.0
    idle_timeout: Seconds = 120.0
    total_timeout: Seconds = 900.0
    allow_http: bool = False

    @property
    def local(self) -> bool:
        """Whether the embedded model answers."""
        return self.base_url is not None and (
            self.base_url == "local" or self.base_url.startswith("local:")
        )


class Target(msgspec.Struct, frozen=True):
    """Where requests really go: resolved from the endpoint and the environment, with the key in
    it.  Never stored.
    """

    base_url: str
    headers: dict[str, str]
    name: str | None = None
    secrets: tuple[str, ...] = ()
    proxy: str | None = None

    def __repr__(self) -> str:
        return f"Target({self.base_url})"


def target(endpoint: Endpoint, environment: dict[str, str]) -> Target:
    """Where `endpoint` is and what it is sent with every request.  Raises UsageError naming the
    variable that is missing.
    """
    base_url = (
        endpoint.base_url or environment.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    )
    parts = _checked(base_url, endpoint)
    host = parts.hostname or ""
    headers = {
        name: _expanded(name, value, environment) for name, value in endpoint.headers.items()
    }
    variable = "OPENAI_API_KEY" if endpoint.api_key_env is None else endpoint.api_key_env
    key = environment.get(variable, "").strip() if variable else ""
    secrets = [value for name, value in headers.items() if _is_secret(name, endpoint.headers[name])]
    if key:
        headers["Authorization"] = f"Bearer {_sendable(key, variable)}"
        secrets.append(key)
    elif variable and not is_private(host) and not _has_authorization(headers):
        raise UsageError(
            f"no API key for {host}: set the environment variable {variable},"
            " or use --local for the embedded model"
        )
    proxy = _proxy(parts, environment)
    if proxy is not None and (password := urlsplit(proxy).password):
        secrets.append(password)
    return Target(
        base_url, headers, secrets=tuple(_bare(secret) for secret in secrets), proxy=proxy
    )


def _has_authorization(headers: dict[str, str]) -> bool:
    return any(name.lower() in ("authorization", "api-key", "x-api-key") for name in headers)


def _is_secret(name: str, written: str) -> bool:
    """Whether a header's value must not be seen: it is read from the environment, or named so."""
    return written.startswith("$") or any(
        word in name.lower() for word in ("auth", "key", "token", "secret", "cookie")
    )


def _bare(secret: str) -> str:
    return secret.removeprefix("Bearer ").removeprefix("Basic ")


def _proxy(parts: SplitResult, environment: dict[str, str]) -> str | None:
    """The proxy the environment names for this host, by the usual variables; ~/.netrc is not read."""
    if _is_loopback(parts.hostname or ""):
        return None
    variable = f"{parts.scheme}_proxy"
    names = (variable, variable.upper(), "all_proxy", "ALL_PROXY")
    proxy = next((environment[name] for name in names if environment.get(name)), None)
    exempt = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if proxy is None or urllib.request.proxy_bypass_environment(parts.netloc, {"no": exempt}):  # type: ignore[attr-defined]
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _checked(base_url: str, endpoint: Endpoint) -> SplitResult:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise JobError(f'[endpoint] base_url: expected http(s)://… or "local", not {base_url!r}')
    if parts.username or parts.password or "key=" in parts.query:
        raise JobError(
            "[endpoint] base_url: keep secrets out of the URL; name their variable in api_key_env"
        )
    if parts.scheme == "http" and not endpoint.allow_http and not is_private(parts.hostname):
        raise JobError(
            f"[endpoint] base_url: plain http to {parts.hostname} would send prompts and key unencrypted;"
            " use https, or allow_http = true"
        )
    return parts


def is_private(host: str) -> bool:
    """Loopback, private and single-label names: servers of one's own, which need no key and have
    no list price.
    """
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".localhost", ".internal", ".lan"))


def _expanded(name: str, value: str, environment: dict[str, str]) -> str:
    if not value.startswith("$"):
        return _sendable(value, f"[endpoint] headers {name}")
    if value[1:] not in environment:
        raise UsageError(
            f"[endpoint] headers: {name} reads the environment variable {value[1:]}, which is not set"
        )
    return _sendable(environment[value[1:]].strip(), value[1:])


def _sendable(secret: str, where: str) -> str:
    if not secret.isascii() or not secret.isprintable():
        raise UsageError(
            f"{where} holds characters that no header may have (a line break, a curly quote?)"
        )
    return secret


def url_of(base_url: str, path: str) -> str:
    """The URL of one API below `base_url`, which may come with or without its version or the
    API's own path.
    """
    parts = urlsplit(base_url)
    root = parts.path.rstrip("/")
    named = next((api.PATH for api in APIS.values() if root.endswith(api.PATH)), None)
    if named is not None:
        root = root.removesuffix(named)
    elif root in ("", "/api"):
        root += "/v1"
    return urlunsplit((parts.scheme, parts.netloc, root + path, parts.query, ""))
