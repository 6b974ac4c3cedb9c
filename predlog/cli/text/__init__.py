"""Results as lines for a terminal or a pipe, and as objects for JSON."""

import predlog._runtime.first_imports  # noqa: F401 - before rich is imported
