"""The schema of a job file agrees with the program, and says what every key means."""

from __future__ import annotations

import json
import tomllib

import jsonschema_rs
import pytest

from batch import spec
from batch.errors import JobError
from batch.job_files.descriptions import EVERY_KEY, descriptions
from batch.job_files.schema import DIRECTIVE, schema
from tests import docs
from tests.conftest import ROOT

VALID = jsonschema_rs.validator_for(schema())


def keys(tables):
    """The keys of a schema's properties, dotted, each with its schema."""
    for key, kind in tables.items():
        yield key, kind
        inner = kind.get("additionalProperties") if key == "prices" else kind
        if key == "endpoint":  # one table, or several
            inner = kind["anyOf"][0]
        if isinstance(inner, dict) and "properties" in inner:
            yield from ((f"{key}.{name}", found) for name, found in keys(inner["properties"]))


def test_every_key_is_in_the_schema_with_what_it_means():
    told = {name: kind for name, kind in keys(schema()["properties"]) if "description" in kind}
    rooms = {name: keys for name, keys in spec.KEYS.items() if name}
    rooms |= {"prices": ("input", "cached_input", "cache_write", "output")}
    own = {f"{table}.{key}" for table, fields in rooms.items() for key in fields}
    assert told.keys() == {*spec.KEYS[""], *own, "request.temperature"}
    assert told.keys() == descriptions().keys()


def test_the_file_of_every_key_is_a_job():
    tables = tomllib.loads(EVERY_KEY.read_text("utf-8"))
    spec.check(tables)
    VALID.validate(tables)


def test_the_pages_show_the_file_of_every_key_as_it_is():
    assert EVERY_KEY.read_text("utf-8") in docs.blocks("toml")


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.toml")), ids=lambda path: path.name)
def test_our_own_jobs_are_valid(path):
    VALID.validate(tomllib.loads(path.read_text("utf-8")))


@pytest.mark.parametrize("example", docs.blocks("toml"))
def test_every_example_of_a_job_is_valid(example):
    VALID.validate(tomllib.loads(example))


@pytest.mark.parametrize(
    "text",
    [
        "inptu = 'x'",
        "limit = 0",
        "limit = 'all'",
        "keep = [1]",
        "seed = -1",
        "tags = { a = 1 }",
        "[limits]\nrpm = 5",
        "[limits]\nconcurrency = 1.5",
        "[retry]\nmax_attempts = 0",
        "[request]\napi = 'telnet'",
        "[request]\nmodel = 3",
        "[endpoint]\nconnect_timeout = 0",
        "[output]\nresponse = 'never'",
        "[output]\nformat = 'xls'",
        "[prompt]\nimages = 3",
        "[prices]\nm = { input = -1, output = 1 }",
        "[prices]\nm = { input = 1 }",
        "prompt = 3",
    ],
)
def test_what_is_refused_is_not_valid(text):
    tables = tomllib.loads(text)
    assert not VALID.is_valid(tables)
    with pytest.raises(JobError):
        spec.check(tables)


def test_it_is_printed_or_written_and_names_no_other_file(batchmill, tmp_path):
    printed = batchmill("schema")
    assert (printed.exit_code, json.loads(printed.stdout)) == (0, schema())
    assert "$ref" not in printed.stdout
    for _ in range(2):  # ours may be written anew
        written = batchmill("schema", "-o", "batchmill.schema.json")
        assert (written.exit_code, DIRECTIVE in written.stderr) == (0, True)
    assert json.loads((tmp_path / "batchmill.schema.json").read_text()) == schema()


def test_it_is_not_written_over_what_is_not_ours(batchmill, tmp_path):
    (tmp_path / "package.json").write_text("{}")
    refused = batchmill("schema", "-o", "package.json")
    assert (refused.exit_code, (tmp_path / "package.json").read_text()) == (4, "{}")
