"""A template reads data, never Python: what it puts is a value of the row, or the row fails."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.model import Unreadable
from batch.requests.templates import BadTemplate, Template, Unrenderable
from batch.requests.templates.bounds import MOST_STEPS, MOST_TEXT
from batch.requests.templates.names import RESERVED, of_row
from batch.requests.templates.rules_1 import changed
from tests.fake_api import FakeAPI
from tests.reading import rows

METHODS = ["items", "values", "keys", "count", "title", "get", "copy", "pop", "index", "upper"]
PYTHON = ("object at 0x", "<built-in", "<function", "<bound method", "<class", "<generator")


def put(template: str, **values: Any) -> str:
    return Template(template).render(values)


def refusal(template: str, **values: Any) -> str:
    with pytest.raises(Unrenderable) as caught:
        put(template, **values)
    return str(caught.value)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", ["v", 7, [1], {"a": 1}])
def test_a_key_comes_before_a_method(name, value):
    said = value if isinstance(value, str) else json.dumps(value)
    for template in (f"{{{{ order.{name} }}}}", f'{{{{ order["{name}"] }}}}'):
        assert put(template, order={name: value}) == said
    assert put(f"{{{{ orders[0].{name} }}}}", orders=[{name: value}]) == said
    mapped = f'{{{{ orders | map(attribute="{name}") | list | first }}}}'
    assert put(mapped, orders=[{name: value}]) == said


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "order", [{"colour": "red"}, [1, 2], "text", 5, True, None, date(2026, 1, 2)]
)
def test_a_missing_key_is_an_error_even_where_python_has_an_attribute(name, order):
    for template in (f"{{{{ order.{name} }}}}", f'{{{{ order["{name}"] }}}}'):
        assert refusal(template, order=order).startswith("the prompt names order")
    assert put(f"{{{{ order.{name} | default('none') }}}}", order=order) == "none"
    assert put(f"{{{{ order.{name} is defined }}}}", order=order) == "False"


def test_a_missing_key_is_named_with_those_there_are():
    order = {"items": [], "count": 2}
    assert refusal("{{ order.colour }}", order=order) == (
        "the prompt names order.colour, which this row lacks (keys: items, count)"
    )
    assert "order.lines[2].sku" in refusal("{{ order.lines[2].sku }}", order={"lines": [1, 2, {}]})
    assert "(items: 1)" in refusal("{{ tags[1] }}", tags=["a"])
    assert "{{ text.title() }}" in refusal("{{ text.title }}", text="x")


@pytest.mark.parametrize(
    ("template", "values", "said"),
    [
        ("{{ text.strip().upper() }}", {"text": " a "}, "A"),
        ("{{ text.split(',')[1] }}", {"text": "a,b"}, "b"),
        ("{{ ', '.join(tags) }}", {"tags": ["a", "b"]}, "a, b"),
        ("{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", {"d": {"a": 1}}, "a=1;"),
        ("{% for k, v in d | items %}{{ k }}={{ v }};{% endfor %}", {"d": {"items": 1}}, "items=1;"),
        ("{{ d.get('b', 'none') }}", {"d": {"a": 1}}, "none"),
        ("{{ tags.count('a') }}", {"tags": ["a", "b", "a"]}, "2"),
        ("{{ 'a-b'.replace('-', '+') }}", {}, "a+b"),
        ("{{ '{} {:>4} {:.1f}'.format(d, 'x', 1.25) }}", {"d": [None]}, "[null]    x 1.2"),
        ("{{ '{0.items} {0[keys]}'.format(d) }}", {"d": {"items": 1, "keys": 2}}, "1 2"),
        ("{{ '%s|%5s|%.1f|%d%%' % (d, 'x', 1.25, 7) }}", {"d": [True]}, "[true]|    x|1.2|7%"),
        ("{{ '%(a)s' % d }}", {"d": {"a": [1], "b": None}}, "[1]"),
        ("{{ 'x' if no }}", {"no": False}, ""),
        ("{{ text[1:3] }}{{ text[-1] }}", {"text": "abcd"}, "bcd"),
        ("{% set n = namespace(x=1) %}{% set n.x = n.x + 1 %}{{ n.x }}", {}, "2"),
        ("{% macro f(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(1, b=3) }}", {}, "1213"),
        ("{% for n in t recursive %}{{ n.v }}{{ loop(n.c) }}{% endfor %}",
         {"t": [{"v": 1, "c": [{"v": 2, "c": []}]}]}, "12"),
        ("{% for x in xs if x %}{{ loop.index }}{{ loop.cycle('a', 'b') }}{% else %}none{% endfor %}",
         {"xs": [0, 1, 2]}, "1a2b"),
        ("{% for g in xs | groupby('k') %}{{ g.grouper }}:{{ g.list | length }};{% endfor %}",
         {"xs": [{"k": 1}, {"k": 2}, {"k": 1}]}, "1:2;2:1;"),
        ("{{ '<b>a</b>  <!-- <i> -->&amp; c' | striptags }}", {}, "a & c"),
        ("{{ xs | sum(attribute='n') }}", {"xs": [{"n": 1}, {"n": 2}]}, "3"),
        ("{{ text | truncate(7) }}", {"text": "a very long text"}, "a..."),
        ("{{ text | wordwrap(6) }}", {"text": "one two three"}, "one\ntwo\nthree"),
        ("{% filter upper %}{{ text }}{% endfilter %}", {"text": "a"}, "A"),
        ("{% set x %}[{{ text }}]{% endset %}{{ x }}", {"text": "a"}, "[a]"),
    ],
)  # fmt: skip
def test_what_jinja_offers_stays(template, values, said):
    assert put(template, **values) == said


@pytest.mark.parametrize("name", ["items", "keys"])
def test_a_value_that_has_the_name_of_a_method_is_not_called(name):
    message = refusal(f"{{% for k in d.{name}() %}}{{% endfor %}}", d={name: ["a"]})
    assert f"d.{name} is a value of the row, which cannot be called" in message


@pytest.mark.parametrize("name", ["append", "pop", "update", "to_bytes", "now", "__class__", "mro"])
@pytest.mark.parametrize("value", [[1], {"a": 1}, "text", 5, datetime(2026, 1, 2)])
def test_nothing_is_called_that_is_not_for_reading(name, value):
    assert "cannot be rendered" not in refusal(f"{{{{ value.{name}() }}}}", value=value)


NESTED = {"t": "a<b> & it's „ü“", "none": None, "yes": True, "n": [1, 2.5]}
AS_JSON = '{"t": "a<b> & it\'s „ü“", "none": null, "yes": true, "n": [1, 2.5]}'


@pytest.mark.parametrize(
    "template",
    [
        "{{ d }}", "{{ d | tojson }}", "{{ d ~ '' }}", "{{ [d] | join }}", "{{ d | string }}",
        "{{ '%s' % d }}", "{{ '%r' | format(d) }}", "{{ '{}'.format(d) }}", "{{ d | trim }}",
        "{{ '{0!r}'.format(d) }}", "{% set x %}{{ d }}{% endset %}{{ x }}", "{{ d | safe }}",
        "{{ 'a' | replace('a', d) }}", "{{ d | replace('', '') }}", "{{ ('' ~ d) | indent }}",
        "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(d) }}", "{{ [d] | map('string') | first }}",
        "{{ row.d }}", "{{ dict(d) }}", "{{ namespace(x=d).x }}",
    ],
)  # fmt: skip
def test_what_holds_values_is_put_as_json(template):
    assert put(template, d=NESTED) == AS_JSON


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ [d, (1, none)] }}", f"[{AS_JSON}, [1, null]]"),
        ("{{ d.n | map('string') }}", '["1", "2.5"]'),
        ("{{ d.keys() }}", '["t", "none", "yes", "n"]'),
        ("{{ range(3) }}", "[0, 1, 2]"),
        ("{{ 'a b'.split() }}", '["a", "b"]'),
        ("{{ d.n | tojson(indent=2) }}", "[\n  1,\n  2.5\n]"),
        ("{{ d.n | pprint }}", "[\n  1,\n  2.5\n]"),
        ("{{ {'a': d.none} }}", '{"a": null}'),
        ("{{ d.n | batch(1) | list }}", "[[1], [2.5]]"),
        ("{{ [{'k': 1}] | groupby('k') }}", '[[1, [{"k": 1}]]]'),
    ],
)
def test_lists_of_any_kind_are_json(template, said):
    assert put(template, d=NESTED) == said


MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (MOMENT, "2026-01-31T12:00:00+00:00"),
        (datetime(2026, 1, 31, 12, 0, 0, 5), "2026-01-31T12:00:00.000005"),
        (date(2026, 1, 31), "2026-01-31"),
        (time(12, 30), "12:30:00"),
    ],
)
def test_moments_are_iso_8601_everywhere(value, said):
    for template in (
        "{{ x }}",
        "{{ x ~ '' }}",
        "{{ [x] | join }}",
        "{{ '%s' % x }}",
        "{{ x | string }}",
    ):
        assert put(template, x=value) == said
    assert put("{{ {'x': x} | tojson }}", x=value) == f'{{"x": "{said}"}}'


def test_moments_have_parts_and_formats():
    assert (
        put("{{ x.year }} {{ x.strftime('%d.%m.') }} {{ '{:%H}'.format(x) }}", x=MOMENT)
        == "2026 31.01. 12"
    )
    assert put("{{ (x - y).days }}", x=MOMENT, y=datetime(2026, 1, 1, tzinfo=UTC)) == "30"


@pytest.mark.parametrize(
    ("value", "bare", "as_json"),
    [
        (True, "True", "true"),
        (1.5, "1.5", "1.5"),
        (10**20, "1" + "0" * 20, "1" + "0" * 20),
        (Decimal("1.10"), "1.10", "1.1"),
        (Decimal("5"), "5", "5"),
        (Decimal("0.1234567890123456789"), "0.1234567890123456789", '"0.1234567890123456789"'),
        (timedelta(days=1), "1 day, 0:00:00", '"1 day, 0:00:00"'),
        ('a\n"ü"', 'a\n"ü"', '"a\\n\\"ü\\""'),
    ],
)
def test_single_values_are_put_as_ever(value, bare, as_json):
    assert put("{{ x }}", x=value) == put("{{ x ~ '' }}", x=value) == bare
    assert put("{{ x | tojson }}", x=value) == as_json


@pytest.mark.parametrize(
    "template",
    ["{{ range }}", "{{ dict }}", "{{ cycler }}", "{{ joiner ~ '' }}", "{{ namespace(a=1) }}",
     "{{ self }}", "{% for x in [1] %}{{ loop }}{% endfor %}", "{{ [range] }}", "{{ row.text.upper }}",
     "{% macro f() %}{% endmacro %}{{ f }}", "{{ [range] | tojson }}", "{{ cycler('a').next }}",
     "{{ '%s' % range }}", "{{ '{}'.format(dict) }}", "{{ text.upper | string }}", "{{ raw }}",
     "{{ raw ~ 'x' }}", "{{ {'raw': raw} }}", "{{ nan | tojson }}", "{{ [nan] }}", "{{ lipsum }}",
     "{{ gone }}", "{{ gone ~ 'x' }}", "{{ [gone] }}", "{{ text ~ null }}", "{{ [null] | join }}",
     "{{ null | upper }}", "{{ '%s' % null }}", "{{ '{}'.format(null) }}", "{{ null | string }}",
     "{% for x in null %}{% endfor %}", "{{ null | join }}", "{{ null.x }}", "{{ (4).real }}",
     "{% block a %}{% endblock %}{{ self.a }}", "{{ dict.fromkeys(text) }}"],
)  # fmt: skip
def test_what_is_no_data_is_not_put(template):
    refusal(template, text="x", raw=b"x", nan=float("nan"), null=None)


def test_a_null_is_named_with_the_way_out():
    assert refusal("{{ a.b }}", a={"b": None}) == (
        "a.b is null here; `{{ a.b or '' }}` in the prompt allows that"
    )


@pytest.mark.parametrize(
    "name", ["range", "dict", "lipsum", "cycler", "joiner", "namespace", "row", "self"]
)
def test_a_column_wins_over_what_is_called_so_in_jinja(name):
    assert put(f"{{{{ {name} }}}}", **{name: "mine"}) == "mine"
    assert put(f"{{{{ {name} ~ '' }}}} {{{{ {name}[0] }}}}", **{name: [1]}) == "[1] 1"


ODD = [
    "Review Text",
    "product-desc",
    "a.b",
    "2024",
    "class",
    "in",
    'quo"te',
    "back\\slash",
    "Ü b",
    "a\nb",
]


@pytest.mark.parametrize("name", [*ODD, "items", "plain"])
def test_row_names_any_column(name):
    assert put(of_row(name), **{name: "x"}) == "x"
    assert Template(of_row(name)).named.columns == {name}
    assert of_row(name + "x")[:-3] not in refusal(of_row(name + "x"), **{name: "x"})


def test_row_is_the_whole_row():
    assert put("{{ row.text }} {{ row }}", text="x", n=None) == 'x {"text": "x", "n": null}'
    assert put("{% for k in row %}{{ k }}{{ row[k] }}{% endfor %}", a=1, b=2) == "a1b2"
    assert refusal("{{ row.Text }}", text=1) == refusal("{{ Text }}", text=1)


@pytest.mark.parametrize(
    ("written", "column", "meant"),
    [
        ("product-desc", "product-desc", '{{ row["product-desc"] }}'),
        ("a.b", "a.b", '{{ row["a.b"] }}'),
        ("Text", "text", "{{ text }}"),
        ("text", "Text", "{{ Text }}"),
        ("first_name", "First Name", '{{ row["First Name"] }}'),
        ("tetx", "text", None),
        ("commment", "comment", "{{ comment }}"),
        ("Ubung", "übung", "{{ übung }}"),
        ("review", "", None),
    ],
)
def test_the_column_that_is_meant_is_told(written, column, meant):
    message = refusal(f"x {{{{ {written} }}}} y", **{column: "x"})
    assert (f"did you mean {meant}?" in message) if meant else ("did you mean" not in message)


@pytest.mark.parametrize("written", ["First Name", "not", "a b-c", "Prix EUR", "é é"])
def test_a_name_that_is_no_word_is_met_with_the_spelling_that_works(written):
    with pytest.raises(BadTemplate) as caught:
        Template(f"a\n{{{{ {written} }}}}")
    assert "line 2" in str(caught.value)
    assert f'{{{{ row["{written}"] }}}}' in str(caught.value.hint)


@pytest.mark.parametrize(
    "broken",
    [
        "{{ text",
        "{% if %}",
        "{{ x | nosuch }}",
        "{{ 'a' 'b }}",
        "{% if x %}{{ x is nosuch }}{% endif %}",
    ],
)
def test_a_broken_template_gets_no_odd_advice(broken):
    with pytest.raises(BadTemplate) as caught:
        Template(broken)
    assert caught.value.hint is None
    assert str(caught.value).startswith("line 1 of the template: ")


@pytest.mark.parametrize(
    "source",
    ["{% for a in b %}" * 30 + "{% endfor %}" * 30, "{{ " + "(" * 2_000 + ")" * 2_000 + " }}",
     "{% macro f(a, a) %}{% endmacro %}", "\udcff", "{{ " + "[" * 150 + "]" * 150 + " }}"],
)  # fmt: skip
def test_what_python_cannot_compile_is_a_bad_template(source):
    with pytest.raises(BadTemplate):
        Template(source)


@pytest.mark.parametrize(
    ("template", "columns", "whole_row"),
    [
        (
            "{{ a }} {% if b %}{% endif %}{% for x in c %}{{ x }}{% endfor %}{{ d | upper }}",
            "abcd",
            False,
        ),
        ('{{ row["a"] }} {{ row.b }}', "ab", False),
        ("{{ row[a] }}", "a", True),
        ("{{ row }}", "", True),
        ("{% for row in a %}{{ row.b }}{% endfor %}", "a", False),
        ("{% set a = 1 %}{{ a }}", "", False),
        ("{{ a.b.c[d] }}", "ad", False),
        ("{% macro f(x) %}{{ x }}{{ a }}{% endmacro %}{{ f(b) }}", "ab", False),
        ("no column", "", False),
    ],
)
def test_a_template_tells_its_columns(template, columns, whole_row):
    named = Template(template).named
    assert (named.columns, named.whole_row) == (frozenset(columns), whole_row)


def test_what_is_only_called_need_not_be_a_column():
    assert Template("{{ range(3) }}{{ dict }}").named.words == {"range"}
    assert Template("{{ range(3) }}{{ range }}").named.words == frozenset()


FAILING = [
    "{{ 4 // n }}",
    "{% if n == 0 %}{{ text | map('nosuch') | list }}{% endif %}",
    "{{ 'x' * (1 if n else 10**9) }}",
    "{% if n == 0 %}{% for i in range(10**9) %}{% endfor %}{% endif %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{% if n == 0 %}{{ f() }}{% endif %}",
    "{{ order.items if n else order.colour }}",
]


@pytest.mark.parametrize("template", FAILING)
def test_no_template_stops_a_run(api: FakeAPI, batchmill, tmp_path, template):
    order = {"items": [1]}
    lines = [json.dumps({"text": f"t{n}", "n": n, "order": order}) for n in (1, 0, 2)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    flags = ("in.jsonl", "-m", "m", "-p", "{{ text }}\n" + template, "--base-url", api.url)
    told = batchmill("run", *flags)
    assert told.exit_code == 2
    assert told.stderr.startswith("error: in.jsonl:2: ")
    assert "(line 2 of [prompt] user)" in told.stderr
    assert api.ledger == []
    told = batchmill("run", *flags, "--on-bad-row", "record")
    assert told.exit_code == 1, told.stderr
    assert [row["error_class"] for row in rows(tmp_path / "runs/in")] == [None, "invalid_row", None]
    assert len(api.ledger) == 2


UNREADABLE = Unreadable("a date before the year 1")


@pytest.mark.parametrize(
    "template",
    ["{{ when }}", "{{ when ~ '' }}", "{{ when.year }}", "{% if when %}{% endif %}", "{{ when | tojson }}",
     "{{ [when] }}", "{{ row }}", "{{ row.when }}", "{{ when | default('x') }}", "{{ when.isoformat() }}",
     "{{ d.when }}", "{{ d }}", "{{ d.when | string }}", "{{ when == 1 }}", "{{ when or 'x' }}",
     "{% for k, v in d.items() %}{{ v }}{% endfor %}", "{% for x in when %}{% endfor %}",
     "{{ when[0] }}", "{{ [d] | map(attribute='when') | join }}", "{{ '%s' % when }}"],
)  # fmt: skip
def test_what_cannot_be_read_is_an_error_where_it_is_used(template):
    message = refusal(template, when=UNREADABLE, d={"when": UNREADABLE})
    assert "a date before the year 1" in message and "Unreadable" not in message


def test_what_cannot_be_read_is_harmless_where_it_is_not_used():
    assert put("{{ text }}{{ text | upper }}{{ row.text }}", text="x", when=UNREADABLE) == "xXx"
    assert put("{{ when is defined }}", when=UNREADABLE) == "True"


@pytest.mark.second_lane
@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 10**9 }}", "{{ 10**9 * 'x' }}", "{{ [0] * 10**9 }}", "{{ (0,) * 10**9 }}",
        "{{ 10**(10**10) }}", "{{ 2**1000000 * 2**1000000 }}",
        "{{ 'x' | center(10**9) }}", "{{ 'x'.center(10**9) }}", "{{ 'x'.ljust(10**9) }}",
        "{{ 'x'.rjust(10**9, '-') }}", "{{ '1'.zfill(10**9) }}", "{{ '\\t'.expandtabs(10**9) }}",
        "{{ 'x' | indent(10**9, true) }}", "{{ '%1000000000d' % 1 }}", "{{ '%.1000000000f' % 1 }}",
        "{{ '%*d' % (10**9, 1) }}", "{{ '%1000000000s' | format('x') }}",
        "{{ '{:1000000000}'.format(1) }}", "{{ '{:{}}'.format(1, 10**9) }}",
        "{{ '{:.1000000000f}'.format(1.5) }}", "{{ range(10**9) }}", "{{ range(10**30) | list }}",
        "{{ range(10**6) | map('string') | join | length }}{{ range(2) | list }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{% for i in range(2000) %}{% for j in range(2000) %}{% endfor %}{% endfor %}",
        "{% for i in range(2000) %}{% for j in range(2000) if j == -1 %}{% endfor %}{% endfor %}",
        "{% for i in range(2000) %}{{ range(2000) | sum }}{% endfor %}",
        "{% for i in range(9) %}{% set x = range(10**5) | select('odd') | list %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(30) }}",
        "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
        "{{ [1, 2, 3] | batch(10**9, 'x') | list }}", "{{ [1, 2, 3] | slice(10**9) | list }}",
        "{{ (['x' * 10**6] * 100) | join }}",
        "{{ ', '.join(['x' * 10**6] * 100) }}", "{{ ('x' * 10**6).replace('x', 'y' * 100) }}",
        "{{ ('x' * 10**6) | replace('', 'y' * 100) }}",
        "{{ ('a' * 10**6).translate({97: 'b' * 100}) }}",
        "{{ ('a' * 10**6) | wordwrap(1) }}", "{{ ('a ' * 10**6) | wordwrap(1, wrapstring='-' * 100) }}",
        "{{ 5 | round(-10**9) }}", "{{ 5.5 | round(10**9, 'ceil') }}", "{{ [[1]] | tojson(indent=10**9) }}",
        "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
        "{{ n.x }}",
        "{% set n = namespace(x=[]) %}{% set m = namespace(x=[]) %}{% for i in range(60) %}"
        "{% set n.x = [n.x, n.x] %}{% set m.x = [m.x, m.x] %}{% endfor %}{{ n.x == m.x }}",
        "{% set n = namespace(x='x') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x='x') %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x=3) %}{% for i in range(40) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "{% set n = namespace(x='') %}{% for i in range(10**6) %}{% set n.x = n.x ~ 'xy' %}{% endfor %}",
        "{% for i in range(10**5) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% set a %}{% for i in range(10**5) %}{{ 'x' * 1000 }}{% endfor %}{% endset %}",
        "{% macro f() %}{% for i in range(10**5) %}" + "x" * 1000 + "{% endfor %}{% endmacro %}{{ f() }}",
        "{% for i in range(10**5) %}{% set x = (text * 1000) | upper %}{% endfor %}",
        "{% for i in range(10**5) %}{% set x = (text * 1000)[1:] %}{% endfor %}",
        "{% set t = text * 10**6 %}{% for i in range(10**5) %}{% if 'z' in t %}{% endif %}{% endfor %}",
        "{% set t = 'x ' * 10**6 * 8 %}{{ t.split() | length }}",
        "{{ range(10**5) | map('center', 10**5) | join }}",
        "{{ ([[1] * 1000] * 2000) | sum(start=[]) | length }}",
        "{{ 'x' | urlize(target='t' * 10**6) }}",
        "{{ (')' * 10**5 ~ 'x)') | urlize }}",
        "{{ (' ' * 10**6) | wordwrap(1) }}",
        "{% set n = namespace(t=()) %}{% for i in range(60) %}{% set n.t = (n.t, n.t) %}{% endfor %}"
        "{{ {n.t: 1} }}",
        "{% set n = namespace(t=()) %}{% for i in range(60) %}{% set n.t = (n.t, n.t) %}{% endfor %}"
        "{{ {}.get(n.t) }}",
        "{% for i in range(10**5) %}{% set x = 2**60000 %}{% endfor %}",
    ],
)  # fmt: skip
def test_no_template_takes_more_than_a_row_may(template):
    assert "cannot be rendered" in refusal(template, text="x" * 10)


@pytest.mark.second_lane
def test_a_million_steps_and_16_mib_are_not_too_much():
    assert put(f"{{% for i in range({MOST_STEPS}) %}}{{% set x = i ~ '' %}}{{% endfor %}}x") == "x"
    assert len(put("{{ text }}", text="x" * MOST_TEXT)) == MOST_TEXT
    assert len(put("{{ text | trim }}", text="x" * MOST_TEXT)) == MOST_TEXT
    for template in ("{{ text }}", "{{ text | trim }}", "{{ text }}{{ text[:0] }}"):
        assert "16 MiB" in refusal(template, text="x" * MOST_TEXT + "y")
        assert "16 MiB" in refusal(template, text="ü" * (MOST_TEXT // 2 + 1))


def test_a_row_may_be_large_and_looked_at_often():
    text = "word " * 20_000
    often = "{% for i in range(1000) %}{% if 'x' in text or text.startswith('x') %}{% endif %}{% endfor %}"
    assert (
        put(often + "{{ text | trim | upper | replace('W', 'w') | length }}", text=text) == "99999"
    )
    html = "<p>a</p> " * 50_000
    assert put("{{ html | striptags | length }}", html=html) == "99999"


@pytest.mark.parametrize(
    "template",
    [
        "{{ text | dictsort }}", "{{ d | dictsort(by='x') }}", "{{ d | map }}",
        "{{ d | map(attribute='x', y=1) }}",
        "{{ text | round }}", "{{ 1 // 0 }}", "{{ 1.0 % 0 }}", "{{ text is divisibleby(0) }}",
        "{{ text | truncate(1) }}", "{{ text | map('nosuch') | list }}", "{{ [] | first }}", "{{ [] | max }}",
        "{{ [1, 'a'] | sort }}", "{{ [{}] | unique | list }}", "{{ {[]: 1} }}", "{{ d | xmlattr }}",
        "{{ '%d' % text }}", "{{ '%q' % 1 }}", "{{ '{x}'.format() }}", "{{ '{0}'.format() }}",
        "{{ '%(x)s' % d }}", "{{ '%s %s' % 1 }}", "{{ '%s' % (1, 2) }}", "{{ text.index('z') }}",
        "{{ text.encode('nosuch') }}", "{{ raw.decode() }}", "{{ '\\ud800' }}", "{{ '%c' % 0xD800 }}",
        "{{ 2 ** 0.5 ** 99999 ** text }}", "{{ (-8) ** 0.5 }}", "{{ (1e308 * 10) | int }}",
        "{{ when.strftime(1) }}",
        "{{ when.replace(month=13) }}", "{{ cycler() }}", "{{ dict(1) }}", "{{ text() }}", "{{ none() }}",
        "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% set text.x = 1 %}",
        "{% for a, b in [1] %}{% endfor %}", "{{ deep | tojson }}", "{{ deep }}", "{{ big }}",
        "{{ range(1, 2, 0) }}", "{{ text | batch(0) | list }}{{ 'x' | slice(0) | list }}", "{{ caller() }}",
        "{{ [1] | random('x') }}", "{{ text | int(base=99) }}{{ 5 | abs(1) }}", "{{ text < 1 }}",
        "{{ -text }}",
    ],
)  # fmt: skip
def test_whatever_goes_wrong_is_the_rows_fault(template):
    deep: Any = []
    for _ in range(2_000):
        deep = [deep]
    values = {
        "text": "x",
        "d": {"a b": 1},
        "raw": b"\xff",
        "when": MOMENT,
        "deep": deep,
        "big": 10**5000,
    }
    refusal(template, **values)


def test_the_line_of_the_template_is_told():
    for template in (
        "a\nb\n{{ text + 1 }}",
        "a\n{% if text %}\n{{ 1 // 0 }}\n{% endif %}",
        "\n\n{{ text.x }}",
    ):
        with pytest.raises(Unrenderable) as caught:
            put(template, text="x")
        assert caught.value.line == 3


KEYS = st.one_of(
    st.sampled_from([*METHODS, "__class__", "__init__", "real", "a b", "ü", "x", "0", "mro", ""]),
    st.text(max_size=3),
)
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
    ),
    lambda inside: st.one_of(
        st.lists(inside, max_size=3), st.dictionaries(KEYS, inside, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def walks(draw: st.DrawFn) -> tuple[dict[str, Any], list[str | int]]:
    """A row, and a way into it, which may lead nowhere."""
    row = draw(st.dictionaries(KEYS, JSON, min_size=1, max_size=4))
    at: Any = row
    way: list[str | int] = []
    for _ in range(draw(st.integers(1, 4))):
        there: list[Any] = (
            list(at)
            if isinstance(at, dict)
            else list(range(len(at)))
            if isinstance(at, list)
            else []
        )
        goes_on = bool(there) and draw(st.integers(0, 4)) > 0
        here: Any = st.sampled_from(there) if goes_on else KEYS
        step = draw(here)
        way.append(step if way else str(step))
        at = walked(at, way[-1:])
    return row, way


def walked(value: Any, way: list[str | int]) -> Any:
    """What a plain walk finds; None where there is nothing."""
    for step in way:
        try:
            value = value[step] if isinstance(value, dict) or isinstance(step, int) else None
        except (KeyError, IndexError, TypeError):
            return None
    return value


def spelled(way: list[str | int], dotted: bool) -> str:
    """The way as a template has it."""
    first, *rest = way
    word = isinstance(first, str) and first.isidentifier() and first not in RESERVED
    written = str(first) if word and dotted else f"row[{json.dumps(first, ensure_ascii=False)}]"
    for step in rest:
        short = dotted and isinstance(step, str) and step.isidentifier()
        written += f".{step}" if short else f"[{json.dumps(step, ensure_ascii=False)}]"
    return written


SHAPES = [
    "{{ WAY }}",
    "{{ WAY ~ '' }}",
    "{{ [WAY] | join }}",
    "{{ WAY | string }}",
    "{{ '%s' | format(WAY) }}",
    "{% set x = WAY %}{{ x }}",
]


@settings(deadline=None)
@given(walks(), st.booleans(), st.sampled_from(SHAPES))
def test_what_is_put_is_what_a_plain_walk_finds_or_the_row_fails(found, dotted, shape):
    row, way = found
    value = walked(row, way)
    try:
        said = put(shape.replace("WAY", spelled(way, dotted)), **row)
    except Unrenderable:
        assert value is None or "row" in row
        return
    nested = isinstance(value, list | dict)
    assert said == (json.dumps(value, ensure_ascii=False) if nested else str(value))
    assert not any(python in said and python not in repr(row) for python in PYTHON)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(min_size=1), JSON, max_size=4),
    st.text(alphabet="{}%#abc.|[]'()~ \n", max_size=30),
)
def test_no_text_for_a_template_raises_anything_else(row, source):
    with suppress(BadTemplate, Unrenderable):
        put(source, **row)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ order.items }}", "the attribute .items"),
        ("{% if order.colour %}{% endif %}", "the attribute .colour"),
        ("{% for k in d.items() %}{% endfor %}", "the attribute .items"),
        ("{{ order | tojson }}", "tojson"),
        ("{{ order | attr('x') }}", "attr"),
        ("{{ text.split() }}", "a list that is put as it is"),
        ("{{ [a, b] ~ '' }}", "a list that is put as it is"),
        ("{{ tags | sort if tags else '' }}", "a list that is put as it is"),
        ("{{ self }}", "self"),
        ('{{ row["a b"] }}', "row"),
    ],
)
def test_what_meant_something_else_by_the_first_rules_is_told(template, said):
    assert said in list(changed(template))


@pytest.mark.parametrize(
    "template",
    [
        "{{ text }} {{ text | trim | upper }} {{ a ~ b }} {{ n + 1 }} {{ '%s' % a }}",
        "{{ text.strip() }} {{ text[:100] }} {{ tags[0] }} {{ order['items'] }}",
        "{% for tag in tags %}{{ loop.index }}: {{ tag }}{% endfor %}{{ tags | join(', ') }}",
        "{% set n = namespace(x=1) %}{% set n.x = n.x + 1 %}{{ n.x }}",
        "{% if x in ['a', 'b'] %}{{ text or 'none' }}{% endif %}{{ orders | map('upper') | join }}",
        "{{ text.split() | first }} {{ xs | selectattr('items') | list | length }}",
    ],
)
def test_what_means_the_same_as_ever_is_not_told(template):
    assert list(changed(template)) == []
