"""All that is judged before the first request: the job, its first rows, the folder, what it may cost.

`prepare` is the one door: a job and the terms on which it is run go in, a frozen Prepared comes out, or
a BatchError that says what is wrong and where.  `estimate`, `validity` and `preview` send nothing;
`confirmation` asks a person; `open_run` then locks the folder and makes it ready for results.

Called by `runner`, `runs`, `reports` and `cli`.
"""
