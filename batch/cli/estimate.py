"""`batchmill estimate`: what a job would take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from batch.cli import options, put
from batch.cli.manner import Manner
from batch.errors import UsageError
from batch.words import one_line

if TYPE_CHECKING:
    from batch.costs.forecast import Forecast
    from batch.planning.estimate import Estimate

MODEL_WIDTH = 30
"""Characters of a model's name in the table."""


@click.command(no_args_is_help=True)
@options.inputs
@options.question
@options.output
@options.concurrency
@options.place
@options.key
@options.rates
@options.rows
@options.settings
@click.option("--no-preflight", is_flag=True, help="Only what cannot be rendered is a bad row.")
@options.same_prompt
@click.option("--probe", metavar="N", type=click.IntRange(min=1),
              help="Ask the first N rows and learn from them; they stay in the run.")  # fmt: skip
@options.as_json
@options.progress
def estimate(
    whats: tuple[str, ...], as_json: bool, no_preflight: bool, probe: int | None, **flags: Any
) -> int:
    """Tokens, money and time that a job would take, or what is left of its run.

    Every row is rendered; nothing is sent (but for --probe) and no key is needed.
    """
    import msgspec

    from batch import runs
    from batch.cli import jobs
    from batch.cli.run import carry_out
    from batch.planning import estimate as estimating
    from batch.planning.terms import Terms

    job, folder = jobs.read(whats, flags)
    how: dict[str, Any] = {
        "environment": jobs.environment(flags["env_file"]),
        "bounds": not no_preflight,
        "job_file": jobs.job_file(whats),
        "same_prompt": flags["same_prompt"],
    }
    if probe is not None:
        if job.input == "-":
            raise UsageError("--probe: standard input is read once; name a file")
        manner = Manner(flags["progress"] == "json", as_json)
        cap = jobs.cap_given(flags)
        code = carry_out(job, folder, manner=manner, probe=probe, cap=cap, **how)
        if code > 1:
            return code
    found = estimating.of(job, Terms(folder=folder, asks=False, **how))
    if as_json:
        put(runs.as_json(msgspec.to_builtins(found)), "json")
    else:
        put(_text(options.shown(whats), found))
    return 0


def _text(what: str, found: Estimate) -> str:
    from batch.renderers.table import aligned

    facts = [f"{word:<9} {said}" for word, said in _facts(what, found)]
    lines = "\n".join(map(one_line, [*facts, *_remarks(found)]))
    return f"{lines}\n\n{aligned(_table(found))}" if found.models else lines


def _facts(what: str, found: Estimate) -> list[tuple[str, str]]:
    total = found.total
    done = f", {found.done:,} of them done" if found.done else ""
    facts = [("rows", f"{what}: {found.rows:,}{done}, {total.rows:,} to ask")]
    if not total.rows:
        return facts
    return [
        *facts,
        ("input", f"{total.input_tokens:,} tokens{_how_known(found)}"),
        ("output", _output(found)),
        ("cost", _cost(found)),
        ("time", _time(found)),
    ]


def _how_known(found: Estimate) -> str:
    words = {
        "counted": "counted",
        "learnt": f"learnt from {found.learnt_rows:,} rows done",
        "default": "taken as a quarter token a byte",
    }
    known = found.total.input_from
    if len(known) == 1:
        return f", {words[next(iter(known))]}"
    return ", " + ", ".join(f"{rows:,} rows {words[name]}" for name, rows in known.items())


def _output(found: Estimate) -> str:
    total = found.total
    likely = total.output_tokens_likely
    if total.output_tokens_most == 0:
        return "none"
    said = "unknown before a row is done (--probe 20 asks some)"
    if likely is not None:
        said = f"{likely:,} tokens, going by rows done" if found.learnt_rows else f"{likely:,}"
    if total.output_tokens_most is not None:
        return f"{said}; {total.output_tokens_most:,} at most"
    return f"{said}; no bound: {total.uncapped_rows:,} rows set no max_tokens"


def _cost(found: Estimate) -> str:
    from batch.renderers import words
    from batch.words import money

    total = found.total
    if total.cost_input_usd is None:
        return "unknown"
    if total.cost_source == "local":
        return "free: the embedded model"
    more = " of what has a price" if found.unpriced_models else ""
    said = f"{money(total.cost_input_usd)} for the input alone"
    if total.cost_likely_usd is not None:
        said = money(total.cost_likely_usd)
    most = "no bound"
    if total.cost_most_usd is not None:
        most = f"at most {money(total.cost_most_usd)}"
    source = words.SOURCES.get(total.cost_source or "", "")
    return f"{said}{more}; {most}{', ' if source else ''}{source}; without retries"


def _time(found: Estimate) -> str:
    from batch.words import duration

    least, most = found.seconds_least, found.seconds_most
    if least is None:
        return "unknown before a row is done (--probe 20 asks some)"
    if most is None:
        return f"at least {duration(least)}, by the limits of the job"
    if duration(least) == duration(most):
        return duration(least)
    return f"{duration(least)} to {duration(most)}, going by rows done"


def _remarks(found: Estimate) -> list[str]:
    from batch.costs import tokenizer

    lines = [
        f"no price is known for {model}: its cost is unknown and in no sum; put it under [prices]"
        for model in found.unpriced_models
    ]
    lines += found.notices
    if found.different is not None:
        lines.append(f"{found.different}; this is what --new would take")
    if found.bad_rows:
        lines.append(f"{found.bad_rows:,} rows cannot be asked; `batchmill validate` names them")
    if not found.exact and any(map(tokenizer.vocabulary, (each.model for each in found.models))):
        lines.append(
            "tokens are not counted: pip install 'batchmill[tokens]' does, for models of OpenAI"
        )
    return lines


def _table(found: Estimate) -> Any:
    from batch.renderers.table import Table

    shown = [*found.models, found.total] if len(found.models) > 1 else found.models
    titles = ["model", "rows", "tokens in", "tokens out", "out at most", "cost", "cost at most"]
    return Table(titles, [_line(found, each) for each in shown], 1)


def _line(found: Estimate, of: Forecast) -> list[str]:
    from batch.renderers import words
    from batch.words import money

    at_least = "≥ " if of.model is None and found.unpriced_models else ""
    if of.cost_input_usd is None:
        costs = ["unknown", "unknown"]
    else:
        likely = f"≥ {money(of.cost_input_usd)}"
        if of.cost_likely_usd is not None:
            likely = f"{at_least}{money(of.cost_likely_usd)}"
        most = "no bound"
        if of.cost_most_usd is not None:
            most = f"{at_least}{money(of.cost_most_usd)}"
        costs = [likely, most]
    bound = "no bound" if of.output_tokens_most is None else words.count(of.output_tokens_most)
    name = "total" if of.model is None else words.cut(words.line(of.model), MODEL_WIDTH)
    likely_out = words.count(of.output_tokens_likely)
    return [name, words.count(of.rows), words.count(of.input_tokens), likely_out, bound, *costs]
