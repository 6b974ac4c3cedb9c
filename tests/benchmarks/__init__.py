"""Benchmarks: ratios between things timed in turn, in one process. Run `python -m tests.benchmarks`."""
