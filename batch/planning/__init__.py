"""All that is judged before the first request: the job, its first rows, the folder, what it may cost.

Called by `runner`, `runs` and `cli`.
"""
