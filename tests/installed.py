"""Which release of a package is installed: tests of what some releases lack ask here."""

from importlib import import_module

from packaging.version import Version


def release(package: str) -> tuple[int, ...]:
    """Return the release of a package as numbers: (2, 8, 0) also for a vendor's pre-release `2.8.0a0+…` of it."""
    return Version(import_module(package).__version__).release
