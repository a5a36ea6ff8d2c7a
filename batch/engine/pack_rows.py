"""The rows of a pack: how they are asked, counted and put back.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from batch.engine.decisions import Together
from batch.engine.task import Task
from batch.model import Request
from batch.tries import Try


def again(task: Task) -> Request:
    """The request of a row, as it is to be sent now."""
    request = task.asked
    return msgspec.structs.replace(request, again=task.unwanted) if task.tries else request


def counted(task: Task, at: int) -> int:
    """The requests that are counted with a row's try: of one for many, with the first of them."""
    return task.owed + (at == 0)


def owing(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """The rows of a request that was a try of none."""
    first = msgspec.structs.replace(tasks[0], owed=tasks[0].owed + 1)
    return (first, *tasks[1:])


def bound(task: Task, most: int) -> Task:
    """A row whose next request has so many at most."""
    return msgspec.structs.replace(task, bound=min(most, task.bound or most))


def without_item(task: Task, done: Try, found: int) -> Task:
    """A row that is asked again, as an answer had `found` items and not its own."""
    before = any(each.error_class == "bad_response" for each in task.tries)
    task = msgspec.structs.replace(task, tries=(*task.tries, done), owed=0)
    return bound(task, 1 if before else found)


def divided(tasks: Sequence[Task], most: int, charged: bool) -> list[Together]:
    """The rows in packs of so many at most."""
    smaller = [bound(task, most) for task in tasks]
    return [
        Together(tuple(smaller[at : at + most]), untried=not charged)
        for at in range(0, len(smaller), most)
    ]
