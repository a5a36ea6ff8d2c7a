"""The faults seen in the wild, as data: how each is made, and what must come of it.

`python -m tests.faults` plays them all and prints the table.  Ids are those of the kinds H (HTTP
status and headers), A (the account, and whose fault it is), B (bodies), S (streams), T (transport),
X (secrets), I, O and P (input, output, process).  A row's fault is sent to the first, the middle and
the last of five rows, a run's fault to all of them.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import EllipsisType
from typing import Any

from batch import runner, spec
from batch.errors import BatchError
from batch.planning.terms import Terms
from batch.runner import Surroundings
from tests import virtual
from tests.fake_api import FakeAPI, Step, answer_to
from tests.reading import rows, write

JSON, SSE = "json", "sse"
TRANSPORTS = (JSON, SSE)
FAULTY = ("the faulty row, first", "the faulty row, last")  # three that always fail are an outage
PROMPTS = (FAULTY[0], "a plain row", "one more plain row", "another plain row", FAULTY[1])
ROWS = len(PROMPTS)
MAX_ATTEMPTS = 4
ONCE = frozenset(
    [f"H{n}" for n in (1, 2, 4, 5, 7, 8, 9, 10, 12, 13, 16, 17, 18, *range(20, 27))]
    + [f"A{n}" for n in range(1, 10)]
)
"""Faults that are played by one transport: an answer that is not 200 is read whole, by the same lines,
whatever was asked for.  What differs: the body of a 200 (B), its pieces (S), and when nothing comes (T).
That it is so is tried by the others of H: one that heals (H11), one that fails its row (H14), those that
stop or would stop a run (H3), and those that are waited for (H19).
"""
ENDS_OF_WAITS = ("timeout", "max_wait")
OWN: Any = object()
"""The completion that is the right answer to the prompt."""

Steps = Sequence[Step | int | EllipsisType]
By = Mapping[str, Steps]
"""Transport -> what the server does."""


@dataclass(frozen=True)
class RowEnds:
    """What becomes of a row.  `billed` (maybe billed attempts) None: it depends on the socket."""

    status: str = "ok"
    error_class: str | None = None
    attempts: int = 1
    billed: int | None = 0
    flags: tuple[str, ...] = ()
    completion: str | None = OWN
    finish_reason: str | None = "stop"
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunStops:
    """The run stops with exit code 3 and these words, and no row is recorded.  `attempts` None: as
    many as time allows.
    """

    said: str
    attempts: int | None = 1


@dataclass(frozen=True)
class Fault:
    id: str
    title: str
    by: By
    comes: RowEnds | RunStops
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def transports(self) -> tuple[str, ...]:
        """By what it is played."""
        return (JSON,) if self.id in ONCE and _is_never_a_stream(self.by) else tuple(self.by)

    def needs_the_loop(self, transport: str) -> bool:
        """Whether how the bytes come matters, which each loop tells in its own way: then it is played in
        that of the program, and in real time.  Else, and where what comes of it depends on time, time is
        the run's own: between two requests nobody waits.
        """
        if any(key.endswith(ENDS_OF_WAITS) for key in self.settings):
            return False
        steps = (step for step in self.by[transport] if isinstance(step, Step))
        return any(
            step.silent or step.partial or step.close or step.raw or step.chunk for step in steps
        )


@dataclass(frozen=True)
class Played:
    """What came of it.  `rows` are the records of the run by row; `asked` counts what arrived."""

    exit_code: int
    said: str
    rows: list[dict[str, Any]]
    asked: Mapping[str, int]


def play(api: FakeAPI, fault: Fault, transport: str, folder: Path) -> Played:
    """Let the fault happen to a run of five rows, which ask `api` or, where time is its own, another
    server like it.
    """
    said: list[str] = []
    if fault.needs_the_loop(transport):
        how = Terms(environment={}), Surroundings(consumers=(virtual.notices_to(said),))
        return _played(api, fault, transport, folder, how, said)
    with contextlib.closing(FakeAPI(in_a_thread=False)) as own:
        how = virtual.how(own, said=said)
        return _played(own, fault, transport, folder, how, said)


def _played(
    api: FakeAPI,
    fault: Fault,
    transport: str,
    folder: Path,
    how: tuple[Terms, Surroundings],
    said: list[str],
) -> Played:
    whole = isinstance(fault.comes, RunStops)
    api.reset_ledger()
    api.script = {"row" if whole else "faulty": fault.by[transport]}
    tables: dict[str, Any] = {
        "input": str(_input(folder)),
        "prompt": {"user": "{{ text }}"},
        "request": {"model": "fake-model", "stream": transport == SSE},
        "endpoint": {"base_url": api.url, "api_key_env": ""},
        "limits": {"concurrency": 1 if whole else 2},
        "retry": {
            "max_attempts": MAX_ATTEMPTS,
            "first_delay": 0.001,
            "max_delay": 0.01,
            "max_wait": 20,
        },
    }
    for key, value in fault.settings.items():
        spec.put(tables, key, value)
    try:
        ended = runner.run(spec.check(tables), folder / "run", *how)
    except BatchError as error:
        return Played(error.exit_code, str(error), [], api.prompts())
    if ended.stopped is not None:
        said.append(f"{ended.stopped}; {ended.stopped.hint}")
    return Played(ended.exit_code, "\n".join(said), rows(folder / "run"), api.prompts())


def _input(folder: Path) -> Path:
    """The same for all, and made once."""
    path = folder / "in.jsonl"
    path.write_bytes(_lines())
    return path


@functools.cache
def _lines() -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        return write(Path(scratch) / "in.jsonl", PROMPTS).read_bytes()


def _is_never_a_stream(by: By) -> bool:
    steps = (step for steps in by.values() for step in steps if not isinstance(step, EllipsisType))
    return all((step if isinstance(step, int) else step.status) != 200 for step in steps)


# What the server does


def both(*steps: Step | int | EllipsisType) -> By:
    return {JSON: steps, SSE: steps}


def always(*steps: Step | int) -> By:
    return both(*steps, ...)


def streamed(*steps: Step | EllipsisType) -> By:
    return {SSE: steps}


def blocking(*steps: Step | EllipsisType) -> By:
    return {JSON: steps}


def refusal(status: int, body: Any, **headers: str) -> Step:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Step(status, body=body, headers=named)


def error(message: str = "no", code: Any = None, kind: str | None = None, **more: Any) -> Any:
    return {"error": {"message": message, "type": kind, "code": code, **more}}


def page(status: int, title: str = "Attention Required!") -> Step:
    body = f"<!DOCTYPE html><html><title>{title}</title><body>Ray ID 77, 203.0.113.7</body></html>"
    return Step(status, body=body, content_type="text/html")


USED = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ABSENT: Any = object()


def says(
    message: dict[str, Any], finish: Any = "stop", usage: Any = USED, **choice: Any
) -> dict[str, Steps]:
    """One answer, whole and as a stream."""
    used = {} if usage is ABSENT else {"usage": usage}
    whole = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    body = {"model": "fake-model", "choices": [{**whole, **choice}], **used}
    last = [{"model": "fake-model", "choices": [], **used}] if used else []
    events = [chunk({"role": "assistant"}), chunk(message), chunk({}, finish, **choice), *last]
    return {JSON: (Step(body=body), ...), SSE: (Step(events=[*events, "[DONE]"]), ...)}


def literally(content: bytes, usage: bytes = b"null", more: bytes = b"") -> By:
    """One answer whose content, usage and further fields are these bytes of JSON, or nearly JSON."""
    whole = b'"index":0,"finish_reason":"stop","%b":{"role":"assistant","content":%b}'
    body = b'{"model":"fake-model","choices":[{%b}],"usage":%b%b}'
    event = b"data: " + body % (whole % (b"delta", content), usage, more) + b"\n\n"
    return {
        JSON: (Step(body=body % (whole % (b"message", content), usage, more)), ...),
        SSE: (Step(events=[event, "[DONE]"]), ...),
    }


def chunk(delta: Any, finish: Any = None, **choice: Any) -> dict[str, Any]:
    told = {"index": 0, "delta": delta, "finish_reason": finish, **choice}
    return {"model": "fake-model", "choices": [told]}


def whole_of(message: Any) -> dict[str, Any]:
    told = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"object": "chat.completion", "model": "fake-model", "choices": [told], "usage": USED}


def use(usage: Any = USED) -> dict[str, Any]:
    return {"model": "fake-model", "choices": [], "usage": usage}


TALK: list[Any] = [
    chunk({"role": "assistant"}),
    chunk({"content": "one"}),
    chunk({"content": " two"}),
]
END: list[Any] = [chunk({}, "stop"), use()]
DONE = [*TALK, *END, "[DONE]"]


GOES: dict[str, Any] = {"clean_end": True, "headers": {"connection": "close"}}
"""The end of a stream that looks like one."""


def stream(*events: Any, **step: Any) -> Step:
    return Step(events=events, **step)


def raw_stream(text: str, **step: Any) -> Step:
    return Step(events=[text.encode()], **step)


def wire(head: str, body: bytes) -> Step:
    """A whole HTTP answer as it is on the wire; the connection closes behind it."""
    lines = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n"
    return Step(raw=lines.encode() + body)


# What must come of it


def heals(attempts: int = 2, billed: int | None = 0) -> RowEnds:
    return RowEnds(attempts=attempts, billed=billed)


def fails(error_class: str, attempts: int = 1, billed: int | None = 0) -> RowEnds:
    return RowEnds("failed", error_class, attempts, billed, completion=None, finish_reason=None)


def answers(
    completion: str | None, *flags: str, finish: str | None = "stop", **columns: Any
) -> RowEnds:
    return RowEnds(flags=flags, completion=completion, finish_reason=finish, columns=columns)


TWICE = fails("bad_response", attempts=2, billed=2)
WHOLE = json.dumps({"choices": [{"message": {"content": "cut"}, "finish_reason": "stop"}]}).encode()
HASTE = {"endpoint.idle_timeout": 0.1, "endpoint.total_timeout": 0.4}

CONTEXT = {
    "OpenAI": (400, error("too long", "context_length_exceeded")),
    "vLLM, code 400": (400, error("This model's maximum context length is 8 tokens", 400)),
    "vLLM, other words": (
        400,
        {"object": "error", "message": "The prompt is longer than the maximum model length of 8"},
    ),
    "Anthropic": (400, error("prompt is too long: 210000 tokens > 200000", kind="invalid_request")),
    "llama.cpp": (400, error("too large", 400, "exceed_context_size_error")),
    "Gemini": (400, error("The input token count (9) exceeds the maximum number of tokens", 400)),
    "413": (413, error("exceeds the context window of this model")),
    "TGI, 422": (422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 8", "type": "x"}),
}
AZURE = error("filtered", "content_filter", param="prompt", innererror={"code": "Policy"})


def http() -> Iterator[Fault]:
    for who, (status, body) in CONTEXT.items():
        yield Fault(
            "H1", f"context too long: {who}", always(refusal(status, body)), fails("context_length")
        )
    for code in ("content_policy_violation", "invalid_prompt", "cyber_policy"):
        yield Fault(
            "H2", f"400 {code}", always(refusal(400, error(code=code))), fails("content_filter")
        )
    yield Fault("H2", "400 of Azure's filter", always(refusal(400, AZURE)), fails("content_filter"))
    unknown = refusal(400, error("Unknown parameter: 'foo'.", "unknown_parameter"))
    yield Fault(
        "H3", "400 for every row", always(unknown), RunStops("Unknown parameter: 'foo'", ROWS)
    )
    yield Fault("H3", "400 for one row", always(unknown), fails("invalid_request"))
    parse = refusal(400, error("We could not parse the JSON body of your request."))
    yield Fault("H4", "400, a proxy cut the request", both(parse), heals())
    yield Fault("H4", "the same for ever", always(parse), fails("invalid_request", 2))
    yield Fault("H5", "401 from the start", always(401), RunStops("without a key (HTTP 401)"))
    yield Fault("H5", "403 from the start", always(403), RunStops("without a key (HTTP 403)"))
    yield Fault("H7", "402", always(402), RunStops("no credit"))
    yield Fault("H8", "403 of a firewall", always(page(403)), fails("blocked"))
    yield Fault("H9", "404 from the start", always(404), RunStops("no such model or path"))
    for status in (301, 302, 303, 307, 308):
        step = Step(status, headers={"Location": "https://elsewhere.example/v1"})
        yield Fault("H10", f"{status}", always(step), RunStops("elsewhere.example"))
    yield Fault("H10", "405", always(405), RunStops("no such API"))
    for status in (408, 409, 425):
        yield Fault("H11", f"{status} once", both(status), heals())
    for status in (499, 504, 524):
        yield Fault("H12", f"{status} once", both(status), heals(billed=1))
        yield Fault("H12", f"{status} for ever", always(status), fails("timeout", 2, 2))
    for status in (500, 502, 503, 520, 521, 522, 523, 525, 526, 527, 529, 530, 599):
        yield Fault("H13", f"{status} with a page, once", both(page(status)), heals())
    for step in (Step(500, body=b""), Step(500, body="oops"), page(502)):
        yield Fault("H13", f"5xx, twice: {step.body!r:.20}", both(step, step), heals(3))
    for status in (501, 505):
        yield Fault("H13", f"{status}", always(status), fails("invalid_request"))
    told = {"error_message": "an HTML page “Bad gateway”"}
    ended = replace(fails("server_error", MAX_ATTEMPTS), columns=told)
    yield Fault("H13", "502 with a page, for ever", always(page(502, "Bad gateway")), ended)
    yield Fault("H14", "one row always 500", always(500), fails("server_error", MAX_ATTEMPTS))
    for value in ("0", "0.01", "-10", "inf", "nan", f"1{'0' * 34}", "", "soon", "1, 2",
                  "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Foo 2015", "Fri, 31 Dec 99999"):  # fmt: skip
        step = Step(429, headers={"Retry-After": value})
        yield Fault("H16", f"429, retry-after {value[:12]!r}", both(step), heals())
    both_headers = Step(429, headers={"Retry-After": "600", "retry-after-ms": "10"})
    yield Fault("H17", "429, retry-after-ms wins", both(both_headers), heals())
    for value in ("6m0s", "500ms", "2h15m", "1767225600", "2026-01-01T00:00:00Z"):
        step = Step(429, headers={"x-ratelimit-reset-requests": value})
        yield Fault("H18", f"429, reset {value}", both(step), heals())
    yield Fault("H19", "429 without a header, twice", both(429, 429), heals(3))
    wait = {"retry.max_wait": 0.2}
    yield Fault("H19", "429 for ever", always(429), RunStops("max_wait is over", None), wait)
    quota = error("You exceeded your current quota", "insufficient_quota", "insufficient_quota")
    yield Fault("H20", "429 insufficient_quota", always(refusal(429, quota)), RunStops("no credit"))
    scaleway = refusal(429, error("too many at once", "INSUFFICIENT QUOTA"))
    yield Fault("H21", "429 that only sounds like a quota", both(scaleway), heals())
    large = error("Request too large for m: Limit 30000, Requested 30601.", "rate_limit_exceeded")
    yield Fault("H22", "429 for one request", always(refusal(429, large)), fails("too_large"))
    day = Step(429, headers={"Retry-After": "86400"})
    yield Fault("H23", "429 until tomorrow", always(day), RunStops("come back after"))
    never = Step(500, headers={"x-should-retry": "false"})
    yield Fault("H24", "500, x-should-retry: false", always(never), fails("server_error"))
    please = Step(400, headers={"x-should-retry": "true"})
    yield Fault("H24", "400, x-should-retry: true", both(please), heals())
    for status in (201, 204, 205, 206, 299, 999):
        yield Fault("H25", f"{status}", always(status), TWICE)
    for status in (413, 414, 431):
        yield Fault("H26", f"{status}", always(status), fails("too_large"))


CALLS = [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
TEXT = {"content": "said"}


def bodies() -> Iterator[Fault]:
    for shape in ("no", {"message": "no"}, {"message": "no", "code": None}):
        yield Fault("B1", f"200 with the error {shape}", always(Step(body={"error": shape})), TWICE)
    for code in (429, 503, "502"):
        yield Fault(
            "B1", f"200 with the error code {code!r}", both(Step(body=error(code=code))), heals()
        )
    inner = Step(body=error(code="context_length_exceeded"))
    yield Fault("B1", "200 with a context error", always(inner), fails("context_length"))
    inner = Step(body={**error(code=500), "choices": [{"message": TEXT, "finish_reason": "stop"}]})
    yield Fault("B1", "200 with an answer and an error", both(inner), heals())
    inner = Step(body=error(code="insufficient_quota"))
    yield Fault("B1", "200 with a quota error", always(inner), RunStops("no credit"))
    for silent_error in ({"message": "", "type": "", "param": "", "code": None}, {"code": 0}, {}):
        yield Fault("B1", f"an answer and the error {silent_error}", says_beside(TEXT, error=silent_error),
                    replace(answers("said"), columns={"response_json": None}))  # fmt: skip
    yield Fault("B1", "200 with an error of empty fields alone",
                always(Step(body=error("", ""))), TWICE)  # fmt: skip
    unsaid = {"choices": [{"index": 0, "finish_reason": "length"}], "usage": USED}
    yield Fault("B2", "a choice without a message, cut at the limit",
                {JSON: (Step(body=unsaid), ...), SSE: (stream(unsaid, "[DONE]"), ...)},
                answers(None, "length", "empty", finish="length"))  # fmt: skip
    nothing: tuple[Any, ...] = (
        {"id": "x"},
        {"choices": None},
        {"choices": []},
        {"choices": [{}]},
        [],
    )
    for body in nothing:
        yield Fault("B2", f"200, no choices: {body}", always(Step(body=body)), TWICE)
    yield Fault("B3", "a refusal", says({"content": None, "refusal": "I will not"}),
                answers(None, "refusal", refusal="I will not"))  # fmt: skip
    yield Fault("B3", "tool calls", says({"content": None, "tool_calls": CALLS}, "tool_calls"),
                answers(None, finish="tool_calls",
                        tool_calls=[{"id": "c", "name": "f", "arguments": "{}"}]))  # fmt: skip
    for name in ("reasoning", "reasoning_content"):
        yield Fault("B3", f"{name} alone", says({"content": None, name: "hm"}, "length"),
                    answers(None, "length", "empty", finish="length", reasoning="hm"))  # fmt: skip
    yield from calls()
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    yield Fault("B3", "thinking in parts", says({"content": [*thought, {"type": "text", "text": "42"}]}),
                answers("42", reasoning="hm", response_json=None))  # fmt: skip
    yield Fault("B4", "content filter, no content", says({}, "content_filter"),
                answers(None, "content_filter", "empty", finish="content_filter"))  # fmt: skip
    yield Fault(
        "B5", "nothing, though tokens were used", says({"content": None}), answers(None, "empty")
    )
    yield Fault(
        "B6", "cut at the limit", says(TEXT, "length"), answers("said", "length", finish="length")
    )
    yield Fault("B7", "finish reason error", says(TEXT, "error"), TWICE)
    for reason in ("abort", "insufficient_system_resource", "cancelled", "MALFORMED_RESPONSE"):
        yield Fault("B7", f"finish reason {reason}", says(TEXT, reason), TWICE)
        once = {by: steps[:1] for by, steps in says(TEXT, reason).items()}
        yield Fault("B7", f"{reason}, once", once, heals(billed=1))
    yield Fault("B7", "a choice with an error", says(TEXT, error={"code": 502}), TWICE)
    for reason in ("end_turn", "eos", "stop_sequence"):
        yield Fault(
            "B8", f"finish reason {reason}", says(TEXT, reason), answers("said", finish=reason)
        )
    for reason in ("MAX_TOKENS", "max_tokens", "model_length"):
        cut = answers("said", "length", finish="length")
        yield Fault("B8", f"finish reason {reason}", says(TEXT, reason), cut)
        nowhere = answers(None, "length", "empty", finish="length")
        yield Fault("B8", f"{reason} and nothing", says({}, reason), nowhere)
    yield Fault("B8", "finish reason SAFETY", says(TEXT, "SAFETY"),
                answers("said", "content_filter", finish="content_filter"))  # fmt: skip
    for reason in ("sensitive", "network_error", "unknown"):
        yield Fault("B8", f"finish reason {reason}", says(TEXT, reason),
                    answers("said", "finish_unknown", finish=reason))  # fmt: skip
        yield Fault("B8", f"{reason} and nothing", says({"content": ""}, reason), TWICE)
    for silent in (None, ""):
        yield Fault("B8", f"finish reason {silent!r}", says(TEXT, silent),
                    answers("said", "finish_unknown", finish=None))  # fmt: skip
        yield Fault("B8", f"{silent!r} and nothing", says({"content": ""}, silent), TWICE)
    yield from usages()
    login = page(200, "Log in")
    yield Fault("B11", "a login page, once", both(login), heals())
    yield Fault("B11", "a login page, for ever", always(login), fails("bad_response", MAX_ATTEMPTS))
    yield from content_types()
    yield from broken_bodies()
    yield from odd_json()
    yield from several_choices()


def calls() -> Iterator[Fault]:
    """Calls of tools in shapes of their own, in an answer or as the deltas of a stream."""
    paris, rome = (
        {"name": "f", "arguments": json.dumps({"in": name})} for name in ("Paris", "Rome")
    )
    two = [{"id": "a", **paris}, {"id": "b", **rome}]
    lone = [
        {"index": 0, "id": each["id"], "function": function}
        for each, function in zip(two, (paris, rome), strict=True)
    ]

    def called(*calls: Any) -> RowEnds:
        return answers(None, finish="tool_calls", tool_calls=[*calls], response_json=None)

    yield Fault("B3", "calls that share an index", in_deltas(*({"tool_calls": [it]} for it in lone)),
                called(*two))  # fmt: skip
    whole = {"id": "c", "function": {"name": "f", "arguments": {"in": "Rome"}}}
    yield Fault("B3", "arguments as an object", says({"content": None, "tool_calls": [whole]}, "tool_calls"),
                called({"id": "c", "name": "f", "arguments": '{"in":"Rome"}'}))  # fmt: skip
    pieces = [
        {"index": 0, "id": "c", "function": {"name": "f", "arguments": piece}}
        for piece in ("{", "}")
    ]
    yield Fault("B3", "a name repeated with every piece",
                in_deltas(*({"tool_calls": [it]} for it in pieces)),
                called({"id": "c", "name": "f", "arguments": "{}"}))  # fmt: skip


def in_deltas(*deltas: Any) -> By:
    return streamed(stream(*map(chunk, deltas), chunk({}, "tool_calls"), use(), "[DONE]"), ...)


def says_beside(message: dict[str, Any], **beside: Any) -> By:
    """One answer, with fields beside its choices."""
    told = says(message)
    whole, events = told[JSON][0], told[SSE][0]
    assert isinstance(whole, Step) and isinstance(events, Step)
    assert isinstance(whole.body, dict) and events.events is not None
    chunks = [{**each, **beside} if isinstance(each, dict) else each for each in events.events]
    return {JSON: (replace(whole, body={**whole.body, **beside}), ...),
            SSE: (replace(events, events=chunks), ...)}  # fmt: skip


def usages() -> Iterator[Fault]:
    negative = {"prompt_tokens": -1, "completion_tokens": -1}
    text = {"prompt_tokens": "12", "completion_tokens": "3"}
    none = {"prompt_tokens": None, "completion_tokens": None}
    large = {"prompt_tokens": 2**64, "completion_tokens": 1.5}
    unknown: tuple[Any, ...] = (ABSENT, text, None, {}, none, negative, "many", large)
    for usage in unknown:
        shown = "absent" if usage is ABSENT else usage
        comes = answers("said", "usage_unknown", input_tokens=None, output_tokens=None)
        yield Fault("B9", f"usage {shown}", says(TEXT, usage=usage), comes)
    known = (
        ({"prompt_tokens": 0, "completion_tokens": 0}, 0),
        ({**USED, "total_tokens": 99}, 3),
        ({**USED, "prompt_tokens_details": None}, 3),
    )
    misfit = {**USED, "prompt_tokens_details": {"cached_tokens": 9}}
    comes = answers("said", "usage_unknown", input_tokens=3, cached_tokens=None, cost_usd=None)
    yield Fault("B9", f"usage {misfit}", says(TEXT, usage=misfit), comes)
    for usage, tokens in known:
        yield Fault(
            "B9", f"usage {usage}", says(TEXT, usage=usage), answers("said", input_tokens=tokens)
        )


def content_types() -> Iterator[Fault]:
    whole, events = says(TEXT)[JSON][0], says(TEXT)[SSE][0]
    assert isinstance(whole, Step) and isinstance(events, Step)
    for label in (
        "application/json",
        "text/event-stream",
        "text/plain",
        "application/octet-stream",
    ):
        for name, step in (("JSON", whole), ("a stream", events)):
            labelled = replace(step, content_type=label)
            yield Fault("B12", f"{name} called {label}", always(labelled), answers("said"))


def broken_bodies() -> Iterator[Fault]:
    for cut in (1, 10, 25, len(WHOLE) - 20, len(WHOLE) - 2, len(WHOLE) - 1):
        yield Fault(
            "B13", f"ends by itself after {cut} bytes", blocking(wire("", WHOLE[:cut]), ...), TWICE
        )
    cut_off = fails("cut_off", 2, 2)
    short = wire("content-length: 999\r\n", WHOLE)
    open_end = wire("transfer-encoding: chunked\r\n", b"%x\r\n%b\r\n" % (len(WHOLE), WHOLE))
    packed = "content-encoding: gzip\r\ncontent-length: 9\r\n"
    for name, step in {
        "shorter than its length": short,
        "chunked without an end": open_end,
        "reset in the middle": Step(cut=20, reset=True),
        "broken gzip": wire(packed, b"not gzip!"),
    }.items():
        yield Fault("B14", f"{name}, once", both(step), heals(billed=1))
        yield Fault("B14", f"{name}, for ever", always(step), cut_off)
    yield Fault("B15", "nothing", blocking(Step(body=b""), ...), TWICE)
    yield Fault("B15", "an empty stream", streamed(Step(body=b""), ...), cut_off)
    body = says(TEXT)[JSON][0]
    assert isinstance(body, Step)
    good = json.dumps(body.body).encode()
    for name, raw in {
        "a BOM": b"\xef\xbb\xbf" + good,
        "padding": b"\n\r\n  " + good + b"\n",
    }.items():
        yield Fault("B16", f"{name}", always(Step(body=raw)), answers("said"))
    yield Fault("B16", "trailing garbage", always(Step(body=good + b"}")), TWICE)
    brotli = wire("content-encoding: br\r\ncontent-length: 9\r\n", b"\x8b\x03\x80nobr\x03?")
    yield Fault("B19", "an encoding nobody asked for", always(brotli), TWICE)


def odd_json() -> Iterator[Fault]:
    used = json.dumps(USED).encode()
    odd = b',"timings":[NaN,Infinity,-Infinity,1e400]'
    said, mended = answers("said"), answers("said", "text_repaired")
    yield Fault("B20", "NaN and infinity", literally(b'"said"', used, odd), mended)
    yield Fault("B21", "a key twice", literally(b'"first","content":"said"', used), said)
    yield Fault("B22", "nested 100,000 deep", always(Step(body=b"[" * 100_000)), TWICE)
    yield Fault("B22", "nested 100,000 deep, and whole",
                literally(b'"said"', used, b',"x":' + b"[" * 100_000 + b"]" * 100_000), TWICE)  # fmt: skip
    wide = b'{"prompt_tokens":18446744073709551616,"completion_tokens":%b}' % (b"9" * 5000)
    yield Fault("B23", "counts of 5,000 digits", literally(b'"said"', wide),
                replace(mended, flags=("usage_unknown", "text_repaired")))  # fmt: skip
    yield Fault("B24", "half an emoji", literally(b'"said \\ud83d"', used),
                replace(mended, completion="said \ufffd"))  # fmt: skip
    event = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
    for name, halves in {
        "in escapes": (b"\\ud83d", b"\\ude00"),
        "in bytes": (b"\xf0\x9f", b"\x98\x80"),
    }.items():
        events = [event % half for half in halves]
        yield Fault("B24", f"an emoji in two chunks, {name}", streamed(stream(*events, *END, "[DONE]"), ...),
                    answers("\U0001f600"))  # fmt: skip
    yield Fault("B25", "bytes that are no text", literally(b'"said \xff\xfe"', used),
                replace(mended, completion="said \ufffd\ufffd"))  # fmt: skip
    yield Fault("B25", "control characters", literally(b'"said\\u0000\\u001b[2J"', used),
                answers("said\0\x1b[2J"))  # fmt: skip


def several_choices() -> Iterator[Fault]:
    def choices(*order: int) -> dict[str, Steps]:
        told = [
            {"index": at, "message": {"content": f"{at}"}, "finish_reason": "stop"} for at in order
        ]
        chunks = [
            {"model": "fake-model", "choices": [{**one, "delta": one["message"]}]} for one in told
        ]
        body = {"model": "fake-model", "choices": told, "usage": USED}
        return {JSON: (Step(body=body), ...), SSE: (stream(*chunks, use(), "[DONE]"), ...)}

    three = {"request.n": 3}
    yield Fault("B26", "choices out of order", choices(2, 0, 1), answers("0"), three)
    yield Fault("B26", "a choice is missing", choices(0, 1), answers("0", "choices_missing"), three)
    step = choices(0, 1)[SSE][0]
    assert isinstance(step, Step)
    cut = replace(step, cut_events=2, **GOES)
    yield Fault("B26", "cut between choices", streamed(cut, ...), fails("cut_off", 2, 2), three)
    yield Fault("B27", "another model", always(Step(content="said", model="cheaper", usage=USED)),
                answers("said", "model_differs", served_model="cheaper"))  # fmt: skip


def streams() -> Iterator[Fault]:
    cut_off = fails("cut_off", 2, 2)
    two = answers("one two")
    for events in range(len(TALK) + 1):
        for ending in ({}, GOES, {"reset": True}):
            step = stream(*DONE, cut_events=events, **ending)
            yield Fault(
                "S1",
                f"cut after {events} events, {next(iter(ending), 'closed')}",
                streamed(step, ...),
                cut_off,
            )
    yield Fault("S1", "cut once", streamed(stream(*DONE, cut_events=2)), heals(billed=1))
    yield Fault("S1", "cut inside an event", streamed(stream(*DONE, cut=150), ...), cut_off)
    yield Fault("S2", "no [DONE]", streamed(stream(*TALK, *END), ...), two)
    for name, ending in {"reset": {"reset": True}, "open": {"hang": True}, "closed": {}}.items():
        step = stream(*DONE, cut_events=len(TALK) + 2, **ending)
        yield Fault(
            "S2", f"no [DONE], {name}", streamed(step, ...), two, {"endpoint.idle_timeout": 0.3}
        )
    unknown = answers("one two", "finish_unknown", finish=None)
    yield Fault(
        "S3", "[DONE], but no finish reason", streamed(stream(*TALK, use(), "[DONE]"), ...), unknown
    )
    last = b"data: " + json.dumps(chunk({"content": " two"}, "stop")).encode()
    yield Fault(
        "S4",
        "the last event lacks its blank line",
        streamed(stream(*TALK[:2], use(), last), ...),
        two,
    )
    yield from stream_errors()
    beat: list[Any] = [
        b": OPENROUTER PROCESSING\n\n",
        b"data: : OPENROUTER PROCESSING\n\n",
        b"data:\n\n",
    ]
    mixed = [part for event in DONE for part in (*beat, event)]
    yield Fault("S6", "comments, also wrapped into data", streamed(stream(*mixed), ...), two)
    yield from stream_bytes()
    for broken in ("{", '{"choices": [', "null", "[1]"):
        step = stream(TALK[1], broken, *END, "[DONE]")
        yield Fault("S11", f"a broken chunk: {broken}, once", streamed(step), heals(billed=1))
        yield Fault("S11", f"a broken chunk: {broken}", streamed(step, ...), TWICE)
    glued = json.dumps(TALK[1]) + json.dumps(TALK[2])
    yield Fault(
        "S12", "two objects in one event", streamed(stream(glued, *END, "[DONE]"), ...), TWICE
    )
    yield Fault("S13", "[DONE] twice", streamed(stream(*DONE, "[DONE]"), ...), two)
    after = stream(*DONE, chunk({"content": " three"}))
    yield Fault("S13", "more after [DONE]", streamed(after, ...), two)
    left = stream(*DONE, b": beat\n\n", cut_events=len(DONE), hang=True)
    yield Fault("S13", "open after [DONE]", streamed(left, ...), two)
    for name, told in {
        "in every chunk": [{**event, "usage": USED} for event in (*TALK, END[0])],
        "in the chunk that ends": [*TALK, {**END[0], "usage": USED}],
        "growing": [*TALK, use({"prompt_tokens": 3, "completion_tokens": 1}), *END],
        "null, then last": [*({**event, "usage": None} for event in TALK), *END],
    }.items():
        comes = answers("one two", input_tokens=3, output_tokens=2)
        yield Fault("S14", f"usage {name}", streamed(stream(*told, "[DONE]"), ...), comes)
    yield Fault("S14", "usage never", streamed(stream(*TALK, END[0], "[DONE]"), ...),
                answers("one two", "usage_unknown", output_tokens=None))  # fmt: skip
    unknown_option = refusal(400, error("Unknown parameter: 'stream_options'."))
    yield Fault("S15", "stream_options are refused where there are none", {SSE: (unknown_option, ...)},
                RunStops("stream_options", ROWS + 1))  # fmt: skip
    yield from slow_streams()
    odd = (chunk(None), chunk({"role": "assistant", "content": None}), {"choices": None}, {"choices": [None]},
           chunk({"content": "one"}), chunk({"content": " two"}, "stop"), use())  # fmt: skip
    yield Fault("S20", "deltas that say nothing", streamed(stream(*odd, "[DONE]"), ...), two)
    said = {"role": "assistant", "content": "one two"}
    once_more = whole_of(said)
    for name, again in {"a message": once_more, "a delta": chunk(said, "stop")}.items():
        step = stream(*TALK, again, use(), "[DONE]")
        yield Fault("S20", f"the whole answer at the end, as {name}", streamed(step, ...), two)
    gap = [
        {**event, "choices": [{**c, "index": 3} for c in event["choices"]]}
        for event in (*TALK, *END)
    ]
    yield Fault("S20", "an index that is not 0", streamed(stream(*gap, "[DONE]"), ...), two)


def stream_errors() -> Iterator[Fault]:
    body = json.dumps(error(code=500)["error"]).encode()
    shapes: dict[str, Any] = {
        "data": error(code=500),
        "event: error": b"event: error\ndata: " + body + b"\n\n",
        "error:": b"error: " + body + b"\n\n",
        "empty choices": {**use(None), **error(code=503)},
    }
    for name, shape in shapes.items():
        for at, before in {"first": [], "in the middle": TALK, "last": [*TALK, END[0]]}.items():
            step = stream(*before, shape, "[DONE]")
            yield Fault("S5", f"an error as {name}, {at}", streamed(step), heals())
    vague = stream(*TALK, {"error": "it broke"})
    yield Fault("S5", "an error without a code", streamed(vague, ...), TWICE)
    quota = stream(error(code="insufficient_quota"))
    yield Fault("S5", "a quota error", streamed(quota, ...), RunStops("no credit"))


def stream_bytes() -> Iterator[Fault]:
    data = [json.dumps(event) if isinstance(event, dict) else event for event in DONE]
    two = answers("one two")
    for name, text in {
        "LF": "".join(f"data: {it}\n\n" for it in data),
        "CR": "".join(f"data: {it}\r\r" for it in data),
        "CRLF": "".join(f"data: {it}\r\n\r\n" for it in data),
        "no space": "".join(f"data:{it}\n\n" for it in data),
        "id and retry": "".join(f"id: 7\nretry: 3\nevent: message\ndata: {it}\n\n" for it in data),
        "a BOM": "\ufeff" + "".join(f"data: {it}\n\n" for it in data),
        "data over two lines": "".join(f"data: {it}\n\n".replace(", ", ",\ndata: ") for it in data),
    }.items():
        yield Fault("S7", name, streamed(raw_stream(text), ...), two)
        step = raw_stream(text, chunk=1, event_delay=1e-6)
        yield Fault("S7", f"{name}, byte by byte", streamed(step, ...), two)
    text = "héllo 世界 🎉"
    step = Step(content=text, usage=USED, chunk=1, event_delay=1e-6)
    yield Fault("S8", "characters in pieces", streamed(step, ...), answers(text))
    text = "a\u0085b\u2028c\u2029d\x0be"
    literal = json.dumps({"content": text}, ensure_ascii=False)
    event = f'data: {{"choices":[{{"index":0,"delta":{literal},"finish_reason":"stop"}}]}}\n\n'
    yield Fault("S9", "odd line ends inside a text", streamed(stream(event.encode(), use(), "[DONE]"), ...),
                answers(text))  # fmt: skip
    long = stream(chunk({"content": "x" * (1 << 20)}, "stop"), use(), "[DONE]")
    yield Fault("S10", "a line of 1 MiB", streamed(long, ...), answers("x" * (1 << 20)))


def slow_streams() -> Iterator[Fault]:
    late = fails("timeout", 2, 2)
    silent = stream(*DONE, cut_events=2, hang=True)
    yield Fault("S16", "silence in the middle, once", streamed(silent), heals(billed=1), HASTE)
    yield Fault("S16", "silence in the middle", streamed(silent, ...), late, HASTE)
    warm = stream(*TALK, *[b": beat\n\n"] * 200, event_delay=0.02)
    yield Fault("S17", "silence with heartbeats", streamed(warm, ...), late, HASTE)
    drip = stream(*DONE, chunk=1, event_delay=0.02)
    yield Fault("S18", "a byte at a time", streamed(drip, ...), late,
                {"endpoint.total_timeout": 0.2})  # fmt: skip


TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"


def transport() -> Iterator[Fault]:
    alert = Step(raw=TLS_ALERT, close=True)
    yield Fault("T3", "plain HTTP to a port with TLS", always(alert), RunStops("write https://"))
    nginx = Step(400, body=page(400, "400 No required SSL certificate was sent").body)
    wanted = RunStops("endpoint.client_cert")
    yield Fault("T3", "no certificate of the client", always(nginx), wanted)
    yield Fault("T8", "407", always(407), RunStops("asks for a name and password"))
    long = Step(headers={"Content-Security-Policy": "x" * 40_000})
    yield Fault("T15", "a head of 40 kB", always(long), RowEnds())
    yield Fault("T4", "closes without an answer, once", both(Step(close=True)), heals(billed=None))
    yield Fault("T5", "resets without an answer, once", both(Step(reset=True)), heals(billed=None))
    late, haste = fails("timeout", 2, 2), {"endpoint.total_timeout": 0.15}
    yield Fault("T6", "never answers", always(Step(hang=True)), late, haste)
    yield Fault(
        "T7", "goes on computing after we left", both(Step(hang=True)), heals(billed=1), haste
    )


def details(**detail: Any) -> Any:
    """Google's error, in a list."""
    return [error(code=400, status="X", details=[{"@type": "x"}, detail])]


