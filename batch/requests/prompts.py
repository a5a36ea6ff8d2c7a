"""A row -> the question it asks.

With a template (`[prompt]`), a row is the columns it names.  Without one the row speaks for itself:
an OpenAI batch line, a column `messages`, or a column `prompt`.  A missing or null column is an
error, not a hole in the prompt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import msgspec

from batch import json_text
from batch.errors import JobError
from batch.model import DEFAULT_API, Row, Spoken, Unreadable
from batch.requests.bare_bodies import bare_body, passed_over
from batch.requests.media import Media, Unusable
from batch.requests.templates import BadTemplate, Template, Unrenderable


class Prompt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[prompt]` of a job; `file` holds the user's part, and becomes `user` when the job is read.

    `shared` is the beginning of the user's part that several rows have in common, such as a document.
    `images` and `audio` are columns, `files_from` the folders whose files rows may name.  With the
    `cache` of servers in mind, rows that begin alike wait for the first of them, at most
    `leader_patience` seconds.
    """

    system: str | None = None
    shared: str | None = None
    user: str | None = None
    file: str | None = None
    images: str | list[str] | None = None
    audio: str | list[str] | None = None
    files_from: list[str] | None = None
    cache: Literal["auto", "off"] = "auto"
    leader_patience: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 10.0


class Question(msgspec.Struct, frozen=True, gc=False):
    """What one row asks: messages, or a whole body of its own, and the API it names, if it does.
    `shared` is how many characters of the user's text other rows may begin with, too.
    """

    messages: list[dict[str, Any]] | None = None
    body: dict[str, Any] | None = None
    api: str | None = None
    custom_id: str | None = None
    shared: int = 0


class BadRow(ValueError):
    """This row asks nothing that could be sent.  The text says why, without the place."""


BETWEEN = "\n\n"
"""What stands between `shared` and the user's part."""

APIs = Mapping[str, Spoken]
NO_APIS: APIs = {}


