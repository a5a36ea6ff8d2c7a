"""Answers in a shape: `schema` as it is said and sent, `validator` for answers, `column_type` of
`parsed`.

Pure.  Called by `apis`, `planning` and `engine`.
"""
