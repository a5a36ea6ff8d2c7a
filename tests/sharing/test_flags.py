"""What `--engine` says before anything is asked."""

from __future__ import annotations

import os

import pytest

from tests.conftest import ROOT
from tests.reading import asking, texts, write


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workers", "2"), "--engine"),
        (("--ray-address", "auto"), "--engine"),
        (("--engine", "ray", "--shard", "0/2"), "--shard"),
        (("--engine", "ray", "--metrics-port", "9999"), "--metrics-port"),
    ],
)
def test_flags_that_do_not_go_together_are_named(api, batchmill, tmp_path, words, said):
    write(tmp_path / "in.jsonl", texts(5))
    refused = batchmill("run", "in.jsonl", *asking(api, *words))
    assert refused.exit_code == 2 and said in refused.stderr
    assert not api.ledger and not (tmp_path / "runs").exists()


def test_without_ray_the_extra_is_named(api, batchmill, tmp_path):
    write(tmp_path / "in.jsonl", texts(5))
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('no ray')")
    path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    refused = batchmill("run", "in.jsonl", *asking(api, "--engine", "ray"), env=path)
    assert refused.exit_code == 2
    assert "pip install 'batchmill[ray]'" in refused.stderr
    assert not api.ledger and not (tmp_path / "runs").exists()
