"""Which endpoint is asked, as a table; and the file that names them."""

from __future__ import annotations

import pytest

from batch.limits import pool
from batch.limits.limits import Limits
from batch.limits.pool import Candidate, Listed, Share

NAMES = ("a", "b", "c")


def at(name: str, in_flight: int, weight: float = 1.0) -> Candidate:
    return Candidate("abc".index(name), name, weight, in_flight)


@pytest.mark.parametrize(
    ("candidates", "avoided", "chosen"),
    [
        ([], None, None),
        ([at("a", 3), at("b", 1), at("c", 2)], None, "b"),
        ([at("a", 3), at("b", 3)], None, "a"),  # the first of equals
        ([at("a", 7, 4.0), at("b", 1)], None, "a"),  # 8 / 4 and 2 / 1: the first of equals
        ([at("a", 8, 4.0), at("b", 1)], None, "b"),
        ([at("a", 0), at("b", 9)], 0, "b"),  # the row failed at a
        ([at("a", 0)], 0, "a"),  # nobody else may be asked
    ],
)
def test_the_emptiest_is_asked_by_its_weight_but_where_the_row_has_failed(
    candidates, avoided, chosen
):
    found = pool.pick(candidates, avoided=avoided)
    assert (None if found is None else found.name) == chosen


@pytest.mark.parametrize(
    ("load", "stays"), [(0, True), (5, True), (6, True), (7, False), (50, False)]
)
def test_a_prompt_stays_at_home_unless_much_more_is_on_its_way_there(load, stays):
    """The others have 4 in flight, so 1.25 x 5 + 1 = 7.25 is the most."""
    home = pool.homes(b"prefix", NAMES)[0]
    candidates = [at(name, load if name == home else 4) for name in NAMES]
    found = pool.pick(candidates, prefix=b"prefix", names=NAMES)
    assert found is not None and (found.name == home) == stays


def test_one_that_goes_moves_only_what_was_at_home_there():
    prefixes = [b"%d" % n for n in range(300)]
    before = {prefix: pool.homes(prefix, NAMES)[0] for prefix in prefixes}
    after = {prefix: pool.homes(prefix, ("a", "c"))[0] for prefix in prefixes}
    assert all(after[prefix] == home for prefix, home in before.items() if home != "b")
    assert 60 < sum(home == "b" for home in before.values()) < 140


def test_an_endpoint_has_limits_of_its_own_and_the_concurrency_of_the_run():
    run = Limits(requests_per_minute=60, concurrency=8)
    assert Share().limits(run) == Limits(concurrency=8)
    assert Share(concurrency_max=9).limits(run) == Limits(concurrency_max=9)
    own = Share(requests_per_minute=5, concurrency=3).limits(run)
    assert own == Limits(requests_per_minute=5, concurrency=3)


def test_a_file_names_urls_and_weights():
    text = "# gpus\nhttp://a:1\n\n  http://b:2  2.5 # fast\nhttp://a:1 3\n"
    assert pool.listed(text) == [Listed("http://a:1", 3.0), Listed("http://b:2", 2.5)]


@pytest.mark.parametrize("line", ["http://a 1 2", "http://a none", "http://a 0", "http://a -1"])
def test_a_line_that_is_none_is_named(line):
    with pytest.raises(ValueError, match="line 2"):
        pool.listed(f"http://b\n{line}\n")
