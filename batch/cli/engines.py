"""`--engine`: what the workers of a run are processes of."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from batch.cli.options import together
from batch.errors import UsageError

if TYPE_CHECKING:
    from batch.planning.terms import Terms
    from batch.reports.summary import Ended
    from batch.runner import Surroundings
    from batch.spec import Job

options = together(
    click.option("--engine", type=click.Choice(["ray"]),
                 help="Share the run among workers that are processes of Ray."),
    click.option("--workers", metavar="N", type=click.IntRange(1, 10_000),
                 help="How many.  [default: one for each CPU of this machine]"),
    click.option("--ray-address", metavar="ADDRESS",
                 help="Where Ray is.  [default: it is started here, and ended]"),
)  # fmt: skip


class Engine(NamedTuple):
    """So many workers, of the Ray at an `address`, or of one that is started."""

    workers: int
    address: str | None
    env_file: Path | None

    def run(self, job: Job, folder: Path, terms: Terms, around: Surroundings) -> Ended:
        """As `runner.run` does, with these workers."""
        from batch.sharing import driver, on_ray

        on_ray.check_installed()
        opening = partial(on_ray.processes, self.workers, self.address)
        plan = driver.Plan(self.workers, self.env_file)
        return driver.run(job, folder, terms, around, plan, opening)


def given(flags: dict[str, Any]) -> Engine | None:
    """What flags say; None where the run is this process's.  Raises UsageError."""
    if flags["engine"] is None:
        for name in ("workers", "ray_address"):
            if flags[name] is not None:
                raise UsageError(f"--{name.replace('_', '-')}: say --engine ray, too")
        return None
    for name, why in (
        ("shard", "workers of Ray are lent their parts"),
        ("metrics_port", "what each worker does is not told here"),
    ):
        if flags[name] is not None:
            raise UsageError(
                f"--engine ray and --{name.replace('_', '-')} exclude each other: {why}"
            )
    return Engine(flags["workers"] or os.cpu_count() or 1, flags["ray_address"], flags["env_file"])