def minimax(code: int) -> Any:
    return {"choices": None, "base_resp": {"status_code": code, "status_msg": "no"}}


def routed(status: int, inner: Any) -> Step:
    """What a router says of an error behind it."""
    return refusal(status, error("Provider returned error", status, metadata={"raw": inner}))


NO_CREDIT = {
    "words, 400": refusal(400, error("Your credit balance is too low", None, "invalid_request")),
    "words, 403": refusal(403, {"code": "x", "error": "The team has used all available credits"}),
    "words, 412": refusal(412, error("suspended, possibly due to reaching the monthly spending limit")),
    "words in plain text": refusal(400, "Insufficient balance"),
    "a number, 429": refusal(429, error("no", "1113")),
    "a type, 429": refusal(429, error("no", None, "exceeded_current_quota_error")),
    "a code beside the words": refusal(400, {"code": "Arrearage", "message": "Access denied"}),
    "a code and no data": refusal(403, {"code": 30001, "message": "no", "data": None}),
    "a reason": refusal(403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "no"}),
    "behind a router": routed(502, json.dumps(error("no", "insufficient_quota"))),
    "inside a 200": Step(body=minimax(1008)),
}  # fmt: skip
BAD_KEY = {
    "a reason in a list": refusal(400, details(reason="API_KEY_INVALID")),
    "words in a list": refusal(400, [error("API key not valid. Please pass a valid one.", 400)]),
    "words beside a code": refusal(400, {"code": "x", "error": "Incorrect API key provided: x**"}),
    "inside a 200": Step(body=minimax(1004)),
}
FILTERED = {
    "a string": refusal(403, {"code": "denied", "error": "Content violates usage guidelines."}),
    "flagged": refusal(403, error("no", 403, metadata={"reasons": ["x"], "flagged_input": "y"})),
    "a number": refusal(400, error("no", "1301")),
    "words": refusal(400, error("Content Exists Risk")),
    "a code": refusal(400, {"code": "DataInspectionFailed", "message": "no"}),
    "Azure's inner error": refusal(400, error(innererror={"code": "ResponsibleAIPolicyViolation"})),
    "inside a 200": Step(body=minimax(1026)),
}
TOO_LONG = {
    "xAI": refusal(400, {"code": "x", "error": "The maximum prompt length of this model is 9"}),
    "Bedrock": refusal(400, error("Input is too long for requested model.")),
    "Kimi": refusal(400, error("Your request exceeded model token limit: 8 (requested: 9)")),
    "DashScope": refusal(400, error("Range of input length should be [1, 9]")),
    "Z.ai": refusal(400, error("no", "1261")),
    "TensorRT-LLM": refusal(400, error("prompt length (9) exceeds maximum input length (8)")),
    "a router": routed(400, json.dumps(error("no", "context_length_exceeded"))),
    "a router, in words": routed(502, "prompt is too long"),
}
MOMENT = {
    "424": refusal(424, error("failed dependency")),
    "498": refusal(498, error("no capacity", "capacity_exceeded")),
    "a flex tier": refusal(429, error("no", "resource_unavailable", "resource_unavailable")),
    "too much under way": refusal(402, error("budget in flight"), Retry_After="0.01"),
    "MiniMax, 200": Step(body=minimax(1002)),
    "generated JSON": refusal(400, error("no", "json_validate_failed", failed_generation="{")),
    "a generated call": refusal(400, error("no", "tool_use_failed", failed_generation="{")),
}
SHOWN = {
    "a list": [error("shown", 400)],
    "plain text": "shown",
    "detail": {"detail": "shown"},
    "detail, deeper": {"detail": {"error": {"message": "shown"}}},
    "message and no data": {"code": 1, "message": "shown", "data": None},
    "msg": {"code": 500, "msg": "shown", "success": False},
    "a string and a code": {"code": "x", "error": "shown"},
}
WAITS = {
    "RetryInfo": details(retryDelay="0.5s"),
    "words": error("Please try again in 20ms."),
    "longer words": error("Please wait 1 second before retrying"),
    "headers in the body": error(metadata={"headers": {"X-RateLimit-Reset": "1", "Retry-After": "1"}}),
}  # fmt: skip
DAY = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "40000"}
DAYS = {
    "a header": (refusal(429, error(), **DAY), "come back after"),
    "words": (refusal(429, error("free-models-per-day")), "does not say when"),
    "words and a header": (refusal(429, error("the daily limit is reached"), **DAY), "come back after"),
    "words that say when": (refusal(429, error("Try again in 7h12m0s.")), "come back after"),
    "a number": (refusal(429, error(code="1310")), "does not say when"),
    "RetryInfo": (refusal(429, details(retryDelay="40000s")), "come back after"),
}  # fmt: skip


