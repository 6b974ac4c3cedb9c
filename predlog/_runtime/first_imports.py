"""What draws from Python's global `random` when it is imported, imported with the random state kept.

rich does, and structlog imports rich if it is installed. So each package whose modules import either of them imports
this module first.
"""

from contextlib import suppress

from predlog._runtime import random_state

with random_state.kept(), suppress(ImportError):
    import rich.style  # noqa: F401
