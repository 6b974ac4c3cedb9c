"""What draws from Python's global `random` when it is imported, imported with the random state kept.

A training may have seeded that state, and nothing that predlog imports may move it. rich does, and structlog imports
rich if it is installed. So what imports either of them imports this module first.
"""

import random
from contextlib import suppress

_state = random.getstate()
try:
    with suppress(ImportError):
        import rich.style  # noqa: F401
finally:
    random.setstate(_state)
