"""See what a token model predicts next to what it was asked to predict, in any training loop.

The names below are resolved on first use, so that importing predlog costs next to nothing and the command
line never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predlog import errors, findings, integrations, processors, reading, records, sinks
    from predlog.capture.projection import Projection
    from predlog.capture.reduction import Rows
    from predlog.capture.shard import Shard
    from predlog.errors import PredlogError
    from predlog.integrations.probe import probe
    from predlog.integrations.watch import watch
    from predlog.reading.reader import read
    from predlog.recorder.default import close, compare, configure, flush, report_loss
    from predlog.recorder.inspection import Inspection
    from predlog.recorder.inspector import inspect
    from predlog.recorder.recorder import Recorder
    from predlog.records.schema import Comparison, Finding, Gap, Part, Run, Token

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Finding",
    "Gap",
    "Inspection",
    "Part",
    "PredlogError",
    "Projection",
    "Recorder",
    "Rows",
    "Run",
    "Shard",
    "Token",
    "__version__",
    "close",
    "compare",
    "configure",
    "errors",
    "findings",
    "flush",
    "inspect",
    "integrations",
    "probe",
    "processors",
    "read",
    "reading",
    "records",
    "report_loss",
    "sinks",
    "watch",
]

_HOMES = {
    "Comparison": "records.schema",
    "Finding": "records.schema",
    "Gap": "records.schema",
    "Inspection": "recorder.inspection",
    "Part": "records.schema",
    "PredlogError": "errors",
    "Projection": "capture.projection",
    "Recorder": "recorder.recorder",
    "Rows": "capture.reduction",
    "Run": "records.schema",
    "Shard": "capture.shard",
    "Token": "records.schema",
    "close": "recorder.default",
    "compare": "recorder.default",
    "configure": "recorder.default",
    "flush": "recorder.default",
    "inspect": "recorder.inspector",
    "probe": "integrations.probe",
    "read": "reading.reader",
    "report_loss": "recorder.default",
    "watch": "integrations.watch",
}
_MODULES = {"errors", "findings", "integrations", "processors", "reading", "records", "sinks"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return _imported(name)
    if name in _HOMES:
        value = getattr(_imported(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'predlog' has no attribute {name!r}")
    globals()[name] = value
    return value


def _imported(module: str) -> Any:
    with import_module("predlog.errors").required():
        return import_module(f"predlog.{module}")


def __dir__() -> list[str]:
    return __all__
