"""The limits that a job sets."""

from __future__ import annotations

from typing import Annotated

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
PerMinute = Annotated[float, msgspec.Meta(gt=0)]
USD = Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000)]


def check_inputs(number: int | str) -> None:
    """Raises ValueError for what is neither a number of texts nor "auto"."""
    if number != "auto" and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
        raise ValueError(
            f'inputs_per_request: expected "auto" or a number of at least 1, not {number!r}'
        )


def check_concurrency(number: int | str) -> None:
    """Raises ValueError for what is neither a number of requests nor "auto"."""
    if number != "auto" and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
        raise ValueError(f'concurrency: expected "auto" or a number of at least 1, not {number!r}')


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]` of a job."""

    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    concurrency: int | str = "auto"
    concurrency_max: Positive = 256
    max_cost_usd: USD | None = None
    inputs_per_request: int | str = "auto"

    def __post_init__(self) -> None:
        check_concurrency(self.concurrency)
        check_inputs(self.inputs_per_request)

    def most(self, slots: int | None = None) -> int:
        """Requests that may ever be in flight; `slots` is what the endpoint takes, if it is known."""
        if isinstance(self.concurrency, int):
            return self.concurrency
        return min(self.concurrency_max, slots or self.concurrency_max)
