"""`--metrics-port`: what Prometheus' own parser reads of a run that is under way."""

from __future__ import annotations

import os
import socket
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT
from tests.fake_api import Step
from tests.reading import asking, texts, until, write
from tests.test_imports import loaded

PRICED = ("--set", "prices.m={input=1.0, output=2.0}")
OURS = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "openai",
    "gen_ai_request_model": "m",
}


@pytest.fixture
def port():
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def scraped(port):
    """Every sample, by its name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def is_there(port):
    try:
        return scraped(port)
    except OSError:
        return {}


def test_a_run_is_scraped_while_it_is_under_way(api, start, port, tmp_path):
    write(tmp_path / "in.jsonl", [*texts(6), "slow"])
    api.script = {
        "text 00001": [Step(400)],
        "text 00002": [Step(503), Step()],
        "slow": [Step(hang=True)],
    }
    # with --yes no refusal is held back until a later request is answered
    command = ("run", "in.jsonl", *asking(api, *PRICED, "--metrics-port", port), "--yes")
    process = start(*command, "--set", "retry.first_delay=0.01")
    done = ("batchmill_run_rows", ("status", "ok"))
    until(lambda: is_there(port).get(done) == 5, process)
    now = scraped(port)

    assert now["batchmill_rows_total", ("status", "ok")] == 5
    assert now["batchmill_rows_total", ("status", "failed")] == 1
    assert now["batchmill_run_rows_expected",] == 7
    assert now["batchmill_in_flight",] == 1
    assert now["batchmill_retries_total",] == 1
    assert now["batchmill_cost_usd_total",] == pytest.approx(now["batchmill_run_cost_usd",])
    assert now["batchmill_cost_usd_total",] > 0
    assert now["batchmill_waits_total", ("kind", "down")] == 0

    server = ("server_address", api.url.split("/")[2])
    labels = sorted([*OURS.items(), server, ("gen_ai_token_type", "input")])
    assert now["gen_ai_client_token_usage_count", *labels] == 5
    assert now["gen_ai_client_token_usage_sum", *labels] > 0
    for error, count in (("", 5), ("invalid_request", 1)):
        labels = sorted([*OURS.items(), server, ("error_type", error)])
        assert now["gen_ai_client_operation_duration_seconds_count", *labels] == count
    told = str(now)
    assert "text 0000" not in told
    process.kill()


def test_metrics_end_with_the_run_and_retry_has_them(api, batchmill, port, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    api.script = {"text 00001": [Step(400)]}
    flags = ("--metrics-port", port)
    assert batchmill("run", "in.jsonl", *asking(api, *flags)).exit_code == 1
    assert not is_there(port)
    assert batchmill("retry", "runs/in", *flags, "--metrics-host", "localhost").exit_code == 0


def test_a_port_that_is_taken_is_said_before_anything_is_sent(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(3))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = batchmill("run", "in.jsonl", *asking(api, "--metrics-port", port))
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"error: --metrics-port: cannot listen on 127.0.0.1:{port}: ")
    assert api.ledger == []
    assert not (tmp_path / "runs").exists()


def test_a_host_alone_says_that_a_port_is_missing(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(1))
    ended = batchmill("run", "in.jsonl", *asking(api, "--metrics-host", "0.0.0.0"))
    assert ended.exit_code == 2
    assert "--metrics-port" in ended.stderr


def test_without_the_extra_it_is_named(api, batchmill, port, tmp_path):
    missing = "raise ModuleNotFoundError('No module named prometheus_client')\n"
    (tmp_path / "prometheus_client.py").write_text(missing)
    write(tmp_path / "in.jsonl", texts(1))
    path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    ended = batchmill("run", "in.jsonl", *asking(api, "--metrics-port", port), env=path)
    assert ended.exit_code == 2
    assert "pip install 'batchmill[metrics]'" in ended.stderr
    assert api.ledger == []
    assert (
        batchmill("run", "in.jsonl", *asking(api), env=path).exit_code == 0
    )  # and else not missed


def test_models_that_rows_bring_make_few_labels(tmp_path: Path) -> None:
    from prometheus_client import CollectorRegistry

    from batch import spec
    from batch.cli.metrics import MOST_NAMES, OTHER, Metrics
    from batch.engine.events import RowsDone
    from batch.model import Result

    registry = CollectorRegistry()
    metrics = Metrics(registry, spec.check({"input": "in.jsonl"}))
    rows = [Result(row=n, status="ok", model=f"m{n}", latency_s=1.0) for n in range(100)]
    metrics(RowsDone(tuple(rows)))
    named = {
        sample.labels["gen_ai_request_model"]
        for family in registry.collect()
        for sample in family.samples
        if "gen_ai_request_model" in sample.labels
    }
    assert len(named) == MOST_NAMES + 1
    assert OTHER in named


def test_nothing_of_it_is_imported_before() -> None:
    assert "prometheus_client" not in loaded("import batch.cli.run, batch.runner")
