"""Where Prometheus finds the metrics of a run, if it is to find any: nothing is imported before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from batch.errors import UsageError

if TYPE_CHECKING:
    from batch.engine.events import Consumer
    from batch.spec import Job


class Scraped(NamedTuple):
    """A `port` of a `host`; None where nothing is to be found."""

    port: int | None = None
    host: str = "127.0.0.1"

    @classmethod
    def at(cls, flags: dict[str, Any]) -> Scraped:
        """What flags say.  Raises UsageError."""
        port, host = flags["metrics_port"], flags["metrics_host"]
        if host is None:
            return cls(port)
        if port is None:
            raise UsageError("--metrics-host: say the port, too, with --metrics-port")
        return cls(port, host)

    @contextmanager
    def consumers(self, job: Job) -> Iterator[tuple[Consumer, ...]]:
        """What is to be told of events; meanwhile the metrics are there.  Raises UsageError."""
        if self.port is None:
            yield ()
            return
        try:
            from batch.cli import metrics
        except ModuleNotFoundError:
            way = "pip install 'batchmill[metrics]'"
            raise UsageError(f'--metrics-port needs the extra "metrics": {way}') from None
        with metrics.served(job, self.host, self.port) as told:
            yield (told,)
