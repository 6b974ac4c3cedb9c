"""The default recorder, behind `predlog.compare` and its neighbours."""

import os
from concurrent.futures import Future
from typing import Any

from torch.compiler import is_dynamo_compiling

from predlog._runtime.notices import Notices
from predlog._runtime.torch_state import is_traced
from predlog.recorder import settings
from predlog.recorder.recorder import Recorder
from predlog.records.schema import Comparison

_default: Recorder | None = None
# The default recorder's, kept here as well: the gate asks for nothing else. Without a recorder every step is due.
_every = 1


def compare(
    logits: object,
    labels: object,
    step: int,
    *,
    stream: str = "text",
    layout: str | None = None,
    shift: int = 0,
    inputs: object = None,
    ignore_index: int = -100,
    **context: object,
) -> Future[tuple[Comparison, ...]] | None:
    """Record a pair with the default recorder, as `Recorder.compare` does.

    The default recorder is the one that `configure` made. Without it, the first call makes one from the
    defaults and the environment: PREDLOG_DIR, PREDLOG_EVERY, PREDLOG_CONSOLE, PREDLOG_DISABLE.
    """
    # The same gate as the recorder's, without a second call.
    if is_dynamo_compiling() or (type(step) is int and step % _every):
        return None
    recorder = _default
    if recorder is None:
        if is_traced():
            return None
        recorder = _from_environment()
    return recorder.compare(
        logits, labels, step,
        stream=stream, layout=layout, shift=shift, inputs=inputs, ignore_index=ignore_index, **context,
    )  # fmt: skip


def configure(directory: str | os.PathLike[str] | None = None, **arguments: Any) -> Recorder:
    """Make the default recorder, closing the one before; the arguments are those of `Recorder`."""
    global _default, _every
    recorder = Recorder(directory, **arguments)
    if _default is not None:
        _default.close()
    _default, _every = recorder, recorder._every  # noqa: SLF001 - the gate is the recorder's
    return recorder


def flush(timeout: float = 5.0) -> bool:
    """Wait until all that was compared so far is written and durable; False after `timeout` seconds."""
    return _default is None or _default.flush(timeout)


def close(timeout: float = 5.0) -> bool:
    """Close the default recorder; False where that took over `timeout` seconds. Happens by itself at exit."""
    return _default is None or _default.close(timeout)


def current() -> Recorder:
    """Give the default recorder, made from the environment where nobody has configured one."""
    return _from_environment() if _default is None else _default


def _from_environment() -> Recorder:
    return configure(**settings.from_environment(Notices()))
