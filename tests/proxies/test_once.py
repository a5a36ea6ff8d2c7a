"""Through a real proxy every row is answered, once, however it treats connections and streams."""

from __future__ import annotations

import pytest

from tests.fake_api import Step
from tests.proxies.proxy import Setup
from tests.proxies.rows import assert_sent_once, through
from tests.reading import texts

pytestmark = pytest.mark.proxies

HTTP_1_1 = 'proxy_http_version 1.1; proxy_set_header Connection "";'

SETUPS = {
    "nginx as it comes: HTTP/1.0 to the API": ("nginx", Setup()),
    "nginx, HTTP/1.1 to the API, kept alive": ("nginx", Setup(HTTP_1_1)),
    "nginx, unbuffered": ("nginx", Setup("proxy_buffering off; proxy_request_buffering off;")),
    "nginx, unbuffered HTTP/1.1": ("nginx", Setup(f"proxy_buffering off; {HTTP_1_1}")),
    "nginx, little buffers": ("nginx", Setup("proxy_buffer_size 1k; proxy_buffers 4 1k;")),
    "nginx, no chunks": ("nginx", Setup("chunked_transfer_encoding off;")),
    "nginx, gzip": (
        "nginx",
        Setup("gzip on; gzip_min_length 1; gzip_types application/json text/event-stream;"),
    ),
    "nginx, no keep-alive": ("nginx", Setup("keepalive_timeout 0;")),
    "nginx, three requests a connection": ("nginx", Setup("keepalive_requests 3;")),
    "haproxy as it comes": ("haproxy", Setup()),
    "haproxy, http-server-close": ("haproxy", Setup("option http-server-close")),
    "haproxy, httpclose": ("haproxy", Setup("option httpclose")),
    "haproxy, whole requests first": ("haproxy", Setup("option http-buffer-request")),
    "haproxy, a connection to the API for all": ("haproxy", Setup("http-reuse always")),
}


STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@STREAM
@pytest.mark.parametrize("case", SETUPS)
def test_every_row_is_sent_once(api, proxied, tmp_path, case, stream):
    proxy, prompts = proxied(*SETUPS[case]), texts(60)
    api.always = Step(event_delay=0.002) if stream else None
    assert_sent_once(through(proxy, tmp_path, prompts, request={"stream": stream}), prompts)
    assert api.prompts() == dict.fromkeys(prompts, 1)


SHORT = {"nginx": Setup("keepalive_timeout 1s;"), "haproxy": Setup("timeout http-keep-alive 1s")}


@STREAM
@pytest.mark.parametrize("name", SHORT)
def test_a_row_that_comes_when_the_proxy_has_closed_is_sent_once(
    api, proxied, tmp_path, name, stream
):
    proxy, prompts = proxied(name, SHORT[name]), texts(6)
    slow = {"requests_per_minute": 40, "concurrency": 2}  # 1.5 s from one to the next
    ended = through(proxy, tmp_path, prompts, request={"stream": stream}, limits=slow)
    assert_sent_once(ended, prompts)
    assert api.prompts() == dict.fromkeys(prompts, 1)
