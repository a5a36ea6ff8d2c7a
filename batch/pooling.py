"""Several endpoints as a pool, ready to be asked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path

import msgspec

from batch.costs.budget import Reservations
from batch.costs.prices import Pricer
from batch.costs.prompt_caches import Caches
from batch.engine import ends
from batch.engine.ends import Ends
from batch.engine.lane_file import LaneFile
from batch.engine.lanes import Lanes, Way
from batch.engine.pooled_sender import PooledSender
from batch.errors import UsageError
from batch.limits.pool import Listed
from batch.planning import listed, open_run
from batch.planning.prepare import Prepared
from batch.transport import endpoint, hosts
from batch.transport.client import Client
from batch.transport.endpoint import Target
from batch.wiring import Wiring, limiter_of


@asynccontextmanager
async def opened(
    prepared: Prepared, targets: tuple[Target, ...], wiring: Wiring
) -> AsyncIterator[Ends]:
    """The endpoints of a job that has several, while they are asked."""
    asked, say = prepared.asked, wiring.hooks.say
    lanes = Lanes(
        asked.limits,
        wiring.workers,
        partial(_member, wiring, prepared.asked.prompt.cache != "off"),
        partial(_price, prepared.pricers, wiring.reservations),
        say,
        wiring.clock,
        prepared.workers,
    )
    of_run = limiter_of(prepared, wiring, known_slots=True, crossing=lanes.crossing)
    affinity = asked.pool.affinity == "auto" and all(map(_is_private, targets))
    sender = PooledSender(lanes, wiring.store, of_run, wiring.reservations, affinity=affinity)
    ways = [
        Way(place.endpoint, target, place.share, pricer)
        for place, target, pricer in zip(asked.places, targets, prepared.pricers, strict=True)
    ]
    async with ends.several(lanes, ways, sender, of_run) as found, _followed(prepared, lanes, say):
        yield found


def _member(wiring: Wiring, marks: bool, number: int, way: Way) -> Client:
    """The client of one of several.  With `marks` it tells a cache that writes all what to write: that is no
    dearer where prompts differ, though nobody waits here for who writes it first.
    """
    hooks = wiring.hooks
    if marks:
        caches = Caches(way.target.base_url, way.pricer.provider, way.endpoint.model)
        hooks = hooks._replace(marked=open_run.marking(caches, "breakpoint"))
    return msgspec.structs.replace(wiring, hooks=hooks).client(way.endpoint, way.target, number)


def _followed(
    prepared: Prepared, lanes: Lanes, say: Callable[[str], None]
) -> AbstractAsyncContextManager[None]:
    """Meanwhile the lanes are those that the job's file of URLs names, if it has one."""
    if (path := prepared.asked.pool.urls_file) is None:
        return nullcontext()
    return LaneFile(Path(path), lanes, partial(way, prepared), _own(prepared), say).followed()


def _price(pricers: list[Pricer], reservations: Reservations | None, number: int, way: Way) -> None:
    """What an endpoint takes counts from now on, under the cap, too."""
    if number < len(pricers):
        return
    pricers.append(way.pricer)
    if reservations is not None:
        reservations.look_up_again()


def way(prepared: Prepared, line: Listed) -> Way:
    """Where a line of the file of URLs leads.  Raises BatchError for what cannot be asked, and where a
    cap holds and no price is known.
    """
    place = listed.place(prepared.job, line)
    at, model, limits = place.endpoint, prepared.asked.request.model, prepared.asked.limits
    target, pricer = endpoint.target(at, prepared.terms.environment), prepared.pricer_of(at)
    asked = at.model or model
    capped = limits.max_cost_usd is not None and asked is not None
    if capped and pricer.at_most(model, 1, 1, time.time()) is None:
        raise UsageError(f"no price is known for {asked} at {line.url}, and the run has a cap")
    return Way(at, target, place.share, pricer)


def _own(prepared: Prepared) -> frozenset[str]:
    """The URLs that the job itself names."""
    urls = (place.endpoint.base_url for place in prepared.job.places)
    return frozenset(url for url in urls if url is not None)


def _is_private(target: Target) -> bool:
    return hosts.is_private(endpoint.host_of(target.base_url))