def accounts() -> Iterator[Fault]:
    """Whose fault it is, said in the words, codes and shapes of many providers."""
    for name, step in NO_CREDIT.items():
        yield Fault("A1", f"no credit: {name}", always(step), RunStops("no credit"))
    for name, step in BAD_KEY.items():
        yield Fault("A2", f"a bad key: {name}", always(step), RunStops("without a key"))
    for name, step in FILTERED.items():
        yield Fault("A3", f"filtered: {name}", always(step), fails("content_filter"))
    for name, step in TOO_LONG.items():
        yield Fault("A4", f"too long: {name}", always(step), fails("context_length"))
    for name, step in MOMENT.items():
        yield Fault("A5", f"the moment's: {name}", both(step), heals())
    for name, body in SHOWN.items():
        yield Fault("A6", f"said: {name}", always(refusal(400, body)), RunStops(": shown;", ROWS))
    for name, body in WAITS.items():
        yield Fault("A7", f"a wait: {name}", both(refusal(429, body)), heals())
    for name, (step, said) in DAYS.items():
        yield Fault("A8", f"a limit of days: {name}", always(step), RunStops(said))
    cap = error("max_tokens=8192 is too large: the maximum context length is 8192", 400)
    yield Fault("A9", "an output too large for every row", always(refusal(400, cap)),
                RunStops("max_tokens=8192 is too large", ROWS), {"request.max_tokens": 8192})  # fmt: skip


