"""What a recorder and its callers are given → what predlog works with, or an error that says what to do."""

import numbers

from predlog.errors import PairError


def whole_step(step: object) -> int:
    """Give a step as an int; raises PairError where it is none."""
    # A tensor is no Integral, so it is refused here without being read.
    if not isinstance(step, numbers.Integral) or isinstance(step, bool):
        raise PairError(f"step is a {type(step).__name__}: pass a Python int; reading a tensor would stop the device")
    number = int(step)
    if not 0 <= number < 2**63:
        raise PairError(f"step={number} must be from 0 to 2**63 - 1")
    return number
