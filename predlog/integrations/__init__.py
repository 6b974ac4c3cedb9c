"""Training loops of other libraries: one module per library, which imports that library when it is imported."""

from predlog.errors import required

with required():
    from predlog.recorder import recorder as _recorder  # noqa: F401 - every module here needs it
