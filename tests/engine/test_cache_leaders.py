"""Who leads, who waits for whom, and for how long: as a table of moments."""

from __future__ import annotations

import json

import pytest

from batch.costs.prompt_caches import Cache
from batch.engine.cache_leaders import MOST_PREFIXES, TRIED, CacheLeaders
from batch.engine.prefixes import shared
from batch.model import Request

CACHE = Cache(1_024, lifetime=300.0)
PATIENCE = 10.0


def request(row: int, document: int = 0, said: str = "", model: str = "m") -> Request:
    text = f"document {document}" * 400
    body = {"messages": [{"role": "user", "content": f"{text}\n\n{said or row}"}], "model": model}
    encoded = json.dumps(body).encode()
    return Request(row, None, "chat", model, encoded, f"{row}", shared=len(text) + 2)


class Story:
    """Rows come, leave and end; those that wait are called by their numbers."""

    def __init__(self, cache: Cache | None = CACHE) -> None:
        self.leaders: CacheLeaders[int] = CacheLeaders(lambda _: cache, PATIENCE)
        self.now = 0.0
        self.behind: dict[int, bytes] = {}

    def comes(self, row: int, document: int = 0) -> bool:
        """Whether it may leave, which it then does."""
        asked = request(row, document)
        beginning = self.leaders.leader_of(asked, self.now)
        if beginning is None:
            self.leaders.left(row)
            return True
        self.behind[row] = beginning
        self.leaders.wait(row, row, beginning, self.now)
        return False

    def ends(self, row: int, document: int = 0, *, ok: bool = True, cached: int | None = None):
        return self.leaders.ended(request(row, document), ok, cached, self.now)


def test_one_leads_and_the_others_go_when_it_is_answered():
    story = Story()
    assert [story.comes(row) for row in range(4)] == [True, False, False, False]
    assert story.comes(9, document=1)
    assert story.ends(0) == [1, 2, 3]
    assert all(story.comes(row) for row in (1, 2, 3, 4))


def test_the_next_leads_where_one_fails_and_the_patience_stays_the_same():
    story = Story()
    assert [story.comes(row) for row in range(4)] == [True, False, False, False]
    story.now = 6.0
    assert story.ends(0, ok=False) == [1]
    assert story.comes(1)
    assert not story.comes(5)
    beginning = story.behind[5]
    assert story.leaders.due(beginning) == PATIENCE
    story.now = PATIENCE
    assert story.leaders.overdue(beginning, story.now) == [2, 3, 5]
    assert all(story.comes(row) for row in (2, 3, 5, 6))
    assert story.ends(1) == []


def test_a_row_waits_no_longer_whoever_leads():
    story = Story()
    assert story.comes(0) and not story.comes(1)
    story.now = 9.0
    assert story.ends(0, ok=False) == [1]
    assert story.comes(2)  # it was quicker
    assert not story.comes(1)
    assert story.leaders.due(story.behind[1]) == PATIENCE


def test_after_patience_was_lost_and_all_have_failed_one_leads_again():
    story = Story()
    assert story.comes(0) and not story.comes(1)
    story.now = PATIENCE
    assert story.leaders.overdue(story.behind[1], story.now) == [1]
    assert story.comes(1)
    story.ends(0, ok=False)
    story.ends(1, ok=False)
    assert story.comes(2) and not story.comes(3)


def test_a_row_that_never_leaves_leads_nobody():
    story = Story()
    asked = request(0)
    assert story.leaders.leader_of(asked, 0.0) is None
    assert story.leaders.ended(asked, False, None, 0.0) == []
    assert story.comes(1) and not story.comes(2)


def test_what_the_cache_has_forgotten_is_written_anew():
    story = Story()
    assert story.comes(0)
    story.ends(0)
    story.now = 299.0
    assert story.comes(1) and story.comes(2)
    story.ends(1)
    story.ends(2)
    story.now = 299.0 + 299.0  # reading refreshes it
    assert story.comes(3) and story.comes(4)
    story.ends(3)
    story.ends(4)
    story.now += 300.0
    assert story.comes(5) and not story.comes(6)


