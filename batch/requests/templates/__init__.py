"""Templates of prompts: Jinja2 that reads data, never Python.

`{{ order.items }}` is the key of that name, a value is put as text or JSON and never as Python writes
it, what is not there is an error in words, and no template takes more than a row may: whatever it
does is that row's fault.  `{{ row["Review Text"] }}` names any column.

Asked by `prompts.py`: a Template renders rows and tells which columns it names.
"""

from __future__ import annotations

from batch.requests.templates.names import listed, of_row, place_of, places
from batch.requests.templates.template import BadTemplate, Template, Unrenderable

__all__ = [
    "BadTemplate",
    "Template",
    "Unrenderable",
    "listed",
    "of_row",
    "place_of",
    "places",
]
