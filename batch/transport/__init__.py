"""Requests out, attempts back: the only room that imports aiohttp.

What happens on the network is a value, never an exception; no key leaves in a message.  Called by
`engine` and `planning`.
"""