CORPUS = (*http(), *accounts(), *bodies(), *streams(), *transport())

ELSEWHERE = {
    "engine/test_outages.py": "H6 H9 H15 T2",
    "requests/test_bounds.py": "B17 B18 B22 S10 T3 T9 X12",
    "transport/test_secrets.py": "H10 T8 X1 X2 X3 X4 X5 X10 X13 X15",
    "transport/test_client.py": "T1 T4 X6",
    "transport/test_tls.py": "T3",
    "transport/test_proxies.py": "T8",
    "test_runner.py": "T11",
    "requests/test_prompts.py": "X7 X8",
    "readers/test_readers.py": "I1 I2 I3 I5 I6 I8",
    "planning/test_inputs_change.py": "I4",
    "store/test_power.py": "O1 O2 O5 O6 O7 P2",
    "store/test_resume.py": "O4 P1 P2 P3",
    "test_machine.py": "P4",
    "test_memory.py": "P5",
    "engine/test_retry.py": "H16 H17 H24",
    "apis/test_responses.py": "B10 S19",
    "transport/test_streams.py": "S15",
}
"""Test file -> the faults it is about, beside or in place of an entry here."""

NOT_PLAYED = {
    "T10": "needs a machine without free ports",
    "T12": "the oldest aiohttp in pyproject.toml has the fix",
    "T13": "every duration is taken from the monotonic clock",
    "T14": "probes are let out one at a time; nothing is ramped yet",
    "I7": "the oldest pyarrow in pyproject.toml has the fix; nothing is pickled",
    "O3": "needs a user who is not root",
    "O8": "needs a network file system",
    "O9": "needs more than 2 GiB of text",
    "X9": "no file is named after anything in a row",
    "X11": "comes with the reports",
    "X14": "is a matter of pyproject.toml",
}
"""Why the rest is not here."""


