"""What a row asks: templates, messages, pictures and sound, and what servers would refuse of it.

Pure but for files that rows name.  Called by `apis`, `planning` and `engine`.
"""
