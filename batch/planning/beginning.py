"""What a start leaves in the folder of its run before anything is asked: the plan, and what it lacks of the
input.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from batch import spec
from batch.costs import price_lists
from batch.planning import begun, sources
from batch.planning.prepare import Prepared
from batch.readers import Fingerprint, Input
from batch.run_folder import RunFolder
from batch.store import plan
from batch.store.files import Disk
from batch.store.plan import Plan


def keep_input(disk: Disk, prepared: Prepared, run: RunFolder) -> tuple[spec.Job, Input]:
    """Keep in the folder what it lacks of standard input, or of data from memory."""
    paths = []
    for earlier, name in enumerate(prepared.source.files):
        path, read = run.kept_input("".join(Path(name).suffixes), earlier), Path(name)
        if read != path.absolute():
            with read.open("rb") as file:
                disk.put(path, iter(partial(file.read, 1 << 20), b""), run.drafts)
        paths.append(path)
    named = [str(path.absolute()) for path in paths]
    job = msgspec.structs.replace(prepared.job, input=named[0] if len(named) == 1 else named)
    return job, sources.from_files(paths, prepared.source)


def plan_of(
    prepared: Prepared,
    job: spec.Job,
    source: Input,
    fingerprints: list[Fingerprint],
    known: Plan | None,
) -> Plan:
    tables, prints = spec.tables_of(job), msgspec.to_builtins(fingerprints)
    again, reuse = prepared.terms.again, prepared.terms.reuse
    data = prepared.standing.data
    if known is None:
        of_sample: dict[str, int] = {}
        if source.chosen is not None:
            of_sample = {"rows": len(source.chosen), "sampled_from": source.chosen.rows}
        return plan.new(
            tables,
            prints,
            source.format,
            reuse=plan.names_of(reuse),
            prices=price_lists.snapshot(),
            reading=msgspec.to_builtins(source.found()),
            over=dict(job.request.over),
            data=data,
            **of_sample,
        )
    # the columns do not change any more
    kept = {key: known.job[key] for key in ("keep",) if key in known.job}
    tables = plan.without_secrets({**tables, **kept})
    return msgspec.structs.replace(
        known,
        job=tables,
        inputs=prints,
        reading={**known.reading, **_of_more_files(known, source)},
        resumed=known.resumed + 1,
        state="running",
        prices=price_lists.snapshot(),
        data=data or known.data,
        retries=[*known.retries, plan.told(again)] if again else known.retries,
    )


def _of_more_files(known: Plan, source: Input) -> dict[str, Any]:
    """How files are read that came after the run had begun."""
    more = len(source.reading.dialects) > len(begun.reading(known).dialects)
    return {"dialects": msgspec.to_builtins(source.reading.dialects)} if more else {}
