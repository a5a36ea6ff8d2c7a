"""Programs that measure; run one with `python -m tests.benchmarks.NAME`.  Nothing here is asserted in CI."""
