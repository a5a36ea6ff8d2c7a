"""A base URL with a secret in it is refused unseen, and says where secrets go."""

from __future__ import annotations

import pytest

from batch.errors import JobError
from batch.transport.endpoint import Endpoint, check, target

SECRET = """
    ?code={} ?key={} ?Key={} ?api-key={} ?api_key={} ?apikey={} ?x-api-key={} ?subscription-key={}
    ?access_token={} ?token={} ?sig={} ?signature={} ?X-Amz-Signature={} ?X-Amz-Credential={}
    ?client_secret={} ?password={} ?passwd={} ?pwd={} ?pass={} ?auth={} ?authorization={} ?jwt={}
    ?a=1&code={} ?a=1;code={} ?%63ode={} ?k%65y={} ?code[]={} ?x?key={}
    #key={} #code={} #access_token={} #a=1&token={} #?key={} #{} ?{} ?x={} ;key={} ;a=1;token={}
"""
PLAIN = """
    ?api-version=2024-10-21 ?language_code=en ?encode=1 ?model=gpt ?deployment=mini ?keyed=1 ?x=1
    #top #section-2 ?a=1#top ;v=1 ?key ?code ?monitor=1 ?region=eu-west-1
"""


@pytest.mark.parametrize("tail", SECRET.split())
def test_a_secret_in_a_base_url_is_refused_unseen(tail):
    url = "https://h.example/v1" + tail.format("sk-canary-0123456789")
    for refuse in (
        lambda: check(Endpoint(base_url=url)),
        lambda: target(Endpoint(), {"OPENAI_BASE_URL": url}),
    ):
        with pytest.raises(JobError) as found:
            refuse()
        assert "api_key_env" in str(found.value)
        assert "[endpoint.headers]" in str(found.value)
        assert "canary" not in str(found.value)


@pytest.mark.parametrize("tail", PLAIN.split())
def test_what_is_no_secret_may_stand_in_a_base_url(tail):
    check(Endpoint(base_url="https://h.example/v1" + tail))
