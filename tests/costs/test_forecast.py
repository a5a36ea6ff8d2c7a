"""What requests will take, added up: arithmetic only."""

from __future__ import annotations

from decimal import Decimal

import pytest

from batch.costs import forecast as forecasting
from batch.costs.forecast import Forecast, Forecaster, total
from batch.costs.forecast import Price as Rate
from batch.costs.prices import Cost, Price, Pricer, Seller
from batch.costs.tokenizer import vocabulary
from batch.model import Request, Usage

LATE = 1_800_000_000.0
"""January 2027."""
PRICES = {"m": Price(input=2.0, output=10.0, cached_input=1.0)}


def pricing(pricer: Pricer, tier: str | None = None) -> Rate:
    return forecasting.by(pricer, LATE, tier)


def request(size: int, cap: int | None = None, model: str = "m") -> Request:
    return Request(0, None, "chat", model, b"x" * size, "", output_cap=cap)


def forecast(
    forecaster: Forecaster, prices: dict[str, Price] | None = None, model: str = "m"
) -> Forecast:
    made = forecaster.forecasts(pricing(Pricer(PRICES if prices is None else prices, Seller())))
    return next(each for each in made if each.model == model)


def forecaster(*requests: Request, count: int | None = None) -> Forecaster:
    made = Forecaster(None if count is None else lambda requests: [count] * len(requests))
    for each in requests:
        made.add(each)
    return made


def test_takes_a_quarter_token_a_byte_and_the_cap_where_nothing_is_known():
    found = forecast(forecaster(request(4_000, 200), request(2_000, 100)))
    assert (found.rows, found.input_tokens, found.input_from) == (2, 1_500, {"default": 2})
    assert (found.output_tokens_likely, found.output_tokens_most) == (None, 300)
    assert found.cost_input_usd == pytest.approx(1_500 * 2e-6)
    assert found.cost_likely_usd is None
    assert found.cost_most_usd == pytest.approx(1_500 * 2e-6 + 300 * 10e-6)
    assert found.cost_source == "job"


def test_takes_what_answers_have_taught():
    made = forecaster(*[request(1_000, 100)] * 7)
    for output in (10, 20, 33):
        made.learn(request(500, 100), Usage(100, 50, output_tokens=output))
    found = forecast(made)
    assert (found.input_tokens, found.input_from) == (1_400, {"learnt": 7})
    assert (found.output_tokens_likely, found.output_tokens_most) == (147, 700)
    assert found.cost_likely_usd == pytest.approx(700 * 2e-6 + 700 * 1e-6 + 147 * 10e-6)
    assert found.cost_most_usd == pytest.approx(1_400 * 2e-6 + 700 * 10e-6), "nothing is cached"


def test_counts_where_somebody_can():
    found = forecast(forecaster(*[request(1_000, 5)] * 3, count=123))
    assert (found.input_tokens, found.input_from) == (369, {"counted": 3})


def test_what_nobody_can_count_is_told_apart():
    made = Forecaster(lambda requests: [None if each.model == "m" else 9 for each in requests])
    for model in ("m", "other", "m"):
        made.add(request(800_000, 5, model))
    found = total(made.forecasts(pricing(Pricer(PRICES, Seller()))))
    assert found.input_from == {"counted": 1, "default": 2}
    assert found.input_tokens == 400_000 + 9


@pytest.mark.parametrize("sizes", [(1, 2, 3), (7, 7, 8, 9), (1_000, 1_001, 1_003), range(1, 400)])
def test_no_token_is_lost_to_rounding(sizes):
    made = Forecaster(lambda requests: [len(each.body) for each in requests])
    for size in sizes:
        made.add(request(size, cap=size % 5 + 1))
    found = forecast(made)
    output = sum(size % 5 + 1 for size in sizes)
    assert found.cost_most_usd == pytest.approx(sum(sizes) * 2e-6 + output * 10e-6, rel=1e-12)


def test_an_answer_is_not_expected_to_be_longer_than_its_cap():
    made = forecaster(request(100, 50))
    made.learn(request(100), Usage(25, output_tokens=400))
    assert forecast(made).output_tokens_likely == 50


def test_without_a_cap_there_is_no_most():
    found = forecast(forecaster(request(400, 10), request(400)))
    assert (found.uncapped_rows, found.output_tokens_most, found.cost_most_usd) == (1, None, None)
    assert found.cost_input_usd == pytest.approx(200 * 2e-6)


def test_what_puts_out_nothing_is_not_charged_for_output():
    found = forecast(forecaster(request(400, cap=0)))
    assert (found.uncapped_rows, found.output_tokens_likely, found.output_tokens_most) == (0, 0, 0)
    assert found.cost_likely_usd == found.cost_most_usd == pytest.approx(100 * 2e-6)


def test_an_unknown_price_is_unknown_and_no_zero():
    found = forecast(forecaster(request(400, 10)), prices={})
    costs = (found.cost_input_usd, found.cost_likely_usd, found.cost_most_usd, found.cost_source)
    assert costs == (None, None, None, None)


def test_the_embedded_model_is_free():
    (found,) = forecaster(request(400, 10)).forecasts(pricing(Pricer({}, Seller(local=True))))
    assert (found.cost_most_usd, found.cost_source) == (0.0, "local")


def test_long_prompts_cost_what_the_list_says_of_long_prompts():
    made = forecaster(
        *[request(4_000, 10, "gemini-2.5-pro")] * 2, *[request(1_200_000, 10, "gemini-2.5-pro")] * 2
    )
    pricer = pricing(Pricer({}, Seller("google")))
    (found,) = made.forecasts(pricer)
    each = [pricer("gemini-2.5-pro", Usage(size, output_tokens=10)) for size in (1_000, 300_000)]
    expected = sum((2 * cost.usd for cost in each if cost is not None), Decimal(0))
    assert found.cost_most_usd == pytest.approx(float(expected))


def test_a_service_tier_has_its_own_price():
    made = forecaster(request(4_000, 100, "gpt-5.4"))
    pricer = Pricer({}, Seller("openai"))
    (plain,), (flex,) = (made.forecasts(pricing(pricer, tier)) for tier in (None, "flex"))
    assert flex.cost_most_usd == pytest.approx((plain.cost_most_usd or 0) / 2)


def test_models_without_a_price_are_in_no_sum():
    made = forecaster(request(400, 10), request(800, 10, "other"))
    found = total(made.forecasts(pricing(Pricer(PRICES, Seller()))))
    assert (found.rows, found.input_tokens, found.output_tokens_most) == (2, 300, 20)
    assert found.cost_most_usd == pytest.approx(100 * 2e-6 + 10 * 10e-6)
    assert total(made.forecasts(lambda model, used: None)).cost_most_usd is None


def test_nothing_left_to_ask_costs_nothing():
    found = total(Forecaster().forecasts(lambda model, used: Cost(Decimal(1), "job")))
    assert (found.rows, found.input_tokens, found.output_tokens_most) == (0, 0, 0)


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("gpt-5.4-mini", "o200k_base"),
        ("openai/gpt-4o-2024-08-06", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("o3", "o200k_base"),
        ("o4-mini", "o200k_base"),
        ("openai/gpt-oss-20b", None),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("claude-sonnet-4-5", None),
        ("olmo-2", None),
        ("qwen3.5-27b", None),
        (None, None),
    ],
)
def test_a_vocabulary_is_known_of_models_that_published_it(model, known):
    assert vocabulary(model) == known
