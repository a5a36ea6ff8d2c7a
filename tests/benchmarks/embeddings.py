"""`python -m tests.benchmarks.embeddings [ROWS]`: what it brings that texts share requests.

A server that takes 200 ms for a request and 600 requests a minute embeds texts in 1,536 dimensions; first
each text alone (a fiftieth of the rows), then as many together as it takes.  Prints rows a minute and CPU
microseconds a row of both (what a run of one row takes is taken off), the ratio of the first, and the most
memory that the client held.

Then the CPU of a row with packing and without: chats and texts that say whose they are, each another's,
where nothing can be shared; and texts of two kinds by turns.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.driving import ROOT, pin
from tests.reading import peak

LATENCY, PER_MINUTE, DIMENSIONS = 0.2, 600, 1_536
ALONE = 50
TEXT = "the quick brown fox jumps over the lazy dog "


class Took(NamedTuple):
    """Seconds of the clock and of the CPU, and bytes."""

    seconds: float
    cpu: float
    memory: int


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as scratch, server(LATENCY, PER_MINUTE / 60) as url:
        folder = Path(scratch)
        limit = ("--rpm", str(PER_MINUTE))
        once = asked(folder, url, 1, *limit)
        alone = asked(folder, url, count // ALONE, *limit, *inputs(1))
        together = asked(folder, url, count, *limit)
        print(f"{'':<9} {'rows':>7} {'rows/min':>9} {'CPU us/row':>11} {'memory MB':>10}")
        rates = []
        for name, rows, took in (("alone", count // ALONE, alone), ("together", count, together)):
            rates.append(rows / (took.seconds - once.seconds + LATENCY) * 60)
            cpu = (took.cpu - once.cpu) / rows * 1e6
            print(
                f"{name:<9} {rows:>7,} {rates[-1]:>9,.0f} {cpu:>11,.0f} {took.memory / 1e6:>10,.0f}"
            )
        print(f"ratio: {rates[1] / rates[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch, server(0.0, None) as url:
        folder = Path(scratch)
        once = asked(folder, url, 1)
        for name, kinds in (("chats", 0), ("each another's", 1_000_000), ("two kinds", 2)):
            for most in ("auto", 1) * 2:
                more = () if kinds else ("--api", "chat")
                took = asked(folder, url, 2_000, *more, *inputs(most), kinds=kinds)
                print(f"{name}, {most}: {(took.cpu - once.cpu) / 2_000 * 1e6:,.0f} us a row")


def inputs(most: int | str) -> tuple[str, str]:
    value = most if isinstance(most, int) else json.dumps(most)
    return ("--set", f"limits.inputs_per_request={value}")


def asked(folder: Path, url: str, count: int, *flags: str, kinds: int = 0) -> Took:
    """A run of so many rows, which are whole requests where they are of so many `kinds`."""
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(row(number, kinds)) + "\n" for number in range(count)))
    command = [
        sys.executable,
        "-m",
        "batch",
        "run",
        path,
        "-o",
        tempfile.mkdtemp(dir=folder) + "/run",
    ]
    command += ["-m", "m", "--base-url", url, "--quiet"]
    if not kinds:
        named = () if "--api" in flags else ("--api", "embeddings")
        flags = ("-p", "{{ text }}", *named, *flags)
    began, spent = time.monotonic(), _cpu()
    with subprocess.Popen([*map(str, command), *flags], cwd=ROOT, text=True) as process:
        pin(process, 0)
        memory = peak(process)
        used = process.returncode
    seconds = time.monotonic() - began
    assert used == 0, used
    return Took(seconds, _cpu() - spent, memory)


def _cpu() -> float:
    """Seconds of the CPU that processes took which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(number: int, kinds: int) -> dict[str, Any]:
    text = f"{number} {TEXT * (1 + number % 5)}"
    if not kinds:
        return {"text": text}
    body = {"model": "m", "input": text, "user": f"user {number % kinds}"}
    return {"custom_id": str(number), "method": "POST", "url": "/v1/embeddings", "body": body}


@contextmanager
def server(latency: float, rate: float | None) -> Any:
    """A server in a process of its own."""
    words = ["--latency", str(latency), "--dimensions", str(DIMENSIONS)]
    words += [] if rate is None else ["--rate", str(rate * 1.1)]
    command = [sys.executable, "-m", "tests.fake_api", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            pin(process, -1)
            yield process.stdout.readline().strip()
        finally:
            process.kill()


if __name__ == "__main__":
    main()
