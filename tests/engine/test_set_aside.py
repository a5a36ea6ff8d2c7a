"""Rows that are ready and ask for something else than the pack that is made up."""

from __future__ import annotations

from batch.apis.packs import Piece
from batch.engine import set_aside
from batch.engine.set_aside import Ready, SetAside
from batch.engine.task import Task
from batch.model import Request, Row


def ready(number: int, kind: bytes | None, size: int = 10) -> Ready:
    request = Request(
        row=number, custom_id=None, api="embeddings", model="m", body=b"x" * size, hash=str(number)
    )
    return Ready(
        Task(Row(number, {}, "here"), request), None if kind is None else Piece(b'""', kind)
    )


def numbers(aside: SetAside) -> list[int]:
    found = []
    while (row := aside.first()) is not None:
        found.append(row.task.row.index)
    return found


def test_the_kind_that_was_first_here_goes_first_and_each_in_its_order():
    aside = SetAside()
    sizes = [aside.put(ready(number, kind)) for number, kind in enumerate((b"a", b"b", b"a", None))]
    assert sizes == [1, 1, 2, 1] and aside.rows == 4
    assert aside.another(b"c") is None
    row = aside.another(b"b")
    assert row is not None and row.task.row.index == 1
    assert aside.another(b"b") is None
    assert numbers(aside) == [0, 2, 3]
    assert aside.first() is None


def test_no_more_is_looked_for_than_is_bounded():
    kinds, rows, texts = SetAside(), SetAside(), SetAside()
    for number in range(set_aside.MOST_KINDS):
        assert kinds.has_room
        kinds.put(ready(number, str(number).encode()))
    for number in range(set_aside.MOST_ROWS):
        assert rows.has_room
        rows.put(ready(number, b"a"))
    for number in range(8):
        assert texts.has_room
        texts.put(ready(number, b"a", set_aside.MOST_BYTES // 8))
    for each in (kinds, rows, texts):
        assert not each.has_room
        each.first()
        assert each.has_room
