"""The endpoints of a job: from the table `[endpoint]`, from several tables `[[endpoint]]`, or from a
list of URLs in one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from batch.errors import JobError
from batch.limits import division
from batch.limits.pool import Share
from batch.transport.endpoint import Endpoint

KEYS = (*Endpoint.__struct_fields__, *Share.__struct_fields__)
"""Of one table."""


class Place(msgspec.Struct, frozen=True):
    """An endpoint, and what is said of it as one of several."""

    endpoint: Endpoint
    share: Share = Share()

    def of_worker(self, worker: int, workers: int) -> Place:
        """With the share of one of several workers (from 0 on) in its limits."""
        return msgspec.structs.replace(self, share=division.share(self.share, worker, workers))


def split(given: Any) -> dict[str, Any]:
    """What stands under `endpoint` in a job file, as the fields of a Job: `endpoint` and `share` of the
    first, `others`.  Raises JobError.
    """
    tables = given if isinstance(given, list) else [given]
    if not all(isinstance(table, dict) for table in tables):
        return {"endpoint": given}  # which is refused as what it is
    _check_names(tables)
    found = [place for table in tables for place in _of_table(table)]
    if not found:
        raise JobError("[endpoint] base_url: the list names no URL")
    _check_several(found)
    first, *others = found
    return {**first, "others": others}


def joined(tables: dict[str, Any]) -> dict[str, Any]:
    """The tables of a Job, with its endpoints as they stand in a job file: those that differ in nothing
    but their URL in one table.
    """
    made = dict(tables)
    share, others = made.pop("share"), made.pop("others")
    found: list[dict[str, Any]] = []
    for place in ({"endpoint": made["endpoint"], "share": share}, *others):
        table = {**place["endpoint"], **_said(place["share"])}
        if found and _but_url(found[-1]) == _but_url(table):
            found[-1] = {**table, "base_url": [*_urls(found[-1]), table["base_url"]]}
        else:
            found.append(table)
    return {**made, "endpoint": found if found[1:] else found[0]}


def tables_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables of endpoints as they stand in a job file, or a run.json."""
    found = job.get("endpoint") or {}
    return found if isinstance(found, list) else [found]


def each_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    """A table for each endpoint in a run.json."""
    return [{**table, "base_url": url} for table in tables_of(job) for url in _urls(table)]


def _of_table(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    share = {key: table[key] for key in Share.__struct_fields__ if key in table}
    rest = {key: value for key, value in table.items() if key not in share and key != "base_url"}
    for url in _urls(table):
        at = {} if url is None else {"base_url": url}
        yield {"endpoint": {**rest, **at}, "share": share}


def _urls(table: dict[str, Any]) -> list[Any]:
    """Those in a table; None for that of the environment."""
    urls = table.get("base_url")
    return urls if isinstance(urls, list) else [urls]


def _but_url(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != "base_url"}


def _check_names(tables: list[dict[str, Any]]) -> None:
    names = [table.get("name") for table in tables]
    if None in names[1:]:
        raise JobError("[[endpoint]] name: from the second one on each needs a name of its own")
    for name in names:
        if name is not None and names.count(name) > 1:
            raise JobError(f"[[endpoint]] name: two are called {name!r}")


def _check_several(places: list[dict[str, Any]]) -> None:
    if len(places) < 2:
        return
    asked = [(each["endpoint"].get("base_url"), each["endpoint"].get("name")) for each in places]
    for url, name in asked:
        if isinstance(url, str) and (url == "local" or url.startswith("local:")):
            raise JobError("[endpoint] base_url: the embedded model stands alone")
        if asked.count((url, name)) > 1:
            raise JobError(f"[endpoint] base_url: {url or 'the default'} is named twice")


def _said(share: dict[str, Any]) -> dict[str, Any]:
    """Without what every endpoint has."""
    return {key: value for key, value in share.items() if value != getattr(Share(), key)}
