"""What stands in pyproject.toml, the tested versions and the lowest ones agree."""

from __future__ import annotations

import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import lowest_bounds

TESTED = lowest_bounds.PROJECT.parent / "tests" / "constraints.txt"


def needed():
    project = tomllib.loads(lowest_bounds.PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    every = [*project["dependencies"], *(line for lines in extras.values() for line in lines)]
    return [one for line in every if (one := Requirement(line)).name != project["name"]]


def versions():
    lines = TESTED.read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pinned}


def test_what_was_tested_is_a_version_of_all_that_is_needed():
    tested = versions()
    for one in needed():
        version = tested.get(canonicalize_name(one.name))
        assert version is not None, f"tests/constraints.txt does not say which {one.name}"
        assert one.specifier.contains(version), f"{one} is needed, and {version} was tested"


def test_the_lowest_version_is_one_that_may_be_installed():
    wanted = {one.name: one.specifier for one in needed()}
    for line in lowest_bounds.lowest():
        pin = Requirement(line)
        assert wanted[pin.name].contains(str(pin.specifier).removeprefix("==")), line
