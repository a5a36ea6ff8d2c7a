"""Whether a refusal tells of a limit, or only of the request or the replica that it met.

Pure: moments come in.  A limit refuses nearly everything until its moment comes, or what is too fast
for it.  A full replica in a pool refuses a share of the requests, however few are sent.  So a share is
first borne; when it lasts, requests leave a little slower for a while, and the share that remains is
no matter of rate: the `background`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import msgspec

from batch.limits.refusal_window import RefusalWindow

Cause = Literal["limit", "scattered", "unsure"]
"""`unsure`: so few requests were sent that nothing can be told; the wait is kept, nothing is learnt."""

WALL, OF, LEAST = 0.75, 16, 4
"""A limit refuses this share of the last requests, of which at least so many tell anything."""
SUSPECT, AMONG = 5, 200
"""So many refusals among the last requests are worth a trial."""
SLOWER = 0.9
"""The share of the rate of answers at which requests leave in a trial."""
EXPECTED, MOST_TRIED = 15, 250
"""A trial lasts until it should have seen so many refusals, or for so many requests."""
CLEAR = 8
"""Where a trial should have seen so many refusals and saw none, it is over."""
LONGEST = 10.0
"""Seconds of a trial, however few requests it has seen."""
REMAIN, REMAINS = 3, 0.15
"""A trial that sees fewer refusals, or less than this share of those expected, shows a limit: chance
may have doubled the share that led to it.
"""
MOST_BACKGROUND = 0.6
"""Where more is refused, however slow requests leave, it is a limit."""
ENOUGH, TIMES = 100, 3
"""Requests at a rate that was cut, by which the background is measured while a rate is learnt, and
how often.
"""
EXCESS_AMONG = 48
"""The last requests by whose refusals a share is said to have grown."""


class Trial(msgspec.Struct, frozen=True):
    """Requests leave slower from `since` on, until so many have; `share` of them was refused before."""

    since: float
    requests: int
    share: float


class RefusalCauses:
    """Hears of every request.  `background` is the share of refusals that are no matter of rate.

    `trial` is the one that is under way; while `learnt`, a rate is kept to that refusals have taught.
    """

    def __init__(self) -> None:
        self.window = RefusalWindow()
        self.background = 0.0
        self.learnt = False
        self.trial: Trial | None = None
        self._remained: deque[float] = deque(maxlen=TIMES)
        self._known_at = -math.inf  # when the background was found out
        self._slow_since: float | None = None  # the learnt rate has not been raised since
        self._slow = (0, 0)  # requests sent at a rate that was cut, and the refused among them

    @property
    def is_known(self) -> bool:
        """Whether it is known what refusals tell, or about to be."""
        return bool(self.background) or self.learnt or self.trial is not None

    def refused(self, sent: float) -> Cause:
        """What the refusal of a request tells that left at this moment."""
        self.window.refused(sent)
        return self._cause(sent)

    def would_be_limit(self, sent: float) -> bool:
        """Whether it told of a limit if this request were refused."""
        self.window.refused(sent)
        cause = self._cause(sent)
        self.window.take_back(sent)
        return cause == "limit"

    def wants_trial(self, now: float, sent: float) -> float | None:
        """The rate at which requests are to leave for a while, to see whether that changes anything;
        None where there is nothing to find out.
        """
        if self.learnt or self.trial is not None:
            return None
        since = max(self._known_at, self.window.last(AMONG, sent))
        requests, refused = self.window.counted(since, sent)
        suspect = self._exceeds(sent) if self.background else refused >= SUSPECT
        if not suspect or sent - since < self.window.lately / 2:
            return None
        share = refused / requests
        since = max(since, sent - self.window.lately)
        requests, refused = self.window.counted(since, sent)
        self.trial = Trial(now, min(MOST_TRIED, math.ceil(EXPECTED / share)), share)
        return SLOWER * (requests - refused) / (sent - since)

    def trial_ended(self, sent: float, now: float) -> bool | None:
        """A request was answered that left at this moment.  Whether a limit was found, None while no
        trial has ended.
        """
        if self.trial is None:
            return None
        requests, refused = self.window.counted(self.trial.since, sent)
        expected = requests * self.trial.share
        over = requests >= self.trial.requests or now - self.trial.since >= LONGEST
        if not over and (refused or expected < CLEAR):
            return None
        remains = refused >= max(REMAIN, REMAINS * expected)
        self.background = min(MOST_BACKGROUND, refused / requests) if remains else 0.0
        self.learnt, self._known_at = not remains and expected >= SUSPECT, now
        self.trial, self._slow = None, (0, 0)
        self._remained.extend([self.background] * TIMES)
        return self.learnt

    def slowed(self, now: float, sent: float) -> None:
        """The learnt rate was cut, for the refusal of a request that left at `sent`."""
        self._end_slow(sent)
        self.learnt, self.trial, self._slow_since = True, None, now

    def raised(self, now: float) -> None:
        """The learnt rate is raised."""
        self._end_slow(now)
        self._slow_since = None

    def forgotten(self) -> None:
        """No rate is kept to any more."""
        self.learnt, self._slow_since, self._slow = False, None, (0, 0)

    def _cause(self, sent: float) -> Cause:
        if self._is_wall(sent):
            few = self._lately(sent)[0] < LEAST and not self.learnt
            return "unsure" if few and not self.background else "limit"
        if self.learnt and (not self.background or self._exceeds(sent)):
            return "limit"
        return "scattered"

    def _end_slow(self, until: float) -> None:
        """Requests left at a rate that was cut: find out what that has not changed.  A rate that is
        learnt may be too high for some time yet, so it must have changed nothing every time.
        """
        if self._slow_since is None or until <= self._slow_since:
            return
        requests, refused = self.window.counted(self._slow_since, until)
        requests, refused = requests + self._slow[0], refused + self._slow[1]
        if requests < ENOUGH:
            self._slow = requests, refused
            return
        self._slow = 0, 0
        self._remained.append(refused / requests if refused >= REMAIN else 0.0)
        least, most = min(self._remained), max(self._remained)
        same = len(self._remained) == TIMES and least >= most / 2 and most <= MOST_BACKGROUND
        self.background = sum(self._remained) / TIMES if same else 0.0

    def _lately(self, sent: float) -> tuple[int, int]:
        """The last requests up to this one, all of the same moment, and the refused among them."""
        first = self.window.last(OF, sent)
        if not self.background:
            first = max(first, sent - self.window.lately)
        return self.window.counted(first, sent)

    def _is_wall(self, sent: float) -> bool:
        requests, refused = self._lately(sent)
        return refused >= WALL * requests and (not self.background or requests >= OF)

    def _exceeds(self, sent: float) -> bool:
        """Whether far more is refused lately than the background."""
        since = max(self._known_at, self.window.last(EXCESS_AMONG, sent))
        requests, refused = self.window.counted(since, sent)
        usual = requests * self.background
        return refused > usual + 3 * math.sqrt(usual) + 1
