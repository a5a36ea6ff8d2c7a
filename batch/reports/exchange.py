"""What was asked for a row of a run and what was said, made anew from what the folder holds."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any

import msgspec

from batch import apis, columns
from batch.model import DEFAULT_API, Row
from batch.outcome import BadAnswer
from batch.planning import begun
from batch.readers.carried import Carried
from batch.requests.prompts import BadRow, Prompter, api_of
from batch.store.plan import Plan
from batch.store.seal import Layout


class Exchange:
    """Of the rows of one run, given as a prompt has seen them."""

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self._plan = plan
        self._layout = layout

    def prompt(self, row: dict[str, Any]) -> str | None:
        """What a row was asked, made anew from its carried columns; None where they no longer tell."""
        if row.get("request_json"):
            return str(row["request_json"])
        try:
            values = self._carried.row(row[name] for name in self._names)
            question = self._prompter.question(Row(row["row"], values, ""))
        except BadRow:
            return None
        body = question.body or {}
        asked = question.messages or body.get("messages") or body.get("input") or body.get("prompt")
        if isinstance(asked, str):
            return asked
        messages = asked if isinstance(asked, list) else ()
        return (
            "\n".join(_said(message) for message in messages if isinstance(message, dict)) or None
        )

    def last_answer(self, row: dict[str, Any]) -> str | None:
        """What the model said in a row that failed all the same; None where nothing of it was kept."""
        if row["status"] != "failed" or not row["response_json"]:
            return None
        try:
            raw = msgspec.json.decode(row["response_json"])
            choices = apis.APIS[self.api(row)].parse(raw).choices
        except (msgspec.DecodeError, BadAnswer):
            return None
        return choices[0].completion if choices else None

    def api(self, row: dict[str, Any]) -> str:
        """The API that a row asked: that of its batch line, else that of the job."""
        named = None
        if not self._plan.job.get("prompt", {}).get("user") and row.get("body") is not None:
            with suppress(BadRow):
                named = api_of(row.get("url"), apis.APIS)
        return named or str(self._plan.job.get("request", {}).get("api", DEFAULT_API))

    @property
    def _names(self) -> list[str]:
        """The columns that were carried."""
        names: list[str] = self._layout.schema.names
        return names[: len(names) - len(self._layout.own)]

    @cached_property
    def _carried(self) -> Carried:
        """What the carried columns were to a prompt."""
        return Carried(columns.carried(self._layout.schema, self._layout.own))

    @cached_property
    def _prompter(self) -> Prompter:
        job = begun.job(self._plan)
        text = msgspec.structs.replace(job.prompt, images=None, audio=None)  # files may be gone
        return msgspec.structs.replace(job, prompt=text).prompter()


def _said(message: dict[str, Any]) -> str:
    content = message.get("content")
    text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return text if message.get("role") == "user" else f"({message.get('role')}) {text}"
