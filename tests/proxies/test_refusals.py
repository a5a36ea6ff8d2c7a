"""What a real proxy answers by itself: a limit, a page, a server that is gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fake_api import FakeAPI, Step
from tests.proxies.proxy import Proxy, Setup
from tests.proxies.rows import answers, assert_all_answered, assert_sent_once, errors, through
from tests.reading import texts, until

pytestmark = pytest.mark.proxies

ZONE = "limit_req_zone $binary_remote_addr zone=all:1m rate=20r/s;"
DEFAULT: dict[str, float] = {}
"""`[retry]` where nobody has written any."""


@pytest.mark.parametrize(
    "burst", ["burst=5 nodelay", "burst=5", ""], ids=["burst", "delay", "none"]
)
@pytest.mark.parametrize("status", [503, 429])
def test_no_row_fails_at_a_rate_limit_that_names_no_wait(nginx, tmp_path, status, burst):
    proxy = nginx(Setup(f"limit_req zone=all {burst}; limit_req_status {status};", ZONE))
    prompts = texts(60)
    assert_all_answered(through(proxy, tmp_path, prompts, retry=DEFAULT), prompts)
    assert f" {status} " in proxy.log()


@pytest.mark.parametrize("size", [5_000, 3_000_000])
def test_a_row_larger_than_nginx_takes_is_too_large(api, nginx, tmp_path, size):
    proxy, prompts = nginx(Setup("client_max_body_size 2k;")), texts(20)
    prompts[9] = "long " * (size // 5)
    ended = through(proxy, tmp_path, prompts)
    assert (ended.exit_code, ended.stopped) == (1, None)
    assert {row: error for row, (error, _) in errors(ended).items()} == {9: "too_large"}
    assert len(answers(ended)) == 19
    assert api.asked("long") == 0


GONE = {
    "nginx, 502": ("nginx", Setup(), Step(reset=True)),
    "nginx, 504": ("nginx", Setup("proxy_read_timeout 2s;"), Step(hang=True)),
    "haproxy, 502": ("haproxy", Setup(), Step(reset=True)),
    "haproxy, 504": ("haproxy", Setup(outside="timeout server 2s"), Step(hang=True)),
}


@pytest.mark.parametrize("case", GONE)
def test_a_row_whose_server_dies_behind_the_proxy_is_sent_again(api, proxied, tmp_path, case):
    name, setup, step = GONE[case]
    proxy, prompts = proxied(name, setup), texts(20)
    api.script = {"text 00003": [step], "text 00007": [step]}
    ended = through(proxy, tmp_path, prompts)
    assert_all_answered(ended, prompts)
    assert {row["row"]: row["attempts"] for row in ended.rows if row["attempts"] > 1} == {
        3: 2,
        7: 2,
    }
    assert f" {case[-3:]} " in proxy.log()


@contextmanager
def gone_for_a_while(api: FakeAPI, proxy: Proxy, page: str) -> Iterator[None]:
    """After 40 requests `api` is gone until the proxy has said so five times."""
    back: list[FakeAPI] = []

    def goes() -> None:
        until(lambda: len(api.ledger) > 40)
        api.close()
        until(lambda: proxy.log().count(page) >= 5)
        back.append(FakeAPI(api.port))

    going = threading.Thread(target=goes, daemon=True)
    going.start()
    yield
    going.join()
    back[0].close()


NOBODY = {
    "nginx": (Setup(), " 502 "),
    "haproxy": (Setup(outside="retries 0"), " 503 "),
}


@pytest.mark.parametrize("name", NOBODY)
def test_no_row_fails_while_nobody_answers_behind_the_proxy(api, proxied, tmp_path, name):
    setup, page = NOBODY[name]
    proxy, prompts = proxied(name, setup), texts(200)
    api.latency = 0.02
    with gone_for_a_while(api, proxy, page):
        ended = through(proxy, tmp_path, prompts)
    assert_all_answered(ended, prompts)


def test_rows_that_wait_in_the_queue_of_haproxy_are_sent_once(api, haproxy, tmp_path):
    proxy, prompts = (
        haproxy(Setup(outside="default-server maxconn 2\n    timeout queue 60s")),
        texts(60),
    )
    api.latency = 0.02
    assert_sent_once(through(proxy, tmp_path, prompts, limits={"concurrency": 16}), prompts)
    assert api.peak_in_flight <= 2


def test_no_row_fails_when_the_queue_of_haproxy_is_too_long(api, haproxy, tmp_path):
    setup = Setup(outside="default-server maxconn 2\n    timeout queue 100ms")
    proxy, prompts = haproxy(setup), texts(60)
    api.latency = 0.05
    ended = through(proxy, tmp_path, prompts, limits={"concurrency": 16}, retry=DEFAULT)
    assert_all_answered(ended, prompts)
    assert " 503 " in proxy.log()


WALL = "option http-buffer-request\n    http-request deny deny_status 403 if {{ req.body -m sub {word} }}"


def test_a_row_that_haproxy_denies_is_blocked_and_the_others_go_on(api, haproxy, tmp_path):
    proxy, prompts = haproxy(Setup(WALL.format(word="00009"))), texts(40)
    ended = through(proxy, tmp_path, prompts)
    assert (ended.exit_code, ended.stopped) == (1, None)
    assert {row: error for row, (error, _) in errors(ended).items()} == {9: "blocked"}
    assert len(answers(ended)) == 39


def test_no_row_fails_where_haproxy_denies_all(api, haproxy, tmp_path):
    proxy = haproxy(Setup("http-request deny deny_status 403"))
    ended = through(proxy, tmp_path, texts(100))
    assert (ended.exit_code, ended.rows, api.ledger) == (3, [], [])
    assert "403" in (ended.stopped or "")
