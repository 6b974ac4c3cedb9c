"""structlog processors that put predlog's events somewhere, and pass every event on.

They ignore events that are not predlog's, so they also work inside a host's own chain.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predlog.sinks.console import Console
    from predlog.sinks.jsonl import JSONL

__all__ = ["JSONL", "Console"]


def __getattr__(name: str) -> Any:
    # Resolved on first use: a recorder without a console should not import rich.
    if name == "JSONL":
        from predlog.sinks.jsonl import JSONL  # noqa: PLC0415

        return JSONL
    if name == "Console":
        from predlog.sinks.console import Console  # noqa: PLC0415

        return Console
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
