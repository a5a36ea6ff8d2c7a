"""The embedded model: `server` starts it as a child process and stops it, `child` is that process,
and `model_file` finds or fetches what it loads.

The promise: no child outlives the process that started it.  Called by `runner` and `cli serve`.
"""
