"""Damage in the folder of a run, in words: what is wrong with which file, and the way out."""

from __future__ import annotations

from pathlib import Path

from batch import command_line
from batch.errors import Damaged
from batch.run_folder import run_of


def damaged(path: Path, why: str) -> Damaged:
    """What is wrong with a file of a run, and the way out."""
    return Damaged(f"{path}: {why}", hint=way_out_of(run_of(path)))


def way_out_of(run: Path) -> str:
    """What to do about a damaged run."""
    return f"set aside what is damaged with: {command_line.of('verify', '--repair', run)}"
