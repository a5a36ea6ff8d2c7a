"""A prompt that names no column: every row would be asked, and paid for, the same.

It is hardly ever meant, so it wants a word (`--same-prompt`); mostly a column is named in the way of
another language, which is told here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import msgspec

from batch import templates
from batch.prompts import Prompt, Prompter

SENDS = "--same-prompt sends it as it is"

OTHER_LANGUAGES = (
    r"\$\{{\s*{0}\s*\}}",  # shells, JavaScript
    r"#\{{\s*{0}\s*\}}",
    r"(?<!\{{)\{{\s*{0}\s*\}}(?!\}})",  # str.format of Python, f-strings
    r"%\(\s*{0}\s*\)[sdr]",  # % of Python
    r"<\s*{0}\s*>",
    r"\[\s*{0}\s*\]",
    r"\${0}\b",
)
"""How templates of other kinds name a value; {0} stands for its name."""


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with the user's part, and what to do."""

    problem: str
    way_out: str


def fault(prompt: Prompt, prompter: Prompter, columns: Collection[str]) -> Fault | None:
    """Why a prompt is hardly meant, for rows with these columns."""
    written = prompt.user or ""
    for number in templates.places(written):
        if number.isdecimal() and number in columns:
            problem = f"{{{{ {number} }}}} is the number, and there is a column of that name"
            return Fault(problem, f"write {templates.of_row(number)}; {SENDS}")
    if not prompter.same_for_all(columns):
        return None
    way_out = next(_meant(written, prompt.system or "", columns), None)
    known = templates.listed(columns)
    way_out = way_out or f"{{{{ column }}}} stands for a value of the row (columns: {known})"
    problem = "it names no column, so that every row would be asked the same"
    return Fault(problem, f"{way_out}; {SENDS}")


def _meant(user: str, system: str, columns: Collection[str]) -> Iterator[str]:
    """What to write instead, the best guess first."""
    if re.fullmatch(r"@\S.*", user.strip()):
        yield "--prompt-file FILE reads a prompt from a file"
    for written in (user, system):
        for place in templates.places(written):
            here = f"{{{{ {place} }}}}"
            name = place.strip("'\"")
            if name in columns and (meant := templates.place_of(name)) != here:
                yield f"write {meant} where {here} stands"
        for column in columns:
            for pattern in OTHER_LANGUAGES:
                found = re.search(pattern.format(re.escape(column)), written, re.IGNORECASE)
                if found:
                    yield f"write {templates.place_of(column)} where {found[0]} stands"
