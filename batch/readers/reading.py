"""How the files of an input are read, beyond their format: found out when a run begins, kept in its
run.json, and the same for as long as the run lasts.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Reading(msgspec.Struct, frozen=True):
    """What was found out, or said, of text.  `empty` is what an empty cell of a CSV file means;
    `types` the columns that are carried and their types, as far as rows told them; `nested` what
    JSON text is to a prompt that an earlier run carried.

    `files` is how many files there were when the run began, whose columns are united; None before
    it does.  `folders` are the columns that the names of folders give, and their types.  A run that
    began before there was that has 0 files: they are read as they are, and folders not to the bottom.
    """

    empty: Literal["null", "text"] = "null"
    types: dict[str, str] = {}
    nested: Literal["values", "text"] = "values"
    files: int | None = 0
    folders: dict[str, str] = {}


DEFAULT = Reading(files=None)

OF_RULES_1 = Reading(empty="text", nested="text")
"""How runs were read that began before run.json said so."""
