"""Makes the run folders beside this file, with the code of a checkout:

    PYTHONPATH=CHECKOUT python tests/runs/make.py FOLDER [NAME]...

Every run is made by `python -m batch` of that checkout, against its scripted server.  Nothing of the
machine stays in what is made: its folder becomes `{HERE}`.
"""

from __future__ import annotations

import datetime
import decimal
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fake_api import FakeAPI, Step

SCRIPT: dict[str, Any] = {
    "slow": [Step(hang=True), ...],
    "unwelcome": [400, ...],
    "unlucky": [500, 500],
    "lengthy": [Step(finish_reason="length"), ...],
    "colour": [Step(), Step(hang=True), Step(), Step(hang=True), Step(), ...],
}

JOB = """\
input = "{input}"

[prompt]
{prompt}

[request]
{request}

[endpoint]
base_url = "http://127.0.0.1:8080/v1"
api_key_env = ""

[limits]
concurrency = 4

[retry]
max_attempts = 2
first_delay = 0.01
max_delay = 0.05

[output]
path = "run"
part_rows = 8
{output}
[prices]
m = {{ input = 1.0, output = 2.0 }}
"""

WORDS = "plain slow lengthy plain unlucky unwelcome plain plain plain plain slow plain"
TEXTS = [f"{word} {number}" for number, word in enumerate(WORDS.split())]
"""Of two parts; in each is a row that is not answered."""

FEW = TEXTS[:6]


class Run(NamedTuple):
    """A run that is being made in a folder."""

    api: FakeAPI
    folder: Path
    flags: tuple[str, ...] = ()

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "batch", "run", "job.toml", "--quiet", *self.flags, *more]
        environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH")}
        given = self.folder / "standard_input"
        with (given if given.exists() else Path(os.devnull)).open("rb") as standard_input:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**environment, "HOME": str(self.folder), "LOGNAME": "founder"},
                stdin=standard_input,
                stderr=subprocess.PIPE,
            )

    def settled(self, *more: str) -> subprocess.Popen[bytes]:
        """Start it, and come back when it waits for nothing but the rows that are not answered."""
        before: dict[Any, int] | None = None
        process, since = self.start(*more), time.monotonic()
        while time.monotonic() < since + 1:
            assert process.poll() is None, ended(process)
            now: dict[Any, int] = {
                path: path.stat().st_size for path in self.folder.rglob("*") if path.is_file()
            }
            now["asked"] = len(self.api.ledger)
            if now != before or self.api.in_flight == 0:
                before, since = now, time.monotonic()
            time.sleep(0.02)
        return process


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit code and last words of a process."""
    _, words = process.communicate(timeout=60)
    return process.returncode, words.decode()


def finished(run: Run, *more: str) -> None:
    run.api.script = {word: steps for word, steps in SCRIPT.items() if word != "slow"}
    code, words = ended(run.start(*more))
    assert code in (0, 1), words


def limited(run: Run) -> None:
    """In the middle of a part."""
    finished(run, "--limit", "4")


def interrupted(run: Run) -> None:
    """By two signals: what is in flight is given up, and parts are sealed as they are."""
    process = run.settled()
    process.terminate()
    time.sleep(0.5)
    process.terminate()
    code, words = ended(process)
    assert code == 128 + signal.SIGTERM, words


def killed(run: Run) -> None:
    process = run.settled()
    process.kill()
    ended(process)


def killed_again(run: Run) -> None:
    """Killed when it asked the row again that had failed, of a part that was sealed before."""
    finished(run)
    run.api.script = {"unlucky": [Step(hang=True)]}
    killed(run)


def written(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def jsonl(folder: Path, texts: list[str] = TEXTS, name: str = "input.jsonl") -> None:
    """Of all kinds of values, some under names that the output takes; what comes seldom in a column
    goes to `extra`.
    """
    rows: list[dict[str, Any]] = [
        {
            "id": number,
            "text": text,
            "score": 1 if number < 3 else number / 4,
            "label": "good" if number % 4 else number,
            "model": {"name": "thing", "parts": [number, {"deep": None}]},
            "choices": ["3", "4", {"other": number}],
            "note": None,
            "order": {"name": text, "items": [number, "two"], "open": number % 2 == 0},
        }
        for number, text in enumerate(texts)
    ]
    rows[1]["id"] = 2**64
    rows[4] |= {"flags": "mine", "größe": "ü \u2028 \U0001f600"}
    del rows[5]["score"]
    written(folder / name, rows)


def standard_input(folder: Path) -> None:
    jsonl(folder, FEW, "standard_input")


def messages(folder: Path) -> None:
    """Rows with messages, half of them with a system's part of their own."""
    own = [{"role": "system", "content": "Be brief."}]
    written(
        folder / "input.jsonl",
        [
            {"id": n, "messages": [*own[: n % 2], {"role": "user", "content": text}]}
            for n, text in enumerate(FEW)
        ],
    )


