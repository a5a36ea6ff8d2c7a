"""How many requests may be in flight: found out while running, when the job does not say.

Pure: moments and outcomes come in, a number comes out.  A round is as many answers as may be in
flight.  From round to round the limit

* doubles while the work done per second grows with it (slow start);
* stops doubling at the first refusal, or when twice as many in flight get no more done: a server
  that queues instead of refusing must not be flooded.  It then stays near the fewest that reach the
  best rate, the knee;
* grows by a twentieth after a clean round, by two after a second one in a row, and so on; shrinks
  by a fifth once per episode of refusals (429), and stands still while the server often fails (5xx).

Additive growth and multiplicative cuts are those of Chiu and Jain (1989); the knee is what gradient
limiters look for, too (Netflix's concurrency-limits).
"""

from __future__ import annotations

START = 8
"""Requests in flight at first."""
GROWN = 1.15
"""Work per second must grow by this factor when the requests in flight double, or doubling ends."""
CUT = 0.8
STEP, MOST_STEP = 0.05, 1.0
"""What a clean round adds, per clean round in a row: what went well for long may be left faster."""
KNEE_ROOM = 1.5
"""So far above the knee the limit may grow, to find out whether the server has become faster."""
BEST_SHARE = 0.95
"""A limit that reaches this share of the best rate reaches it."""
SMOOTHING = 0.3
"""How much the latest round counts against what was known of its limit."""
SHORTEST_ROUND = 0.25
"""Seconds; a shorter round measures noise."""
USED = 0.8
"""A round in which fewer were in flight than this share of the limit teaches nothing."""
STALE_ROUNDS, STALE_SHARE = 10, 0.8
"""After so many rounds below this share of the best rate, what was known of the server is
forgotten.
"""
OFTEN = 0.2
"""Failures per answer (5xx) beyond which a round is no reason to send more."""
BACK = 0.1
"""The share of the former limit with which an endpoint that was away is asked at first."""


