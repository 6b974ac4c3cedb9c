"""Python's global random state, which a training may have seeded: nothing that predlog imports may move it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept() -> Iterator[None]:
    """Put Python's global random state back at the end of the context."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
