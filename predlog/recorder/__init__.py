"""The recorder: what runs in the training thread, the worker thread, and the counts of both."""

import predlog._runtime.first_imports  # noqa: F401 - before structlog and rich are imported
