"""Numbers of a report in words.  What is unknown says so."""

from __future__ import annotations

from datetime import date

from batch.reports.groups import Group, Numbers
from batch.reports.prefixes import Prefix
from batch.reports.report import Report, Unanswered
from batch.words import DOWN, UP, at_least, money, printable

NOTHING = "–"
MODELS_NAMED = 4

SOURCES = {
    "server": "as the server says",
    "job": "prices of the job",
    "list": "list prices",
    "assumed": "assumed: list prices of models of that name",
    "local": "local",
    "file": "prices of the file",
}
"""What `cost_source` means."""


def cost(numbers: Numbers | Prefix, unknown: str = "unknown") -> str:
    """What is known of a cost: a part of it is a lower bound."""
    if numbers.cost_usd is None:
        return unknown
    return at_least(numbers.cost_usd) if numbers.unpriced_rows else money(numbers.cost_usd)


def count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def share(part: float | None) -> str:
    """0.1234 -> 12.3%."""
    if part is None:
        return NOTHING
    return f"{part:.0%}" if part in (0, 1) else f"{part:.1%}"


def seconds(time: float | None) -> str:
    """0.123 -> 0.123 s: three digits."""
    if time is None:
        return NOTHING
    decimals = 0 if time >= 100 else 1 if time >= 10 else 2 if time >= 1 else 3
    return f"{time:,.{decimals}f} s"


def speed(tokens_per_second: float | None) -> str:
    return NOTHING if not tokens_per_second else f"{tokens_per_second:,.1f}"


def rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"


def line(text: str | None) -> str:
    """Somebody else's words on one line, with nothing in them that drives a terminal."""
    return NOTHING if text is None else " ".join(printable(text).split())


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def name(group: Group) -> str:
    return ", ".join(line(value) for value in group.by.values())


def facts(report: Report) -> list[tuple[str, str]]:
    """What is said of everything: a word and a sentence."""
    found = [*_covered(report), *_work(report.totals)]
    return [*found, *_cost(report), *_times(report.totals)]


def heading(report: Report) -> str:
    """Which runs, and of what period."""
    runs = line(report.runs[0].run) if len(report.runs) == 1 else f"{len(report.runs):,} runs"
    since, until = report.period
    parts = [
        f"from {since:%Y-%m-%d %H:%M} on" if since else "",
        f"before {until:%Y-%m-%d %H:%M}" if until else "",
    ]
    asked = " ".join(part for part in parts if part)
    return f"{runs}, {asked} UTC" if asked else f"{runs}{_days(report)}"


def _days(report: Report) -> str:
    known = [date.fromisoformat(day) for group in report.days if (day := group.by["day"])]
    if not known:
        return ""
    return f", {known[0]}" if known[0] == known[-1] else f", {known[0]} to {known[-1]}"


def _covered(report: Report) -> list[tuple[str, str]]:
    found = [("runs", heading(report))]
    for run in report.runs:
        if run.journalled_rows:
            parts = "parts that are still open"
            found.append(
                ("open", f"{line(run.run)}: {rows(run.journalled_rows)} are read from {parts}")
            )
        if run.unanswered.rows:
            found.append(("unknown", f"{line(run.run)}: {_sent(run.unanswered)}"))
        found += [("copy", f"{line(copy)} is {line(run.run)}, counted once") for copy in run.copies]
    return found


def _sent(unanswered: Unanswered) -> str:
    """What may be billed beyond all sums of rows."""
    number, of = unanswered.requests, unanswered.rows
    requests = f"{number:,} request{'' if number == 1 else 's'}"
    if number < of:
        requests = f"{requests} for {rows(of)}" if number else f"requests for {rows(of)}"
    usd = unanswered.cost_usd
    price = "an unknown cost" if usd is None else money(usd, UP)
    bound = f"at most {price} ({unanswered.tokens:,} tokens) for them"
    if unanswered.unbounded:
        bound += f", {unanswered.unbounded:,} of which set no bound (no max_tokens)"
    return f"{requests} in flight, or lost in a kill, may be billed: {bound}"


def _work(totals: Numbers) -> list[tuple[str, str]]:
    reused = f", {totals.rows_reused:,} reused for nothing" if totals.rows_reused else ""
    maybe = (
        f", {totals.maybe_billed_attempts:,} of them may have been billed without an answer"
        if totals.maybe_billed_attempts
        else ""
    )
    inside = [f"{share(totals.cache_hit_rate)} cached"] if totals.cached_tokens else []
    if totals.cache_write_tokens:
        inside.append(f"{totals.cache_write_tokens:,} written to a cache")
    cached = f" ({', '.join(inside)})" if inside else ""
    thinking = f" ({totals.reasoning_tokens:,} reasoning)" if totals.reasoning_tokens else ""
    silent = f"; unknown for {rows(totals.unknown_usage_rows)}" if totals.unknown_usage_rows else ""
    tokens = f"{count(totals.input_tokens)} in{cached}, {count(totals.output_tokens)} out{thinking}"
    return [
        ("rows", f"{totals.rows_ok:,} ok, {totals.rows_failed:,} failed{reused}"),
        ("attempts", f"{totals.attempts:,}{maybe}"),
        ("tokens", f"{tokens}{silent}"),
    ]


