"""Results as one file or on standard output: `form` says which and what it holds, `export` writes it.

Called by `runs` and `cli`; `picked` also by `planning` before a run begins, so that a column which
there is not costs nothing.
"""
