"""Costs of runs that were made, computed anew from the columns of tokens: by the prices of a file,
or by the lists as they are known now.

A list is asked for the moment of each request.  Sound and pictures, which have no columns, count as
text.  Rows are priced by model, tier, endpoint and minute, a few thousand of which there are in a
large run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch import places
from batch.costs import price_lists, prices
from batch.costs.price_lists import Rates
from batch.costs.prices import Price, Pricer, Quote, Seller
from batch.model import Usage
from batch.reports.counts import Costing, flagged
from batch.store.plan import Plan
from batch.transport import endpoint, hosts

KEYS = ("served_model", "model", "service_tier", "endpoint", "minute")
COUNTS = tuple(Usage.__struct_fields__)
COLUMNS = ("cost_usd", "cost_source", "flags", *KEYS[:-1], "started_at", *COUNTS)

Quoting = Callable[[tuple[str | None, ...], str | None, str | None, float], Quote | None]
"""Names of the model, service tier, endpoint, moment -> its price."""


class _Costs(NamedTuple):
    usd: pa.Array
    source: pa.Array


def by_file(own: dict[str, Price], name: str) -> Costing:
    """The prices of a file, and what was recorded for models that are not in it."""
    quote = Pricer(own, Seller()).quote

    def of(rows: pa.Table, _: Plan) -> _Costs:
        found = _costs(rows, lambda names, tier, _, at: quote(names, tier, at))
        source = pc.if_else(pc.equal(found.source, "job"), "file", found.source)
        return _where(_priced(found), found._replace(source=source), _recorded(rows))

    def anew(rows: pa.Table, _: Plan) -> pa.Array:
        return _costs(rows, lambda names, tier, _, at: quote(names, tier, at)).usd

    words = f"anew by {name}, as recorded where that names no price"
    return Costing(COLUMNS, of, words, frozenset(own), anew)


def by_lists(own: dict[str, Price], name: str | None) -> Costing:
    """The prices of a file, if there is one, then those of each run's job, then the lists; what a
    server said itself stays where none of them knows.
    """
    of_file = None if name is None else by_file(own, name)

    def of(rows: pa.Table, run: Plan) -> _Costs:
        found = _costs(rows, _of_run(run))
        recorded = _recorded(rows)
        said = pc.fill_null(pc.equal(recorded.source, "server"), False)
        found = _where(pc.or_(_priced(found), pc.invert(said)), found, recorded)
        if of_file is None:
            return found
        usd, source = of_file.of(rows, run)
        ours = pc.fill_null(pc.equal(source, "file"), False)
        return _where(ours, _Costs(usd, source), found)

    def anew(rows: pa.Table, run: Plan) -> pa.Array:
        usd = _costs(rows, _of_run(run)).usd
        if of_file is None or of_file.anew is None:
            return usd
        return pc.coalesce(of_file.anew(rows, run), usd)

    first = "" if name is None else f"{name} and "
    words = f"anew by {first}{price_lists.snapshot()}, for the moment of each request"
    return Costing(COLUMNS, of, words, frozenset(own), anew)


def saved_by_caches(rows: pa.Table, run: Plan, costing: Costing) -> pa.Array:
    """What rows would have cost more had nothing been read from a cache or written to it; null where no
    token was, or no price is known.
    """
    touched = pc.or_(
        *(
            pc.greater(pc.fill_null(rows[name], 0), 0)
            for name in ("cached_tokens", "cache_write_tokens")
        )
    ).combine_chunks()
    nothing = pa.nulls(len(rows), pa.float64())
    if not pc.any(touched).as_py():
        return nothing
    anew = costing.anew or (lambda some, run: _costs(some, _of_run(run)).usd)
    some = rows.filter(touched)
    without = some
    for name in ("cached_tokens", "cache_write_tokens"):
        at = without.schema.get_field_index(name)
        without = without.set_column(at, name, pa.nulls(len(some), some.schema.field(at).type))
    saved = pc.subtract(anew(without, run), anew(some, run))
    return pc.replace_with_mask(nothing, touched, saved)


def _of_run(run: Plan) -> Quoting:
    """By the prices of the run's job, and the list of whoever sold at the endpoint."""
    own = msgspec.convert(run.job.get("prices") or {}, dict[str, Price])
    tables = places.each_of(run.job)

    @lru_cache(256)
    def pricer(place: str | None) -> Pricer:
        if place is None:
            return Pricer(own, Seller())
        url, local = f"https://{place}", place == "local"
        private = hosts.is_private(endpoint.host_of(url))
        table = _table(tables, place)
        seller = prices.seller(url, table.get("provider"), private=private, local=local)
        return Pricer(own, seller, table.get("model"))

    return lambda names, tier, place, at: pricer(place).quote(names, tier, at)


def _table(tables: list[dict[str, Any]], place: str) -> dict[str, Any]:
    """What a job says of an endpoint: its only one, or that of this name, or this host."""
    name, host = place.rpartition("#")[2], endpoint.host_of(f"https://{place}")
    for table in tables:
        there = endpoint.host_of(table.get("base_url") or "") == host
        if len(tables) == 1 or (table.get("name") == name if "#" in place else there):
            return table
    return {}


