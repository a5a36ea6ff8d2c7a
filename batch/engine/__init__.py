"""Rows to results: workers take rows from the feed, send them, judge what came, and write results.

Called by `runner`.  It gets its tables and rooms as arguments, and never the job.
"""
