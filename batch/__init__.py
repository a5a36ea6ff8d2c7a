"""batchmill: every row of a file through an LLM API, exactly once, into Parquet."""

__version__ = "0.2.0"
