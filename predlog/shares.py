"""A part and its whole → the share, also of counts that no run can have: the schema sets them no bound."""

# So much is still a float, and so are sums of it.
HIGHEST = 1e300


def share(part: int, whole: int) -> float:
    """Give the share of a part."""
    try:
        return part / whole
    except OverflowError:
        return HIGHEST