def bodies(folder: Path) -> None:
    """Request bodies, not in lines of the Batch API."""
    written(
        folder / "input.jsonl",
        [{"model": "m", "messages": asked(text), "temperature": 0.5} for text in FEW],
    )


def asked(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def lines(folder: Path, **body: Any) -> None:
    """Lines of OpenAI's Batch API."""
    written(
        folder / "input.jsonl",
        [
            {
                "custom_id": f"line-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"messages": asked(text), "max_tokens": 50, **body},
            }
            for number, text in enumerate(FEW)
        ],
    )


def lines_of_responses(folder: Path) -> None:
    written(
        folder / "input.jsonl",
        [
            {
                "custom_id": f"line-{number}",
                "method": "POST",
                "url": "/v1/responses",
                "body": {"model": "m", "input": text, "max_output_tokens": 50},
            }
            for number, text in enumerate(FEW)
        ],
    )


def csv(folder: Path, column: str = "text") -> None:
    """Empty cells, quoted and not, a quoted line feed, and a row of empty cells."""
    cells = ["", '""', "some", '"two\nlines"', '"a ""quoted"" word"']
    rows = [f'{n},"{text}",{cells[n % 5]},{n / 4}\n' for n, text in enumerate(FEW)]
    (folder / "input.csv").write_text(f"id,{column},note,score\n{''.join(rows)}")


def parquet(folder: Path, texts: list[str] = TEXTS) -> None:
    """Times, lists, structs, decimals and bytes."""
    noon = datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.UTC)
    count = range(len(texts))
    whens = [noon + datetime.timedelta(hours=7 * n, microseconds=n) for n in count]
    address = pa.struct([("city", pa.string()), ("zip", pa.int32())])
    table = {
        "id": pa.array(count, pa.uint16()),
        "text": pa.array(texts),
        "when": pa.array(whens, pa.timestamp("us", "UTC")),
        "exact": pa.array([1_772_000_000_000_000_001 + n for n in count], pa.timestamp("ns")),
        "day": pa.array([when.date() for when in whens], pa.date32()),
        "tags": pa.array([None if n == 3 else ["a", None, str(n)] for n in count]),
        "address": pa.array([{"city": "Ulm", "zip": n} if n % 5 else None for n in count], address),
        "price": pa.array([decimal.Decimal(n) / 4 for n in count], pa.decimal128(9, 2)),
        "photo": pa.array([bytes([n, 255]) for n in count]),
        "choices": pa.array([[n, n + 1] for n in count]),
    }
    pq.write_table(pa.table(table), folder / "input.parquet", row_group_size=7)


def parquet_messages(folder: Path) -> None:
    """Messages as structs, which Arrow fills up with nulls."""
    said = [[{"role": "system", "content": "Be brief.", "name": "us"}, *asked(t)] for t in FEW]
    pq.write_table(pa.table({"id": range(len(FEW)), "messages": said}), folder / "input.parquet")


def a_run(folder: Path) -> None:
    """One that is finished, which `copied` puts there again."""
    shutil.copytree(Path(sys.argv[1]) / "jsonl-finished" / "run", folder / "input")


CONSTANT = 'user = "Name a colour."'
SYSTEM = 'system = "Be kind."'
WITH_BOUND = 'model = "m"\nmax_tokens = 50'
WITH_SCHEMA = 'model = "m"\nschema = { stars = "integer" }'


class Made(NamedTuple):
    """What is read, how the run ends, and what its job says."""

    read: Callable[[Path], None]
    end: Callable[[Run], None]
    prompt: str = 'user = "{{ text }}"'
    request: str = 'model = "m"'
    output: str = ""
    flags: tuple[str, ...] = ()


FEW_JSONL = partial(jsonl, texts=FEW)
WHOLE_LINES = partial(lines, model="m", temperature=0.5)

