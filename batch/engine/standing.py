"""How a run stands when a start of it begins."""

from __future__ import annotations

import msgspec

from batch.engine.outages import START_PATIENCE


class Standing(msgspec.Struct, frozen=True):
    """How a run stands when a start begins.  `succeeded`: it holds answers already.  `accepts_all`: a
    person has said that mostly empty, invalid or unfitting answers are all right.  `doubted`: the
    fingerprints of refusals for which earlier starts stopped.  `patience` is how many seconds an
    endpoint that nothing has ever been heard of has to come up.  Of several workers of a run each has
    a `share` of its retries.
    """

    succeeded: bool = False
    accepts_all: bool = False
    doubted: frozenset[str] = frozenset()
    patience: float = START_PATIENCE
    share: float = 1.0
