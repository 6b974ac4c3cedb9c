"""Training loops of other libraries: one module per library, which imports that library when it is imported."""

import predlog._runtime.first_imports  # noqa: F401 - before structlog and rich are imported
