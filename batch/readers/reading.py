"""How the files of an input are read, beyond their format: found out when a run begins, kept in its
run.json, and the same for as long as the run lasts.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Reading(msgspec.Struct, frozen=True):
    """What was found out, or said, of text.  `empty` is what an empty cell of a CSV file means;
    `types` the columns that are carried and their types, as far as rows told them.
    """

    empty: Literal["null", "text"] = "null"
    types: dict[str, str] = {}


DEFAULT = Reading()

OF_RULES_1 = Reading(empty="text")
"""How runs were read that began before run.json said so."""
