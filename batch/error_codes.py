"""The codes by which servers name an error -> its error class.  A provider's code is a line here."""

from __future__ import annotations

from collections.abc import Iterable


def class_of(names: Iterable[str]) -> str | None:
    """The error class of the first name that has one."""
    return next((CODES[name] for each in names if (name := each.lower()) in CODES), None)


OPENAI = {
    "context_length_exceeded": "context_length",
    "string_above_max_length": "context_length",
    "max_tokens_per_request": "too_large",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "invalid_prompt": "content_filter",
    "cyber_policy": "content_filter",
    "bio_policy": "content_filter",
    "misalignment_policy_violation": "content_filter",
    "image_content_policy_violation": "content_filter",
    "moderation_blocked": "content_filter",
    "insufficient_quota": "quota",
    "billing_hard_limit_reached": "quota",
    "billing_not_active": "quota",
    "invalid_api_key": "auth",
    "account_deactivated": "auth",
    "model_not_found": "not_found",
    "rate_limit_exceeded": "rate_limited",
    "too_many_requests": "rate_limited",
    "slow_down": "rate_limited",
    "resource_unavailable": "overloaded",  # the flex tier
    "server_error": "server_error",
    "internal_server_error": "server_error",
    "internal_error": "server_error",
    "data_residency_mismatch": "invalid_request",
    "vector_store_timeout": "timeout",
    **dict.fromkeys(
        (
            "invalid_image",
            "invalid_image_format",
            "invalid_base64_image",
            "invalid_image_url",
            "image_too_large",
            "image_too_small",
            "image_parse_error",
            "invalid_image_mode",
            "image_file_too_large",
            "unsupported_image_media_type",
            "empty_image_file",
            "image_file_not_found",
        ),
        "invalid_request",
    ),
}

AZURE = {
    "deploymentnotfound": "not_found",
    "responsibleaipolicyviolation": "content_filter",
    "tokens_limit_reached": "context_length",  # GitHub Models
}

ANTHROPIC = {
    "authentication_error": "auth",
    "billing_error": "quota",
    "credit_balance_too_low": "quota",
    "rate_limit_error": "rate_limited",
    "overloaded_error": "overloaded",
    "api_error": "server_error",
    "timeout_error": "timeout",
    "request_too_large": "too_large",
}

GOOGLE = {
    "api_key_invalid": "auth",
    "api_key_expired": "auth",
    "api_key_service_blocked": "auth",
    "consumer_invalid": "auth",
    "consumer_suspended": "auth",
    "service_disabled": "auth",
    "unauthenticated": "auth",
    "billing_disabled": "quota",
    "resource_exhausted": "rate_limited",
    "unavailable": "overloaded",
}

GROQ = {
    "json_validate_failed": "schema_mismatch",
    "output_parse_failed": "schema_mismatch",
    "tool_use_failed": "tool_error",
    "capacity_exceeded": "overloaded",
    "organization_restricted": "auth",
    "blocked_api_access": "quota",
    "spend_limit_reached": "quota",
    "spend_alert_exceeded": "quota",
}

MOONSHOT = {
    "exceeded_current_quota_error": "quota",
    "invalid_authentication_error": "auth",
    "engine_overloaded_error": "overloaded",
    "rate_limit_reached_error": "rate_limited",
}

ZHIPU = {  # https://docs.z.ai/api-reference/api-code
    "1112": "auth",  # the account is locked
    "1113": "quota",
    "1309": "quota",  # the plan has expired
    "1211": "not_found",
    "1261": "context_length",
    "1301": "content_filter",
    **dict.fromkeys(("1302", "1303", "1304", "1305", "1308", "1310"), "rate_limited"),
}

MINIMAX = {
    "insufficient_balance_error": "quota",
    "authorized_error": "auth",
    "base_resp 1000": "server_error",
    "base_resp 1001": "timeout",
    "base_resp 1002": "rate_limited",
    "base_resp 1004": "auth",
    "base_resp 1008": "quota",
    "base_resp 1013": "server_error",
    "base_resp 1024": "server_error",
    "base_resp 1026": "content_filter",
    "base_resp 1027": "content_filter",
    "base_resp 1033": "server_error",
    "base_resp 1039": "rate_limited",
    "base_resp 1041": "rate_limited",
    "base_resp 1042": "invalid_request",
    "base_resp 2013": "invalid_request",
    "base_resp 2049": "auth",
    "base_resp 2056": "rate_limited",
}

DASHSCOPE = {
    "arrearage": "quota",
    "allocationquota.freetieronly": "quota",
    "commoditynotpurchased": "quota",
    "prepaidbilloverdue": "quota",
    "postpaidbilloverdue": "quota",
    "invalidapikey": "auth",
    "data_inspection_failed": "content_filter",
    "datainspectionfailed": "content_filter",
    "throttling": "rate_limited",
    "throttling.ratequota": "rate_limited",
    "throttling.burstrate": "rate_limited",
    "throttling.allocationquota": "rate_limited",
}

VOLCENGINE = {
    "accountoverdueerror": "quota",
    "accountoverdue": "quota",
    "authenticationerror": "auth",
    "sensitivecontentdetected": "content_filter",
    "inputtextsensitivecontentdetected": "content_filter",
    "outputtextsensitivecontentdetected": "content_filter",
    "serveroverloaded": "overloaded",
}

BEDROCK = {
    "throttlingexception": "rate_limited",
    "expiredtokenexception": "auth",
    "unrecognizedclientexception": "auth",
    "modelnotreadyexception": "overloaded",
    "serviceunavailableexception": "overloaded",
    "internalserverexception": "server_error",
}

ROUTERS = {
    "flagged_input": "content_filter",  # OpenRouter, see error_bodies
    "insufficient_credits": "quota",  # OpenRouter
    "insufficient_funds": "quota",  # Vercel
    "insufficient_balance": "quota",
    "budget_exceeded": "quota",  # LiteLLM
    "insufficient_user_quota": "quota",  # one-api, new-api
    "pre_consume_token_quota_failed": "quota",  # the same
    "not_enough_balance": "quota",  # Novita
    "credit_limit": "quota",  # Together
    "payment_required": "quota",  # Cerebras and others
    "30001": "quota",  # SiliconFlow
    "20012": "not_found",  # SiliconFlow
}

SELF_HOSTED = {
    "exceed_context_size_error": "context_length",  # llama.cpp
    "unavailable_error": "overloaded",  # llama.cpp
    "engine_overloaded": "overloaded",
    "overloaded": "overloaded",  # TGI
}

CODES = {
    **OPENAI,
    **AZURE,
    **ANTHROPIC,
    **GOOGLE,
    **GROQ,
    **MOONSHOT,
    **ZHIPU,
    **MINIMAX,
    **DASHSCOPE,
    **VOLCENGINE,
    **BEDROCK,
    **ROUTERS,
    **SELF_HOSTED,
}
"""A code, type, status or reason, in lower case -> error class."""

LASTING = frozenset({"1304", "1308", "1310", "base_resp 2056"})
"""Codes of limits that last for hours or days: those of a plan."""
