"""Tokens estimated before a request is sent."""

from __future__ import annotations

from batch.costs.token_bounds import UNKNOWN_OUTPUT, Estimate, Estimates
from batch.model import Request, Usage


def request(size: int, output_cap: int | None = None, model: str = "m") -> Request:
    return Request(0, None, "chat", model, b"x" * size, "", output_cap=output_cap)


def test_begins_with_a_quarter_token_a_byte_and_the_cap() -> None:
    assert Estimates().of(request(4_000, 200)) == Estimate(1_200, 1_200, 1_200)


def test_begins_with_a_guess_where_nothing_caps_the_answer() -> None:
    assert Estimates().of(request(4)) == Estimate(*[1 + UNKNOWN_OUTPUT] * 3)


def test_learns_what_each_model_takes() -> None:
    estimates = Estimates()
    for _ in range(100):
        estimates.learn(request(1_000), Usage(input_tokens=500, output_tokens=20))

    learnt = estimates.of(request(2_000, 100))
    assert 1_020 <= learnt.likely <= 1_030
    assert learnt.most == learnt.likely, "30 is half as much again as the longest"
    assert learnt.largest - learnt.most == 70
    assert estimates.of(request(2_000, 100, "other")) == Estimate(600, 600, 600)


def test_an_unknown_usage_teaches_nothing() -> None:
    estimates = Estimates()
    estimates.learn(request(1_000), Usage())

    assert estimates.of(request(1_000, 7)) == Estimate(257, 257, 257)


def test_never_expects_more_than_the_cap() -> None:
    estimates = Estimates()
    estimates.learn(request(100), Usage(input_tokens=25, output_tokens=1_000))

    assert estimates.of(request(100, 50)) == Estimate(75, 75, 75)
