"""How the files of an input are read, beyond their format: found out when a run begins, kept in its
run.json, and the same for as long as the run lasts.
"""

from __future__ import annotations

from typing import Literal

import msgspec

UTF8 = "utf-8"


class TextOptions(msgspec.Struct, frozen=True):
    """What the user sets for text files.  None: it is detected."""

    delimiter: str | None = None
    encoding: str | None = None


class Dialect(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one file of text is read.  The defaults are how text was read before there were dialects.

    `any_end`: a lone CR ends a line too; `probably` is the encoding of text that is no UTF-8, by its
    looks.  Of CSV: `delimiter`, None being that of the suffix; `sep_line`: the first line only names
    it; `spaced`: spaces before a quote mean nothing; `names` are the columns where the header's own
    names would not do.  Of JSON: whether its rows are lines, values one after another, or those of
    an array whose items begin at `offset` (of the text as UTF-8), `within` an object under that key.
    """

    encoding: str = UTF8
    any_end: bool = False
    probably: str | None = None
    delimiter: str | None = None
    sep_line: bool = False
    spaced: bool = False
    names: list[str] | None = None
    shape: Literal["lines", "values", "array"] = "lines"
    offset: int = 0
    within: str | None = None


OLD = Dialect()


class Reading(msgspec.Struct, frozen=True):
    """What was found out, or said, of text.  `empty` is what an empty cell of a CSV file means;
    `types` the columns that are carried and their types, as far as rows told them; `nested` what
    JSON text is to a prompt that an earlier run carried; `dialects` those of the files, in their
    order, and none where runs began before there were any.

    `files` is how many files there were when the run began, whose columns are united; None before
    it does.  `folders` are the columns that the names of folders give, and their types.  A run that
    began before there was that has 0 files: they are read as they are, and folders not to the bottom.
    """

    empty: Literal["null", "text"] = "null"
    types: dict[str, str] = {}
    nested: Literal["values", "text"] = "values"
    dialects: list[Dialect] = []
    files: int | None = 0
    folders: dict[str, str] = {}

    def dialect(self, file: int) -> Dialect:
        """How the file of this number is read."""
        return self.dialects[file] if file < len(self.dialects) else OLD


DEFAULT = Reading(files=None)

OF_RULES_1 = Reading(empty="text", nested="text")
"""How runs were read that began before run.json said so."""
