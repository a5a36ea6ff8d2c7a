"""Whether an endpoint is there, asked without a request that anybody would be charged for."""

from __future__ import annotations

from batch.transport.client import Client
from batch.transport.paths import lists_of


async def is_there(client: Client, base_url: str) -> bool:
    """Whether the place where models are listed answers.  It need not have a list; a proxy that lets
    nobody through (407) is not the place.
    """
    for url in lists_of(base_url):
        status = (await client.get(url)).status
        return status is not None and status < 500 and status not in (407, 429)
    return False