def main() -> None:
    """Play everything and print the table."""
    api = FakeAPI()
    print("id   transport class            attempts ok  fault")
    for fault in CORPUS:
        for name in fault.transports:
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
                played = play(api, fault, name, Path(folder))
            print(_line(fault, name, played), flush=True)
    api.close()


def _line(fault: Fault, transport: str, played: Played) -> str:
    attempts = sum(played.asked.values())
    if isinstance(fault.comes, RowEnds):
        attempts = played.asked.get(FAULTY[0], 0)
    said = wrong(fault, played)
    return (
        f"{fault.id:4} {transport:9} {_end(played):16} {attempts:>3}/{fault.comes.attempts or '-':<4}"
        f" {'NO' if said else 'ok'}  {fault.title}{said and ': '}{said}"
    )


def _end(played: Played) -> str:
    if played.exit_code not in (0, 1):
        return f"exit {played.exit_code}"
    return played.rows[0]["error_class"] or "ok"


def wrong(fault: Fault, played: Played) -> str:
    """What is not as it should be; nothing when all is."""
    if isinstance(fault.comes, RunStops):
        return _wrong_stop(fault.comes, played)
    if [row["row"] for row in played.rows] != list(range(ROWS)):
        return f"not every row once: {played.exit_code}, {played.said}"
    found = [_wrong_row(fault.comes, row, played) for row in played.rows]
    if played.exit_code != (fault.comes.status == "failed"):
        found.append(f"exit {played.exit_code}")
    return ", ".join(filter(None, found))


