"""See what a token model predicts next to what it was asked to predict, in any training loop.

The names below are resolved on first use, so that importing predlog costs next to nothing and the command
line never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predlog import errors, findings, integrations, processors, reading, records, sinks, summary
    from predlog.default import close, compare, configure, flush
    from predlog.errors import PredlogError
    from predlog.reading import read
    from predlog.recorder import Recorder
    from predlog.records import Comparison, Finding, Token
    from predlog.sources import Projection
    from predlog.watching import watch

    __version__: str

__all__ = [
    "Comparison",
    "Finding",
    "PredlogError",
    "Projection",
    "Recorder",
    "Token",
    "__version__",
    "close",
    "compare",
    "configure",
    "errors",
    "findings",
    "flush",
    "integrations",
    "processors",
    "read",
    "reading",
    "records",
    "sinks",
    "summary",
    "watch",
]

_HOMES = {
    "Comparison": "records",
    "Finding": "records",
    "PredlogError": "errors",
    "Projection": "sources",
    "Recorder": "recorder",
    "Token": "records",
    "close": "default",
    "compare": "default",
    "configure": "default",
    "flush": "default",
    "read": "reading",
    "watch": "watching",
}
_MODULES = {"errors", "findings", "integrations", "processors", "reading", "records", "sinks", "summary"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"predlog.{name}")
    if name in _HOMES:
        value = getattr(import_module(f"predlog.{_HOMES[name]}"), name)
    elif name == "__version__":
        value = import_module("importlib.metadata").version("predlog")
    else:
        raise AttributeError(f"module 'predlog' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
