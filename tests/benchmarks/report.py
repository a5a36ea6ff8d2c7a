"""`python -m tests.benchmarks.report [ROWS]`: seconds and memory of `batchmill report` over a large run.

Makes a run folder of ROWS rows (1,000,000) in parts of 5,000: three models, thirty days, one row in
fifty failed, one in twenty tried twice, 300 bytes of prompt and of completion a row.  Prints what
the report takes as a whole process, start included.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batch import columns
from batch.model import AttemptRecord, Position, Result
from batch.run_folder import RunFolder
from batch.store import folder, parts, plan
from batch.store.files import Disk
from batch.totals import Summary

PART_ROWS = 5_000
CARRIED = pa.schema([("customer", pa.string()), ("text", pa.string())])
BEGAN = 1.76e9
DAY = 86_400.0


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        run = Path(scratch) / "run"
        make(run, rows)
        anew = (("--reprice",), ("--by", "day", "--format", "html"))
        for flags in ((), ("--by", "customer"), *anew):
            seconds, megabytes = _measured(run, flags)
            print(f"report {' '.join(flags):<24} {seconds:6.2f} s {megabytes:6.0f} MB")


def make(run: Path, rows: int) -> None:
    """A finished run of `rows` rows, a multiple of PART_ROWS."""
    disk, lies = Disk(), RunFolder(run)
    folder.make(disk, lies)
    schema, _ = columns.schema(CARRIED, columns.COLUMNS)
    folder.begin(disk, lies, schema)
    results = [_result(row) for row in range(PART_ROWS)]
    summary = Summary()
    for result in results:
        summary.add(result)
    carried = [
        pa.array([f"customer {row % 500}" for row in range(PART_ROWS)]),
        pa.array([f"{row:08d} " * 33 for row in range(PART_ROWS)]),
    ]
    table = pa.Table.from_arrays(
        [*carried, *columns.arrays(results, columns.COLUMNS)], schema=schema
    )
    count = rows // PART_ROWS
    for number in range(count):
        _write(lies, number, _moved(table, number, count), summary)
    made = plan.new({"request": {"model": "model-0"}, "tags": {"team": "search"}}, [], "jsonl")
    plan.write(disk, lies, plan.Plan(**{**_fields(made), "rows": rows, "state": "finished"}))


def _fields(value: plan.Plan) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


def _result(row: int) -> Result:
    failed, tried = row % 50 == 0, row % 20 == 0
    tries = [_try(row, "overloaded"), _try(row, "server_error" if failed else None)]
    return Result(
        row=row,
        status="failed" if failed else "ok",
        completion=None if failed else f"{row:08d} " * 33,
        model=f"model-{row % 3}",
        served_model=None if failed else f"model-{row % 3}-2026",
        input_tokens=100 + row % 400,
        cached_tokens=row % 100,
        output_tokens=50 + row % 200,
        reasoning_tokens=0,
        usage_json='{"prompt_tokens":100,"completion_tokens":250}',
        cost_usd=None if row % 3 == 2 else 0.0001 + row * 1e-8,
        cost_source=None if row % 3 == 2 else "list",
        attempts=1 + tried,
        attempt_log=tries if tried else None,
        http_status=500 if failed else 200,
        error_class="server_error" if failed else None,
        error_message=f"upstream failure {row}" if failed else None,
        latency_s=0.3 + (row * 7919 % 5_000) / 1_000,
        ttft_s=0.1 + (row * 7919 % 500) / 1_000,
        started_at=BEGAN + row,
        finished_at=BEGAN + row + 1,
        endpoint="api.example.com/v1",
        request_hash=f"{row:032x}",
    )


def _try(row: int, error_class: str | None) -> AttemptRecord:
    return AttemptRecord(
        "api.example.com/v1", BEGAN + row, 0.5, error_class=error_class, input_tokens=40
    )


def _moved(table: pa.Table, number: int, count: int) -> pa.Table:
    """`table` as part `number` of `count`: later rows, on a later day."""
    rows = pc.add(table["row"], number * PART_ROWS)
    later = pa.scalar(int(30 * DAY * number / count * 1e6), pa.duration("us"))
    for name, column in (("row", rows), ("started_at", pc.add(table["started_at"], later))):
        table = table.set_column(
            table.schema.get_field_index(name), table.schema.field(name), column
        )
    return table


def _write(run: RunFolder, number: int, table: pa.Table, summary: Summary) -> None:
    made = parts.Footer(
        part=number,
        generation=1,
        start_row=number * PART_ROWS,
        rows_planned=PART_ROWS,
        rows_present=PART_ROWS,
        complete=True,
        start=Position(),
        end=Position(),
        summary=summary,
    )
    with run.sealed(number).open("w+b") as file:
        parts.write(file, table.schema, iter([table]), lambda: made)


def _measured(run: Path, flags: tuple[str, ...]) -> tuple[float, float]:
    """Seconds, and the most memory that any child so far has had, in MB."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "batch", "report", str(run), *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, resource.getrusage(
        resource.RUSAGE_CHILDREN
    ).ru_maxrss / 1024


if __name__ == "__main__":
    main()
