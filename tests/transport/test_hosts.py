"""A host is judged by where it leads, however it is written."""

from __future__ import annotations

import pytest

from batch.errors import JobError, UsageError
from batch.transport.endpoint import Endpoint, target
from batch.transport.hosts import is_loopback, is_private

LOOPBACK = """
    localhost LOCALHOST localhost. app.localhost 127.0.0.1 127.9.9.9 127.1 0x7f.1 0x7f000001
    2130706433 0177.0.0.1 017700000001 ::1 ::ffff:127.0.0.1 １２７.0.0.1
"""
PRIVATE = """
    10.0.0.7 10.7 0x0a000007 167772167 192.168.0.1 3232235521 172.16.1 169.254.1.2 fd00::1 fe80::1
    ::ffff:10.0.0.7 gpu-box gpu-box. n.internal n.local n.lan 10。0。0。7
"""
PUBLIC = """
    8.8.8.8 8.8.8.8. 134744072 0x8080808 0x08.8.8.8 010.8.8.8 8.8.2056 8.526344 01002004010
    2001:4860:4860::8888 ::ffff:8.8.8.8 ::ffff:808:808 api.example.com api.example.com. API.EXAMPLE.COM
    8。8。8。8 ８.8.8.8 api。example。com 8%2e8%2e8%2e8 api%2Eexample%2Ecom 99999999999 8.8.8.8.8 1.2.3.999
"""


@pytest.mark.parametrize("host", LOOPBACK.split())
def test_this_machine_is_loopback_and_private(host):
    assert is_loopback(host)
    assert is_private(host)


@pytest.mark.parametrize("host", PRIVATE.split())
def test_a_host_of_ones_own_is_private_and_not_loopback(host):
    assert is_private(host)
    assert not is_loopback(host)


@pytest.mark.parametrize("host", PUBLIC.split())
def test_a_host_of_others_is_public_and_asked_neither_by_http_nor_without_key(host):
    assert not is_private(host)
    assert not is_loopback(host)
    place = f"[{host}]" if ":" in host else host
    with pytest.raises(JobError, match="plain http"):
        target(Endpoint(base_url=f"http://{place}/v1"), {"OPENAI_API_KEY": "k"})
    with pytest.raises(UsageError, match="no API key"):
        target(Endpoint(base_url=f"https://{place}/v1"), {})