class Prompter:
    """Makes a question of every row, by one job's templates."""

    def __init__(
        self,
        prompt: Prompt,
        id_column: str | None = None,
        *,
        system_wins: bool = False,
        api: str = DEFAULT_API,
        apis: APIs = NO_APIS,
    ) -> None:
        """`system_wins` tells that the system's part stands in place of what rows bring as theirs;
        `api` is that of rows which name none, `apis` are those that may be named.  Raises JobError
        for a template that does not parse, and for `shared` without `user`.
        """
        if prompt.shared is not None and prompt.user is None:
            raise JobError("[prompt] shared comes before the user's part: give user, or file, too")
        self._system_wins = system_wins and prompt.system is not None
        self._api = api
        self._apis = apis
        self._id_column = id_column
        self._templates: list[tuple[str, Template]] = [
            (role, _read(role, source))
            for role, source in (("system", prompt.system), ("user", prompt.user))
            if source is not None
        ]
        self._shared = None if prompt.shared is None else _read("shared", prompt.shared)
        self._has_user = prompt.user is not None
        self._silent = self._has_user and not f"{prompt.shared or ''}{prompt.user}".strip()
        self._media = Media(_names(prompt.images), _names(prompt.audio), prompt.files_from or ())
        self.reads_files = bool(self._media)
        """Whether a question may take a while: then ask for it in a thread."""

    @property
    def templated(self) -> bool:
        """Whether the job says what is asked; if not, every row speaks for itself."""
        return self._has_user

    def columns(self) -> frozenset[str]:
        """The columns the templates name, and those that pictures and sound come from."""
        named = (template.named.columns - template.named.words for template in self._all)
        return self._media.columns.union(*named)

    def same_for_all(self, columns: Collection[str]) -> bool:
        """Whether every row with these columns is asked the same, as the templates name none."""
        named = [template.named for template in self._all]
        words = frozenset().union(*(each.words for each in named))
        names_one = self.columns() or words.intersection(columns)
        return self._has_user and not names_one and not any(each.whole_row for each in named)

    def question(self, row: Row) -> Question:
        """What `row` asks.  Raises BadRow."""
        if row.fault is not None:
            raise BadRow(row.fault)
        custom_id = self.custom_id(row.values)
        made = self._templated(row.values, custom_id) if self._has_user else None
        question = made or self._spoken(row, custom_id)
        return self._with_media(question, row) if self.reads_files else question

    @property
    def _all(self) -> list[Template]:
        """Every template of the job."""
        shared = [] if self._shared is None else [self._shared]
        return [*shared, *(template for _, template in self._templates)]

    def _templated(self, values: dict[str, Any], custom_id: str | None) -> Question:
        """What the job's templates make of a row."""
        messages = self._rendered(values)
        if self._shared is None:
            head = self._templates[-1][1].head
            return Question(messages=messages, custom_id=custom_id, shared=head)
        try:
            before = self._shared.render(values) + BETWEEN
        except Unrenderable as error:
            raise _unrenderable("shared", error) from None
        messages[-1]["content"] = before + messages[-1]["content"]
        return Question(messages=messages, custom_id=custom_id, shared=len(before))

    def _spoken(self, row: Row, custom_id: str | None) -> Question:
        """A row that brings its own request."""
        values = row.values
        if isinstance(body := _own(row, "body"), dict):
            api = api_of(values.get("url"), self._apis)
            if self._system_wins:
                body = self._with_system(body, self._rendered(values), api or self._api)
            return Question(body=body, api=api, custom_id=custom_id)
        if (body := bare_body(values, self._id_column)) is not None:
            return self._bare(row, body, custom_id)
        before = self._rendered(values)
        messages = _own(row, "messages")
        if isinstance(messages, list) and messages:
            if self._system_wins:
                messages = _without_system(messages)
            return Question(messages=[*before, *messages], custom_id=custom_id)
        prompt = _readable(values, "prompt")
        if isinstance(prompt, str) and prompt:
            return Question(
                messages=[*before, {"role": "user", "content": prompt}], custom_id=custom_id
            )
        raise BadRow(
            "no prompt: give one with -p or [prompt] user, or a column `prompt`, `messages` or `body`"
            f" (columns: {', '.join(values) or 'none'})"
        )

    def _bare(self, row: Row, body: dict[str, Any], custom_id: str | None) -> Question:
        """A row that is a request body; a system's part of the job is put before one without."""
        body = {name: _own(row, name) for name in body}
        if row.padded:
            body = {name: value for name, value in body.items() if value is not None}
        spoken = self._apis.get(self._api)
        asked_in = spoken.ASKED_IN if spoken else ()
        if not body.get("messages") and not body.get("input"):
            said = {"role": "user", "content": body["prompt"]}
            if asked_in[:1] == ("prompt",) or not isinstance(body["prompt"], str):
                return Question(body=body, custom_id=custom_id)
            body = {name: value for name, value in body.items() if name != "prompt"}
            body["messages"] = [said]
        elif not body.get("messages") and "input" not in asked_in:
            takers = [
                f"--api {name}" for name, api in self._apis.items() if "input" in api.ASKED_IN
            ]
            way = " or ".join(sorted(takers))
            raise BadRow(f"its `input` is no question of the API {self._api!r}; write {way}")
        system = self._rendered(row.values)
        messages = body.get("messages")
        alone = not isinstance(messages, list) or not messages or not _is_by_system(messages[0])
        if system and (self._system_wins or (alone and spoken and spoken.SYSTEM_IN)):
            body = self._with_system(body, system, self._api)
        return Question(body=body, custom_id=custom_id)

    def passed_over(self, row: Row) -> list[str]:
        """The columns of a row with its own messages that look like parameters and are not sent."""
        speaks = not self._has_user and row.values.get("body") is None
        if not speaks or bare_body(row.values, self._id_column) is not None:
            return []
        return passed_over(row.values)

    def _with_system(self, body: dict[str, Any], system: list[Any], api: str) -> dict[str, Any]:
        """A row's own body, in which the system's part is ours.  Raises BadRow where it has no
        place.
        """
        if isinstance(messages := body.get("messages"), list):
            return {**body, "messages": [*system, *_without_system(messages)]}
        spoken = self._apis.get(api)
        if spoken is None or spoken.SYSTEM_IN in (None, "messages"):
            raise BadRow(f"the system's part (-s) has no place in a body of the API {api!r}")
        made = {**body, spoken.SYSTEM_IN: system[0]["content"]}
        if isinstance(items := body.get(spoken.ASKED_IN[0]), list):
            made[spoken.ASKED_IN[0]] = _without_system(items)
        return made

    def _with_media(self, question: Question, row: Row) -> Question:
        """The question with the row's pictures and sound after the text of its last user message."""
        values = row.values | {
            name: _decoded(_readable(row.values, name))
            for name in self._media.columns & row.values.keys()
        }
        try:
            parts = self._media.parts(values, row.folder)
        except Unusable as fault:
            raise BadRow(str(fault)) from None
        if not parts:
            return question
        if question.messages is None:
            raise BadRow("a row with a `body` brings its own pictures; leave out images and audio")
        messages = list(question.messages)
        spoken = [at for at, message in enumerate(messages) if _is_by_user(message)]
        if not spoken:
            raise BadRow("there is no message of the user to show pictures in")
        content = messages[spoken[-1]].get("content")
        text = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        if self._silent:  # the pictures speak for themselves
            text = []
        messages[spoken[-1]] = {**messages[spoken[-1]], "content": [*text, *parts]}
        return msgspec.structs.replace(question, messages=messages)

    def _rendered(self, values: dict[str, Any]) -> list[dict[str, Any]]:
        messages = []
        for role, template in self._templates:
            try:
                content = template.render(values)
            except Unrenderable as error:
                raise _unrenderable(role, error) from None
            messages.append({"role": role, "content": content})
        return messages

    def custom_id(self, values: dict[str, Any]) -> str | None:
        """What the row calls itself, None where it does not.  Raises BadRow."""
        if self._id_column is None:
            value = _readable(values, "custom_id")
        elif self._id_column in values:
            value = _readable(values, self._id_column)
        else:
            raise BadRow(
                f"id_column is {self._id_column!r}, which this row lacks (columns: {', '.join(values)})"
            )
        return None if value is None else str(value)


