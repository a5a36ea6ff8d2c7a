"""Changes of names that another handle on the file stands in the way of, for a moment.

Windows neither moves nor removes a file that somebody has open.  Others have, now and then: `status`
beside a run, whoever looks for viruses or makes an index.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between tries."""
IN_USE = (5, 32, 33, 145)
"""What Windows says then: access denied, a violation of sharing or of a lock, a folder not yet empty."""


def patiently(change: Callable[[], T]) -> T:
    """Make a change as soon as nobody stands in its way.  Raises OSError where it takes too long, and at
    once on other systems.
    """
    for pause in PAUSES:
        try:
            return change()
        except OSError as error:
            if getattr(error, "winerror", None) not in IN_USE:
                raise
        time.sleep(pause)
    return change()
