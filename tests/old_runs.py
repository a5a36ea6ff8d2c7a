"""Run folders that earlier versions made, as they lie in `tests/runs`."""

from __future__ import annotations

import shutil
from pathlib import Path

FOLDER = Path(__file__).parent / "runs"
HERE = "{HERE}"
BASE_URL = "http://127.0.0.1:8080/v1"
"""Where the server stood that they asked."""

CHAINED = {"chain": "jsonl-finished", "chain-nested": "jsonl-finished"}
"""Those whose input is the run of another."""

FLAGS = {
    "batch-flags": ("-m", "n", "--set", "request.seed=7"),
    "jsonl-flags": ("-m", "m", "--set", "request.seed=7"),
}
"""What was given beside their job file, and belongs to the same command."""

NAMES = sorted(path.parent.name for path in FOLDER.glob("*/job.toml"))

REFUSED = (
    "batch-flags",
    "batch-key",
    "batch-system",
    "csv-finished",
    "csv-killed",
    "jsonl-attributes",
    "jsonl-bodies",
    "jsonl-tojson",
    "parquet-dates",
    "parquet-messages",
)
"""Those whose questions could be others today: by their template, by what rows bring, or by flags
and keys beside bodies, which of these they were not being said then.
"""

RESUMED = tuple(name for name in NAMES if name not in REFUSED)


def copied(name: str, folder: Path, base_url: str = BASE_URL) -> tuple[Path, Path]:
    """A copy in `folder`, with its paths, and the server at `base_url`, in their places: its run and
    its input.  Its job file lies beside them.
    """
    here = folder / name
    shutil.copytree(FOLDER / name, here)
    if name in CHAINED:
        shutil.copytree(FOLDER / CHAINED[name] / "run", here / "input")
    for path in (here / "job.toml", here / "run" / "run.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(HERE, str(here)).replace(BASE_URL, base_url), encoding="utf-8")
    for empty in ("open", "tmp"):  # which git does not keep
        (here / "run" / empty).mkdir(exist_ok=True)
    [source] = [*here.glob("input*"), *here.glob("run/input*")]
    return here / "run", source
