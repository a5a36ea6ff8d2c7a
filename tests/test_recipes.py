"""What is added to the program is added in one place: each recipe is carried out in a copy of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


class Copy:
    """A copy of the package, in which files are written and lines inserted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        unfinished = shutil.ignore_patterns("__pycache__")  # others write there now
        shutil.copytree(ROOT / "batch", folder / "batch", ignore=unfinished)

    def write(self, name: str, text: str) -> None:
        """Add a file."""
        assert not (self.folder / name).exists()
        (self.folder / name).write_text(text)

    def insert(self, name: str, after: str, line: str) -> None:
        """Add a line to a file, after the one that begins with `after`."""
        path = self.folder / name
        lines = path.read_text().splitlines()
        [place] = [number for number, old in enumerate(lines) if old.startswith(after)]
        path.write_text("\n".join([*lines[: place + 1], line, *lines[place + 1 :], ""]))

    def python(self, code: str) -> str:
        """What `code` prints."""
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_dialect_of_headers_is_one_edit(copy):
    copy.insert(
        "batch/headers.py",
        "DIALECTS = (",
        '    Dialect(Window("quota", "quota-left", "quota-reset-ms"), unit=0.001),',
    )
    said = copy.python("""if True:
        from batch import headers
        answered = {"Quota": "500", "Quota-Left": "250", "Quota-Reset-Ms": "30000", "Quota-Name": "x"}
        kept = {name: value for each, value in answered.items() if (name := headers.kept(each))}
        print(sorted(kept), headers.speaks_of_limits(kept))
        print(headers.announced(kept, 0.0).requests_per_minute)
        print(headers.reset_seconds(kept | {"quota-left": "0"}, 0.0))
    """)
    assert said.splitlines() == ["['quota', 'quota-left', 'quota-reset-ms'] True", "500.0", "30.0"]


def test_a_limit_whose_name_tells_its_period_needs_no_reset(copy):
    copy.insert(
        "batch/headers.py",
        "DIALECTS = (",
        '    Dialect(tokens=Window("tokens-per-hour", "tokens-left", seconds=3600)),',
    )
    said = copy.python("""if True:
        from batch import headers
        print(headers.announced({"tokens-per-hour": "60000"}, 0.0).tokens_per_minute)
    """)
    assert said == "1000.0\n"