class Concurrency:
    """The limit of requests in flight: at least 1, at most `most`.

    A `fixed` one is `most` from the start; it only starts slowly after an outage.
    """

    def __init__(
        self,
        most: int,
        start: int = START,
        *,
        fixed: bool = False,
        shortest_round: float = SHORTEST_ROUND,
    ) -> None:
        self._most = float(most)
        self._limit = float(most if fixed else min(start, most))
        self._fixed = fixed
        self._shortest_round = shortest_round
        self._doubling = True
        self._rates: dict[int, float] = {}  # step of the limit -> work per second there
        self._began: float | None = None
        self._answers = 0
        self._skip = 0  # answers still to come that were sent under another limit
        self._stale = 0
        self._work = 0.0
        self._peak = 0
        self._faults = 0
        self._clean = True
        self._clean_rounds = 0  # in a row
        self._episode_ends = 0.0
        self._before_outage: float | None = None

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return max(1, int(self._limit))

    def has_room(self, in_flight: int) -> bool:
        """Whether another request may be, besides those that are."""
        return in_flight + 1 <= self._limit or not in_flight

    @property
    def expects_earlier(self) -> bool:
        """Whether answers are to come that were sent under the limit before; they do not count."""
        return self._skip > 0

    def allow(self, most: int) -> None:
        """No more than `most` from now on, but as many."""
        self._most = float(most)
        if self._before_outage is not None:
            self._before_outage = self._most if self._fixed else min(self._before_outage, most)
        elif self._fixed:
            self._limit = self._most
        self._limit = min(self._limit, self._most)

    def answered(self, work: float, in_flight: int, now: float, answers: int = 1) -> None:
        """So many answers came, worth `work` together (their tokens, or their number), while
        `in_flight` were under way.
        """
        if self._fixed and self._before_outage is None:
            return
        if self._began is None or self._skip:
            self._skip = max(0, self._skip - answers)
            self._began = now
            return
        self._answers += answers
        self._work += work
        self._peak = max(self._peak, in_flight)
        seconds = now - self._began
        if self._answers >= self.limit and seconds >= self._shortest_round:
            before = self.limit
            self._end_round(self._work / seconds)
            self._start_round(now)
            measured = self._before_outage is None  # coming back, nothing is measured
            self._skip = in_flight if measured and self.limit > before * 1.1 else 0

    def starved(self, in_flight: int, now: float) -> None:
        """There were too few requests to measure anything by: a round begins."""
        if not self._fixed and in_flight < USED * self.limit:
            self._start_round(now)

    def refused(self, now: float, wait: float = 0.0) -> None:
        """The server had no room.  Cuts once per episode: as long as it asked to wait, and a
        second.
        """
        if self._fixed:
            return
        self._clean = self._doubling = False
        self._clean_rounds = 0
        if now >= self._episode_ends:
            self._limit = max(1.0, self._limit * CUT)
            self._start_round(now)
        self._episode_ends = max(self._episode_ends, now + wait + 1.0)

    def disturbed(self) -> None:
        """Something was refused, and nobody knows why yet: no reason to send more."""
        self._clean = False

    def at_least(self, limit: int) -> None:
        """Begin from here: a known rate protects the server."""
        if not self._fixed and self._doubling and self._before_outage is None:
            self._limit = max(self._limit, min(float(limit), self._most))

    def failed(self, times: int = 1) -> None:
        """The server failed: no reason to send less; when it fails often, none to send more."""
        self._faults += times

    def went_down(self) -> None:
        """The endpoint is away."""
        if self._before_outage is None:
            self._before_outage = self._limit

    def came_back(self, now: float) -> None:
        """The endpoint answers again: from a tenth, doubling, up to where it was."""
        if self._before_outage is not None:
            self._limit = max(1.0, self._before_outage * BACK)
            self._start_round(now)

    def _start_round(self, now: float) -> None:
        self._began, self._answers, self._work = now, 0, 0.0
        self._peak, self._faults, self._clean = 0, 0, True

    def _end_round(self, rate: float) -> None:
        if self._peak < USED * self.limit:
            return
        step = self._remember(rate)
        if not self._clean or self._faults > OFTEN * self._answers:
            self._clean_rounds = 0
            return
        self._clean_rounds += 1
        if self._before_outage is not None:
            self._limit = min(self._limit * 2, self._before_outage)
            if self._limit >= self._before_outage:
                self._before_outage = None
        elif self._doubling:
            self._double(step, rate)
        else:
            grown = self._limit * (1 + min(MOST_STEP, STEP * self._clean_rounds))
            room = self._knee() * KNEE_ROOM + 1
            self._limit = min(grown + STEP, self._most, room)

    def _double(self, step: int, rate: float) -> None:
        half = max((known for at, known in self._rates.items() if at < step), default=0.0)
        if half and rate < half * GROWN:
            self._doubling = False
            self._limit = min(self._limit, self._knee() * KNEE_ROOM + 1)
        else:
            self._limit = min(self._limit * 2, self._most)

    def _remember(self, rate: float) -> int:
        step = _step(self._limit)
        best = max(self._rates.values(), default=0.0)
        self._stale = self._stale + 1 if rate < STALE_SHARE * best else 0
        if self._stale >= STALE_ROUNDS:
            self._rates.clear()
            self._stale = 0
        known = self._rates.get(step, rate)
        self._rates[step] = known + SMOOTHING * (rate - known)
        return step

    def _knee(self) -> float:
        """The fewest in flight that reach (nearly) the best rate known."""
        best = max(self._rates.values())
        reached = (at for at, rate in self._rates.items() if rate >= BEST_SHARE * best)
        return _limit(min(reached))


def _step(limit: float) -> int:
    """Limits within a fifth of each other share a step."""
    step = 0
    while _limit(step + 1) <= limit:
        step += 1
    return step


def _limit(step: int) -> float:
    return float(1.2**step)
