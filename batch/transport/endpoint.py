"""Where requests go: base URL, headers and key, resolved from a job and the environment.

Keys are named in a job, never written there; what is resolved is never stored.  A base URL is read
as its author meant it: with or without scheme, version, query, or the path of an API.
"""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from batch.costs import price_lists
from batch.errors import JobError, UsageError
from batch.model import EMBEDDED_MODEL
from batch.transport import proxies, tls, url_secrets
from batch.transport.hosts import is_private
from batch.transport.paths import AZURE_DEPLOYMENT, unix_socket
from batch.transport.proxies import Proxy

Seconds = Annotated[float, msgspec.Meta(gt=0)]
NAME = re.compile(r"[\w.-]{1,100}")

OPENAI = "https://api.openai.com/v1"

_SECRET_URL = (
    "[endpoint] base_url: keep secrets out of the URL; name their variable in api_key_env, or send"
    ' them as a header: [endpoint.headers] x-functions-key = "$NAME"'
)


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[endpoint]` of a job.  Timeouts are seconds; `idle_timeout` counts after the first byte
    of a stream; `provider` is whose price list holds, by the name that the lists have for it.
    `ca_file` names the authorities to trust in place of the usual, `client_cert` and `client_key` who
    the client is (PEM files; one may hold both).

    `name` tells it from another at the same place, `model` is what it calls the job's model.
    """

    base_url: str | None = None
    name: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    headers: dict[str, str] = {}
    connect_timeout: Seconds = 10.0
    idle_timeout: Seconds = 120.0
    total_timeout: Seconds = 900.0
    allow_http: bool = False
    provider: str | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    def __post_init__(self) -> None:
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key: needs client_cert beside it")
        if self.name is not None and not NAME.fullmatch(self.name):
            raise ValueError(f"name: {self.name!r} has more in it than letters, digits, . _ and -")
        if self.provider is not None:
            price_lists.check_provider(self.provider)

    @property
    def local(self) -> bool:
        """Whether the embedded model answers."""
        return self.base_url is not None and (
            self.base_url == "local" or self.base_url.startswith("local:")
        )

    @property
    def local_model(self) -> str:
        """What the embedded model is called, if that is what answers: after its file, if one is named."""
        file = (self.base_url or "").removeprefix("local").removeprefix(":")
        return Path(file).stem if file else EMBEDDED_MODEL


class Target(msgspec.Struct, frozen=True):
    """Where requests really go: resolved from the endpoint and the environment, with the key in
    it.  Never stored.  `socket` is the path of a unix socket, `name` what to call the place if not by
    its URL; `label` is what stands behind that, to tell two at one place apart.
    """

    base_url: str
    headers: dict[str, str]
    name: str | None = None
    label: str | None = None
    secrets: tuple[str, ...] = ()
    proxy: Proxy | None = None
    socket: str | None = None
    tls: ssl.SSLContext | None = None

    @property
    def has_key(self) -> bool:
        """Whether a key goes with requests."""
        return _has_authorization(self.headers)

    def __repr__(self) -> str:
        return f"Target({self.base_url})"


def target(endpoint: Endpoint, environment: dict[str, str]) -> Target:
    """Where `endpoint` is and what it is sent with every request.  Raises UsageError naming the
    variable that is missing.
    """
    base_url = address(endpoint, environment)
    parts = _checked(base_url, endpoint)
    host = parts.hostname or ""
    headers = {
        name: _expanded(name, value, environment) for name, value in endpoint.headers.items()
    }
    variable = "OPENAI_API_KEY" if endpoint.api_key_env is None else endpoint.api_key_env
    key = environment.get(variable, "").strip() if variable else ""
    secrets = [value for name, value in headers.items() if is_secret(name, endpoint.headers[name])]
    if key:
        headers |= _authorization(_sendable(key, variable), parts)
        secrets.append(key)
    elif variable and not is_private(host) and not _has_authorization(headers):
        raise UsageError(
            f"no API key for {host}: set the environment variable {variable},"
            " or use --local for the embedded model"
        )
    _check_host(base_url)
    proxy = proxies.of(parts, environment)
    if proxy is not None and (password := urlsplit(proxy.url).password):
        secrets += [password, unquote(password)]
    path, _ = unix_socket(parts)
    return Target(
        base_url,
        headers,
        name=path and f"unix:{path}",
        label=endpoint.name,
        secrets=tuple(dict.fromkeys(_bare(secret) for secret in secrets)),
        proxy=proxy,
        socket=path,
        tls=_tls(endpoint, parts, environment),
    )


def _tls(
    endpoint: Endpoint, parts: SplitResult, environment: dict[str, str]
) -> ssl.SSLContext | None:
    if parts.scheme == "https" and endpoint.ca_file is None:
        tls.check_environment(environment)
    return tls.context(endpoint.ca_file, endpoint.client_cert, endpoint.client_key)


def address(endpoint: Endpoint, environment: dict[str, str]) -> str:
    """The base URL that is meant, with its scheme.  Raises JobError when it is none."""
    given = endpoint.base_url
    if given is None:
        given = environment.get("OPENAI_BASE_URL") or OPENAI
    elif not given.strip():  # a variable that is not set, perhaps: not meant for another server
        raise JobError(_no_url(given))
    return _with_scheme(given.strip())


def check(endpoint: Endpoint) -> None:
    """Raises JobError for a base URL in the job that is none, or would give a secret away."""
    if endpoint.base_url is not None and not endpoint.local:
        url = address(endpoint, {})
        _checked(url, endpoint)
        _check_host(url)


def _with_scheme(given: str) -> str:
    """`given` without scheme gets http where it is a server of one's own, https elsewhere."""
    if "://" in given:
        return given
    host = host_of(f"//{given}")
    named = "." in host or ":" in host or host == "localhost" or re.search(r":\d", given)
    if not host or not named:
        raise JobError(_no_url(given))
    return f"{'http' if is_private(host) else 'https'}://{given}"


def host_of(url: str) -> str:
    """The host in a URL, "" when it names none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # read, so that one that is no number shows
    except ValueError:
        return ""
    return parts.hostname or ""


def _check_host(url: str) -> None:
    """Raises JobError for a URL that the HTTP library does not take: xn--a is no host."""
    from yarl import URL

    try:
        _ = URL(url, encoded=True).host
    except ValueError:  # UnicodeError, too
        raise JobError(_no_url(url)) from None


def _no_url(given: str) -> str:
    return f'[endpoint] base_url: expected http(s)://… or "local", not {given!r}'


def _authorization(key: str, parts: SplitResult) -> dict[str, str]:
    if AZURE_DEPLOYMENT in parts.path:
        return {"api-key": key}
    return {"Authorization": f"Bearer {key}"}


def _has_authorization(headers: dict[str, str]) -> bool:
    return any(name.lower() in ("authorization", "api-key", "x-api-key") for name in headers)


def is_secret(name: str, written: str) -> bool:
    """Whether a header's value must not be seen: it is read from the environment, or named so."""
    return written.startswith("$") or any(
        word in name.lower() for word in ("auth", "key", "token", "secret", "cookie")
    )


def _bare(secret: str) -> str:
    return secret.removeprefix("Bearer ").removeprefix("Basic ")


def _checked(base_url: str, endpoint: Endpoint) -> SplitResult:
    if base_url.startswith("unix:"):
        return _checked_socket(base_url)
    host = host_of(base_url)
    if not host or re.search(r"[\s\x00-\x1f\x7f\\]", base_url):
        raise JobError(_no_url(base_url))
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https"):
        raise JobError(_no_url(base_url))
    if url_secrets.named_in(parts):
        raise JobError(_SECRET_URL)
    if parts.scheme == "http" and not endpoint.allow_http and not is_private(host):
        raise JobError(
            f"[endpoint] base_url: plain http to {host} would send prompts and key unencrypted;"
            " use https, or allow_http = true"
        )
    return parts


def _checked_socket(base_url: str) -> SplitResult:
    parts = urlsplit(base_url)
    if url_secrets.named_in(parts):
        raise JobError(_SECRET_URL)
    if parts.netloc or not parts.path.startswith("/") or parts.path.endswith("/"):
        raise JobError(
            "[endpoint] base_url: expected the whole path of a unix socket, as in"
            f" unix:///run/llm.sock, not {base_url!r}"
        )
    if not hasattr(socket, "AF_UNIX"):
        raise JobError("[endpoint] base_url: there are no unix sockets on Windows; use http://")
    return parts


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
