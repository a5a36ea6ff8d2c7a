"""What is asked of a job: one endpoint as it is, or several as a pool, ready to be asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec

from batch.costs.budget import Reservations
from batch.engine import ends
from batch.engine.ends import Ends
from batch.limits.crossing import Crossing
from batch.limits.limiter import Limiter
from batch.planning.prepare import Prepared
from batch.store.writer import Store
from batch.transport.client import Client, Hooks
from batch.transport.endpoint import Endpoint, Target


class Wiring(msgspec.Struct, frozen=True):
    """What endpoints are asked with.  `workers` requests may be in flight in all; `keys` are how
    idempotency keys begin.
    """

    workers: int
    keys: str
    hooks: Hooks
    store: Store
    reservations: Reservations | None
    clock: Callable[[], float]

    def client(self, at: Endpoint, target: Target, member: int = 0) -> Client:
        """The client of one endpoint."""
        return Client(at, target, self.workers, self.keys, self.hooks, self.clock, member)


def opened(
    prepared: Prepared, targets: tuple[Target, ...], wiring: Wiring
) -> AbstractAsyncContextManager[Ends]:
    """The endpoints of a job, while they are asked."""
    asked = prepared.asked
    if asked.is_pooled:
        from batch import pooling

        return pooling.opened(prepared, targets, wiring)
    limiter = limiter_of(prepared, wiring, known_slots=asked.endpoint.local)
    client = wiring.client(asked.endpoint, targets[0])
    return ends.alone(client, targets[0].base_url, limiter, wiring.store, wiring.reservations)


def limiter_of(
    prepared: Prepared, wiring: Wiring, *, known_slots: bool, crossing: Crossing | None = None
) -> Limiter:
    """What keeps to the limits of the run."""
    return _kind(prepared)(
        prepared.asked.limits,
        wiring.workers,
        known_slots=known_slots,
        clock=wiring.clock,
        say=wiring.hooks.say,
        crossing=crossing,
        workers=prepared.workers,
    )


def _kind(prepared: Prepared) -> type[Limiter]:
    """Where workers are lent their limits, one that obeys."""
    shard = prepared.terms.shard
    if shard is None or shard.kind != "leased":
        return Limiter
    from batch.limits.lent import LentLimiter

    return LentLimiter