def test_two_lead_where_the_second_makes_it_readable():
    story = Story(Cache(64, leaders=2))
    assert [story.comes(row) for row in range(4)] == [True, True, False, False]
    assert story.ends(0) == []
    assert not story.comes(4)
    assert story.ends(1, ok=False) == [2]
    assert story.comes(2)
    assert story.ends(2) == [3, 4]


def test_so_many_beginnings_are_remembered_and_no_more():
    story = Story()
    for number in range(MOST_PREFIXES + 50):
        assert story.comes(number, number)
        story.ends(number, number)
    assert len(story.leaders._known) == MOST_PREFIXES
    assert story.comes(-1, 0) and not story.comes(-2, 0)  # forgotten
    assert story.comes(-3, MOST_PREFIXES) and story.comes(-4, MOST_PREFIXES)


@pytest.mark.parametrize(("cached", "helps"), [(0, False), (64, True), (None, True)])
def test_nobody_waits_once_nothing_was_read_by_those_who_did(cached, helps):
    story = Story()
    rows = range(1, TRIED + 1)
    assert story.comes(0) and not any(map(story.comes, rows))
    story.ends(0)
    assert story.comes(100, 1) and not story.comes(101, 1)
    assert all(map(story.comes, rows))
    freed = [each for row in rows for each in story.ends(row, cached=cached)]
    assert freed == ([] if helps else [101])
    assert story.leaders.helps is helps


def test_without_a_cache_nobody_waits():
    story = Story(None)
    assert all(story.comes(row) for row in range(5))


def chat(*said: tuple[str, object], **more: object) -> bytes:
    return json.dumps({"messages": [{"role": r, "content": c} for r, c in said], **more}).encode()


LONG, OTHER = "a" * 1_000, "b" * 1_000


@pytest.mark.parametrize(
    ("api", "body", "head", "count"),
    [
        ("chat", chat(("user", LONG + "x")), 1_000, 1),
        ("chat", chat(("user", LONG + "x")), 0, 0),
        ("chat", chat(("user", LONG + "x")), 500, 0),
        ("chat", chat(("system", LONG), ("user", "x")), 0, 1),
        ("chat", chat(("system", LONG), ("user", OTHER + "x")), 1_000, 2),
        ("chat", chat(("system", "a" * 700), ("user", OTHER + "x")), 1_000, 1),
        ("chat", chat(("system", LONG), ("user", "x"), ("assistant", "y"), ("user", "z")), 0, 3),
        ("chat", chat(("user", [{"type": "text", "text": LONG + "x"}])), 1_000, 1),
        ("responses", json.dumps({"instructions": LONG, "input": "x"}).encode(), 0, 1),
        ("responses", json.dumps({"input": LONG + "x"}).encode(), 1_000, 1),
        ("completions", json.dumps({"prompt": LONG + "x"}).encode(), 1_000, 1),
        ("completions", json.dumps({"prompt": [1] * 900}).encode(), 0, 0),
        ("chat", b"[" * 1_000, 0, 0),
        ("chat", chat(), 0, 0),
    ],
)
def test_beginnings_are_long_and_what_rows_may_have_in_common(api, body, head, count):
    asked = Request(0, None, api, "m", body, "", shared=head)
    assert len(shared(asked, 800)) == count


@pytest.mark.parametrize(
    ("api", "body", "count"),
    [
        ("chat", chat(("system", LONG), ("user", "x"), ("assistant", "y"), ("user", "z")), 1),
        ("chat", chat(("user", LONG), ("assistant", "y"), ("user", "z")), 0),
        ("responses", json.dumps({"instructions": LONG, "input": "x"}).encode(), 0),
    ],
)
def test_nobody_waits_for_a_beginning_that_no_mark_can_end(api, body, count):
    assert len(shared(Request(0, None, api, "m", body, ""), 800, marked=True)) == count


def test_beginnings_differ_by_all_that_a_cache_goes_by():
    bodies = [
        chat(("system", LONG), ("user", "x")),
        chat(("system", OTHER), ("user", "x")),
        chat(("developer", LONG), ("user", "x")),
        chat(("system", LONG), ("user", "x"), tools=[{"type": "function"}]),
    ]
    found = {shared(Request(0, None, "chat", "m", body, ""), 800) for body in bodies}
    found |= {shared(Request(0, None, "chat", "n", bodies[0], ""), 800)}
    assert len(found) == 5
