"""What jobs would take, as aligned text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from batch.costs import forecast, tokenizer
from batch.costs.forecast import Forecast
from batch.planning.estimate import Estimate
from batch.planning.savings import Saving
from batch.renderers import words
from batch.renderers.table import Table, aligned
from batch.words import Kind, duration, money, one_line

KIND: Kind = "text"

NAME_WIDTH = 30
"""Characters of the name of a model or a job."""

KNOWN = {
    "counted": "counted",
    "learnt": "learnt from {} rows done",
    "default": "taken as a quarter token a byte",
}
"""Where input tokens come from, in words."""

_Shown = tuple[str, Forecast, list[str]]
"""A name, its forecast, and the models that have no price and are in no sum of it."""

UNCOUNTED = "tokens are not counted: pip install 'batchmill[tokens]' does, for models of OpenAI"


def text(name: str, found: Estimate) -> str:
    """One job: what is said of it, then its models."""
    facts = [f"{word:<9} {said}" for word, said in _facts(name, found)]
    lines = "\n".join(map(one_line, [*facts, *_remarks(found), *_uncounted([found])]))
    if not found.models:
        return lines
    shown: list[_Shown] = [(_name(each.model or "?"), each, []) for each in found.models]
    if shown[1:]:
        shown.append(("total", found.total, found.unpriced_models))
    return f"{lines}\n\n{aligned(_table('model', shown))}"


def texts(jobs: Sequence[tuple[str, Estimate]]) -> str:
    """Several jobs: a line each and their sum, then what is to be said of them."""
    shown = [(_name(name), found.total, found.unpriced_models) for name, found in jobs]
    models = [each for _, found in jobs for each in found.models]
    unpriced = [model for _, found in jobs for model in found.unpriced_models]
    table = aligned(_table("job", [*shown, ("total", forecast.total(models), unpriced)]))
    said = [f"{name}: {remark}" for name, found in jobs for remark in _all_remarks(found)]
    remarks = "\n".join(map(one_line, [*said, *_uncounted([found for _, found in jobs])]))
    return f"{table}\n\n{remarks}" if remarks else table


def _facts(name: str, found: Estimate) -> list[tuple[str, str]]:
    total = found.total
    done = f", {found.done:,} of them done" if found.done else ""
    facts = [("rows", f"{name}: {found.rows:,}{done}, {total.rows:,} to ask")]
    if not total.rows:
        return facts
    saved = [("saved" if each.is_on else "cheaper", _saving(each)) for each in found.savings]
    return [
        *facts,
        ("input", f"{total.input_tokens:,} tokens, {_how_known(found)}"),
        ("output", _output(found)),
        ("cost", _cost(found)),
        *saved,
        ("time", _time(found)),
    ]


def _saving(one: Saving) -> str:
    usd = f"{money(one.usd or 0)}{' of the input' if one.input_only else ''}"
    if one.kind == "packing":
        return f"{one.requests:,} requests fewer, as texts share them{'' if one.is_on else f': {one.key}'}"
    if one.kind == "cache":
        rows = f"{usd}, as rows with one long beginning read it from the prompt cache"
        return rows if one.is_on else f"{rows}: {one.key}"
    if one.kind == "flex":
        return f"{one.key} takes {usd} off; answers may come later"
    rows = f"{one.requests:,} rows ask what others ask"
    if one.is_on:
        return f"{rows}, and get their answers{f': {usd}' if one.usd else ''}"
    asked = f"{one.key} asks once, where one answer will do"
    return f"{rows}: {asked}{f', and saves {usd}' if one.usd else ''}"


def _how_known(found: Estimate) -> str:
    said = {name: word.format(f"{found.learnt_rows:,}") for name, word in KNOWN.items()}
    known = found.total.input_from
    if len(known) == 1:
        return said[next(iter(known))]
    return ", ".join(f"{rows:,} rows {said[name]}" for name, rows in known.items())


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
    least, most = found.seconds_least, found.seconds_most
    if least is None:
        return "unknown before a row is done (--probe 20 asks some)"
    if most is None:
        return f"at least {duration(least)}, by the limits of the job"
    if duration(least) == duration(most):
        return duration(least)
    return f"{duration(least)} to {duration(most)}, going by rows done"


def _all_remarks(found: Estimate) -> list[str]:
    """What a job alone says in its facts, too."""
    done = [f"{found.done:,} of {words.rows(found.rows)} are done"] if found.done else []
    known = found.total.input_from
    how = [f"input tokens are {_how_known(found)}"] if known.keys() - {"counted"} else []
    return [*done, *how, *_remarks(found)]


def _remarks(found: Estimate) -> list[str]:
    lines = [
        f"no price is known for {model}: its cost is unknown and in no sum; put it under [prices]"
        for model in found.unpriced_models
    ]
    lines += found.notices
    if found.different is not None:
        lines.append(f"{found.different}; this is what --new would take")
    if found.bad_rows:
        lines.append(f"{found.bad_rows:,} rows cannot be asked; `batchmill validate` names them")
    return lines


def _uncounted(found: Sequence[Estimate]) -> list[str]:
    countable = any(
        tokenizer.vocabulary(model.model)
        for each in found
        if not each.exact
        for model in each.models
    )
    return [UNCOUNTED] if countable else []


def _table(what: str, shown: Sequence[_Shown]) -> Table:
    titles = [what, "rows", "tokens in", "tokens out", "out at most", "cost", "cost at most"]
    return Table(titles, [_line(*each) for each in shown], 1)


def _line(name: str, of: Forecast, unpriced: list[str]) -> list[str]:
    bound = "no bound" if of.output_tokens_most is None else words.count(of.output_tokens_most)
    return [
        name,
        words.count(of.rows),
        words.count(of.input_tokens),
        words.count(of.output_tokens_likely),
        bound,
        *_costs(of, bool(unpriced)),
    ]


def _costs(of: Forecast, partly: bool) -> list[str]:
    """What is likely and what is most; `+ ?` is beyond what can be said.  Neither is a lower bound, as
    the tokens of the input may be fewer, and cached.
    """
    more = " + ?" if partly else ""
    if of.cost_input_usd is None:
        return ["unknown" if of.rows else money(0)] * 2
    likely = f"{money(of.cost_input_usd)} + ?"
    if of.cost_likely_usd is not None:
        likely = f"{money(of.cost_likely_usd)}{more}"
    most = "no bound"
    if of.cost_most_usd is not None:
        most = f"{money(of.cost_most_usd)}{more}"
    return [likely, most]


def _name(name: str) -> str:
    return words.cut(words.line(name), NAME_WIDTH)
