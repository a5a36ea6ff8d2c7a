"""`python -m tests.benchmarks.shards [ROWS]`: one run among four workers (`--shard`), for each kind of input.

Prints what one process makes, what four workers make, and what three make of what is left when two of
four were killed: a hash over row, id and completion, tokens, cost, attempts, and the server's ledger.
All lines of an input should tell the same, but for attempts where something was killed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import program
from tests.fake_api import FakeAPI
from tests.program import Program
from tests.reading import asking, table, texts, until, write

ROWS = 50_000
PRICES = ("--set", "prices.m.input=1", "--set", "prices.m.output=2")


def main() -> None:
    rows = int(sys.argv[1]) if sys.argv[1:] else ROWS
    prompts = texts(rows)
    for name in ("blank.jsonl", "in.csv.gz", "in.parquet"):
        with tempfile.TemporaryDirectory() as scratch:
            folder, api = Path(scratch), FakeAPI()
            _write(folder / name, prompts)
            print(f"{name}: {rows:,} rows", flush=True)
            command = ("run", name, *asking(api, "-c", 64, *PRICES))
            _told(folder, api, "one process", [_start(folder, *command, "-o", "one")], "one")
            _told(folder, api, "four workers", _shards(folder, command, 4, "four"), "four")
            asked = len(api.ledger)
            killed = _shards(folder, command, 4, "killed")
            for part, worker in enumerate(killed[:2], 1):
                _wait(api, asked + part * rows // 5)
                worker.kill()
            for worker in killed:
                worker.wait()
            _told(
                folder,
                api,
                "killed, then three",
                _shards(folder, command, 3, "killed"),
                "killed",
                asked,
            )
            api.close()


def _wait(api: FakeAPI, requests: int) -> None:
    until(lambda: len(api.ledger) > requests)


def _write(path: Path, prompts: list[str]) -> None:
    if path.suffix == ".jsonl":
        lines = [json.dumps({"id": row, "text": text}) for row, text in enumerate(prompts)]
        path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix == ".gz":
        plain = write(path.with_suffix(""), prompts)
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    else:
        write(path, prompts)


def _start(folder: Path, *words: object) -> Program:
    nowhere = subprocess.DEVNULL
    return program.start(words, folder, fresh=True, stdout=nowhere, stderr=nowhere)


def _shards(folder: Path, command: tuple[object, ...], of: int, run: str) -> list[Program]:
    return [_start(folder, *command, "-o", run, "--shard", f"{index}/{of}") for index in range(of)]


def _told(
    folder: Path,
    api: FakeAPI,
    what: str,
    processes: list[Program],
    run: str,
    asked: int | None = None,
) -> None:
    """Wait for the processes, and say what their run holds."""
    asked = len(api.ledger) if asked is None else asked
    began = time.monotonic()
    codes = [process.wait() for process in processes]
    took = time.monotonic() - began
    found = table(folder / run).sort_by("row")
    made = hashlib.blake2b(digest_size=8)
    for each in zip(
        *(found[name].to_pylist() for name in ("row", "id", "completion")), strict=True
    ):
        made.update(repr(each).encode())
    tokens = [
        sum(n or 0 for n in found[f"{kind}_tokens"].to_pylist()) for kind in ("input", "output")
    ]
    cost, attempts = sum(found["cost_usd"].to_pylist()), sum(found["attempts"].to_pylist())
    print(
        f"  {what:<18} exit {codes}, {took:.0f} s, {len(found):,} rows, {made.hexdigest()},"
        f" tokens {tokens}, ${cost:.9f}, {attempts:,} attempts, ledger {len(api.ledger) - asked:,}",
        flush=True,
    )


if __name__ == "__main__":
    main()
