"""structlog processors that change predlog's events, or forward them to your own logger.

Each takes `(logger, method_name, event_dict)` and returns the event, as structlog's own do:
https://www.structlog.org/en/stable/processors.html
"""

import predlog._runtime.first_imports  # noqa: F401 - before structlog and rich are imported
from predlog.errors import required
from predlog.processors.decode import Decode
from predlog.processors.redact import Redact

with required():
    from predlog.processors.to_structlog import ToStructlog

__all__ = ["Decode", "Redact", "ToStructlog"]
