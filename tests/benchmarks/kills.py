"""`python -m tests.benchmarks.kills [KILLS]`: kill -9 runs of every kind again and again, at random
moments, with a server that answers at once.

Prints for each kind how many rows are lost, twice or wrong in the output (all 0), and how many
requests each start sent that had been sent before: at most what was in flight.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import program
from tests.fake_api import FakeAPI, Step, answer_to, embedding_of
from tests.reading import asking, rows, texts, write

IN_FLIGHT = 32
ROWS_PER_KILL = 150
PART_ROWS = 200
LABEL = '{"label": "a"}'

Right = Callable[[dict[str, Any], str], bool]
"""Whether a row of the output is the answer to a prompt."""


@dataclass(frozen=True)
class Kind:
    """A kind of job: its input and flags; `first` are those of the first start only.  Where there is
    a run `before` it, that has these flags.
    """

    input: str = "in.jsonl"
    flags: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    before: tuple[str, ...] | None = None
    always: Step | None = None
    is_right: Right = lambda row, prompt: row["completion"] == answer_to(prompt)
    is_retry: bool = False
    output: str = "runs/in"


KINDS = {
    "jsonl": Kind(),
    "parquet": Kind("in.parquet"),
    "embeddings": Kind(
        flags=("--api", "embeddings"),
        is_right=lambda row, prompt: row["embedding"] == embedding_of(prompt),
    ),
    "schema": Kind(
        flags=("--set", 'request.schema={ label = ["a", "b"] }'),
        always=Step(content=LABEL),
        is_right=lambda row, _: row["parsed"] == {"label": "a"},
    ),
    "streaming": Kind(flags=("--set", "request.stream=true")),
    "retry": Kind(before=(), is_retry=True),
    "reuse": Kind(
        flags=("-o", "runs/again"),
        first=("--reuse", "runs/in"),
        before=("--limit", "200"),
        output="runs/again",
    ),
}


@dataclass(frozen=True)
class Survived:
    """What became of a run that was killed; `again` are the requests sent again by each start."""

    kills: int
    rows: int
    lost: int
    twice: int
    wrong: int
    again: list[int]


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    print(f"{IN_FLIGHT} in flight")
    print(f"{'':<12} kills   rows  lost  twice  wrong  sent again: in all, at most a start")
    for number, name in enumerate(KINDS):
        share = kills // len(KINDS) + (number < kills % len(KINDS))
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
            print(line(name, survived(KINDS[name], Path(scratch), share)), flush=True)
    program.close()


def line(name: str, found: Survived) -> str:
    return (
        f"{name:<12} {found.kills:>5} {found.rows:>6} {found.lost:>5} {found.twice:>6}"
        f" {found.wrong:>6}  {sum(found.again)}, {max(found.again)}"
    )


def survived(kind: Kind, root: Path, kills: int) -> Survived:
    """Start it, kill it, start it … until it ends by itself."""
    prompts = texts((kills + 2) * ROWS_PER_KILL)
    write(root / kind.input, prompts)
    api = FakeAPI()
    try:
        if kind.before is not None:
            api.always = Step(finish_reason="length") if kind.is_retry else None
            _before(root, api, kind)
        api.always = kind.always
        happened, again = _killed(root, api, kind, kills)
    finally:
        api.close()
    found = rows(root / kind.output)
    counted = Counter(row["row"] for row in found)
    return Survived(
        happened,
        len(prompts),
        len(prompts) - len(counted),
        len(found) - len(counted),
        sum(not kind.is_right(row, prompts[row["row"]]) for row in found),
        again,
    )


def _before(root: Path, api: FakeAPI, kind: Kind) -> None:
    """A whole run, of which the server forgets."""
    ended = program.start(_run(api, kind, *kind.before or ()), root)
    _, stderr = ended.communicate()
    if ended.returncode:
        raise SystemExit(stderr)
    api.reset_ledger()


def _command(api: FakeAPI, kind: Kind) -> tuple[object, ...]:
    if kind.is_retry:
        return ("retry", kind.output, "--flag", "length", "--quiet")
    return _run(api, kind, *kind.flags)


def _run(api: FakeAPI, kind: Kind, *flags: str) -> tuple[object, ...]:
    how = ("-c", IN_FLIGHT, "--set", f"output.part_rows={PART_ROWS}", "--quiet")
    return ("run", kind.input, *asking(api, *how, *flags))


def _killed(root: Path, api: FakeAPI, kind: Kind, kills: int) -> tuple[int, list[int]]:
    """How many kills there were, and how many requests each start sent again."""
    happened, again = 0, [0]
    command, first = _command(api, kind), kind.first
    code: int | None = None
    while code is None or code == -signal.SIGKILL:
        before = len(api.ledger)
        process = program.start((*command, *first), root)
        first = ()
        if happened < kills:
            _wait(process, api, before + random.randint(1, ROWS_PER_KILL))
            process.kill()
        _, stderr = process.communicate()
        code = process.returncode
        happened += code == -signal.SIGKILL
        seen = {asked.prompt for asked in api.ledger[:before]}
        again.append(sum(asked.prompt in seen for asked in api.ledger[before:]))
    if code:
        raise SystemExit(f"the last start ended with {code}: {stderr}")
    return happened, again


def _wait(process: program.Program, api: FakeAPI, requests: int) -> None:
    """Until so many requests have come, and a random moment longer; or until it ends."""
    while len(api.ledger) < requests and process.poll() is None:
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.02))


if __name__ == "__main__":
    main()
