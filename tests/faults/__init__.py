"""Experiments that do to predlog's pipeline what has broken others, and print a figure for each promise."""
