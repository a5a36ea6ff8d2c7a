"""What is said to be at least so much is never more than the server has charged."""

from __future__ import annotations

import io
import re
from decimal import Decimal

import pytest
from click.testing import CliRunner

from batch import runner, spec
from batch.cli import batchmill as program
from batch.planning.terms import Terms
from batch.progress import Progress
from batch.runs import Run
from tests.fake_api import Step
from tests.reading import texts, write

LEAST = re.compile(r"(?:≥|at least) \$([\d,.]+)")
USD_IN, USD_OUT = 1_733.0, 2_999.0
"""USD a million tokens: uneven, so that sums have to be rounded."""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def least(text):
    """Every lower bound that is told, in USD."""
    return [Decimal(found.replace(",", "")) for found in LEAST.findall(text)]


def charged(api):
    """What all requests that the server has answered cost, told or not."""
    tokens_in = sum(asked.input_tokens for asked in api.ledger)
    tokens_out = sum(asked.output_tokens for asked in api.ledger)
    return (tokens_in * Decimal(USD_IN) + tokens_out * Decimal(USD_OUT)) / 1_000_000


@pytest.fixture
def told(api, tmp_path):
    """What the bar says of a run in which some rows tell no usage, and some fail and are asked again."""

    def told():
        prices = {"m": {"input": USD_IN, "output": USD_OUT}}
        tables = {
            "input": str(tmp_path / "in.jsonl"),
            "prompt": {"user": "{{ text }}"},
            "request": {"model": "m"},
            "endpoint": {"base_url": api.url, "api_key_env": ""},
            "retry": {"first_delay": 0.001, "max_delay": 0.01, "max_attempts": 2},
            "prices": prices,
        }
        stream = Terminal()
        around = runner.Surroundings(consumers=(Progress(stream),))
        runner.run(spec.check(tables), tmp_path / "run", Terms(environment={}), around)
        return stream.getvalue()

    return told


@pytest.mark.parametrize("rows", [7, 12])
def test_a_lower_bound_is_none_above_what_the_server_charged(api, told, tmp_path, rows):
    prompts = texts(rows)
    write(tmp_path / "in.jsonl", prompts)
    broken = Step(200, content="half", cut=200)
    api.script = {
        "00001": [Step(usage=None)],
        "00002": [broken, Step(usage=None)],
        "00003": [503, 503],
        "00004": [503, ...],
    }
    bars = told()
    api.script = {"00004": [Step(usage=None)]}
    bars += told()
    report = CliRunner().invoke(program, ["report", str(tmp_path / "run")]).stdout
    page = CliRunner().invoke(program, ["report", str(tmp_path / "run"), "--format", "html"]).stdout
    card = Run(tmp_path / "run")._repr_html_()
    for text in (bars, report, page, card):
        assert least(text)
        assert max(least(text)) <= charged(api)
