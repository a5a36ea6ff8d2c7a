"""The modules of a room that may stand for each other offer what its Protocol asks, in mypy's eyes.

A room loads them by their names, which mypy does not follow, so a program is written here that
names each of them.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from mypy import api as mypy

from batch import apis, renderers
from batch.readers import formats

ROOMS = {
    "batch.apis": ("batch.apis.API", apis.MODULES),
    "batch.readers": ("batch.readers.formats.Reader", formats.MODULES),
    "batch.renderers": ("batch.renderers.Renderer", renderers.MODULES),
}
"""The Protocol of each, and its list."""

STRETCHED = "batch.readers.formats.Stretched"
"""What some readers offer besides."""


ALONE = "[mypy]\nfollow_imports = skip\n[mypy-batch.*]\nfollow_imports = silent\n"
"""What the program imports is not looked at: that takes four times as long."""


def claims() -> str:
    """A program that is right if every module is what its room says."""
    lines = []
    for room, (protocol, modules) in ROOMS.items():
        for module in modules.values():
            name = f"{room}.{module}"
            lines += [f"import {name}", f"_{name.replace('.', '_')}: {protocol} = {name}"]
            if hasattr(import_module(name), "stretches"):
                lines.append(f"_{name.replace('.', '_')}_: {STRETCHED} = {name}")
    lines += [f"import {protocol.rpartition('.')[0]}" for protocol, _ in ROOMS.values()]
    return "\n".join(sorted(lines, key=lambda line: line.startswith("_")))


def test_every_module_of_a_list_is_what_its_room_says(tmp_path: Path) -> None:
    checked = tmp_path / "claims.py"
    checked.write_text(f"{claims()}\n_: batch.apis.API = batch.renderers.csv\n")
    config = tmp_path / "mypy.ini"
    config.write_text(ALONE)
    said, broken, _ = mypy.run(
        ["--config-file", str(config), "--cache-dir", os.devnull, str(checked)]
    )
    assert not broken
    [place] = {line.split(":")[1] for line in said.splitlines() if ": error: " in line}
    assert int(place) == len(checked.read_text().splitlines()), said  # only the one that is wrong
