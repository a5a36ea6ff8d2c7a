"""Memory is bounded by what is in flight, not by the length of the input."""

from __future__ import annotations

import sys

import pytest

from tests.fake_api import Step
from tests.reading import asking, peak, table, texts, write

pytestmark = [
    pytest.mark.second_lane,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc"),
    pytest.mark.timeout(300),
]


def held(api, start, tmp_path, count: int, *flags: object) -> int:
    """The most memory, in bytes, that a run of `count` rows held at any time."""
    write(tmp_path / f"in{count}.jsonl", texts(count))
    command = ("run", f"in{count}.jsonl", *asking(api, "-c", 200, "--quiet", *flags))
    process = start(*command, fresh=True)
    most = peak(process)
    assert process.returncode == 0, process.stderr.read()
    assert table(tmp_path / f"runs/in{count}").num_rows == count
    return most


def test_ten_times_the_rows_take_hardly_more_memory(api, start, tmp_path):
    api.remember = False
    small, large = (held(api, start, tmp_path, count) for count in (2_000, 20_000))
    assert large - small < 60 << 20


def test_answers_of_a_megabyte_are_held_no_longer_than_they_must(api, start, tmp_path):
    api.remember = False
    small = held(api, start, tmp_path, 100)
    api.always = Step(content="word " * 200_000)
    large = held(api, start, tmp_path, 800, "-c", 50)
    assert large - small < 450 << 20  # all of them are 800 MB


def test_streams_at_once_take_little_memory_each(api, start, tmp_path):
    api.remember = False
    one = held(api, start, tmp_path, 1, "--set", "request.stream=true")
    api.always = Step(content="word " * 50, event_delay=0.02)
    assert held(api, start, tmp_path, 200, "--set", "request.stream=true") - one < 40 << 20


@pytest.mark.parametrize("form", ["given", "ignored"])
def test_three_times_the_vectors_take_hardly_more_memory(api, start, tmp_path, form):
    api.remember = False
    api.embedder.dimensions, api.embedder.base64 = 1_536, form
    flags = ("--api", "embeddings", "--set", "limits.inputs_per_request=100")
    one, small, large = (held(api, start, tmp_path, count, *flags) for count in (1, 6_000, 18_000))
    assert small - one < 180 << 20
    assert large - small < 40 << 20
