"""Results as one file or on standard output: `form` says which and what it holds, `export` writes it.

Asked by looking and cli; `picked` also before a run begins, so that a column which there is not costs
nothing.
"""
