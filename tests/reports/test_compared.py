"""Two runs side by side, or runs and the truth: what is joined, what counts, and how it is shown."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from batch.cli import batchmill as program
from batch.errors import Refused, UsageError
from batch.renderers import compared_html, compared_table
from batch.reports import compared
from batch.runs import Run
from tests.fake_api import Step
from tests.reading import asking, ran, texts, until, write
from tests.reports.test_report import HOSTILE, Page

LABELS = ["positive", "negative", "mixed"]
REFUSAL = Step(400, body={"error": {"message": "no"}})
SCHEMA = {
    "type": "object",
    "properties": {
        "sentiment": {"enum": [*LABELS, "other", None]},
        "stars": {"type": ["integer", "null"]},
        "clear": {"type": "boolean"},
        "about": {"type": "object", "properties": {"product": {"type": "string"}}},
        "words": {"type": "array", "items": {"type": "string"}},
    },
}
WHOLE = {"sentiment": "mixed", "stars": 3, "clear": True, "about": {"product": "tea"}, "words": []}
FIELDS = ["parsed.sentiment", "parsed.stars", "parsed.clear", "parsed.about.product"]


@pytest.fixture
def made(api, tmp_path):
    """Makes a run of these answers: what they say that is not in WHOLE (a text is a whole answer, None a
    row that fails).  Rows are called r0, r1 … or by `ids`.
    """

    def made(name, answers, ids=None, schema=SCHEMA, **more):
        names = [f"r{row}" for row in range(len(answers))] if ids is None else ids
        asked = [
            {"id": each, "text": f"{name} {row:05d}", "kind": "k"} for row, each in enumerate(names)
        ]
        api.script = {
            row["text"]: [REFUSAL if answer is None else Step(content=said(answer))]
            for row, answer in zip(asked, answers, strict=True)
        }
        keys = {"prompt": {"user": "{{ text }}"}, "id_column": "id", **more}
        request = {} if schema is None else {"schema": schema}
        ran(api, tmp_path / name, asked, request, **keys)
        return tmp_path / name / "run"

    return made


def said(answer):
    return answer if isinstance(answer, str) else json.dumps({**WHOLE, **answer})


def sentiments(*names):
    return [None if name is None else {"sentiment": name} for name in names]


def invoked(*args):
    """`batchmill compare`, and what it raised."""
    return CliRunner().invoke(program, ["compare", *map(str, args)])


def shown(*args):
    """What `batchmill compare` prints."""
    ended = invoked(*args)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def as_json(*args):
    return json.loads(shown(*args, "--json"))


def counts(found):
    return [found[name] for name in ("on", "rows", "joined", "only_a", "only_b", "failed")]


# what is joined


def test_rows_are_joined_by_custom_id_wherever_they_stand(made):
    a = made("a", sentiments("positive", "negative", "mixed"))
    b = made("b", sentiments("mixed", "negative", "other"), ids=["r2", "r1", "r9"])
    found = as_json(a, b)
    assert counts(found) == ["custom_id", 4, 2, 1, 1, 0]
    assert found["fields"]["parsed.sentiment"]["agreement"] == 1.0
    assert found["differences"] == []


def test_rows_without_a_custom_id_are_joined_by_their_place(made):
    a = made("a", sentiments("positive", "negative"), id_column=None)
    b = made("b", sentiments("positive", "mixed", "other"), id_column=None)
    found = as_json(a, b)
    assert counts(found) == ["row", 3, 2, 0, 1, 0]
    assert found["fields"]["parsed.sentiment"]["agreement"] == 0.5
    assert found["notes"] == []


@pytest.mark.parametrize("ids", [["x", "x", "y"], [None, "x", "y"]])
def test_rows_that_a_custom_id_does_not_tell_apart_are_joined_by_their_place_and_it_is_said(
    made, ids
):
    answers = sentiments("positive", "negative", "mixed")
    a, b = made("a", answers), made("b", answers, ids=ids)
    found = as_json(a, b)
    assert counts(found) == ["row", 3, 3, 0, 0, 0]
    [note] = found["notes"]
    assert note.startswith("joined by row and not by custom_id")
    assert str(b) in note


def test_another_column_joins_rows(made):
    a = made("a", sentiments("positive", "negative"), id_column=None)
    b = made("b", sentiments("negative", "mixed"), ids=["r1", "r7"], id_column=None)
    found = as_json(a, b, "--on", "id")
    assert counts(found) == ["id", 3, 1, 1, 1, 0]
    assert found["fields"]["parsed.sentiment"]["agreed"] == 1


def test_a_key_that_two_rows_bear_is_an_error_that_names_it(made):
    a, b = (made(name, sentiments("positive", "mixed"), ids=["twin"] * 2) for name in "ab")
    for column, key in (("kind", "k"), ("custom_id", "twin"), ("id", "twin")):
        with pytest.raises(UsageError, match=f"{a}: more than one row has the {column} '{key}'"):
            shown(a, b, "--on", column)


def test_rows_that_failed_on_either_side_and_nulls_enter_no_agreement(made):
    a = made("a", sentiments("positive", "negative", "mixed", None, "other"))
    b = made("b", [*sentiments("positive", "mixed", None, "mixed"), {"sentiment": None}])
    found = as_json(a, b)
    assert counts(found) == ["custom_id", 5, 5, 0, 0, 2]
    told = found["fields"]["parsed.sentiment"]
    assert (told["rows"], told["agreed"], told["null"], told["agreement"]) == (2, 1, 1, 0.5)
    stars = found["fields"]["parsed.stars"]
    assert (stars["rows"], stars["agreed"], stars["null"]) == (3, 3, 0)
    assert [each["key"] for each in found["differences"]] == ["r1"]


def test_nothing_joined_agrees_in_nothing_known(made):
    a, b = made("a", sentiments("mixed")), made("b", sentiments("mixed"), ids=["else"])
    found = as_json(a, b)
    told = found["fields"]["parsed.sentiment"]
    assert counts(found) == ["custom_id", 2, 0, 1, 1, 0]
    names = ("agreement", "agreement_low", "agreement_high", "kappa")
    assert [told[name] for name in names] == [None] * 4
    assert "–" in shown(a, b)


# what is compared


def test_every_scalar_field_of_parsed_is_compared_and_named_by_dots(made):
    run = made("a", sentiments("positive"))
    assert list(as_json(run, run)["fields"]) == FIELDS


def test_without_a_schema_the_completion_is_compared_and_spaces_around_it_do_not_count(made):
    a = made("a", ["yes", "no"], schema=None)
    b = made("b", [" yes\n", "no!"], schema=None)
    assert as_json(a, b)["fields"]["completion"]["confusion"] == {
        "no": {"no": 0, "no!": 1, "yes": 0},
        "no!": {"no": 0, "no!": 0, "yes": 0},
        "yes": {"no": 0, "no!": 0, "yes": 1},
    }
    parsed = made("c", ['{"sentiment": "mixed"}', "{}"])
    assert list(as_json(a, parsed)["fields"]) == ["completion"]


def test_fields_are_chosen(made):
    run = made("a", sentiments("positive", "negative"))
    chosen = ("--field", "parsed.stars", "--field", "finish_reason", "--field", "kind")
    assert list(as_json(run, run, *chosen)["fields"]) == ["parsed.stars", "finish_reason", "kind"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--field", "parsed.sentimant"), "did you mean parsed.sentiment"),
        (("--field", "sentiment"), "did you mean parsed.sentiment"),
        (("--field", "parsed"), "name one of its fields: sentiment, stars"),
        (("--field", "parsed.words"), "is no single value"),
        (("--on", "kinds"), "did you mean kind"),
        (("--against", "labels.csv"), "expected FILE:COLUMN"),
    ],
)
def test_what_is_not_there_is_an_error_that_names_what_is_near(made, flags, words):
    run = made("a", sentiments("positive"))
    with pytest.raises(UsageError, match=re.escape(words)):
        shown(run, run, *flags)


def test_one_run_alone_is_compared_with_nothing(made):
    with pytest.raises(UsageError, match="--against"):
        shown(made("a", sentiments("positive")))


def test_values_of_other_types_that_mean_the_same_agree(made):
    numbers = {"type": "object", "properties": {"stars": {"type": "number"}}}
    a = made("a", [{"stars": 2}, {"stars": 5}])
    b = made("b", ['{"stars": 2.0}', '{"stars": 4.5}'], schema=numbers)
    assert as_json(a, b)["fields"]["parsed.stars"]["agreed"] == 1


def test_fields_of_answers_that_are_json_text_are_compared(made):
    free = {"type": "object", "properties": {"stars": {"type": ["integer", "string"]}}}
    a = made("a", ['{"stars": 2}', '{"stars": "five"}'], schema=free)
    b = made("b", [{"stars": 2}, {"stars": 5}])
    for flags in ((), ("--field", "parsed.stars")):
        told = as_json(a, b, *flags)["fields"]["parsed.stars"]
        assert (told["rows"], told["agreed"]) == (2, 1)
    assert list(as_json(a, a)["fields"]) == ["parsed"]


def test_text_of_many_values_has_no_confusion_table(made):
    answers = [f"answer {number}" for number in range(21)]
    a, b = made("a", answers, schema=None), made("b", [*answers[1:], "last"], schema=None)
    told = as_json(a, b)["fields"]["completion"]
    assert told["confusion"] is None
    assert told["kappa"] == pytest.approx(-20 / 421)


# the truth


@pytest.fixture
def labels(tmp_path):
    """Writes the truth as a file."""

    def labels(lines, name="labels.csv"):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        return f"{tmp_path / name}:sentiment"

    return labels


def test_a_run_is_compared_with_the_truth(made, labels):
    run = made("a", sentiments("positive", "negative", "mixed", None))
    truth = labels(["sentiment,n", "positive,1", "mixed,2", ",3", "mixed,4"])
    found = as_json(run, "--against", truth)
    assert counts(found) == [None] * 6
    [told] = found["against"]
    assert (told["run"], told["on"], told["joined"], told["failed"]) == (str(run), "row", 4, 1)
    assert (told["only_truth"], told["only_run"]) == (0, 0)
    assert list(told["fields"]) == ["parsed.sentiment"]  # called like the column
    field = told["fields"]["parsed.sentiment"]
    assert (field["rows"], field["agreed"], field["null"]) == (2, 1, 1)
    assert field["confusion"]["mixed"]["negative"] == 1  # truly mixed, called negative
    assert told["differences"] == [
        {"key": "1", "values": {"parsed.sentiment": ["mixed", "negative"]}}
    ]
    assert (len(found["runs"]), len(found["cost_usd"])) == (1, 1)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("labels.csv", ["sentiment,custom_id", "negative,r1", "positive,r0", "other,r5"]),
        ("labels.csv", ["sentiment,id", "negative,r1", "positive,r0", "other,r5"]),
        ("labels.csv", ["sentiment,row", "negative,1", "positive,0", "other,5"]),
        ("labels.csv", ["sentiment", "positive", "negative"]),
        (
            "labels.jsonl",
            ['{"sentiment": "negative", "id": "r1"}', '{"sentiment": "positive", "id": "r0"}'],
        ),
    ],
)
def test_the_truth_is_joined_by_id_or_row_or_its_place(made, labels, name, lines):
    run = made("a", sentiments("positive", "negative"))
    [told] = as_json(run, "--against", labels(lines, name))["against"]
    assert told["joined"] == 2
    assert told["fields"]["parsed.sentiment"]["agreement"] == 1.0


def test_two_runs_are_compared_with_each_other_and_each_with_the_truth(made, labels):
    a = made("a", sentiments("positive", "mixed"))
    b = made("b", sentiments("positive", "negative"))
    truth = labels(["sentiment,id", "negative,r1", "positive,r0"])
    found = as_json(a, b, "--against", truth)
    fields = [found["fields"], *(told["fields"] for told in found["against"])]
    assert [each["parsed.sentiment"]["agreement"] for each in fields] == [0.5, 0.5, 1.0]
    assert [told["run"] for told in found["against"]] == found["runs"]
    assert len(found["cost_usd"]) == 2


def test_a_truth_whose_name_tells_nothing_is_about_the_fields_that_ever_say_the_same(made, labels):
    run = made("a", sentiments("positive", "negative"))
    truth = labels(["gold", "positive", "mixed"]).replace(":sentiment", ":gold")
    found = as_json(run, "--against", truth)
    assert list(found["against"][0]["fields"]) == ["parsed.sentiment"]
    [note] = found["notes"]
    assert "parsed.stars" in note
    asked = as_json(run, "--against", truth, "--field", "parsed.stars")
    assert list(asked["against"][0]["fields"]) == ["parsed.stars"]
    assert asked["notes"] == []


def test_text_of_the_truth_means_numbers_and_claims_where_answers_are_such(made, labels):
    run = made("a", [{"stars": 4, "clear": True}, {"stars": 5, "clear": False}])
    for column, cells in (("stars", ["4.0", "5"]), ("clear", ["TRUE", "0"])):
        truth = labels([column, *cells]).replace(":sentiment", f":{column}")
        told = as_json(run, "--against", truth)["against"][0]["fields"]
        assert told[f"parsed.{column}"]["agreement"] == 1.0


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["sentimnt", "mixed"], "did you mean sentimnt"),
        (["sentiment,id", "mixed,r0", "mixed,r0"], "more than one row has the custom_id 'r0'"),
        (["sentiment,id", "mixed,r0,more"], "labels.csv:2: 3 fields"),
        (["sentiment,other", "mixed,r0"], "--on id: "),
    ],
)
def test_a_truth_that_cannot_be_joined_is_an_error_in_words(made, labels, words, lines):
    run = made("a", sentiments("mixed"))
    flags = ("--on", "id") if "other" in lines[0] else ()
    with pytest.raises(UsageError, match=re.escape(words)):
        shown(run, "--against", labels(lines), *flags)


# at any time, in any way


def test_runs_under_way_are_compared(api, start, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(4))
    assert batchmill("run", "in.jsonl", *asking(api), "-o", "whole").exit_code == 0
    api.script = {"text 00003": [Step(hang=True)]}
    process = start("run", "in.jsonl", *asking(api), "-o", "open")
    journal = tmp_path / "open/open/part-00000000/journal.jsonl"
    until(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 4, process)
    ended = batchmill("compare", "whole", "open", "--json")
    assert ended.exit_code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert counts(found) == ["row", 4, 3, 1, 0, 0]
    assert found["fields"]["completion"]["agreement"] == 1.0


def test_runs_are_taken_as_paths_and_as_runs(made):
    a, b = (made(name, sentiments("positive", "mixed")) for name in "ab")
    assert compared.compare(a, Run(b)) == compared.compare(Run(a), b)
    with pytest.raises(UsageError, match="is no run"):
        compared.compare(a, a.parent)


def test_what_each_took_stands_in_pairs(made):
    prices = {"fake-model": {"input": 1.0, "output": 10.0}}
    a = made("a", sentiments("positive"), prices=prices)
    b = made("b", sentiments("positive", "mixed"), prices=prices)
    found = as_json(a, b)
    totals = [run.report(by=()).totals for run in map(Run, (a, b))]
    assert found["cost_usd"] == [each.cost_usd for each in totals]
    assert found["tokens"] == {
        "input": [each.input_tokens for each in totals],
        "output": [each.output_tokens for each in totals],
    }
    assert found["latency_p50"] == [each.latency_p50_s for each in totals]
    assert 0 < found["cost_usd"][0] < found["cost_usd"][1]
    assert found["runs"] == [str(a), str(b)]


def test_the_differences_that_are_kept_are_the_first_and_all_are_counted(made):
    count = 205
    a = made("a", ["yes"] * count, schema=None)
    b = made("b", ["no"] * count, schema=None)
    found = as_json(a, b)
    assert found["differing"] == count
    assert [each["key"] for each in found["differences"]] == [f"r{row}" for row in range(200)]
    assert found["differences"][0]["values"] == {"completion": ["yes", "no"]}
    assert "205 rows differ, the first 5" in shown(a, b)


@pytest.fixture
def hostile(made):
    """Two runs that say what would do harm, of other lengths than are expected."""
    ids = [HOSTILE, "r1", "r2"]
    long = "a word and another one " * 20
    a = made("a", [HOSTILE, long, "x" * 300], ids=ids, schema=None)
    b = made("b", ["fine", f"{long}!", HOSTILE], ids=ids, schema=None)
    return a, b


def test_the_table_is_no_wider_than_a_terminal(hostile, made, labels):
    wide = made("wide", [{"sentiment": "other", "about": {"product": f"{n} " * 9}} for n in "123"])
    many = [f"a rather long label, number {number}" for number in range(9)]
    c, d = made("c", many, schema=None), made("d", many[::-1], schema=None)
    against = ("--against", labels(["sentiment", "mixed"]))
    for args in (hostile, (wide, hostile[0], "--field", "completion"), (wide, *against), (c, d)):
        lines = shown(*args).splitlines()
        assert max(map(len, lines)) <= 80, args
    assert "number 8" in shown(c, d)
    assert "\x1b" not in shown(*hostile)


def test_the_page_is_whole_and_asks_for_nothing_from_elsewhere(hostile, tmp_path):
    shown(*hostile, "-o", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert {"script", "link", "img", "iframe", "object", "style"} & set(page.tags) == {"style"}
    assert {"src", "href", "srcset", "action"}.isdisjoint(dict(page.attributes))
    assert "url(" not in text
    assert "\x1b" not in text
    assert any("<script src=//x>" in word for word in page.words)
    for rule in ("prefers-color-scheme: dark", "@media print", "width=device-width"):
        assert rule in text
    assert (
        text.count("<table>") == text.count('<div class="table"') == 4
    )  # they scroll by themselves


def test_a_page_is_written_over_one_of_ours_and_nothing_else(made, tmp_path):
    run = made("a", sentiments("positive"))
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    for _ in range(2):
        assert f"wrote {page}" in invoked(run, run, "-o", page).stderr
    other.write_text("<p>mine</p>")
    with pytest.raises(Refused):
        shown(run, run, "-o", other)
    with pytest.raises(UsageError, match="html"):
        shown(run, run, "-o", tmp_path / "page.csv")
    assert other.read_text() == "<p>mine</p>"
    assert not (tmp_path / "page.csv").exists()


def test_all_that_is_shown_is_of_one_value(made, labels):
    """The terminal, JSON and the page tell the same numbers."""
    a, b = made("a", sentiments("positive", "mixed")), made("b", sentiments("positive", "other"))
    value = compared.compare(a, b, against=labels(["sentiment", "positive", "mixed"]))
    table, page = compared_table.text(value), compared_html.text(value)
    for words in ("50.0%", "100%", "9.5–90.5%", "parsed.about.product"):
        assert words in table
        assert words in page
    for run in (a, b):
        assert str(run) in "".join(table.split())  # a long path takes several lines
        assert str(run) in page