def _cache(report: Report) -> str:
    """What reading from caches has saved, and what was written for nothing."""
    saved = report.totals.cache_saved_usd
    said = []
    if saved is not None:
        said.append(f"{money(abs(saved))} {'saved' if saved >= 0 else 'lost'}")
    if unread := report.cache_unread_tokens:
        said.append(f"at least {unread:,} tokens written and never read")
    return ", ".join(said)


def _cost(report: Report) -> list[tuple[str, str]]:
    totals = report.totals
    found = [("cost", _known(totals, _missing(report)))]
    if totals.cost_per_row_usd is not None:
        of = "answered and has a price" if totals.unpriced_rows else "answered"
        found.append(("per row", f"{money(totals.cost_per_row_usd)} for each that was {of}"))
    if cache := _cache(report):
        found.append(("cache", cache))
    if totals.lost_tokens:
        lost = f"{share(totals.lost_tokens_share)} of the tokens"
        if totals.lost_cost_usd:
            part = totals.lost_cost_share
            of = "" if part is None else f" ({share(part)} of the cost)"
            lost = f"{money(totals.lost_cost_usd)}{of}, {lost}"
        found.append(("lost", f"{lost}, in attempts that were tried again"))
    if maybe := unconfirmed(totals):
        found.append(("maybe", f"{maybe} more may have been billed without being reported"))
    if totals.reported_cost_usd is not None:
        found.append(("reported", f"{money(totals.reported_cost_usd)} by the servers themselves"))
    if report.costing is not None:
        found.append(("prices", report.costing))
    return found


def unconfirmed(numbers: Numbers) -> str:
    """What may have been billed beyond the cost, at most; empty when nothing may."""
    words = ""
    if numbers.unconfirmed_tokens:
        usd = numbers.unconfirmed_cost_usd
        price = "an unknown cost" if usd is None else money(usd, UP)
        words = f"at most {price} ({numbers.unconfirmed_tokens:,} tokens)"
    if not numbers.unbounded_attempts:
        return words
    unbounded = f"{numbers.unbounded_attempts:,} attempts without a bound (no max_tokens)"
    return f"{words} and {unbounded}" if words else unbounded


def _known(totals: Numbers, missing: str) -> str:
    if totals.cost_usd is None:
        return f"unknown ({missing})"
    prices = totals.cost_sources.items()
    sources = [f"{money(usd)} {SOURCES.get(name, line(name))}" for name, usd in prices]
    if len(sources) == 1:
        sources = [SOURCES.get(name, line(name)) for name, _ in prices]
    from_ = f", {', '.join(sources)}" if sources else ""
    if not missing:
        return f"{money(totals.cost_usd)}{from_}"
    return f"at least {money(totals.cost_usd, DOWN)}{from_} ({missing})"


def _missing(report: Report) -> str:
    """Why a part of the cost is not known."""
    models = list(report.unpriced_models.items())
    words = [
        f"{rows(number)} of {line(name)} ({tokens:,} tokens)"
        f" {'has' if number == 1 else 'have'} no price"
        for name, (number, tokens) in models[:MODELS_NAMED]
    ]
    others = sum(number for _, (number, _) in models[MODELS_NAMED:])
    if others:
        words.append(f"{rows(others)} of {len(models) - MODELS_NAMED} other models have no price")
    silent = report.totals.unpriced_rows - sum(n for n, _ in report.unpriced_models.values())
    if silent:
        words.append(f"{rows(silent)} told no tokens")
    return ", ".join(words)


def _times(totals: Numbers) -> list[tuple[str, str]]:
    if totals.latency_p50_s is None:
        return []
    an_answer = totals.output_tokens_per_second
    at = f"; {speed(an_answer)} tokens/s an answer" if an_answer else ""
    p50, p95, p99 = map(seconds, (totals.latency_p50_s, totals.latency_p95_s, totals.latency_p99_s))
    found = [("latency", f"p50 {p50}, p95 {p95}, p99 {p99}{at}")]
    if totals.ttft_p50_s is not None:
        first = f"p50 {seconds(totals.ttft_p50_s)}, p95 {seconds(totals.ttft_p95_s)}"
        found.append(("ttft", f"{first} to the first token"))
    return found
