"""Files → typed records → results, in any process, also while the run is running; torch is never imported."""

from predlog.reading.reader import Reading, read

__all__ = ["Reading", "read"]
