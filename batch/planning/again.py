"""Which rows of a run are asked again, and with what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batch import columns, spec
from batch.errors import UsageError
from batch.outcome import FINAL, TRANSIENT
from batch.planning import begun
from batch.spec import Job
from batch.store.plan import Again

BEYOND = (
    *("prompt", "input", "input_format", "delimiter", "encoding", "output", "keep", "id_column"),
    *("sample", "seed"),
)
"""The keys that a retry cannot change, with all that is in them."""

CAP = "limits.max_cost_usd"
"""It is kept by the run and not by the job."""


def chosen(
    run: Path, classes: Sequence[str], flags: Sequence[str], settings: Mapping[str, Any]
) -> tuple[Job, Again]:
    """The job of the run in a folder, and which of its rows are asked again, with which keys changed
    (dotted key -> value).  Without classes and flags they are all that failed.
    """
    known, _ = begun.opened(run)
    _all_known("--class", classes, TRANSIENT | FINAL)
    _all_known("--flag", flags, columns.FLAGS)
    changed = {key: value for key, value in settings.items() if key != CAP}
    beyond = [
        key
        for key in changed
        if key.split(".")[0] in BEYOND
        or key in ("request", "request.api")  # another API has other columns
        or key.startswith("request.schema")
    ]
    if beyond:
        raise UsageError(f"--set {beyond[0]}: a retry cannot change that")
    failed_so = sorted(classes) if classes or flags else sorted(TRANSIENT | FINAL)
    made = Again(datetime.now(UTC).isoformat(timespec="seconds"), failed_so, sorted(flags), changed)
    return spec.check(known.tables, given=known.over), made


def _all_known(flag: str, given: Sequence[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"{flag}: there is no {name!r} (known: {', '.join(sorted(known))})")
