"""Memory is bounded by what is in flight, not by the length of the input."""

from __future__ import annotations

import os

import pytest

from tests.reading import asking, table, texts, write


def peak(api, start, tmp_path, count: int) -> int:
    """The most memory, in bytes, that a run of `count` rows held at any time."""
    write(tmp_path / f"in{count}.jsonl", texts(count))
    process = start("run", f"in{count}.jsonl", *asking(api, "-c", 200, "--quiet"))
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, process.stderr.read()
    assert table(tmp_path / f"runs/in{count}").num_rows == count
    return used.ru_maxrss * 1024


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="ru_maxrss counts in other units there")
@pytest.mark.timeout(300)
def test_ten_times_the_rows_take_hardly_more_memory(api, start, tmp_path):
    api.remember = False
    small, large = (peak(api, start, tmp_path, count) for count in (2_000, 20_000))
    assert large - small < 60 << 20
