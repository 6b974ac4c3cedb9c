"""structlog processors that write predlog's events somewhere, and pass every event on.

They ignore events that are not predlog's, so they also work inside a host's own chain.
"""

import predlog._runtime.first_imports  # noqa: F401 - before structlog and rich are imported
from predlog.sinks.console import Console
from predlog.sinks.jsonl import JSONL

__all__ = ["JSONL", "Console"]