def _wrong_stop(comes: RunStops, played: Played) -> str:
    if (played.exit_code, played.rows) != (3, []) or comes.said not in played.said:
        return f"exit {played.exit_code}, {len(played.rows)} rows: {played.said}"
    attempts = sum(played.asked.values())
    return "" if comes.attempts in (None, attempts) else f"{attempts} attempts"


def _wrong_row(comes: RowEnds, row: dict[str, Any], played: Played) -> str:
    prompt = PROMPTS[row["row"]]
    if prompt not in FAULTY:
        comes = RowEnds(finish_reason=row["finish_reason"], flags=tuple(row["flags"]))
    expected = {
        "status": comes.status,
        "error_class": comes.error_class,
        "flags": list(comes.flags),
        "completion": answer_to(prompt) if comes.completion is OWN else comes.completion,
        "finish_reason": comes.finish_reason,
        "attempts": comes.attempts,
        **({} if comes.billed is None else {"maybe_billed_attempts": comes.billed}),
        **comes.columns,
    }
    found = [f"{key} {row[key]!r:.80}" for key, value in expected.items() if row[key] != value]
    if played.asked[prompt] != comes.attempts:
        found.append(f"{played.asked[prompt]} attempts")
    return f"row {row['row']} has {', '.join(found)}" if found else ""


if __name__ == "__main__":
    main()
