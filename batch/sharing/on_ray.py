"""The processes of a shared run as actors of Ray, which is imported nowhere else, and not before it is
needed.

What goes through Ray is JSON of a few hundred bytes; rows, prompts and answers do not, and keys neither.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from batch import __version__
from batch.errors import Stopped, UsageError
from batch.sharing import worker
from batch.sharing.beating import Gone
from batch.sharing.coordinator import Coordinator
from batch.sharing.messages import Common, Grant, Look, Report
from batch.sharing.processes import Died

STORE_BYTES = 80 << 20
"""Of Ray's object store, in which we keep nothing."""
ROOM_SECONDS = 20.0
"""So long a worker may take to begin before that is said."""
MISSING = "--engine ray needs the extra \"ray\": pip install 'batchmill[ray]'"


class CoordinatorActor:
    """The coordinator, in a process of its own: `begin` before all else."""

    def version(self) -> str:
        return __version__

    def begin(self, common: bytes) -> None:
        self._coordinator = Coordinator(msgspec.json.decode(common, type=Common))

    def beat(self, report: bytes) -> bytes:
        grant = self._coordinator.beat(msgspec.json.decode(report, type=Report))
        return msgspec.json.encode(grant)

    def join(self, name: str) -> int:
        return self._coordinator.join(name)

    def leave(self, name: str, epoch: int) -> None:
        self._coordinator.leave(name, epoch)

    def lost(self, name: str) -> int:
        return self._coordinator.lost(name)

    def stop(self) -> None:
        self._coordinator.stop()

    def look(self) -> bytes:
        return msgspec.json.encode(self._coordinator.look())


class WorkerActor:
    """A worker, in a process of its own."""

    def version(self) -> str:
        return __version__

    def work(self, order: bytes, coordinator: Any) -> bytes:
        return worker.work(order, _Link(coordinator))


class _Link:
    """A worker's way to the coordinator."""

    def __init__(self, coordinator: Any) -> None:
        self._coordinator = coordinator

    async def beat(self, report: Report) -> Grant:
        answer = await _answer(self._coordinator.beat.remote(msgspec.json.encode(report)))
        return msgspec.json.decode(answer, type=Grant)


async def _answer(asked: Any) -> Any:
    """What an actor answers.  Raises Gone where it is not there any more."""
    import ray

    try:
        return await asyncio.wrap_future(asked.future())
    except ray.exceptions.RayActorError as error:
        raise Gone(str(error)) from None


class RayProcesses:
    """See Processes."""

    def __init__(self, run_id: str, say: Callable[[str], None]) -> None:
        self._run_id = run_id
        self._say = say
        self._coordinator: Any = None
        self._workers: dict[str, Any] = {}

    async def begin(self, common: Common) -> None:
        import ray

        made = ray.remote(num_cpus=0, max_restarts=0)(CoordinatorActor)
        self._coordinator = made.options(name=f"batchmill-{self._run_id}").remote()
        try:
            worker.check_version(await _answer(self._coordinator.version.remote()))
            await _answer(self._coordinator.begin.remote(msgspec.json.encode(common)))
        except Gone as error:
            raise Stopped(
                f"no process of batchmill begins on Ray: {_last_line(str(error))}",
                hint="batchmill has to be installed, in the same version, on all of its machines",
            ) from None

    async def join(self, name: str) -> int:
        return int(await _answer(self._coordinator.join.remote(name)))

    async def leave(self, name: str, epoch: int) -> None:
        await _answer(self._coordinator.leave.remote(name, epoch))

    async def lost(self, name: str) -> int:
        return int(await _answer(self._coordinator.lost.remote(name)))

    async def stop(self) -> None:
        await _answer(self._coordinator.stop.remote())

    async def look(self) -> Look:
        return msgspec.json.decode(await _answer(self._coordinator.look.remote()), type=Look)

    async def work(self, name: str, order: bytes) -> bytes:
        import ray

        kind = ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")(WorkerActor)
        self._workers[name] = actor = kind.remote()
        try:
            begun = asyncio.ensure_future(_answer(actor.version.remote()))
            if not (await asyncio.wait({begun}, timeout=ROOM_SECONDS))[0]:
                self._say(f"worker {name} waits for a free CPU of Ray")
            await begun
            told: bytes = await _answer(actor.work.remote(order, self._coordinator))
        except Gone as death:
            raise Died(_first_line(str(death))) from None
        finally:
            self._workers.pop(name, None)
        return told

    def kill(self) -> None:
        import ray

        for actor in self._workers.values():
            ray.kill(actor)


@contextmanager
def processes(
    workers: int, address: str | None, run_id: str, say: Callable[[str], None]
) -> Iterator[RayProcesses]:
    """Ray on this machine, for as long as that is needed, or what is at an address.  Raises Stopped where
    it does not come up.
    """
    import ray

    began = time.monotonic()
    say("starting Ray on this machine" if address is None else f"joining Ray at {address}")
    how: dict[str, Any] = {"address": address}
    if address is None:
        how = {
            "address": "local",
            "num_cpus": workers,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
        }
    try:
        ray.init(**how, log_to_driver=False, logging_level="ERROR", configure_logging=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise Stopped(f"Ray does not come up: {_first_line(str(error))}") from None
    try:
        say(f"Ray is there after {time.monotonic() - began:.0f} s")
        yield RayProcesses(run_id, say)
    finally:
        ray.shutdown()


def check_installed() -> None:
    """Raises UsageError where the extra is missing."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError(MISSING) from None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
