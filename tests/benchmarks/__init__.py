"""Benchmarks: ratios between things timed in turn, in one process. Run `python -m tests.benchmarks`."""

import os

# torch's profiler tells of each of its starts and stops on stderr, unless told so before torch is imported.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
