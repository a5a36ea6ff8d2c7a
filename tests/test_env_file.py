"""`--env-file` reads what python-dotenv reads; the environment wins over it."""

from __future__ import annotations

import pytest

from batch.cli import jobs
from batch.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("CANARY=sk-1", "sk-1"),
        ("\ufeffCANARY=sk-1", "sk-1"),
        ("\ufeff# a comment\nCANARY=sk-1", "sk-1"),
        ("CANARY=sk-1 # mine", "sk-1"),
        ("CANARY=sk-1#2", "sk-1#2"),
        ('CANARY="sk-1" # mine', "sk-1"),
        ('CANARY="sk # 1"', "sk # 1"),
        ("CANARY='sk-1'   ", "sk-1"),
        ("CANARY = 'sk-1'", "sk-1"),
        ("export CANARY=sk-1", "sk-1"),
        ("export  CANARY='sk-1'", "sk-1"),
        ("export\tCANARY=sk-1", "sk-1"),
        ("CANARY=sk-1\r\nOTHER=2\r\n", "sk-1"),
        ('CANARY="a\\"b"', 'a"b'),
        ("CANARY='a\\'b'", "a'b"),
        ('CANARY="two\\nlines"', "two\nlines"),
        ('CANARY="two\nlines"', "two\nlines"),
        ("CANARY=sk=1==", "sk=1=="),
        ("A=sk-1\nCANARY=${A}2", "sk-12"),
        ("CANARY=a\nCANARY=b", "b"),
        ("CANARY=", ""),
        ("CANARY", None),
        ("# CANARY=sk-1", None),
    ],
)
def test_reads_a_variable_as_it_may_be_written(text, value, tmp_path):
    file = tmp_path / ".env"
    file.write_bytes(text.encode())
    assert jobs.environment(file).get("CANARY") == value


def test_the_environment_wins(monkeypatch, tmp_path):
    monkeypatch.setenv("CANARY", "there")
    (tmp_path / ".env").write_text("CANARY=file")
    assert jobs.environment(tmp_path / ".env")["CANARY"] == "there"


@pytest.mark.parametrize("text", [None, b"\xff\xfeA\x00"])
def test_a_file_that_cannot_be_read_is_refused(text, tmp_path):
    if text is not None:
        (tmp_path / ".env").write_bytes(text)
    with pytest.raises(UsageError, match="--env-file"):
        jobs.environment(tmp_path / ".env")
