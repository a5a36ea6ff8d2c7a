"""Answers in a shape: the schema as it is said and sent, the check of answers, the type of `parsed`."""
