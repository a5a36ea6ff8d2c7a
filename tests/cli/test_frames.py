"""However deep a loop lies in a command, its calls take no memory from the system and give it back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.program import ROOT

CALLS = 200
PROBE = f"""
import json, resource, sys

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def leaf():
    {" = ".join(f"a{n}" for n in range(60))} = None

def deep(depth):
    if depth:
        return deep(depth - 1)
    before = faults()
    for _ in range({CALLS}):
        leaf()
    return faults() - before

class Probe:  # is asked while a command is imported
    def find_spec(self, name, path, target=None):
        if name == "batch.cli.docs":
            print(json.dumps([deep(depth) for depth in range(250)]))
            raise SystemExit

if {{inside}}:
    from batch.cli import main
    sys.argv[1:] = ["docs"]
    sys.meta_path.insert(0, Probe())
    main()
else:
    Probe().find_spec("batch.cli.docs", None)
"""


def pages(*, inside: bool) -> list[int]:
    """How many pages of memory so many calls take at each depth, inside a command or outside."""
    said = PROBE.format(inside=inside)
    done = subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True)
    found: list[int] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="counts pages as Linux does")
def test_calls_take_no_memory_however_deep_they_are():
    assert max(pages(inside=False)) >= CALLS  # at the edge of a piece
    assert max(pages(inside=True)) < CALLS / 2
