"""The keys of a request that some server knows, and which of them a key looks like that none does.

A key that looks like nothing here is nobody's fault: servers learn new ones.  Pure.
"""

from __future__ import annotations

from functools import cache, lru_cache

_OPENAI = """
audio background background_options best_of context_management conversation dimensions echo
encoding_format frequency_penalty function_call functions image include input instructions
logit_bias logprobs max_completion_tokens max_output_tokens max_tokens max_tool_calls messages
metadata modalities model moderation n parallel_tool_calls prediction presence_penalty
previous_response_id prompt prompt_cache_key prompt_cache_options prompt_cache_retention reasoning
reasoning_effort response_format safety_identifier seed service_tier stop store stream
stream_options suffix temperature text tool_choice tools top_logprobs top_p truncation user
verbosity web_search_options access_programs data_sources
"""
"""https://platform.openai.com/docs/api-reference, and `data_sources` of Azure."""

_VLLM = """
add_generation_prompt add_special_tokens allowed_token_ids bad_words cache_salt chat_template
chat_template_kwargs continue_final_message documents ec_transfer_params guided_choice
guided_decoding_backend guided_grammar guided_json guided_regex guided_whitespace_pattern
ignore_eos include_reasoning include_stop_str_in_output kv_transfer_params length_penalty
logits_processors logprob_token_ids media_io_kwargs min_p min_tokens mm_processor_kwargs priority
prompt_embeds prompt_logprobs repetition_detection repetition_penalty request_id
return_mm_kwargs return_prompt_text return_token_ids return_token_offsets
return_tokens_as_token_ids routed_experts_prompt_start session_id skip_special_tokens
spaces_between_special_tokens stop_token_ids stream_interval structural_tag structured_outputs
thinking_token_budget top_k truncate_prompt_tokens truncation_side use_beam_search vllm_xargs
watermarking early_stopping normalize pooling_task softmax activation use_activation
enable_response_messages previous_input_messages
"""
"""https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html: the classes of requests."""

_SGLANG = """
bootstrap_host bootstrap_port bootstrap_room custom_labels custom_logit_processor custom_params
data_parallel_rank disagg_prefill_dp_rank ebnf extra_key images_config input_ids json_schema
lora_path max_dynamic_patch max_new_tokens min_dynamic_patch min_new_tokens ngram_corpus_id
no_stop_trim regex return_cached_tokens_details return_hidden_states return_meta_info
return_prompt_token_ids return_routed_experts rid routed_dp_rank routed_experts_start_len
sampling_seed separate_reasoning session_params stop_regex stream_reasoning task
use_audio_in_video
"""
"""https://docs.sglang.ai/basic_usage/sampling_params.html and its protocol.py."""

_LLAMA_CPP = """
adaptive_decay adaptive_target cache_prompt chat_format dry_allowed_length dry_base dry_multiplier
dry_penalty_last_n dry_sequence_breakers dynatemp_exponent dynatemp_range embd_normalize grammar
grammar_lazy grammar_triggers id_slot image_data lora min_keep mirostat mirostat_eta mirostat_tau
n_cache_reuse n_cmpl n_discard n_indent n_keep n_predict n_probs parse_tool_calls penalize_nl
penalty_prompt post_sampling_probs preserved_tokens reasoning_budget reasoning_format
reasoning_in_content repeat_last_n repeat_penalty response_fields return_progress return_tokens
samplers sse_ping_interval t_max_predict_ms tfs_z thinking_forced_open timings_per_token
top_n_sigma typical_p xtc_probability xtc_threshold
"""
"""https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"""

_OPENROUTER = """
cache_control debug image_config models plugins preset provider route top_a trace transforms usage
"""
"""https://openrouter.ai/docs/api-reference/parameters"""

KNOWN = frozenset(" ".join([_OPENAI, _VLLM, _SGLANG, _LLAMA_CPP, _OPENROUTER, "schema"]).split())
"""`schema` is our own."""

_OTHERS = """
banned_strings banned_tokens cfg_scale citation_options citations compound_custom
context_length_exceeded_behavior deferred do_sample draft_model enable_citations enable_search
enable_thinking epsilon_cutoff eta_cutoff exclude_domains extra fallbacks format guidance_scale
include_domains incremental_output input_type keep_alive logprobs_mode max_length max_temp
min_length min_temp mirostat_lr mirostat_mode mirostat_target negative_prompt nsigma num_ctx
num_predict nvext options perf_metrics_in_response prompt_mode prompt_truncate_len random_seed raw
raw_output repetition_range result_format return_images return_related_questions safe_prompt
safety_model safety_settings search_domain_filter search_mode search_options search_parameters
search_recency_filter search_settings skew smoothing_curve smoothing_factor speculation system
temperature_last template tfs think thinking thinking_budget token_healing top_h top_n top_nsigma
translation_options truncate ttl typical vl_high_resolution_images
"""
OTHERS = frozenset(_OTHERS.split())
"""What Mistral, DeepSeek, DashScope, Groq, Together, Fireworks, xAI, Perplexity, NVIDIA, Ollama,
LM Studio and TabbyAPI have beyond these: it looks like nothing else.
"""

SHORT = 5
"""From this length on a name with one slip is still that name; a shorter one may be another."""
LONG = 8
"""From this length on a word bears two slips."""


@lru_cache(maxsize=1024)
def nearest(name: str) -> tuple[str, ...]:
    """The known keys that a key looks like; none where it is known itself, or looks like nothing."""
    if name in KNOWN or name in OTHERS:
        return ()
    spelled_so = _spelled().get(_bare(name))  # maxTokens, max-tokens
    return tuple(sorted(spelled_so or (key for key in KNOWN if _looks_like(name, key))))


@cache
def _spelled() -> dict[str, list[str]]:
    """The known keys by their letters alone."""
    found: dict[str, list[str]] = {}
    for key in KNOWN:
        found.setdefault(_bare(key), []).append(key)
    return found


def _bare(name: str) -> str:
    return name.replace("_", "").replace("-", "").replace(" ", "").casefold()


def _looks_like(name: str, key: str) -> bool:
    if abs(len(name) - len(key)) > LONG:
        return False
    if len(key) >= SHORT and _one_slip(name, key):
        return True
    if len(key) == SHORT - 1:  # stop: one more letter, or two of them swapped
        return _one_slip(name, key) and (len(name) > len(key) or sorted(name) == sorted(key))
    words, meant = name.split("_"), key.split("_")
    return len(words) == len(meant) and all(map(_is_word, words, meant))


def _is_word(word: str, meant: str) -> bool:
    """Whether a word of a name is meant by one in the other, slips allowed by its length."""
    if word == meant:
        return True
    if len(meant) < SHORT - 1 or abs(len(word) - len(meant)) > 2:
        return False
    return _one_slip(word, meant) or (len(meant) >= LONG and _slips(word, meant) <= 2)


def _one_slip(a: str, b: str) -> bool:
    """Whether one letter too many, too few or wrong, or two that are swapped, make one the other."""
    if abs(len(a) - len(b)) > 1 or a == b:
        return False
    start = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if start is None:
        return True
    a, b = a[start:], b[start:]
    if len(a) != len(b):
        return a[1:] == b if len(a) > len(b) else a == b[1:]
    return a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def _slips(a: str, b: str) -> int:
    """How many letters have to be added, left out, changed or swapped to make `a` of `b`."""
    before, last = [0] * (len(b) + 1), list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            least = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                least = min(least, before[j - 2] + 1)
            row.append(least)
        before, last = last, row
    return last[-1]
