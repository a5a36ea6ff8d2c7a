"""`import batchmill`: the package `batch`, by the name of its distribution.

It is installed beside `batch` and not in it, with the modules that one may want to import from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import batch

if TYPE_CHECKING:
    from batch import Job as Job
    from batch import Run as Run
    from batch import arun as arun
    from batch import compare as compare
    from batch import job as job
    from batch import open as open
    from batch import run as run

__version__ = batch.__version__
__all__ = list(batch.__all__)


def __getattr__(name: str) -> Any:
    return getattr(batch, name)


def __dir__() -> list[str]:
    return dir(batch)
