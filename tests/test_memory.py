"""Memory is bounded by what is in flight, not by the length of the input."""

from __future__ import annotations

import sys

import pytest

from tests.reading import asking, peak, table, texts, write


def held(api, start, tmp_path, count: int) -> int:
    """The most memory, in bytes, that a run of `count` rows held at any time."""
    write(tmp_path / f"in{count}.jsonl", texts(count))
    process = start("run", f"in{count}.jsonl", *asking(api, "-c", 200, "--quiet"))
    most = peak(process)
    assert process.returncode == 0, process.stderr.read()
    assert table(tmp_path / f"runs/in{count}").num_rows == count
    return most


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.timeout(300)
def test_ten_times_the_rows_take_hardly_more_memory(api, start, tmp_path):
    api.remember = False
    small, large = (held(api, start, tmp_path, count) for count in (2_000, 20_000))
    assert large - small < 60 << 20
