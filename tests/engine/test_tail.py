"""The end of a run: nobody sits before a bar that stands still without a word."""

from __future__ import annotations

import os
import struct
import sys

import pytest

from tests.fake_api import Step
from tests.reading import asking, write


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of its own")
def test_the_bar_tells_of_the_last_answers_that_are_waited_for(api, start, tmp_path):
    import fcntl
    import pty
    import termios

    write(tmp_path / "in.jsonl", ["slow", "slower", "quick"])
    api.script = {"slower": [Step(delay=8)], "slow": [Step(delay=7)]}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    process = start("run", "in.jsonl", *asking(api, "-c", 4), stdin=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while piece := _read(ours):
        shown += piece
    assert process.wait() == 0
    assert b"waiting for the last 2 answers, the oldest asked " in shown
    assert b"waiting for the last answer, asked " in shown


def _read(terminal: int) -> bytes:
    """What is on it; nothing once nobody writes any more, which Linux calls an error."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""
