"""Rows that share a request for embeddings: which leave together, and what follows for each of them.

A pack takes what is ready and never waits; what asks for something else is set aside for the next.  To
the judge, the limiter, the cap and the transport it is one request.  Its rows get a try each, as if
each had been asked alone: their item, and their share of the usage.

What may be about one of its rows halves a pack, until a bad row stands alone; that is no try of its
rows, unless they may have been charged for it.  So chances are used up only by rows that stand alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from batch.apis import packs
from batch.costs.spent import Spent
from batch.engine import pack_rows as rows
from batch.engine.decisions import Decision, Held, Together, Wait
from batch.engine.feed import Feed
from batch.engine.judge import Judge
from batch.engine.pack_limits import BODY, PackLimit, named, said
from batch.engine.retry import Chances
from batch.engine.sender import Sender
from batch.engine.set_aside import Ready, SetAside
from batch.engine.task import Task
from batch.model import Attempt, Request
from batch.outcome import Accept, Outcome, Reject, Stop, TryAgain
from batch.results import Error
from batch.store.writer import Store
from batch.totals import USAGE_SHARED
from batch.tries import Try
from batch.usage import NOTHING

if TYPE_CHECKING:
    from batch.engine.pooled_sender import PooledSender

IN_FLIGHT, ANSWERS = 64 << 20, 16 << 20
"""Bytes of texts that may be under way in shared requests, and about how many of their answers, until what
they say is stored."""
AT_FIRST = 4
"""By so much a pack is divided that is refused before anything was answered."""
PATIENCE = 3
"""Times a pack may be refused for want of room before its size may be the reason."""

Made = Callable[[Task], Awaitable[Request | None]]
"""Gives what a row asks; None where nothing is to be asked."""
RowDecided = tuple[Task | None, Sequence[Decision]]
"""A row, and what follows for it; None where it is for all."""


class Packs:
    """Packs rows, and takes their answers apart."""

    def __init__(
        self,
        most: int | str,
        sender: Sender | PooledSender,
        judge: Judge,
        feed: Feed,
        store: Store,
    ) -> None:
        """`most` is `limits.inputs_per_request`."""
        self._most = None if isinstance(most, str) else most
        self._sender = sender
        self._judge = judge
        self._feed = feed
        self._store = store
        self._limits: dict[int, PackLimit] = {}
        self._aside = SetAside()
        self.under_way = 0
        """Bytes of the texts that are under way in shared requests."""
        self._answers = 0  # of what is to come
        self._room = asyncio.Event()
        self._is_open = True
        self._affordable = IN_FLIGHT  # bytes of a pack, by what rates and cap allow

    def takes(self, task: Task, request: Request) -> bool:
        """Whether a row may share its request."""
        return request.api == packs.API and self._most != 1 and task.bound != 1

    async def room(self) -> None:
        """Return when a whole pack more may be under way, or none leaves any more."""
        while self._is_open and (self.under_way > IN_FLIGHT - BODY or self._answers >= ANSWERS):
            self._room.clear()
            await self._room.wait()

    def close(self) -> None:
        """No pack leaves any more."""
        self._is_open = False
        while (row := self._aside.first()) is not None:
            self._feed.riding -= 1
            self._feed.finish(row.task)
        self._room.set()

    def settled(self, pack: Task) -> None:
        """What a pack said is stored, or it does not leave."""
        self.under_way -= len(pack.asked.body)
        self._answers -= pack.expected
        self._room.set()

    @property
    def aside(self) -> int:
        """Rows that were ready for an earlier pack, and ask for something else."""
        return self._aside.rows

    def ready(self) -> Task | None:
        """One of those, unless a row that was tried before is to be asked first."""
        if not self._aside.rows or self._feed.has_due or not self._is_open:
            return None
        row = self._aside.first()
        if row is None:
            return None
        self._feed.riding -= 1
        return row.task

    async def together(self, task: Task, made: Made) -> Task:
        """The row with those that may leave with it; by itself where there are none."""
        request = task.asked
        piece, limits = packs.piece(request), self._at_all()
        most, room = self._size(task, limits)
        if piece is None or most < 2 or room < len(request.body):
            return task
        tasks, requests, pieces = [task], [rows.again(task)], [piece]
        room -= len(request.body)
        while len(tasks) < most:
            fellow = await self._another(piece.rest, most, made)
            if fellow is None or fellow.piece is None:
                break
            allowed = min(most, fellow.task.bound or most)
            if len(fellow.piece.text) >= room or len(tasks) >= allowed:
                self._feed.riding -= 1
                self._feed.give_back(fellow.task)  # it leads the next one
                break
            most, room = allowed, room - len(fellow.piece.text) - 1
            tasks.append(fellow.task)
            requests.append(rows.again(fellow.task))
            pieces.append(fellow.piece)
        if len(tasks) == 1:
            return task
        base64 = all(each.base64 for each in limits)
        joined = packs.joined(requests, pieces, base64=base64)
        expected = round(len(tasks) * max(each.item for each in limits))
        self.under_way += len(joined.body)
        self._answers += expected
        return msgspec.structs.replace(task, request=joined, packed=tuple(tasks), expected=expected)

    async def _another(self, kind: bytes, most: int, made: Made) -> Ready | None:
        """Another row of a kind that is ready.  Those of other kinds are set aside, until there are so many
        of one that these had better leave.
        """
        if (row := self._aside.another(kind)) is not None:
            return row
        while self._aside.has_room and (rider := self._feed.rider()) is not None:
            asked = await made(rider)
            if asked is None:
                self._feed.riding -= 1
                await self._store.room()
                continue
            rider = msgspec.structs.replace(rider, request=asked)
            row = Ready(rider, packs.piece(rider.asked))
            if row.kind == kind:
                return row
            if not self._is_open:  # since it was made
                self._feed.riding -= 1
                self._feed.finish(rider)
                break
            if self._aside.put(row) >= most:
                break
        return None

    def too_large(self, pack: Task) -> None:
        """A pack may not leave: its rows are to be taken again, in smaller company."""
        size = len(pack.asked.body)
        self._affordable = min(self._affordable, max(1, size // 2))
        bound = -(-len(pack.packed) // 2)
        self.settled(pack)
        self._feed.riding -= len(pack.packed) - 1
        self._feed.give_back(*(rows.bound(each, bound) for each in pack.packed))

    def stays(self, pack: Task) -> None:
        """A pack does not leave, nor do others."""
        self.settled(pack)
        self._feed.riding -= len(pack.packed) - 1
        for each in pack.packed:
            self._feed.finish(each)

    def decided(self, pack: Task, done: Try, judged: Outcome, now: float) -> Iterator[RowDecided]:
        """What follows from the answer to a pack, row by row; it is `settled` then."""
        attempt, request = done.attempt, pack.asked
        limit = self._limit(attempt.member)
        if isinstance(judged, Accept):
            size, used = len(request.body), judged.completion.usage
            tokens = None if used is None else used.input_tokens
            base64 = packs.is_base64(request)
            limit.answered(len(pack.packed), size, tokens, len(attempt.raw), base64)
            self._judge.heard(request, attempt, judged.completion, now)
            yield from self._answered(pack, attempt, now)
        elif isinstance(judged, Reject) or (isinstance(judged, TryAgain) and judged.once):
            self._feed.riding -= len(pack.packed) - 1
            yield from self._refused(pack, done, judged, now)
        else:
            self._feed.riding -= len(pack.packed) - 1
            yield from self._failed(pack, done, judged, now)

    def _answered(self, pack: Task, attempt: Attempt, now: float) -> Iterator[RowDecided]:
        """A row that has no item of its own is asked again, at once; one that has none twice, alone."""
        placed = packs.placed(attempt.answer, len(pack.packed))
        usage = packs.usage_of(attempt)
        weights = [
            len(each.asked.body) if item is not None else 0
            for each, item in zip(pack.packed, placed, strict=True)
        ]
        found = len(placed) - placed.count(None)
        if found <= len(placed) // 2:
            self._limit(attempt.member).takes(found)
        parts = zip(
            pack.packed,
            placed,
            packs.shares(usage, weights),
            packs.costs(attempt, weights),
            strict=True,
        )
        for at, (task, item, share, said_in) in enumerate(parts):
            self._feed.riding -= at > 0
            own = msgspec.structs.replace(attempt, headers=said_in)
            if item is None:
                bare = packs.told(own, None)
                done = Try(
                    bare, Spent(NOTHING, None), "bad_response", requests=rows.counted(task, at)
                )
                yield task, [Wait(rows.without_item(task, done, found), 0.0)]
                continue
            request = task.asked
            done, judged = self._judge.ended(request, packs.alone(own, item, share))
            done = msgspec.structs.replace(done, requests=rows.counted(task, at))
            if isinstance(judged, Accept):
                completion = judged.completion
                if usage is not None:
                    flags = [*completion.flags, USAGE_SHARED]
                    completion = msgspec.structs.replace(completion, flags=flags)
                task = msgspec.structs.replace(task, request=request)
                yield task, self._judge.answered(task, done, completion, now)
            else:
                yield task, [Wait(rows.without_item(task, done, found), 0.0)]

    def _refused(self, pack: Task, done: Try, judged: Outcome, now: float) -> Iterator[RowDecided]:
        """The request is refused: for its form, its size, or one of its texts."""
        assert isinstance(judged, Reject | TryAgain)
        texts, message = len(pack.packed), judged.message
        limit = self._limit(done.attempt.member)
        charged = not done.certainly_free
        tasks = self._tried(pack, done, judged) if charged else rows.owing(pack.packed)
        if limit.refused_base64(message, packs.is_base64(pack.asked)):
            yield None, [Together(tasks, untried=not charged)]
            return
        if (most := said(message, texts)) is not None:
            limit.takes(most)
            yield None, rows.divided(tasks, most, charged)
            return
        error = Error(judged.error_class, message, judged.code)
        yield None, list(self._judge.refused_together(pack.asked, done, error, now))
        if (at := named(message, texts)) is not None:
            rest = (*tasks[:at], *tasks[at + 1 :])
            yield None, [Together((rows.bound(tasks[at], 1),), untried=not charged)]
            yield None, [Together(rest, untried=not charged)]
            return
        limit.refused(texts)
        by = 2 if self._judge.has_succeeded else AT_FIRST
        yield None, rows.divided(tasks, -(-texts // by), charged)

    def _failed(self, pack: Task, done: Try, judged: Outcome, now: float) -> Iterator[RowDecided]:
        """The server fails, is away or has no room: what is the endpoint's affair the pack waits for."""
        asked = msgspec.structs.replace(pack, packed=())
        tasks = self._tried(pack, done, judged)
        seconds, chances = None, pack.chances
        for decision in self._judge.decide(asked, done, judged, now):
            match decision:
                case Wait(again, delay):
                    seconds, chances = delay, again.chances
                case Held():
                    pass
                case _:
                    yield None, [decision]
        if isinstance(judged, Stop) and seconds is None:
            for task in tasks:
                yield task, [Held(task.row.index, task.tries[-1])]
            return
        if seconds is None or self._may_be_a_row(done.attempt, judged, chances):
            if done.attempt.status == 200:
                self._limit(done.attempt.member).contradicted()
            fresh = Chances(firsts=chances.firsts)
            tasks = tuple(msgspec.structs.replace(each, chances=fresh) for each in tasks)
            for together in rows.divided(tasks, -(-len(tasks) // 2), True):
                yield None, [msgspec.structs.replace(together, seconds=seconds or 0.0)]
            return
        tasks = tuple(msgspec.structs.replace(each, chances=chances) for each in tasks)
        yield None, [Together(tasks, seconds or 0.0)]

    def _may_be_a_row(self, attempt: Attempt, judged: Outcome, chances: Chances) -> bool:
        """Whether the failure may be about one of the rows, or about how many they are."""
        if not isinstance(judged, TryAgain) or judged.unreachable or judged.at_once:
            return False
        if judged.refused:
            return chances.of("refused") >= PATIENCE
        return chances.of("flex") == 0 and not self._judge.is_down(attempt.member)

    def _tried(self, pack: Task, done: Try, judged: Outcome) -> tuple[Task, ...]:
        """The rows, with this try behind each, and its share of what it used."""
        attempt = done.attempt
        weights = [len(each.asked.body) for each in pack.packed]
        usage = packs.shares(packs.usage_of(attempt), weights)
        parts = zip(pack.packed, usage, packs.costs(attempt, weights), strict=True)
        tried = []
        for at, (task, share, said_in) in enumerate(parts):
            own = packs.told(msgspec.structs.replace(attempt, headers=said_in), share)
            one = self._judge.tried(task.asked, own, judged)
            one = msgspec.structs.replace(one, requests=rows.counted(task, at))
            tried.append(msgspec.structs.replace(task, tries=(*task.tries, one), owed=0))
        return tuple(tried)

    def _size(self, task: Task, limits: list[PackLimit]) -> tuple[int, int]:
        """How many texts, and bytes, the request of a row may have."""
        most = min((limit.texts for limit in limits), default=1)
        size = min(*(limit.bytes for limit in limits), self._affordable, IN_FLIGHT - self.under_way)
        return min(most, task.bound or most), size

    def _at_all(self) -> list[PackLimit]:
        """The limits of all endpoints that are there."""
        return [self._limit(number) for number in self._sender.urls]

    def _limit(self, number: int) -> PackLimit:
        limit = self._limits.get(number)
        if limit is None:
            limit = self._limits[number] = PackLimit(self._sender.url_of(number), self._most)
        return limit
