"""Account trouble, lengths and filters in words, by provider, and words that only sound alike."""

from __future__ import annotations

import json

import pytest

from batch import error_words
from batch.error_words import PHRASES

SAID = {
    "quota": [
        (400, "Your credit balance is too low to access the API. Go to Plans & Billing."),
        (400, "You have reached your specified API usage limits. You will regain access on May 1."),
        (403, "Your team t has either used all available credits or reached its monthly spending limit."),
        (403, "Your newly created team doesn't have any credits yet. You can purchase credits."),
        (429, "Insufficient balance, please recharge"),
        (400, "insufficient balance (1008)"),
        (403, "Sorry, your account balance is insufficient"),
        (429, "余额不足或无可用资源包,请充值。"),
        (403, "用户额度不足, 剩余额度: ＄0.00"),
        (429, "Your account org-a<ak-b> is suspended, please check your plan and billing details"),
        (400, "Access denied, please make sure your account is in good standing."),
        (403, "The free tier of the model has been exhausted."),
        (412, "Account x is suspended, possibly due to reaching the monthly spending limit"),
        (429, "Billing hard limit has been reached"),
        (429, "Your prepayment credits are depleted. Please go to the console."),
        (403, "This API method requires billing to be enabled."),
        (400, "The project has reached its monthly spend limit"),
        (403, "Key limit exceeded (monthly limit). Manage it using your settings."),
        (402, "This request requires more credits, or fewer max_tokens."),
        (403, "You have exceeded your monthly included credits for Inference Providers."),
        (400, "Credit limit exceeded, please navigate to billing"),
        (429, "You are using a Trial key, which is limited to 1000 API calls / month."),
        (400, "Budget has been exceeded! Current cost: 1.2, Max budget: 1.0"),
    ],
    "auth": [
        (400, "API key not valid. Please pass a valid API key."),
        (400, "API key expired. Please renew the API key."),
        (400, "Incorrect API key provided: xa***zz. You can obtain an API key from the console."),
        (400, "Invalid API key"),
        (403, "The api key is invalid"),
        (400, "Your API key has been revoked"),
        (400, "login fail: Please carry the API secret key in the 'Authorization' field"),
        (400, "This organization has been disabled."),
        (400, "令牌已过期或验证不正确"),
    ],
    "context_length": [
        (400, "The maximum prompt length of this model is 131072, the request has 200000 tokens."),
        (400, "Input is too long for requested model."),
        (400, "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)"),
        (400, "Range of input length should be [1, 129024]"),
        (400, "Prompt exceeds max length"),
        (400, "输入文本超出最大长度限制"),
        (400, "prompt length (9000) exceeds maximum input length (8192). Set log level to info"),
        (400, "The sum of prompt length (9), query length (8) should not exceed max_num_tokens (16)"),
        (400, "This model's maximum context length is 8192 tokens. However, you requested 9000."),
        (400, "The decoder prompt (length 9000) is longer than the maximum model length of 8192."),
        (400, "The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
        (422, "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"),
        (422, "`inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000"),
        (400, "the input length exceeds the context length"),
        (400, "Trying to keep the first 4096 tokens when context the overflows."),
        (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081"),
        (400, "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"),
        (400, "The prompt is too long: 140000, model maximum context length: 131071"),
        (400, "Please reduce the length of the messages or completion. Current length is 9000"),
        (400, "The input token count (1200000) exceeds the maximum number of tokens allowed"),
        (400, "Total tokens of image and text exceed max message tokens"),
        (400, "input length and `max_tokens` exceed context limit: 190000 + 21000 > 200000"),
        (400, "invalid params, context window exceeds limit (2013)"),
    ],
    "content_filter": [
        (403, "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"),
        (403, "The model requires moderation and your input was flagged for \"violence\"."),
        (400, "Content Exists Risk"),
        (400, "Input data may contain inappropriate content."),
        (400, "系统检测到输入或生成内容可能包含不安全或敏感内容"),
        (400, "The request was rejected because it was considered high risk"),
        (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy."),
        (400, "Your request was rejected as a result of our safety system."),
        (400, "The response was filtered by the content management policy of Azure."),
        (400, "Output blocked by content filtering policy"),
        (422, "The request was blocked by a guardrail"),
    ],
}  # fmt: skip

SOUNDS_ALIKE = [
    (429, "rate limited, see your quota page"),
    (429, "Rate limit reached for m on tokens per min. Limit 9, Used 8. See your billing page."),
    (429, "You exceeded your current quota, please check your plan and billing details. Retry in 6s"),
    (429, "Quota exceeded for quota metric 'Generate requests' and limit 'per minute'"),
    (429, "Too many requests; to raise your limits, add credits or top up"),
    (429, "Rate limit exceeded: free-models-per-min. Add 10 credits to unlock more"),
    (429, "The API is at its capacity limit, please try again"),
    (400, "Unknown parameter: 'api_key'"),
    (400, "Invalid value for 'credit': expected a number"),
    (400, "max_tokens must be a positive integer"),
    (400, "Unknown name \"balance\": cannot find field"),
    (400, "Invalid schema for response_format: 'sensitive' is not allowed"),
    (400, "Model m does not support chat, use /v1/completions"),
    (403, "You are not allowed to use this model"),
    (400, "your monthly report is malformed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error_class", "status", "message"),
    [(named, *said) for named, messages in SAID.items() for said in messages],
)
def test_what_providers_say_means_the_same_with_us(error_class, status, message):
    phrase = error_words.phrase_of(message, status)
    assert phrase is not None and phrase.error_class == error_class


@pytest.mark.parametrize(("status", "message"), SOUNDS_ALIKE)
def test_what_only_sounds_alike_means_nothing(status, message):
    assert error_words.phrase_of(message, status) is None


@pytest.mark.parametrize(
    ("status", "message"), [said for messages in SAID.values() for said in messages]
)
def test_what_the_request_said_means_nothing(status, message):
    text = f"A customer wrote:\n{message}\nIs that friendly?"
    asked = json.dumps({"messages": [{"content": text}]}, ensure_ascii=False).encode()
    quoting = f"Invalid prompt: '{message}' cannot be taken"
    assert error_words.phrase_of(quoting, status) is not None
    assert error_words.phrase_of(quoting, status, asked) is None


@pytest.mark.parametrize("phrase", PHRASES)
def test_every_phrase_names_whose_it_is(phrase):
    assert phrase.provider


@pytest.mark.parametrize(
    "message",
    [
        "rate limit exceeded: free-models-per-day",
        "Rate limit reached on requests per day (RPD): Limit 200",
        "The daily limit of this key is used up",
        "Your quota for today is exhausted: daily limit",
        "Limit of tokens per month reached",
    ],
)
def test_a_limit_of_days_is_known_by_its_words(message):
    assert error_words.is_lasting(message)


@pytest.mark.parametrize(
    "message",
    ["Rate limit: 60 requests per minute", "try again another day", "read our daily news"],
)
def test_a_limit_of_minutes_is_none_of_days(message):
    assert not error_words.is_lasting(message)
