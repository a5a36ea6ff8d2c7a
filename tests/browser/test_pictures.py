"""The pictures of README are made of a run, and of its report in a real browser."""

from __future__ import annotations

import pytest

from tests import pictures
from tests.browser import chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium.PATH is None, reason="chromium is not installed"),
]


def test_they_can_be_made_anew(tmp_path):
    pictures.main(tmp_path / "made")

    made = {path.name: path.stat().st_size for path in (tmp_path / "made").iterdir()}
    assert set(made) == {path.name for path in pictures.FOLDER.iterdir()}
    assert all(1_000 < size < 150_000 for size in made.values())
