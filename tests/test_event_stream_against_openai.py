"""The reader of event streams against the openai package's own, on the same bytes.

Where they differ on purpose:
* openai drops a last event that lacks its blank line; here it counts (`close`), since what is cut
  off shows in the answer.
* openai splits lines as str.splitlines does; here only CR and LF end a line, as the standard says.
* `error:` is a field of its own here, as llama.cpp sends it.
* openai gives an event for an `event:` or `id:` line without data; here, as the standard says, there is none.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.event_stream import Event, EventReader

streaming = pytest.importorskip("openai._streaming")

NAMES = st.sampled_from(["message", "response.created", "response.output_text.delta", "error"])
TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"),
    max_size=40,
)
BREAKS = st.sampled_from(["\n", "\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A well-formed stream: events with data, comments and ids between them."""
    end = draw(BREAKS)
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 6))):
        if draw(st.booleans()):
            lines.append(": " + draw(TEXT))
        if draw(st.booleans()):
            lines.append("event: " + draw(NAMES))
        lines += [
            f"data:{draw(st.sampled_from(['', ' ']))}{draw(TEXT)}"
            for _ in range(draw(st.integers(1, 3)))
        ]
        lines.append("")
    return "".join(line + end for line in lines).encode()


def theirs(data: bytes) -> list[Event]:
    events = streaming.SSEDecoder().iter_bytes(iter([data]))
    return [Event(event.event or "message", event.data.encode()) for event in events]


def ours(data: bytes, cuts: list[int]) -> list[Event]:
    reader, events, last = EventReader(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        events += reader.feed(data[last:cut])
        last = cut
    return [*events, *reader.close()]


@given(streams(), st.data())
def test_gives_the_same_events_however_the_bytes_are_cut(
    stream: bytes, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))

    assert ours(stream, cuts) == theirs(stream)


def test_every_split_point_of_a_recorded_stream_gives_the_same() -> None:
    stream = (
        'data: {"choices":[{"delta":{"content":"Grüße 👋\u2028"}}]}\r\n\r\n'
        ": OPENROUTER PROCESSING\r\n\r\ndata: [DONE]\r\n\r\n"
    ).encode()
    whole = ours(stream, [])

    assert [event.data for event in whole][-1] == b"[DONE]"
    assert len(whole) == 2
    assert all(ours(stream, [cut]) == whole for cut in range(len(stream) + 1))
    assert ours(stream, list(range(len(stream)))) == whole
