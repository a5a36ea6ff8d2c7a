"""Standard input and data in memory, as files of their own until the run has a folder."""

from __future__ import annotations

import io
import sys
import tempfile
from contextlib import ExitStack

import pytest

from batch import spec
from batch.errors import StorageError
from batch.planning import sources
from batch.planning.terms import Terms
from batch.readers import memory

GIVEN = {"standard input": None, "data": memory.of([{"text": "a"}])}


@pytest.mark.parametrize("given", GIVEN)
def test_no_place_for_what_is_kept_is_an_error_of_the_disk(given, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "a"}\n')))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    terms = Terms(environment={}, data=GIVEN[given])
    with ExitStack() as stack, pytest.raises(StorageError, match="missing") as raised:
        sources.of(spec.check({"input": "-"}), terms, stack, None)
    assert "TMPDIR" in (raised.value.hint or "")
