"""Which parts of a URL are secrets, by their names: a URL is stored, shown and logged."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote_plus

ENDINGS = (
    *("key", "token", "secret", "password", "passwd", "passphrase", "pwd", "signature", "sig"),
    *("auth", "authorization", "credential", "credentials", "jwt", "bearer", "cookie"),
)
"""How the names of parameters end that hold secrets: `x-api-key` and `subscription_key` alike."""

WHOLE = ("code", "pass", "pw", "sas", "session", "sessionid", "ticket")
"""Names that hold secrets, and end like others that hold none (language_code)."""

_KEY = re.compile(
    r"(?:sk|pk|gsk|xai|hf|ghp|rk|nvapi|pplx)[-_][\w-]{8,}|AIza[\w-]{20,}|ey[\w-]+\.ey.*"
)
"""How keys begin that providers give out."""


def named_in(parts: SplitResult) -> bool:
    """Whether a URL holds a secret: beside its host, or as a parameter of its path, query or
    fragment.
    """
    if parts.username or parts.password:
        return True
    pieces = re.split("[&;?]", f"{parts.query}&{parts.fragment}") + parts.path.split(";")[1:]
    return any(map(_is_secret, pieces))


def _is_secret(piece: str) -> bool:
    """Whether `name=value`, or a word alone, is one; without a value there is nothing to hide."""
    name, equals, value = map(unquote_plus, piece.partition("="))
    if not equals:
        return _KEY.fullmatch(name) is not None
    bare = name.casefold().strip("[]$ ")
    return bool(value) and (bare.endswith(ENDINGS) or bare in WHOLE or bool(_KEY.fullmatch(value)))
