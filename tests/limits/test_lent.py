"""A limiter that keeps to what it is lent, and to nothing once that has expired."""

from __future__ import annotations

import asyncio

from batch.limits.lent import Lent, LentLimiter
from batch.limits.limits import Limits
from batch.model import Request, Usage
from tests.virtual import play


def asked(row):
    return Request(row, None, "chat", "m", b"{}", "hash")


def limiter(**limits):
    return LentLimiter(Limits(**limits), 64, clock=asyncio.get_running_loop().time)


async def sends(limiter, row, takes=0.01):
    """One request after the other; gives when each left."""
    left = []
    loop = asyncio.get_running_loop()
    while await limiter.admit(asked(row)):
        left.append(loop.time())
        await asyncio.sleep(takes)
        limiter.accepted(asked(row), Usage(), takes)
        limiter.release(asked(row), None)
    return left


def run(lends, seconds, **limits):
    """When requests left that always wait, while `lends` lends; from the moment of its beginning."""

    async def story():
        made = limiter(**limits)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def gated():
            async with made.gate:
                return await sends(made, 0)

        sending = asyncio.create_task(gated())
        lending = asyncio.create_task(lends(made, loop))
        await asyncio.sleep(seconds)
        made.close()
        lending.cancel()
        return [moment - began for moment in await sending]

    return play(story())


def lent(requests=None, slots=8, **more):
    return Lent(requests, None, slots, more.pop("expires_in", 3.0), **more)


async def keeps(made, loop, *lents, every=0.25):
    """Beat after beat: each of `lents` once, and the last for ever."""
    turn = 0
    while True:
        found = lents[min(turn, len(lents) - 1)]
        if found is not None:
            made.obey(found, loop.time())
        turn += 1
        await asyncio.sleep(every)


def test_nothing_leaves_before_anything_is_lent():
    assert run(lambda made, loop: keeps(made, loop, None), 10) == []


def test_nothing_leaves_where_nothing_is_lent():
    for nothing in (lent(slots=0), lent(requests=0.0), lent(expires_in=0.0)):
        assert run(lambda made, loop, it=nothing: keeps(made, loop, it), 10) == []


def test_nothing_leaves_once_it_has_expired_and_then_again():
    unheard = [None] * 40
    left = run(lambda made, loop: keeps(made, loop, lent(), *unheard, lent()), 12)
    assert [moment for moment in left if moment < 3.0]
    assert not [moment for moment in left if 3.01 < moment < 10.0]
    assert [moment for moment in left if moment > 10.5]


def test_what_expires_is_counted_from_when_it_was_asked_for():
    async def late(made, loop):
        made.obey(lent(), loop.time() - 2.0)
        await keeps(made, loop, *[None] * 100)

    left = run(late, 10)
    assert left and max(left) < 1.01


def test_a_pause_of_which_another_heard_is_kept():
    async def lends(made, loop):
        await asyncio.sleep(1.0)
        closed = loop.time() + 4.0
        while True:
            made.obey(lent(closed_for=max(0.0, closed - loop.time())), loop.time())
            await asyncio.sleep(0.25)

    left = run(lends, 10)
    assert left and min(left) >= 5.0


def test_rates_are_those_that_are_lent():
    left = run(
        lambda made, loop: keeps(made, loop, *[lent(requests=600.0)] * 40, lent(requests=60.0)),
        20,
        requests_per_minute=1200.0,
    )
    first = [moment for moment in left if moment < 10.0]
    assert 85 <= len(first) <= 101
    assert 8 <= len(left) - len(first) <= 11


def test_it_tells_what_was_used_and_what_it_heard():
    async def story():
        made = limiter()
        heard = []
        made.when_refused(lambda: heard.append(1))
        made.obey(lent(), asyncio.get_running_loop().time())
        await asyncio.sleep(0.5)
        for row in range(3):
            assert await made.admit(asked(row))
        made.accepted(asked(0), Usage(output_tokens=7), 0.01)
        made.release(asked(0), None)
        for row in (1, 2):
            made.refused(9.0, None, 0.01, "full")
            made.release(asked(row), None)
        return made.used(), made.used(), heard

    first, then, heard = play(story())
    assert (first.requests, first.answers.answers, first.answers.work) == (3, 1, 7.0)
    assert 8.9 < first.closed_for <= 9.1 and heard
    assert (then.requests, then.closed_for, then.answers.answers) == (0, 0.0, 0)
