"""One process that asks rows of a run, for its driver."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import msgspec

from batch import __version__, runner, spec
from batch.engine import loop
from batch.engine.engine import Interrupt
from batch.engine.events import Event, Notice, Opened
from batch.errors import BatchError, Refused, UsageError
from batch.planning import environment
from batch.planning.terms import Shard, Terms
from batch.runner import Surroundings
from batch.sharing.beating import Link, beating
from batch.sharing.messages import Order, Reason, Told
from batch.transport import descriptors


class _Versioned(msgspec.Struct, frozen=True):
    version: str


def work(order: bytes, link: Link, *, owns_process: bool = True) -> bytes:
    """Do what the driver has ordered, and tell how that ended.  Keys are looked up here: in the
    environment of this process, or in a file.
    """
    try:
        told = _worked(_read(order), link, owns_process=owns_process)
    except BatchError as error:
        told = Told(stopped=Reason.of(error))
    return msgspec.json.encode(told)


def _read(order: bytes) -> Order:
    """Raises Refused for what another version has ordered: files and messages may differ."""
    check_version(msgspec.json.decode(order, type=_Versioned).version)
    return msgspec.json.decode(order, type=Order)


def check_version(theirs: str) -> None:
    """Raises Refused for one that is not that of this process."""
    if theirs != __version__:
        raise Refused(
            f"this process has batchmill {__version__}, and another of the run {theirs}",
            hint="install the same version on all machines",
        )


def _worked(order: Order, link: Link, *, owns_process: bool) -> Told:
    shard = Shard(order.index, order.of, "leased")
    job = spec.check(order.job, given=order.over)
    notices = _Notices()
    around = Surroundings(
        consumers=(notices.take,),
        sharing=partial(beating, link, shard.name, order.epoch, notices.new),
        hearing=_hearing if owns_process else Surroundings().hearing,
    )
    try:
        descriptors.raise_limit()
        terms = Terms(
            environment=environment.of(None if order.env_file is None else Path(order.env_file)),
            bounds=order.bounds,
            record_bad_rows=order.record_bad_rows,
            yes=order.yes,
            shard=shard,
            succeeded=order.succeeded,
        )
        ended = runner.run(job, Path(order.folder), terms, around)
    except UsageError as error:
        raise UsageError(f"worker {shard.name}: {error}", hint=error.hint) from None
    stopped = None if ended.stopped is None else Reason.of(ended.stopped)
    return Told(stopped=stopped, doubted=sorted(ended.doubted))


def _hearing(_: Interrupt) -> AbstractContextManager[None]:
    return loop.garbage_seldom_collected()


class _Notices:
    """What there is to say to a person, once the folder is open: the driver has said what stands before."""

    def __init__(self) -> None:
        self._is_open = False
        self._new: list[str] = []

    def take(self, event: Event) -> None:
        match event:
            case Opened():
                self._is_open = True
            case Notice(text) if self._is_open:
                self._new.append(text)

    def new(self) -> list[str]:
        """What has come since this was asked before."""
        new, self._new = self._new, []
        return new
