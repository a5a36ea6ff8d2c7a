"""What is left of the line of a bar where a terminal is narrow."""

from __future__ import annotations

import pytest
from tqdm.utils import disp_len

from batch.meter import ASCII, Meter

WHOLE = Meter(
    count="420/1,000",
    done=0.42,
    share=" 42%",
    elapsed="00:12",
    left="00:20",
    rate="34.5/s",
    failed="3 failed",
    retries="12 retries",
    tokens="1.2k→3.4k tok",
    money="$0.42 of about $1.00",
    sum="$0.42 of ~$1.00",
    cap="cap left $3.00",
    waiting="429: until 14:03:20",
)


@pytest.mark.parametrize("width", range(10, 200))
def test_the_line_is_never_wider_than_the_terminal(width):
    assert disp_len(WHOLE.within(width)) <= width


def test_where_there_is_room_the_bar_takes_it():
    line = WHOLE.within(160)
    assert disp_len(line) == 160
    assert line.startswith(" 42%|███")
    words = "3 failed, 12 retries, 1.2k→3.4k tok, $0.42 of about $1.00, cap left $3.00"
    assert line.endswith(f"| 420/1,000 [00:12<00:20, 34.5/s], {words}, 429: until 14:03:20")


def test_the_bar_gives_way_then_the_rate_and_money_stays():
    bar, line, no_rate = (WHOLE.within(width) for width in (141, 133, 129))
    assert "|█" in bar
    assert "|" not in line
    assert line.startswith(" 42% 420/1,000 [00:12<00:20, 34.5/s], 3 failed")
    assert no_rate.startswith(" 42% 420/1,000 [00:12<00:20], 3 failed")
    assert "12 retries" in no_rate


def test_in_80_columns_money_cap_and_what_is_waited_for_are_whole():
    line = WHOLE.within(80)
    assert line.endswith("$0.42 of ~$1.00, cap left $3.00, 429: until 14:03:20")
    assert line.startswith(" 42% 420/1,000")


def test_a_long_reason_loses_words_only_when_nothing_else_is_left():
    line = Meter(count="1/2", cap="cap left $3.00", waiting="word " * 30, money="$1.00").within(80)
    assert line.startswith("cap left $3.00, word word")
    assert line.endswith(" word…")


def test_a_terminal_without_blocks_gets_plain_marks():
    assert Meter(count="1/2", done=0.5, share=" 50%", marks=ASCII).within(40).startswith(" 50%|###")
