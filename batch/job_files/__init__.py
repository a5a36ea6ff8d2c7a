"""Job files, before there is one: what each key means, the schema for editors, and a draft for an input.

What a key means is said once, in every_key.toml, beside an example; `descriptions` reads it there.
`schema` takes types, bounds and defaults from the values that a job is made of, `draft` the columns
from the input.  The commands `schema` and `init` may call it.
"""
