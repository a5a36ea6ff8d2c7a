"""Where error bodies say what is wrong, and what their codes and words mean."""

from __future__ import annotations

import pytest

from batch import error_bodies
from batch.error_bodies import ServerError

GOOD = {"choices": [{"index": 0, "message": {"content": "yes"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": {"message": "no", "code": 7}}, "no", "7"),
        ({"error": "no"}, "no", None),
        ({"error": {"message": {"text": "no"}}}, '{"message":{"text":"no"}}', None),
        ({"errors": [{"msg": "no"}]}, "no", None),
        ({"detail": "no"}, "no", None),
        ({"detail": [{"loc": ["model"], "msg": "no"}]}, '[{"loc":["model"],"msg":"no"}]', None),
        ({"message": "no", "code": "c"}, "no", "c"),
        ({"object": "error", "message": "no", "code": 400}, "no", "400"),
        ({"type": "error", "error": {"type": "t", "message": "no"}}, "no", None),
    ],
)
def test_reads_an_error_in_every_shape_seen(body, message, code):
    read = error_bodies.error_in(body)
    assert read is not None
    assert (read.message, read.code) == (message, code)


@pytest.mark.parametrize("body", [GOOD, {**GOOD, "error": None}, {**GOOD, "message": "x"}, [], 3])
def test_an_answer_is_no_error(body):
    assert error_bodies.error_in(body) is None


@pytest.mark.parametrize(
    ("error", "status", "error_class"),
    [
        (ServerError("no"), 400, None),
        (ServerError("no", "Content_Filter"), 400, "content_filter"),
        (ServerError("no", "17", "overloaded_error"), 400, "overloaded"),
        (ServerError("no", "content_filter"), 500, None),
        (ServerError("prompt is too long"), 400, "context_length"),
        (ServerError("prompt is too long"), 500, None),
        (ServerError("prompt is too long", "rate_limit_error"), 429, "context_length"),
        (ServerError("prompt is too long", "invalid_api_key"), 400, "auth"),
        (ServerError("image input is not supported", "server_error"), 400, "invalid_request"),
        (ServerError("image input is not supported"), 500, "invalid_request"),
    ],
)
def test_a_code_says_more_than_words(error, status, error_class):
    assert error_bodies.class_of(error, status) == error_class


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        (b"", None),
        (b"{}", None),
        (b" <html>", "an HTML page"),
        (b"<html><title>Log\n in</title>", "an HTML page \u201cLog in\u201d"),
    ],
)
def test_a_page_is_known_by_its_title(raw, title):
    assert error_bodies.page_title(raw) == title


INNER = '{"error": {"message": "no", "code": "c", "type": "t"}}'


@pytest.mark.parametrize(
    ("body", "message", "names"),
    [
        ([{"error": {"code": 400, "message": "no", "status": "S"}}], "no", ("400", "S")),
        ({"code": "c", "error": "no"}, "no", ("c",)),
        ({"code": 20015, "message": "no", "data": None}, "no", ("20015",)),
        ({"code": "500", "msg": "no", "success": False}, "no", ("500",)),
        ({"error_code": 336501, "error_msg": "no"}, "no", ("336501",)),
        ({"error": "no", "error_type": "overloaded"}, "no", ("overloaded",)),
        ({"__type": "ThrottlingException", "message": "no"}, "no", ("ThrottlingException",)),
        ({"Response": {"Error": {"Code": "C", "Message": "no"}}}, "no", ("C",)),
        ({"fault": {"faultstring": "no"}}, "no", ()),
        ({"detail": {"error": {"message": "no", "code": "c"}}}, "no", ("c",)),
        ({"detail": {"message": "no", "code": "c"}}, "no", ("c",)),
        ({"type": "about:blank", "title": "T", "detail": "no"}, "no", ("about:blank",)),
        ({"error": {"message": "out", "metadata": {"raw": INNER}}}, "no", ("c", "t")),
        ({"error": {"message": "out", "metadata": {"raw": f"[{INNER}]"}}}, "no", ("c", "t")),
        ({"error": {"message": "out", "metadata": {"raw": "no\x1b"}}}, "no", ()),
        ({"error": {"message": INNER, "code": "o"}}, "no", ("c", "t")),
        ({"error": {"message": f"litellm.BadRequestError: XException - {INNER}"}}, "no", ("c", "t")),
        ({"error": {"message": "{no"}}, "{no", ()),
        ({"choices": None, "base_resp": {"status_code": 9, "status_msg": "no"}}, "no", ("base_resp 9",)),
        ({"choices": [], "base_resp": {"status_code": 9, "status_msg": "no"}}, "no", ("base_resp 9",)),
    ],
)  # fmt: skip
def test_reads_an_error_and_its_names_wherever_they_stand(body, message, names):
    read = error_bodies.error_in(body)
    assert read is not None
    assert (read.message, read.names) == (message, names)


@pytest.mark.parametrize(
    "more",
    [
        {"error": {"message": "", "code": None, "type": ""}},
        {"error": {}},
        {"base_resp": {"status_code": 0, "status_msg": "success"}},
        {"code": 0, "msg": "success"},
    ],
)
def test_an_error_of_empty_fields_beside_an_answer_is_none(more):
    assert error_bodies.error_in({**GOOD, **more}) is None


def test_an_error_that_holds_itself_has_an_end():
    deep = '{"error": {"message": {"message": "no"}}}'
    read = error_bodies.error_in({"error": {"message": deep}})
    assert read is not None and "no" in read.message
