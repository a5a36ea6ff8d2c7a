"""What is said when a run ends: rows, flags, failures by cause, tokens, time, where the results
are, what to do next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from batch import columns, command_line
from batch.command_line import near
from batch.errors import BatchError, CapReached, Different, Doubtful, Stopped
from batch.outcome import TRANSIENT
from batch.planning.terms import ALONE
from batch.run_folder import RunFolder
from batch.totals import Summary, Totals
from batch.words import UP, duration, money

MEANINGS = {
    "rate_limited": "the server kept refusing for want of room; run again later or lower concurrency",
    "overloaded": "the server was overloaded; run again later",
    "server_error": "the server failed; run again, and if the same rows fail, look at their prompts",
    "timeout": "no answer came in time; raise endpoint.total_timeout or ask for less",
    "connection": "the connection failed; check base_url and the network, then run again",
    "cut_off": "the answer broke off; run again",
    "bad_response": "what came back was no answer of this API; check base_url, then run again",
    "invalid_request": "the server rejects these requests as they are; look at the rows",
    "context_length": "the prompt is longer than the model takes; shorten it or choose another model",
    "content_filter": "the provider's filter refuses the prompt; look at the rows",
    "too_large": "the request or its answer is larger than the server or we take",
    "blocked": "something in front of the API refuses the text; look at the rows",
    "schema_mismatch": "the answers do not fit the schema; loosen it or ask again",
    "tool_error": "a tool call was wrong",
    "invalid_row": "the row cannot be read or lacks what the prompt names; mend the input",
}
"""One sentence a person can act on for every error class a row can have."""


MOST_UNPRICED = 5
"""Models without a price that are named."""


class Ended(msgspec.Struct, frozen=True):
    """How a start of a run ended: `whole` is what the run holds, `now` what this start asked,
    `cap_left` the USD that the next one may spend, None where nothing caps it; `reuse` the runs
    from which answers were taken, if any could be; `doubted` the fingerprints of refusals for which
    it, or an earlier one, stopped.
    """

    run: RunFolder
    whole: Summary
    now: Totals
    seconds: float
    rows: int | None  # of the input; None while its end has not been read
    stopped: BatchError | None = None
    cap_left: Decimal | None = None
    reuse: tuple[Path, ...] = ()
    doubted: frozenset[str] = frozenset()

    @property
    def exit_code(self) -> int:
        """0 every row completed, 1 some failed, else why it stopped."""
        if self.stopped is not None:
            return self.stopped.exit_code
        return 1 if self.whole.totals().rows_failed else 0


class Step(msgspec.Struct, frozen=True):
    """What to do next: what it is for, and a command of ours, word by word."""

    says: str
    command: tuple[str, ...]

    def __str__(self) -> str:
        """The last line, ready to paste."""
        return f"{self.says}: {command_line.of(*self.command)}"


def lines(ended: Ended, file: Path | None = None) -> list[str]:
    """The summary, a line each; `file` holds all results, if one was asked for."""
    totals = ended.whole.totals()
    said = [_rows(ended, totals)]
    if ended.whole.flags:
        flags = sorted(ended.whole.flags.items(), key=lambda pair: -pair[1])
        said.append("flags     " + ", ".join(f"{name} {count:,}" for name, count in flags))
    failures = sorted(ended.whole.failures.items(), key=lambda pair: -pair[1])
    said += [_failure(ended.whole, name) for name, _ in failures]
    if misfits := ended.whole.misfits:
        rows = "1 row holds" if misfits == 1 else f"{misfits:,} rows hold"
        said.append(f"extra     {rows} values that fit no column: see `extra`")
    if ended.reuse:
        olds = near(ended.reuse[0]) if len(ended.reuse) == 1 else f"{len(ended.reuse):,} runs"
        taken = totals.rows_reused - ended.whole.flags.get(columns.DUPLICATE, 0)
        said.append(f"reused    {taken:,} rows, taken from {olds}")
    said.append(_tokens(totals))
    said.append(_cost(totals))
    if ended.cap_left is not None:
        said.append(f"cap left  {money(ended.cap_left)}")
    said.append(_time(ended))
    if _is_one_of_several(ended):
        said.append(f"whole     {command_line.of('status', near(ended.run.path), '--workers')}")
    if file is not None:
        said.append(f"results   {near(file)}")
    elif totals.rows_ok or totals.rows_failed:
        said.append(f"results   {near(ended.run.completions)}")
        said.append(f"open      {opening(ended.run.completions)}")
    return said


def unwritten(ended: Ended, file: Path | None) -> str:
    """That a run which stopped has written no file, and where its rows are."""
    name = "standard output" if file is None else near(file)
    return f"nothing is written to {name} before all is asked; what is done lies in {near(ended.run.path)}"


def opening(completions: Path) -> str:
    """A line that opens the results."""
    folder = near(completions)
    pandas = f"pandas.read_parquet({command_line.named(folder)!r})"
    if "\\" in str(folder):  # for DuckDB it parts folders
        return pandas
    return f"duckdb -c {command_line.quoted(f'FROM {_to_duckdb(folder)}')}   or   {pandas}"


def _to_duckdb(folder: Path) -> str:
    """The files of a folder in SQL; there `./~` is home, too, and `key=value` a column."""
    name = str(folder.absolute() if str(folder).startswith("~") else folder)
    literal = re.sub(r"[*?\[]", r"[\g<0>]", name).replace("'", "''")
    files = f"'{literal}/*.parquet'"
    return f"read_parquet({files}, hive_partitioning = false)" if "=" in name else files


def reason(stopped: BatchError, run: RunFolder) -> str:
    """Why a run stopped, and what to do about it."""
    hints = [] if stopped.hint is None else [stopped.hint]
    if isinstance(stopped, Doubtful):
        hints.append(f"look at them: {_show(run.path)} {stopped.look}")
    return "; ".join([str(stopped), *hints])


def _show(run: Path) -> str:
    return command_line.of("show", near(run))


def next_step(ended: Ended, again: tuple[str, ...], cap: str = "--max-cost {}") -> Step | None:
    """What to do next.  `again` is the command that goes on, `cap` its flag that sets a cap."""
    if isinstance(ended.stopped, Doubtful):
        return Step("to go on all the same", (*again, "--yes"))
    if isinstance(ended.stopped, CapReached):
        flags = cap.format(f"{ended.stopped.higher:.12g}").split()
        return Step("to go on with a higher cap", (*again, *flags))
    if isinstance(ended.stopped, Different):
        return Step("to go on, once the input is again what it was", again)
    if ended.stopped is not None:
        once = ended.stopped.once if isinstance(ended.stopped, Stopped) else None
        return Step(f"to go on{f', once {once}' if once else ''}", again)
    transient = sum(count for name, count in ended.whole.failures.items() if name in TRANSIENT)
    if transient:
        return Step(f"to ask {transient:,} failed rows again", again)
    if ended.whole.failures:
        show = ("show", command_line.named(near(ended.run.path)), "--failed")
        return Step("to see what failed", show)
    return None


def prices(ended: Ended, own: Iterable[str]) -> list[str]:
    """What is to be said of prices: models that have none, and names among the job's `own` that no row
    has asked or had an answer of.
    """
    groups = [group for group, _ in ended.whole.rows()]
    models = {name for group in groups for name in (group.model, group.served_model) if name}
    unused = sorted(set(own) - models) if models and ended.stopped is None else []
    return [*unpriced(ended), *unused_prices(unused)]


def unpriced(ended: Ended) -> list[str]:
    """A line for every model that has no price, most rows first; its rows are in no total."""
    rows: dict[str, int] = {}
    for group, totals in ended.whole.rows():
        name = group.served_model or group.model or "?"
        rows[name] = rows.get(name, 0) + max(0, totals.unpriced_rows - totals.unknown_usage_rows)
    named = sorted((pair for pair in rows.items() if pair[1]), key=lambda pair: (-pair[1], pair[0]))
    return [
        f"no price is known for {name}: rows that are not in the total: {count:,};"
        " put it under [prices]"
        for name, count in named[:MOST_UNPRICED]
    ] + [f"… and for {len(named) - MOST_UNPRICED:,} more models"] * (len(named) > MOST_UNPRICED)


def unused_prices(names: Sequence[str]) -> list[str]:
    """A line on prices that no row has had a use for."""
    if not names:
        return []
    more = f" and {len(names) - MOST_UNPRICED:,} more" if len(names) > MOST_UNPRICED else ""
    said = f"{', '.join(map(repr, names[:MOST_UNPRICED]))}{more}"
    return [f"prices that match no model of these rows (a name has to be the whole name): {said}"]


def _cost(totals: Totals) -> str:
    """What is known, and what is not: never $0 for unknown."""
    nothing = totals.unpriced_rows and not totals.cost_usd
    said = "unknown" if nothing else money(totals.cost_usd)
    if totals.unpriced_rows and not nothing:
        said += f", without {totals.unpriced_rows:,} rows whose cost is unknown"
    if totals.unconfirmed_cost_usd or totals.unconfirmed_tokens:
        most = f"{totals.unconfirmed_tokens:,} tokens"
        if totals.unconfirmed_unpriced_rows:
            most = f"an unknown cost ({most})"
        elif totals.unconfirmed_cost_usd:
            most = f"{money(totals.unconfirmed_cost_usd, UP)} ({most})"
        said += f"; at most {most} more may have been billed without being reported"
    if totals.unbounded_attempts:
        said += f"; {totals.unbounded_attempts:,} unreported attempts have no bound (no max_tokens)"
    return f"cost      {said}"


def _rows(ended: Ended, totals: Totals) -> str:
    done = totals.rows_ok + totals.rows_failed
    pending = (
        "" if ended.rows is None or done >= ended.rows else f", {ended.rows - done:,} not asked yet"
    )
    more = ", more rows to read" if ended.rows is None else ""
    whose = f", in the parts of worker {ended.run.worker}" if _is_one_of_several(ended) else ""
    return f"rows      {totals.rows_ok:,} ok, {totals.rows_failed:,} failed{pending}{more}{whose}"


def _is_one_of_several(ended: Ended) -> bool:
    """Whether other workers share the run."""
    return ended.run.worker not in ("", ALONE.name)


def _failure(summary: Summary, name: str) -> str:
    example = summary.examples.get(name, "")
    shown = f" — e.g. {example[:160]}" if example else ""
    return f"failed    {summary.failures[name]:,} {name}: {MEANINGS.get(name, '')}{shown}"


def _tokens(totals: Totals) -> str:
    inside = f" ({totals.cached_tokens:,} cached)" if totals.cached_tokens else ""
    thinking = f" ({totals.reasoning_tokens:,} reasoning)" if totals.reasoning_tokens else ""
    unknown = (
        f", unknown for {totals.unknown_usage_rows:,} rows" if totals.unknown_usage_rows else ""
    )
    return f"tokens    {totals.input_tokens:,} in{inside}, {totals.output_tokens:,} out{thinking}{unknown}"


def _time(ended: Ended) -> str:
    asked = ended.now.rows_ok + ended.now.rows_failed
    rate = f", {asked / ended.seconds:,.1f} rows/s" if asked and ended.seconds > 0 else ""
    billed = ended.now.maybe_billed_attempts
    maybe = f", {billed:,} of them may have been billed without an answer" if billed else ""
    requests = f"{asked:,} rows in {ended.now.requests:,} requests"
    return f"time      {duration(ended.seconds)} for {requests}{rate}{maybe}"
