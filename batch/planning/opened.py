"""The folder of a run that a process has opened, and may write to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec

from batch.engine import steps
from batch.engine.steps import Step
from batch.model import Cut, Result
from batch.planning import begun
from batch.planning.terms import Shard
from batch.readers import Watched
from batch.run_folder import RunFolder
from batch.store import folder, plan, sends
from batch.store.files import Disk
from batch.store.log import Log
from batch.store.plan import Plan
from batch.store.recover import Damage, Found, Redo, finished
from batch.store.seal import Layout
from batch.store.sends import Sends, Unanswered
from batch.store.writer import Store
from batch.totals import Summary

if TYPE_CHECKING:
    from batch.planning.leases import Leases
    from batch.store.reuse import Reuse

Say = Callable[[str], None]


class Opened(msgspec.Struct, frozen=True):
    """A run folder that is locked and ready to take results."""

    disk: Disk
    run: RunFolder
    plan: Plan
    watched: Watched
    found: list[Found]
    layout: Layout
    log: Log
    stood: str | None  # the state in which an earlier start left the run
    shard: Shard | None = None  # of a run whose parts were planned: which of its workers this is
    cuts: list[Cut] = []  # the parts that were planned
    leases: Leases | None = None  # those of them that come one by one

    def held(self) -> Summary:
        """What the run holds before anything is asked."""
        whole = Summary()
        for part in self.found:
            if part.generation:
                for result in finished(self.run, part):
                    whole.add(result)
            elif part.footer is not None:
                whole.merge(part.footer.summary)
        return whole

    def unanswered(self) -> Unanswered:
        """What earlier starts sent and never recorded."""
        if self.shard is None:
            return sends.gathered(self.disk, self.run, self.found, self.layout.chosen)
        found: Unanswered = {}
        for part in self.found:
            found |= sends.gathered_of(self.disk, self.run, part)
        return found

    def reuse(self, say: Say) -> Reuse | None:
        """The runs whose answers are taken, if there are any."""
        if not self.plan.reused:
            return None
        from batch.store.reuse import Old, Reuse

        found: list[tuple[tuple[str, int], Old]] = []
        for path in self.plan.reused:
            known = plan.read(path)
            if known is None:
                say(f"{path} is gone: nothing more is taken from it")
            else:
                old = Old(RunFolder(path), begun.layout(path, known))
                written = old.run.plan.stat().st_mtime_ns  # tells apart what began in one second
                found.append(((known.created_at, written), old))
        newest_first = [old for _, old in sorted(found, key=itemgetter(0), reverse=True)]
        return Reuse(newest_first, self.run) if found else None

    def store(self, part_rows: int, on_done: Callable[[list[Result]], None], sends: Sends) -> Store:
        """What takes the results."""
        return Store(
            self.run,
            self.layout,
            self.found,
            part_rows=part_rows,
            on_done=on_done,
            sends=sends,
            is_planned=self.shard is not None,
        )

    def steps(self, redo: Redo, limit: int | None, say: Say) -> Iterator[Step]:
        """What is to be done, in input order."""
        if self.leases is not None:
            found = self._leased(self.leases, say)
            over = self.leases.passed_over
            return steps.of_leased(self.run, self.watched, found, redo, limit, over)
        of = steps.of if self.shard is None else steps.of_planned
        return of(self.run, self.watched, self.found, redo, limit)

    def stop_steps(self) -> None:
        """No step is taken any more: what waits for a part need not."""
        if self.leases is not None:
            self.leases.end()

    def _leased(self, leases: Leases, say: Say) -> Iterator[tuple[Found, Unanswered]]:
        """Each part that comes, and what was sent for its rows by whoever had it before."""
        from batch.store import planned

        for number in leases:
            damages: list[Damage] = []
            found = planned.found(self.disk, self.run, self.cuts[number], damages)
            for damage in damages:
                say(damage.words)
            yield found, sends.gathered_of(self.disk, self.run, found)

    def rows_to_ask(self, limit: int | None) -> int | None:
        """The rows of the parts that this worker has, up to the limit; None where parts were not
        planned.
        """
        if self.shard is None:
            return None
        left = [
            (part.rows or 0) if limit is None else min(part.rows or 0, limit - part.start_row)
            for part in self.found
        ]
        return sum(max(0, rows) for rows in left)

    def close(self, rows: int | None, whole: Summary, state: str, doubted: frozenset[str]) -> None:
        """Write what is derived of the run, which is this process's alone and holds `whole` now; its
        input has `rows`.
        """
        folder.write_usage(self.disk, self.run, self.plan.run_id, whole)
        ended = msgspec.structs.replace(self.plan, rows=rows, state=state, doubted=sorted(doubted))
        plan.write(self.disk, self.run, ended)
