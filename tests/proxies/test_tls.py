"""TLS that a real proxy speaks: authorities of one's own, and certificates that it asks of clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batch.transport.endpoint import Endpoint
from tests.proxies.authority import Authority
from tests.proxies.proxy import Setup
from tests.proxies.rows import assert_sent_once, through
from tests.reading import completions, texts, write

pytestmark = pytest.mark.proxies

NGINX = """
        ssl_certificate {server.both};
        ssl_certificate_key {server.both};
        ssl_protocols TLSv{version};
"""
HAPROXY = "ssl crt {server.both} alpn http/1.1 ssl-min-ver TLSv{version} ssl-max-ver TLSv{version}"

EITHER = pytest.mark.parametrize("name", ["nginx", "haproxy"])
VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


def secured(authority: Authority, name: str, version: str, clients: Path | None = None) -> Setup:
    """A proxy with a certificate of `authority`, which asks for one of the authority `clients`."""
    server = authority.signed("server")
    if name == "nginx":
        lines = NGINX.format(server=server, version=version)
        if clients:
            lines += f"ssl_verify_client on; ssl_client_certificate {clients};"
        return Setup(lines, listen="ssl")
    options = HAPROXY.format(server=server, version=version)
    asks = f" ca-file {clients} verify required" if clients else ""
    return Setup(listen=options + asks)


@VERSIONS
@EITHER
def test_an_authority_in_ssl_cert_file_is_trusted(
    api, proxied, batchmill, authority, tmp_path, name, version
):
    proxy, prompts = proxied(name, secured(authority, name, version)), texts(40)
    write(tmp_path / "in.jsonl", prompts)
    flags = ("-m", "m", "-p", "{{ text }}", "--base-url", proxy.secure_url, "--quiet")
    trusting = {"SSL_CERT_FILE": str(authority.certificate), "OPENAI_API_KEY": "sk-none"}
    ended = batchmill("run", "in.jsonl", *flags, env=trusting)
    assert ended.exit_code == 0, ended.stderr
    assert len(completions(tmp_path / "runs/in")) == 40
    assert api.prompts() == dict.fromkeys(prompts, 1)


@EITHER
def test_an_authority_nobody_vouches_for_stops_the_run(
    api, proxied, batchmill, authority, tmp_path, name
):
    proxy = proxied(name, secured(authority, name, "1.3"))
    write(tmp_path / "in.jsonl", texts(5))
    flags = ("-m", "m", "-p", "{{ text }}", "--base-url", proxy.secure_url, "--quiet")
    ended = batchmill("run", "in.jsonl", *flags, env={"OPENAI_API_KEY": "sk-none"})
    assert (ended.exit_code, api.ledger) == (3, [])
    assert "the certificate of 127.0.0.1 is not trusted: " in ended.stderr


KEYS = pytest.mark.skipif(
    "client_cert" not in Endpoint.__struct_fields__, reason="endpoint.client_cert is not known yet"
)


def identified(authority: Authority, secure_url: str, client: Authority | None) -> dict[str, Any]:
    """`[endpoint]` that trusts `authority` and shows a certificate signed by `client`."""
    shown: dict[str, Any] = {}
    if client:
        signed = client.signed("client")
        shown = {"client_cert": str(signed.certificate), "client_key": str(signed.key)}
    trusted = {"ca_file": str(authority.certificate)}
    return {"base_url": secure_url, "api_key_env": "", **trusted, **shown}


@KEYS
@VERSIONS
@EITHER
def test_a_client_with_a_certificate_is_let_in(api, proxied, authority, tmp_path, name, version):
    proxy = proxied(name, secured(authority, name, version, authority.certificate))
    prompts, endpoint = texts(40), identified(authority, proxy.secure_url, authority)
    assert_sent_once(through(proxy, tmp_path, prompts, endpoint=endpoint), prompts)
    assert api.prompts() == dict.fromkeys(prompts, 1)


@KEYS
@VERSIONS
@EITHER
@pytest.mark.parametrize("shown", ["none", "of another authority"])
def test_a_client_without_the_right_certificate_is_told_so_and_no_row_fails(
    api, proxied, authority, stranger, tmp_path, name, version, shown
):
    proxy = proxied(name, secured(authority, name, version, authority.certificate))
    client = stranger if shown == "of another authority" else None
    endpoint = identified(authority, proxy.secure_url, client)
    ended = through(proxy, tmp_path, texts(60), endpoint=endpoint)
    assert (ended.exit_code, ended.rows, api.ledger) == (3, [], [])
    assert "certificate" in (ended.stopped or "")
