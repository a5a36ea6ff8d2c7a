"""Who is asked: one endpoint, or several."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from batch.costs.budget import Reservations
from batch.engine import presence
from batch.engine.sender import Sender
from batch.limits.limiter import Limiter
from batch.store.writer import Store
from batch.transport.client import Client

if TYPE_CHECKING:
    from batch.engine.lanes import Lanes, Way
    from batch.engine.pooled_sender import PooledSender


class Ends(msgspec.Struct, frozen=True):
    """What sends to all of them, the limiter of each, whether any is there, for which nobody is charged,
    and the limiter that keeps to the limits of the run.
    """

    sender: Sender | PooledSender
    limiters: Sequence[Limiter]
    is_there: Callable[[], Awaitable[bool]]
    of_run: Limiter


@asynccontextmanager
async def alone(
    client: Client, base_url: str, limiter: Limiter, store: Store, reserved: Reservations | None
) -> AsyncIterator[Ends]:
    """One endpoint."""
    async with client:
        sender = Sender(client, store, limiter, reserved)
        yield Ends(sender, [limiter], partial(presence.is_there, client, base_url), limiter)


@asynccontextmanager
async def several(
    lanes: Lanes, ways: Sequence[Way], sender: PooledSender, of_run: Limiter
) -> AsyncIterator[Ends]:
    """Those where the `ways` lead, and whatever joins the `lanes` later."""
    async with lanes.opened(ways):
        yield Ends(sender, lanes.limiters, partial(_any_is_there, lanes), of_run)


async def _any_is_there(lanes: Lanes) -> bool:
    for lane in lanes.there:
        if await presence.is_there(lane.client, lane.way.target.base_url):
            return True
    return False