def _read(role: str, source: str) -> Template:
    try:
        return Template(source)
    except BadTemplate as error:
        raise JobError(f"[prompt] {role}: {error}", hint=error.hint) from None


def _unrenderable(role: str, error: Unrenderable) -> BadRow:
    where = "" if error.line is None else f" (line {error.line} of [prompt] {role})"
    return BadRow(f"{error}{where}")


def _names(given: str | list[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else given or []


def _readable(values: dict[str, Any], name: str) -> Any:
    """A value of the row, None where there is none.  Raises BadRow for one that cannot be read."""
    value = values.get(name)
    if value is None or isinstance(value, str):
        return value
    for leaf in json_text.leaves(value):
        if isinstance(leaf, Unreadable):
            raise BadRow(leaf.why)
    return value


def _own(row: Row, name: str) -> Any:
    """What a row brings of its own request, without the nulls that Arrow pads structs with."""
    value = _readable(row.values, name)
    return _unpadded(value) if row.padded and not isinstance(value, str) else _decoded(value)


def _unpadded(value: Any) -> Any:
    """A null `content` stays in what the assistant said: it may have called a tool."""
    if isinstance(value, list):
        return [_unpadded(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _unpadded(inner) for key, inner in value.items() if inner is not None}
    if value.get("role") == "assistant" and "content" in value:
        return {key: kept.get(key) for key in value if key in kept or key == "content"}
    return kept


def _without_system(messages: list[Any]) -> list[Any]:
    """`messages` without what the system says before all others."""
    said = (at for at, message in enumerate(messages) if not _is_by_system(message))
    return messages[next(said, len(messages)) :]


def _is_by_system(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in ("system", "developer")


def _is_by_user(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "user"


def _decoded(value: Any) -> Any:
    """Nested values are JSON text in CSV and in many Parquet files."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json_text.decode(value)
    except msgspec.DecodeError:
        return value


def api_of(url: Any, apis: APIs) -> str | None:
    """The one of `apis` that the `url` of a batch line means, None where there is no url.  Raises
    BadRow for one that is none of ours, which would be asked, and paid for, at another.
    """
    if not isinstance(url, str) or not url:
        return None
    path = url.partition("?")[0].rstrip("/")
    for name, api in apis.items():
        if path.endswith(api.PATH):
            return name
    known = ", ".join(api.PATH for api in apis.values())
    raise BadRow(f"url: {url!r} is no API that is spoken here (known: {known})")
