"""The environment variables that a job may name: keys, and values of headers."""

from __future__ import annotations

import io
import os
from pathlib import Path

from batch.errors import UsageError


def of(env_file: Path | None) -> dict[str, str]:
    """The environment, over what `env_file` sets.  It may begin with a BOM."""
    if env_file is None:
        return dict(os.environ)
    from dotenv import dotenv_values  # 10 ms

    try:
        text = env_file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--env-file {env_file}: {error}") from None
    pairs = dotenv_values(stream=io.StringIO(text))
    return {name: value for name, value in pairs.items() if value is not None} | dict(os.environ)
