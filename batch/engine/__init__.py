"""Rows to results: workers take rows from the feed, send them, judge what came, and write results.

`engine` runs four parts that know nothing of each other: `questions` (a row to its request, or to a
result that is known), `sender` (a request to an attempt), `judge` (an attempt to what follows; pure) and
`feed` (which row is next).  What a person may see of it are `events`.

Called by `runner`.  It gets its tables and rooms as arguments, and never the job.
"""
