"""batchmill: every row of a file through an LLM API, exactly once, into Parquet.

    import batchmill
    run = batchmill.run("jobs/sentiment.toml", df, to="runs/reviews")

The names below are loaded when they are asked for, so that `batchmill --help` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch import errors as errors
    from batch.door import arun as arun
    from batch.door import compare as compare
    from batch.door import job as job
    from batch.door import open as open
    from batch.door import run as run
    from batch.engine import events as events
    from batch.runs import Run as Run
    from batch.spec import Job as Job

__version__ = "0.2.0"

_HOMES = {
    "Job": "batch.spec",
    "Run": "batch.runs",
    "arun": "batch.door",
    "compare": "batch.door",
    "errors": "batch",
    "events": "batch.engine",
    "job": "batch.door",
    "open": "batch.door",
    "run": "batch.door",
}

__all__ = ["Job", "Run", "arun", "compare", "errors", "events", "job", "open", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'batch' has no attribute {name!r}")
    home = _HOMES[name]
    if name in ("errors", "events"):
        return importlib.import_module(f"{home}.{name}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
