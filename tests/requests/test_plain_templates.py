"""Texts and names of columns are told without Jinja, and mean what they mean to Jinja."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.requests.templates import Template, plain
from batch.requests.templates.compiled import Compiled
from batch.requests.templates.names import RESERVED
from tests.program import ROOT

PIECES = [
    *(
        "{",
        "}",
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "{{ a }}",
        "{{größe}}",
        "{{\tℌ\n}}",
        "{{ ª_1 }}",
    ),
    *(
        "a",
        "größe",
        "1",
        "_",
        " ",
        "\n",
        "\r\n",
        "-",
        "+",
        ".",
        "|",
        "'",
        '"',
        "#",
        "range",
        "\ud800",
    ),
    *(f"{{{{ {word} }}}}" for word in sorted(RESERVED | {"range", "class", "__", "environment"})),
]
# no two names are one by NFKC, as `a` and `ª` are: Jinja takes these for one column
VALUES = {"a": "A", "größe": "", "ª_1": "{{ a }}", "ℌ": "\r\n", "row": "R", "class": "C"}


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("", []),
        ("{{ text }}", [("", "text")]),
        ('Say {"is": "{{text}}"}, {{größe}}.\n', [
            ('Say {"is": "', None), ("", "text"), ('"}, ', None), ("", "größe"), (".\n", None),
        ]),
        ("{{ a }}\r\n\r{{ b }}", [("", "a"), ("\n\n", None), ("", "b")]),
        ("50 % }} of {{ a }}{{ b }}", [("50 % }} of ", None), ("", "a"), ("", "b")]),
    ],
)  # fmt: skip
def test_texts_and_columns_are_told(source, parts):
    assert plain.parts(source) == parts


@pytest.mark.parametrize(
    "source",
    [
        *("{{{ a }}", "{{ a.b }}", "{{- a }}", "{{ a|trim }}", "{# a #}", "{% raw %}{{ a }}{% endraw %}"),
        *("{{ row }}", "{{ not }}", "{{ 1a }}", "{{ a", "{{ }}", "\udc00", "{{ 'a' }}"),
    ],
)  # fmt: skip
def test_what_is_more_is_left_to_jinja(source):
    assert plain.parts(source) is None


@settings(max_examples=1_000)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_a_plain_template_means_what_it_means_to_jinja(source):
    if plain.parts(source) is None:
        return
    ours, theirs = Template(source), Compiled(source)
    assert (ours.named, ours.head) == (theirs.named, theirs.head)
    values = {**VALUES, **dict.fromkeys(ours.named.columns - VALUES.keys(), "x")}
    assert ours.render(values) == theirs.render(values)


def test_a_plain_template_needs_no_jinja():
    said = (
        "import sys; from batch.requests.templates import Template; "
        "print(Template('Is {{ a }}?').render({'a': 'it'}), 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "Is it? False\n", done.stderr
