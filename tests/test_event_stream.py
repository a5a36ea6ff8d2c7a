"""Whatever way the bytes of a stream are cut, the same events come out of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.event_stream import Event, EventReader, TooLarge


def read(*chunks: bytes) -> list[Event]:
    reader = EventReader()
    return [event for chunk in chunks for event in reader.feed(chunk)] + reader.close()


def messages(*data: str) -> list[Event]:
    return [Event("message", text.encode()) for text in data]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("data: a\n\ndata: b\n\n", messages("a", "b")),
        ("data: a\r\rdata: b\r\r", messages("a", "b")),
        ("data: a\r\n\r\ndata: b\r\n\r\n", messages("a", "b")),
        ("data:a\n\n", messages("a")),
        ("data:  a\n\n", messages(" a")),
        ("data: one\ndata: two\n\n", messages("one\ntwo")),
        ("data\n\n", messages("")),
        (": comment\n\ndata: a\n: another\n\n", messages("a")),
        ("id: 7\nretry: 100\nunknown: x\ndata: a\n\n", messages("a")),
        ("event: ping\n\ndata: a\n\n", messages("a")),
        ("event: error\ndata: a\n\ndata: b\n\n", [Event("error", b"a"), Event("message", b"b")]),
        ("\ufeffdata: a\n\n", messages("a")),
        ("data: a\n\ndata: last", messages("a", "last")),
        ("data: last\n", messages("last")),
        ("data: \u2028 and \u0085 stay\n\n", messages("\u2028 and \u0085 stay")),
        ('error: {"code":500}\n\n', [Event("error", b'{"code":500}')]),
        ("", []),
        ("\n\n\n", []),
    ],
)
def test_reads_what_the_standard_says_however_it_is_cut(stream, events):
    raw = stream.encode()
    assert read(raw) == events
    assert read(*(raw[at : at + 1] for at in range(len(raw)))) == events


LINES = st.sampled_from(
    ["data: héllo", "data:x", "data", "event: error", ": beat", "id: 1", "", "", "data: 世\u2028界"]
)


@given(
    st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r", "\r\n"]))),
    st.lists(st.integers(0, 200)),
)
def test_no_cut_changes_the_events(lines, cuts):
    raw = "".join(line + end for line, end in lines).encode()
    at = [0, *sorted(cuts), len(raw)]
    assert read(*(raw[one:other] for one, other in pairwise(at))) == read(raw)


@given(st.lists(st.binary()))
def test_any_bytes_are_read(chunks):
    assert read(*chunks) == read(b"".join(chunks))


def test_an_event_comes_with_the_chunk_that_completes_it():
    reader = EventReader()
    assert reader.feed(b"data: a\n") == []
    assert reader.feed(b"\n") == messages("a")
    assert reader.feed(b"data: b") == []
    assert reader.close() == messages("b")
    assert reader.close() == []


@pytest.mark.parametrize("piece", [b"x" * 30, b"data: xxxxxxxxxx\n", b"data: xxxxx\ndata: yyyyy\n"])
def test_refuses_an_event_without_end(piece):
    reader = EventReader(max_event=100)
    with pytest.raises(TooLarge, match="more than 100 bytes"):
        for _ in range(100):
            reader.feed(piece)


def test_a_long_stream_of_short_events_is_no_large_event():
    reader = EventReader(max_event=100)
    assert sum(len(reader.feed(b"data: xxxxxxxxxx\n\n: beat\n")) for _ in range(1000)) == 1000
