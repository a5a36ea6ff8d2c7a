"""`--metrics-port`: what a start of a run does, for Prometheus (the extra `metrics`).

Names that begin with `gen_ai_` are those of OpenTelemetry's conventions for generative AI, in
Prometheus' spelling; ours begin with `batchmill_`.  Labels hold nothing of rows: a model's name is
one of a few, and all else comes from closed lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

from batch.engine.events import Event, Opened, Progressed, RowsDone, Waiting, WentOn
from batch.errors import UsageError
from batch.model import Result
from batch.spec import Job
from batch.totals import counting

OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings"}
"""APIs that the conventions do not call `chat`."""

KINDS = ("down", "refused", "rate")
"""What is waited for."""

MOST_NAMES, OTHER = 20, "other"
"""How many values a label has that are named by jobs and servers, and what the rest is called."""

TOKENS = tuple(4**power for power in range(14))
SECONDS = tuple(0.01 * 2**power for power in range(14))
"""Bounds that the conventions advise."""


@contextmanager
def served(job: Job, host: str, port: int) -> Iterator[Metrics]:
    """Meanwhile whoever asks there gets the metrics of a run, which are told of its events.  Raises
    UsageError where nothing can listen there.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each
    registry = CollectorRegistry()
    metrics = Metrics(registry, job)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"--metrics-port: cannot listen on {host}:{port}: {why}") from None
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who asked is gone
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Metrics:
    """A consumer of the events of one start of a run."""

    def __init__(self, registry: CollectorRegistry, job: Job) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"batchmill_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"batchmill_{name}", text, labels, registry=registry)

        self._rows = counter("rows", "Rows done in this start.", "status")
        self._reused = counter(
            "rows_reused", "Rows whose answer was taken from another run, or another row."
        )
        self._cost = counter("cost_usd", "What rows done in this start cost, where that is known.")
        self._unpriced = counter("unpriced_rows", "Rows whose cost is unknown.")
        self._retries = counter("retries", "Rows put back for another try.")
        self._waits = counter("waits", "Waits of 2 s and more.", "kind")
        self._waited = counter("wait_seconds", "How long those took that are over.", "kind")
        self._waiting = gauge("waiting", "1 while the run waits.", "kind")
        self._in_flight = gauge("in_flight", "Requests on their way.")
        self._run_rows = gauge("run_rows", "Rows done in the whole run.", "status")
        self._run_cost = gauge("run_cost_usd", "What the whole run cost, where that is known.")
        self._expected = gauge("run_rows_expected", "Rows that are to be asked; NaN while unknown.")
        self._cap_left = gauge("cap_left_usd", "What may still be spent; NaN without a cap.")
        self._operations = _Operations(registry, job)
        self._told_retries = 0
        for status in ("ok", "failed"):
            self._rows.labels(status)
        for kind in KINDS:
            for each in (self._waits, self._waited, self._waiting):
                each.labels(kind)

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case Opened(held=held):
                self._whole(held.rows_ok, held.rows_failed, held.cost_usd)
            case RowsDone(results):
                for result in results:
                    self._done(result)
            case Progressed():
                self._progressed(event)
            case Waiting(kind, again=False):
                self._waits.labels(kind).inc()
                self._waiting.labels(kind).set(1)
            case WentOn(kind, seconds):
                self._waited.labels(kind).inc(seconds)
                self._waiting.labels(kind).set(0)

    def _done(self, result: Result) -> None:
        self._rows.labels(result.status).inc()
        if result.reused:
            self._reused.inc()
            return
        self._cost.inc(result.cost_usd or 0.0)
        if "unpriced_rows" in counting(result):
            self._unpriced.inc()
        self._operations.done(result)

    def _progressed(self, now: Progressed) -> None:
        self._retries.inc(now.retries - self._told_retries)
        self._told_retries = now.retries
        self._in_flight.set(now.in_flight)
        done = now.done - now.failed
        self._whole(done, now.failed, now.held.cost_usd + now.asked.cost_usd)
        self._expected.set(float("nan") if now.rows is None else now.rows)
        self._cap_left.set(float("nan") if now.cap_left is None else float(now.cap_left))

    def _whole(self, ok: int, failed: int, cost_usd: float) -> None:
        self._run_rows.labels("ok").set(ok)
        self._run_rows.labels("failed").set(failed)
        self._run_cost.set(cost_usd)


class _Operations:
    """What the conventions ask to be known of every request; here of every row, with its last one."""

    def __init__(self, registry: CollectorRegistry, job: Job) -> None:
        self._constant = {
            "gen_ai_operation_name": OPERATIONS.get(job.request.api, "chat"),
            "gen_ai_provider_name": job.endpoint.provider or "openai",
        }
        labels = (*self._constant, "gen_ai_request_model", "server_address")
        self._tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of a row, all its attempts together.",
            (*labels, "gen_ai_token_type"),
            buckets=TOKENS,
            registry=registry,
        )
        self._seconds = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "How long the last request of a row took.",
            (*labels, "error_type"),
            buckets=SECONDS,
            registry=registry,
        )
        self._model, self._server = _few(), _few()

    def done(self, result: Result) -> None:
        """Count a row that was asked."""
        labels = {
            **self._constant,
            "gen_ai_request_model": self._model(result.model or ""),
            "server_address": self._server((result.endpoint or "").partition("/")[0]),
        }
        for kind, count in (("input", result.input_tokens), ("output", result.output_tokens)):
            if count is not None:
                self._tokens.labels(**labels, gen_ai_token_type=kind).observe(count)
        if result.latency_s is not None:
            error = result.error_class or ""
            self._seconds.labels(**labels, error_type=error).observe(result.latency_s)


def _few() -> Callable[[str], str]:
    """Keeps the values of a label few."""
    known: set[str] = set()

    def name(value: str) -> str:
        if len(known) < MOST_NAMES:
            known.add(value)
        return value if value in known else OTHER

    return name
