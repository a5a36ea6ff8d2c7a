"""What usage costs, against the price library's own answer; whose prices hold, and when none do."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any

import msgspec
import pytest
from genai_prices import data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from batch import headers, usage
from batch.costs import price_lists, prices
from batch.costs.prices import Price, Pricer, Seller
from batch.model import Attempt, Result, Usage
from batch.reports import summary
from batch.reports.summary import Ended
from batch.run_folder import RunFolder
from batch.store import seal
from batch.totals import Summary, Totals
from batch.usage import Reading

NOON = datetime(2026, 10, 20, 12, tzinfo=UTC).timestamp()
HOUR = 3600


def chat(*counts: int, **more: object) -> dict[str, object]:
    """Input, cached, output, reasoning in the words of chat."""
    whole, cached, output, reasoning = counts
    return {
        "prompt_tokens": whole,
        "completion_tokens": output,
        "total_tokens": whole + output,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
        **more,
    }


def responses(*counts: int) -> dict[str, object]:
    whole, cached, output, reasoning = counts
    return {
        "input_tokens": whole,
        "output_tokens": output,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens_details": {"reasoning_tokens": reasoning},
    }


def sound(heard: int, said: int) -> dict[str, object]:
    return {
        "prompt_tokens": heard + 50,
        "completion_tokens": said + 20,
        "prompt_tokens_details": {"audio_tokens": heard, "cached_tokens": 0},
        "completion_tokens_details": {"audio_tokens": said},
    }


def messages(whole: int, read: int, written: int, hour: int = 0) -> dict[str, object]:
    return {
        "input_tokens": whole,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written - hour,
            "ephemeral_1h_input_tokens": hour,
        },
        "output_tokens": 321,
    }


PLAIN = ((1000, 0, 200, 0), (1000, 640, 200, 0), (90, 0, 5000, 4321))
GROK = {**chat(10_120, 128, 1499, 2809), "total_tokens": 14_428}
CASES = [
    *(("openai", "chat", "gpt-5.4-mini", None, NOON, chat(*counts)) for counts in PLAIN),
    *(("openai", "responses", "gpt-5.4", None, NOON, responses(*counts)) for counts in PLAIN),
    *(
        ("openai", flavor, "gpt-5.4", tier, NOON, of(1000, 500, 300, 100))
        for tier in ("flex", "priority", "default", "batch", "scale")
        for flavor, of in (("chat", chat), ("responses", responses))
    ),
    ("openai", "chat", "gpt-5.4", None, NOON, chat(300_000, 10_000, 500, 0)),
    ("openai", "responses", "gpt-5.4", "priority", NOON, responses(300_000, 0, 500, 20)),
    ("openai", "chat", "gpt-4o-audio-preview", None, NOON, sound(700, 300)),
    ("openai", "chat", "gpt-4o-audio-preview", None, NOON, sound(0, 300)),
    ("openai", "embeddings", "text-embedding-3-small", None, NOON, {"prompt_tokens": 812}),
    *(
        ("deepseek", "chat", "deepseek-v4-pro", None, NOON + hours * HOUR, chat(2000, cached, 700, 9))
        for hours, cached in product((-12, -11, -9, -8, -6, -2, 0), (0, 1500))
    ),
    ("deepseek", "chat", "deepseek-v4-pro", None, NOON - 90 * 24 * HOUR, chat(2000, 0, 700, 0)),
    ("anthropic", "default", "claude-sonnet-4-5", None, NOON, messages(900, 0, 0)),
    ("anthropic", "default", "claude-sonnet-4-5", None, NOON, messages(900, 5000, 700)),
    ("anthropic", "default", "claude-sonnet-4-5", None, NOON, messages(900, 5000, 700, 300)),
    ("anthropic", "default", "claude-sonnet-4-5", "batch", NOON, messages(900, 250_000, 700)),
    ("x-ai", "chat", "grok-4", None, NOON, GROK),
    ("x-ai", "responses", "grok-4", None, NOON, responses(500, 100, 300, 200)),
    ("google", "chat", "gemini-2.5-pro", None, NOON, chat(1000, 300, 800, 600)),
    ("google", "chat", "gemini-2.5-pro", None, NOON, chat(250_000, 0, 800, 600)),
    ("google", "chat", "gemini-2.5-flash", None, NOON, sound(700, 0)),
    ("azure", "chat", "gpt-5.4-mini", None, NOON, chat(1000, 128, 200, 0)),
    ("openrouter", "chat", "openai/gpt-5.4", None, NOON, chat(1000, 128, 200, 0)),
]  # fmt: skip


def attempt(used: object, model: str | None = "gpt-5.4", at: float = NOON, **more: object):
    answer = {"model": model, "usage": used, **more}
    return Attempt("host/v1", at, 1.0, status=200, answer=answer)


def cost(pricer: Pricer, tried: Attempt, asked: str | None = None, free: bool = False):
    read = usage.of(tried.answer)
    if free and read.usage is not None and read.usage.output_tokens is None:
        read = Reading(Usage(read.usage.input_tokens, output_tokens=0))  # as embeddings are read
    return pricer.cost(tried, read, asked, usage.reported_cost(tried.answer, tried.headers))


@pytest.mark.parametrize(("provider", "flavor", "model", "tier", "at", "used"), CASES)
def test_the_price_is_the_librarys_own_answer(provider, flavor, model, tier, at, used):
    found = data_snapshot.get_snapshot()
    sells = data_snapshot.find_provider_by_id(found.providers, provider)
    _, counts = sells.extract_usage({"usage": used}, api_flavor=flavor)
    context = None if tier is None else {"service_tier": tier}
    when = datetime.fromtimestamp(at, UTC)
    expected = found.calc(
        counts, model, provider, None, when, {"processing": "batch"} if tier == "batch" else context
    )
    tried = attempt(used, model, at, service_tier=tier)
    assert cost(Pricer({}, Seller(provider)), tried, free=flavor == "embeddings") == (
        expected.total_price,
        "list",
    )
    assert expected.total_price > 0


def test_forty_usage_objects_are_compared():
    assert len(CASES) >= 40


@given(st.lists(st.integers(0, 10**7), min_size=3, max_size=3), st.integers(0, 10**6))
def test_between_its_known_answers_the_list_is_a_straight_line(counts, reasoning):
    plain, cached, output = counts
    pricer = Pricer({}, Seller("openai"))
    used = chat(plain + cached, cached, output + reasoning, reasoning)
    found = pricer._listed((None, "gpt-5.4-mini"), None, int(NOON // 60))
    assert found is not None
    exact = price_lists.listed_cost(found, usage.reading(used), NOON)
    assert found.rates is not None
    assert cost(pricer, attempt(used, "gpt-5.4-mini")).usd == exact


TEN = {"prompt_tokens": 100_000, "completion_tokens": 10_000}
OWN = {"gpt-5.4": Price(input=1, output=20, cached_input=0.5)}


@pytest.mark.parametrize(
    ("url", "provider", "private", "local", "source"),
    [
        ("https://api.openai.com/v1", None, False, False, "list"),
        ("https://x.openai.azure.com/openai/deployments/d", None, False, False, "list"),
        ("https://openrouter.ai/api/v1", "openai", False, False, "list"),
        ("https://gateway.example/v1", None, False, False, "assumed"),
        ("https://gateway.example/v1", "openai", False, False, "list"),
        ("http://10.0.0.7:8000/v1", None, True, False, None),
        ("http://10.0.0.7:8000/v1", "openai", True, False, "list"),
        ("http://127.0.0.1:8000/v1", None, True, True, "local"),
    ],
)
def test_whose_prices_hold(url, provider, private, local, source):
    sells = prices.seller(url, provider, private=private, local=local)
    priced = cost(Pricer({}, sells), attempt(TEN))
    assert (priced and priced.source) == source
    assert (priced and priced.usd) == (None if source is None else 0 if local else Decimal("0.4"))
    own = cost(Pricer(OWN, sells), attempt({**TEN, "cached_tokens": 40_000}))
    assert own == (Decimal("0.28"), "job")


@pytest.mark.parametrize(
    ("served", "asked", "usd"),
    [
        ("gpt-5.4-2026-03-05", "other", "0.4"),
        ("openai/gpt-5.4", "other", "0.4"),
        ("of-our-own", "gpt-5.4", "0.4"),
        (None, "gpt-5.4", "0.4"),
        ("gpt-5.4", "gpt-5.4-mini", "0.4"),
        ("of-our-own", "another", None),
        (None, None, None),
    ],
)
def test_the_model_that_answered_is_priced_else_the_one_asked_for(served, asked, usd):
    priced = cost(Pricer({}, Seller("openai")), attempt(TEN, served), asked)
    assert (priced and priced.usd) == (usd and Decimal(usd))


@pytest.mark.parametrize(
    ("seller", "prices", "source"),
    [
        (Seller(), {}, "server"),
        (Seller(unknown=True), {}, "server"),
        (Seller("openai"), {}, "list"),
        (Seller(), OWN, "job"),
    ],
)
def test_what_the_server_says_counts_where_nothing_better_is_known(seller, prices, source):
    priced = cost(Pricer(prices, seller), attempt({**TEN, "cost": 0.25}))
    assert priced.source == source
    assert (priced.usd == Decimal("0.25")) == (source == "server")


@pytest.mark.parametrize(
    ("url", "provider", "private"),
    [
        ("https://openrouter.ai/api/v1", None, False),
        ("https://openrouter.ai/api/v1", "openai", False),
        ("http://127.0.0.1:8000/v1", "openrouter", True),
        ("https://ai-gateway.vercel.sh/v1", "openai", False),
        ("https://router.huggingface.co/novita/v1", None, False),
        ("https://gateway.ai.cloudflare.com/v1/a/g/compat", "openai", False),
    ],
)
def test_a_router_knows_better_than_a_list_what_it_has_charged(url, provider, private):
    sells = prices.seller(url, provider, private=private, local=False)
    said = cost(Pricer({}, sells), attempt({**TEN, "cost": 0.123, "is_byok": False}))
    assert said == (Decimal("0.123"), "server")
    free = cost(Pricer({}, sells), attempt({**TEN, "cost": 0}))
    assert free == (Decimal("0"), "server")
    own = cost(Pricer(OWN, sells), attempt({**TEN, "cost": 0.123}))
    assert own.source == "job"


def test_a_routers_fee_for_a_key_of_ones_own_is_not_all():
    sells = prices.seller("https://openrouter.ai/api/v1", "openai", private=False, local=False)
    priced = cost(Pricer({}, sells), attempt({**TEN, "cost": 0.01, "is_byok": True}))
    assert priced.source == "list"


def test_a_charge_in_a_header_is_a_routers():
    sells = prices.seller("http://10.0.0.7:4000/v1", "openai", private=True, local=False)
    tried = msgspec.structs.replace(attempt(TEN), headers={headers.COST: "0.2"})
    assert cost(Pricer({}, sells), tried) == (Decimal("0.2"), "server")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("gpt-4.1-mini", True), ("openai/gpt-4.1-mini", True), ("gpt-4.1-mimi", False), ("", False)],
)
def test_a_name_is_known_where_a_list_has_exactly_that(name, is_one):
    assert price_lists.is_known(name) is is_one


@pytest.mark.parametrize(
    "used", [None, {}, {"prompt_tokens": 5}, {**TEN, "cached_tokens": 200_000}, "many"]
)
@pytest.mark.parametrize("sells", [Seller("openai"), Seller(local=True), Seller(unknown=True)])
def test_unknown_usage_has_no_price(used, sells):
    assert cost(Pricer(OWN, sells), attempt(used)) is None


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "openrouter"])
def test_no_tier_or_cache_costs_more_than_the_most(case):
    provider, flavor, model, tier, at, used = case
    pricer, read = Pricer({}, Seller(provider)), usage.reading(used).usage
    assert read is not None
    most = pricer.at_most(model, read.input_tokens or 0, read.output_tokens or 0, at)
    tried = attempt(used, model, at, service_tier=tier)
    assert most >= cost(pricer, tried, free=flavor == "embeddings").usd


def ended(tmp_path, *results: Result) -> Ended:
    whole = Summary()
    for result in results:
        whole.add(result)
    return Ended(RunFolder(tmp_path), whole, Totals(), 1.0, len(results))


def test_what_may_be_billed_has_no_upper_bound_where_some_of_it_has_no_price(tmp_path):
    some: dict[str, Any] = {"status": "failed", "error_class": "timeout", "attempts": 1}
    unpriced = Result(row=0, **some, unconfirmed_tokens=1_000_000)
    priced = Result(row=1, **some, unconfirmed_tokens=100, unconfirmed_cost_usd=0.01)
    [line] = [
        line for line in summary.lines(ended(tmp_path, unpriced, priced)) if "more may" in line
    ]
    assert "at most an unknown cost (1,000,100 tokens) more" in line
    [line] = [line for line in summary.lines(ended(tmp_path, priced)) if "more may" in line]
    assert "at most $0.01 (100 tokens) more" in line


def test_a_row_asked_again_costs_an_unknown_sum_where_one_part_is_unknown():
    used: dict[str, Any] = {"input_tokens": 100_000, "output_tokens": 5, "attempts": 1}
    unpriced = Result(row=0, status="failed", **used)
    priced = Result(row=0, status="ok", **used, cost_usd=0.01, cost_source="job")
    both = seal.after(unpriced, priced)
    assert (both.cost_usd, both.cost_source, both.input_tokens) == (None, None, 200_000)
    assert seal.after(priced, priced).cost_usd == pytest.approx(0.02)
    refused = Result(row=0, status="failed", attempts=1)
    assert seal.after(refused, priced).cost_usd == 0.01


def test_a_reused_row_that_is_asked_again_is_paid_for():
    reused = Result(row=0, status="ok", reused=True, cost_usd=0.0)
    failed = Result(row=0, status="failed", attempts=1, cost_usd=0.02, input_tokens=3)
    both = seal.after(reused, failed)
    assert (both.status, both.reused, both.cost_usd) == ("ok", False, 0.02)


def test_a_price_that_is_unknown_is_said_and_never_nothing(tmp_path):
    answered: dict[str, Any] = {"status": "ok", "input_tokens": 3, "output_tokens": 2}
    unpriced = Result(row=0, **answered, model="of-our-own", attempts=1)
    silent = Result(row=1, status="ok", model="of-our-own", flags=["usage_unknown"], attempts=1)
    priced = Result(row=2, **answered, model="gpt-5.4", cost_usd=0.5, cost_source="list")
    some = ended(tmp_path, unpriced, silent, priced)
    assert summary.unpriced(some) == [
        "no price is known for of-our-own: rows that are not in the total: 1; put it under [prices]"
    ]
    assert "cost      $0.50, without 2 rows whose cost is unknown" in summary.lines(some)
    assert "cost      unknown" in summary.lines(ended(tmp_path, unpriced, silent))
    misfit = Result(row=3, **(answered | {"status": "failed"}), model="of-our-own", attempts=1)
    assert "cost      unknown" in summary.lines(ended(tmp_path, unpriced, misfit))
    assert "cost      unknown" in summary.lines(ended(tmp_path, misfit))
    assert summary.unpriced(ended(tmp_path, priced)) == []


@pytest.mark.parametrize(
    ("own", "sells", "usd"),
    [
        ({"m": 1.0, "east": 5.0}, Seller(), 5),
        ({"m": 1.0}, Seller(), 1),
        ({"east": 5.0}, Seller(), 5),
        ({}, Seller("openai"), None),
        ({}, Seller(), None),
    ],
)
def test_an_endpoint_with_a_name_of_its_own_for_the_model_is_priced_by_that(own, sells, usd):
    """What it cost, what it can cost and what it would cost agree."""
    table = {name: Price(input=price, output=price) for name, price in own.items()}
    pricer = Pricer(table, sells, "east")
    tried = attempt(chat(1_000_000, 0, 0, 0), "whatever")
    expected = None if usd is None else Decimal(usd)
    found = cost(pricer, tried, "m")
    assert (found and found[0]) == expected
    assert pricer.at_most("m", 1_000_000, 0, NOON) == expected
    quoted = pricer.quote(("whatever", "m"), None, NOON)
    used = Usage(1_000_000, output_tokens=0)
    assert (quoted and quoted.cost(used, NOON)) == expected


def test_what_is_written_to_a_cache_has_a_price_of_its_own():
    price = Price(input=2, output=10, cached_input=0.2, cache_write=2.5)
    pricer = Pricer({"m": price}, Seller())
    quote = pricer.quote(("m",), None, 0.0)
    assert quote is not None
    assert quote.cost(Usage(1_000_000, 400_000, 500_000, 0), 0.0) == Decimal("1.53")
    assert pricer.at_most("m", 1_000_000, 0, 0.0) == Decimal("2.5")
    plain = Pricer({"m": Price(input=2, output=10)}, Seller())
    assert plain.at_most("m", 1_000_000, 0, 0.0) == Decimal(2)
