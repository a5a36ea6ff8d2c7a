"""What is known of one endpoint: how fast it takes requests, whether it has room, whether it is there."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from batch.engine.outages import START_PATIENCE, Outages
from batch.engine.refusals import Refusals
from batch.engine.retry import Retry
from batch.errors import BatchError
from batch.limits.circuit_breaker import CircuitBreaker
from batch.limits.limiter import Limiter

MOST_ALONE = 5
"""Rows in a row that an endpoint which has answered before may refuse, and another answers."""


class Health:
    """Of one endpoint.  `hopeless` is why the run would end, were it the only one."""

    def __init__(
        self,
        policy: Retry,
        limiter: Limiter,
        jitter: Callable[[], float],
        *,
        number: int,
        succeeded: bool,
        patience: float,
    ) -> None:
        self.limiter = limiter
        self.refusals = Refusals(policy, limiter, jitter)
        self.outages = Outages(
            policy,
            limiter,
            number=number,
            succeeded=succeeded,
            patience=patience,
        )
        self.hopeless: BatchError | None = None
        self.refusal = ""
        """What it has said to a row that was then asked elsewhere."""
        self._alone = 0

    def answered(self, now: float, took: float) -> None:
        """It has given an answer, after so many seconds."""
        self.refusals.answered()
        self.outages.answered(now, took)
        self.hopeless = None
        self._alone = 0

    def refused_alone(self) -> bool:
        """It has refused what another endpoint answers.  Whether it does so always."""
        self._alone += 1
        return self._alone >= (MOST_ALONE if self.outages.has_answered else 1)


class Healths:
    """Of all endpoints of a run, some of which may come later."""

    def __init__(
        self,
        policy: Retry,
        limiters: Sequence[Limiter],
        jitter: Callable[[], float],
        *,
        succeeded: bool,
        patience: float = START_PATIENCE,
    ) -> None:
        """`succeeded`: there have been answers in earlier starts.  `patience` is how many seconds an
        endpoint of which nothing has ever been heard has to come up.
        """
        self._policy = policy
        self._limiters = limiters
        self._jitter = jitter
        self._succeeded = succeeded
        self._patience = patience
        self._everywhere: CircuitBreaker | None = None
        self._healths: list[Health] = []

    def of(self, number: int) -> Health:
        """That of the endpoint of this number."""
        if number < len(self._healths):
            return self._healths[number]
        while number >= (known := len(self._healths)):
            self._healths.append(
                Health(
                    self._policy,
                    self._limiters[known],
                    self._jitter,
                    number=known,
                    succeeded=self._succeeded,
                    patience=self._patience,
                )
            )
            self._put_together()
        return self._healths[number]

    def _put_together(self) -> None:
        """From the second endpoint on, what fails wherever it goes is known, too."""
        if len(self._limiters) > 1:
            self._everywhere = self._everywhere or CircuitBreaker()
            for each in self._healths:
                each.outages.everywhere = self._everywhere

    def there(self) -> list[Health]:
        """Those of the endpoints that are asked."""
        return [
            self.of(number) for number, limiter in enumerate(self._limiters) if not limiter.is_gone
        ]

    def others_are_there(self, number: int) -> bool:
        """Whether any endpoint but this one is asked."""
        others = (each for n, each in enumerate(self._limiters) if n != number)
        return any(not each.is_gone for each in others)

    def held_up_elsewhere(self, numbers: Container[int]) -> float:
        """Seconds until another endpoint than these takes requests; infinite where none will."""
        others = (each.held_up for n, each in enumerate(self._limiters) if n not in numbers)
        return min(others, default=float("inf"))

    def all_hopeless(self) -> bool:
        """Whether no endpoint is worth waiting for."""
        return all(each.hopeless is not None for each in self.there())
