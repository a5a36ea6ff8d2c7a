"""Requests out, attempts back: the only room that imports aiohttp.

`client` sends, to what `endpoint` resolved: `connection` posts a request, and `pool` keeps connections
until the next.  `answers` and `body` read what comes back, `faults` says what went wrong, `redaction`
keeps secrets out of both, and `model_list` asks which models there are.

The promise: what happens on the network is a value, never an exception, and no key leaves in a
message.  Called by `engine`, `planning`, `spec` and `reports`.
"""