def _recorded(rows: pa.Table) -> _Costs:
    return _Costs(rows["cost_usd"].combine_chunks(), rows["cost_source"].combine_chunks())


def _priced(costs: _Costs) -> pa.Array:
    return pc.is_valid(costs.usd)


def _where(chosen: pa.Array, one: _Costs, other: _Costs) -> _Costs:
    return _Costs(
        pc.if_else(chosen, one.usd, other.usd), pc.if_else(chosen, one.source, other.source)
    )


def _costs(rows: pa.Table, quoting: Quoting) -> _Costs:
    """What rows that tell their tokens cost by `quoting`; null where it has no price."""
    seconds = pc.divide(rows["started_at"].cast(pa.int64()), 1_000_000)
    minutes = pc.divide(seconds, prices.MINUTE)
    keys = [rows[name].combine_chunks() for name in KEYS[:-1]]
    place, values = _distinct([*keys, minutes.combine_chunks()])
    quotes = [_quote(value, quoting) for value in values]
    source = pa.array([quote and quote.source for quote in quotes], pa.string()).take(place)
    usd = _straight(rows, [quote and quote.rates for quote in quotes], place)
    bent = {at: quote for at, quote in enumerate(quotes) if quote and quote.rates is None}
    if bent:
        usd = _with_bent(rows, bent, place, usd)
    usd = pc.if_else(flagged(rows), None, usd)  # what it used is not known
    return _Costs(usd, pc.if_else(pc.is_valid(usd), source, None))


def _quote(value: tuple[object, ...], quoting: Quoting) -> Quote | None:
    served, asked, tier, place, minute = value
    names = tuple(name if isinstance(name, str) else None for name in (served, asked))
    at = minute * prices.MINUTE if isinstance(minute, int) else 0
    return quoting(
        names,
        tier if isinstance(tier, str) else None,
        place if isinstance(place, str) else None,
        at,
    )


def _distinct(columns: list[pa.Array]) -> tuple[pa.Array, Iterator[tuple[object, ...]]]:
    """Row by row which combination of values it has; and the combinations."""
    table = pa.table(columns, [str(n) for n in range(len(columns))])
    code = pa.array([0] * len(table), pa.int64())
    for column in columns:
        encoded = column.dictionary_encode("encode")
        code = pc.add(pc.multiply(code, len(encoded.dictionary) + 1), encoded.indices)
        code = code.dictionary_encode().indices.cast(pa.int64())
    whole = code.dictionary_encode()
    firsts = pa.table({"code": whole.indices, "row": pa.array(range(len(table)), pa.int64())})
    first = firsts.group_by("code").aggregate([("row", "min")]).sort_by("code")["row_min"]
    return whole.indices, zip(*(column.to_pylist() for column in table.take(first)), strict=True)


def _straight(rows: pa.Table, rates: list[Rates | None], place: pa.Array) -> pa.Array:
    """Costs by rates that do not depend on the request, as `Rates.cost` has them."""
    by_name = {
        name: pa.array(
            [None if rate is None else float(getattr(rate, name)) for rate in rates], pa.float64()
        ).take(place)
        for name in Rates._fields
    }
    count = {name: rows[name].combine_chunks() for name in COUNTS}
    cached, written, reasoning = (
        pc.fill_null(count[name], 0)
        for name in ("cached_tokens", "cache_write_tokens", "reasoning_tokens")
    )
    plain = pc.subtract(count["input_tokens"], pc.add(cached, written))
    words = pc.subtract(count["output_tokens"], reasoning)
    usd = pc.multiply(by_name["request"], price_lists.MILLION)
    for name, tokens in (
        ("plain", plain),
        ("cached", cached),
        ("written", written),
        ("output", words),
        ("reasoning", reasoning),
    ):
        usd = pc.add(usd, pc.multiply(by_name[name], tokens.cast(pa.float64())))
    return pc.divide(usd, price_lists.MILLION)


def _with_bent(rows: pa.Table, bent: dict[int, Quote], place: pa.Array, usd: pa.Array) -> pa.Array:
    """Prices that depend on the length of a request, one by one: 40 to 100 us."""
    wanted = pc.is_in(place, value_set=pa.array(list(bent), place.type))
    asked = rows.select(COUNTS).filter(wanted)
    moments = rows["started_at"].cast(pa.int64()).filter(wanted).to_pylist()
    places = place.filter(wanted).to_pylist()
    found = []
    for at, moment, counts in zip(places, moments, asked.to_pylist(), strict=True):
        told = counts["input_tokens"] is not None and counts["output_tokens"] is not None
        cost = bent[at].cost(Usage(**counts), (moment or 0) / 1e6) if told else None
        found.append(None if cost is None else float(cost))
    return pc.replace_with_mask(usd, wanted, pa.array(found, pa.float64()))
