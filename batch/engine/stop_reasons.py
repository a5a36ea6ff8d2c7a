"""Why a run stops or waits, in words: what happened, and the way out."""

from __future__ import annotations

import math
import time
from decimal import ROUND_UP, Decimal

from batch.apis import APIS
from batch.engine.sanity import DOUBTED
from batch.errors import CapReached, Different, Doubtful, Stopped
from batch.model import Attempt
from batch.words import money

EXCERPT = 60
"""Characters of a server's words that are said of a wait."""

ONCE = {
    "auth": "the key is another",
    "quota": "the account has credit",
    "not_found": "`model` or base_url is another",
    "redirect": "base_url is another",
}
"""What has to be different, by the class of the error, before the same command goes on."""


def refused(error_class: str, message: str, attempt: Attempt) -> Stopped:
    if error_class == "auth" and attempt.without_key:
        return Stopped(
            f"{attempt.endpoint} refuses requests without a key (HTTP {attempt.status}): {message}",
            hint="name the environment variable that holds it: --api-key-env NAME, or api_key_env in"
            " [endpoint]",
            once="there is a key",
        )
    said = {
        "auth": f"{attempt.endpoint} refuses the key (HTTP {attempt.status}): {message}",
        "quota": f"{attempt.endpoint} says the account has no credit: {message}",
        "not_found": f"{attempt.endpoint} has no such model or path (HTTP {attempt.status}): {message}",
    }
    hints = {
        "auth": "check the key's environment variable (api_key_env) and base_url",
        "quota": "top up the account or choose another endpoint",
        "not_found": "check `model` and base_url",
        "redirect": "set base_url to where the API really is",
    }
    return Stopped(
        said.get(error_class, message), hint=hints.get(error_class), once=ONCE.get(error_class)
    )


def refused_alone(status: int | None, message: str) -> Stopped:
    """An endpoint refuses what another has answered."""
    return Stopped(f"it refuses what another answers (HTTP {status}): {message}")


def out_of_patience(wait: float, message: str, longest: float) -> Stopped:
    """`wait` is the seconds the server asks for, or takes to fill its limit; 0 or infinite where it does
    not say.  `longest` is the job's retry.max_wait.
    """
    over = "for longer than retry.max_wait" if wait > longest else "and retry.max_wait is over"
    hint = "come back later: it does not say when"
    if wait and math.isfinite(wait):
        hint = f"come back after {_moment(time.time() + wait)}"
    return Stopped(f"the server has no room {over}: {message}", hint=hint)


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))


def changed(rows: int, how: str, until: float) -> Different:
    """`rows` of the input were taken from it as it was, which is sure `until` then."""
    return Different(
        f"the input was changed while it was read: {how}; its first {rows:,} rows were read before,"
        f" until {_moment(until)}, and none since",
        hint="what was answered is kept",
    )


def down(why: str, seconds: float) -> Stopped:
    return Stopped(
        f"the endpoint has been down for {seconds:.0f} s: {why}",
        hint="check base_url and the server; rows that were not answered stay pending",
        once="it is up",
    )


def mostly_empty(answers: int) -> Doubtful:
    return Doubtful(f"at least half of the first {answers} answers are empty", look="--flag empty")


def mostly_misfits(rows: int, message: str) -> Doubtful:
    what = f"at least half of the first {rows} rows have no answer that fits the schema"
    return Doubtful(f"{what}: {message}", look="--failed")


def all_invalid(status: int | None, message: str) -> Stopped:
    return Stopped(
        f"the server rejects every request (HTTP {status}): {message}",
        hint="change the parameter it names in [request]; no row was recorded as failed",
        once="that is changed",
    )


def alike(status: int | None, message: str) -> Stopped:
    return Stopped(
        f"{DOUBTED} requests were refused alike (HTTP {status}), and none was answered since: {message}",
        hint="look at the account and the rows: no row was recorded as failed, but those that are"
        " refused like this again will be",
    )


def mostly_invalid(rows: int, message: str) -> Doubtful:
    what = f"more than half of the last {rows:,} rows were rejected as invalid"
    return Doubtful(f"{what}: {message}", look="--failed")


def perhaps_unheeded(api: str, message: str) -> str:
    """Why answers do not fit; there are servers that obey a schema in a chat alone."""
    return message + APIS[api].IF_UNHEEDED


def cap_reached(cap: Decimal, spent: Decimal, wanted: Decimal) -> CapReached:
    """`spent` counts at the worst what nobody knows; `wanted` is what the next request may cost."""
    return CapReached(
        f"the cap is reached: {money(spent)} of {money(cap)} (limits.max_cost_usd) are spent or may be,"
        f" and the next request may cost {money(wanted)}",
        higher=float(max(2 * cap, (spent + wanted).quantize(Decimal("0.01"), ROUND_UP))),
    )


def excerpt(message: str) -> str:
    """The beginning of a server's words, on one line."""
    return " ".join(message.split())[:EXCERPT]