FOLDERS = {
    "jsonl-finished": Made(jsonl, finished),
    "jsonl-interrupted": Made(jsonl, interrupted),
    "jsonl-killed": Made(jsonl, killed),
    "jsonl-killed-again": Made(FEW_JSONL, killed_again),
    "jsonl-capped": Made(FEW_JSONL, killed, flags=("--max-cost", "5"), request=WITH_BOUND),
    "jsonl-standard-input": Made(standard_input, killed),
    "jsonl-constant": Made(FEW_JSONL, killed, CONSTANT),
    "jsonl-items": Made(
        FEW_JSONL, killed, """user = "{{ order['name'] }} {{ order['items'][1] }}\""""
    ),
    "jsonl-attributes": Made(FEW_JSONL, killed, 'user = "{{ order.name }} {{ order.items }}"'),
    "jsonl-tojson": Made(FEW_JSONL, killed, 'user = "{{ order | tojson }}"'),
    "jsonl-flags": Made(
        FEW_JSONL, killed, request="", flags=("-m", "m", "--set", "request.seed=7")
    ),
    "jsonl-schema": Made(FEW_JSONL, killed, request=WITH_SCHEMA, output="request = true\n"),
    "jsonl-messages": Made(messages, killed, ""),
    "jsonl-messages-system": Made(messages, killed, SYSTEM),
    "jsonl-bodies": Made(bodies, killed, ""),
    "embeddings": Made(FEW_JSONL, killed, request='model = "m"\napi = "embeddings"'),
    "parquet-finished": Made(partial(parquet, texts=FEW), finished),
    "parquet-interrupted": Made(parquet, interrupted),
    "parquet-killed": Made(parquet, killed),
    "parquet-dates": Made(partial(parquet, texts=FEW), killed, 'user = "{{ text }} {{ when }}"'),
    "parquet-messages": Made(parquet_messages, killed, ""),
    "csv-finished": Made(csv, finished),
    "csv-killed": Made(csv, killed),
    "csv-constant": Made(csv, interrupted, CONSTANT),
    "csv-prompts": Made(partial(csv, column="prompt"), killed, SYSTEM),
    "batch-finished": Made(WHOLE_LINES, finished, "", ""),
    "batch-limited": Made(WHOLE_LINES, limited, "", ""),
    "batch-killed": Made(WHOLE_LINES, killed, "", ""),
    "batch-responses": Made(lines_of_responses, killed, "", ""),
    "batch-defaults": Made(lines, killed, "", 'model = "m"\nseed = 7'),
    "batch-key": Made(WHOLE_LINES, killed, "", "temperature = 1.0"),
    "batch-flags": Made(WHOLE_LINES, killed, "", "", flags=("-m", "n", "--set", "request.seed=7")),
    "batch-system": Made(WHOLE_LINES, killed, SYSTEM, ""),
    "chain": Made(a_run, killed, 'user = "{{ text }}: {{ completion }}"'),
    "chain-nested": Made(a_run, killed, 'user = "{{ text }}: {{ order }}"'),
}


def main() -> None:
    target, *names = sys.argv[1:]
    for name in names or FOLDERS:
        make(name, Path(target))


def make(name: str, target: Path) -> None:
    """Make one folder, whole, and put it into `target`."""
    made, api = FOLDERS[name], FakeAPI(port=8080)
    api.always = Step(content='{"stars": 4}') if "schema" in made.request else None
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name
            folder.mkdir()
            made.read(folder)
            write_job(folder, made)
            api.script = SCRIPT
            made.end(Run(api, folder, made.flags))
            make_neutral(folder)
            shutil.rmtree(folder / "input", ignore_errors=True)
            shutil.rmtree(target / name, ignore_errors=True)
            shutil.copytree(folder, target / name)
    finally:
        api.close()


def write_job(folder: Path, made: Made) -> None:
    source = next((path.name for path in folder.glob("input*")), "-")
    words = {name: getattr(made, name) for name in ("prompt", "request", "output")}
    (folder / "job.toml").write_text(JOB.format(input=source, **words))


def make_neutral(folder: Path) -> None:
    """Take out what names this machine."""
    (folder / "standard_input").unlink(missing_ok=True)
    (folder / "run" / "lock").unlink()
    for name in ("run.json", "run.log"):
        path = folder / "run" / name
        path.write_text(path.read_text().replace(str(folder), "{HERE}"))
    words = (str(folder), tempfile.gettempdir(), os.environ["PYTHONPATH"], socket.gethostname())
    for path in folder.rglob("*"):
        named = [word for word in words if path.is_file() and word.encode() in path.read_bytes()]
        assert not named, (path, named)


if __name__ == "__main__":
    main()
