"""A probe batch: the same few samples every so many steps, in evaluation mode, without a trace in the training."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from torch import Tensor, nn

from predlog._runtime.failure import briefly, located, own_failure, raised_at
from predlog.errors import PredlogError, SettingError
from predlog.integrations.callback import DueSteps
from predlog.integrations.untouched import set_eval, untouched
from predlog.recorder import default
from predlog.recorder.recorder import Recorder
from predlog.recorder.settings import check_counts

# The stream of a callback's probes; rules take it for an evaluation.
STREAM: Final = "probe"
_SHARDED: Final = frozenset({"DTensor", "FlatParameter"})
PART = (
    "the probe is not recorded, because each process has only a part of the weights, and gathering them is a"
    " collective, which predlog never issues: call predlog.compare in an evaluation that all processes run"
)


@contextmanager
def probe(*models: nn.Module, step: int | None = None, recorder: Recorder | None = None) -> Iterator[None]:
    """Look at models in evaluation mode, in the middle of their training, and leave them as they were.

    Within the context no gradients are computed. After it, however it ends, the mode of each module, its buffers and
    its other attributes are put back, and so are the random states of Python, NumPy, torch and its CUDA devices: the
    training goes on as if there had been none, to the last bit. Parameters are not copied, so nothing inside may change
    them in place. An error inside ends the context, and is reported in one line on stderr, once for each place where it
    is raised: a training must not die of its log.

    Args:
        models: The modules that are called inside. Compiled ones are compiled anew for evaluation, so pass and call
            what was compiled; of DistributedDataParallel, its `module`, whose forward waits for no other process.
        step: The step, for the line on stderr.
        recorder: The one that `compare` is called of; left out, the default one. If it is strict, what it raises
            passes.

    Raises:
        SettingError: There is no module, or something else than a module.
    """
    given: tuple[Any, ...] = models
    others = [type(one).__name__ for one in given if not isinstance(one, nn.Module)]
    if others or not models:
        raise SettingError(f"probe({', '.join(others)}): pass the torch modules that are called inside")
    try:
        with untouched(*models):
            set_eval(*models)
            yield
    except PredlogError:
        raise
    except own_failure(Exception, *models) as error:  # a run must not die of its log
        where = "" if step is None else f"step {step if type(step) is int else briefly(step)}: "
        made = default.current_or_none() if recorder is None else recorder
        if made is not None:
            message = f"{where}the probe is not recorded, because it raised {located(error)}; the training goes on"
            made.report_once(f"probe: {raised_at(error)}", message, error)


class Probe:
    """The probe batch of a callback, and at which steps it is looked at; raise SettingError if that is no number."""

    def __init__(self, batch: Any, every: Any, ids: str | None) -> None:
        check_counts(probe_every=every)
        self._batch = batch
        self._every = every
        self.ids = ids
        self.begin()

    def begin(self) -> None:
        """Forget the training before: its steps, and the batch on its device."""
        self._due = DueSteps(self._every)
        self._latest = -1
        self._moved: Any = None
        self._device: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._batch, self._every, self.ids)  # without what belongs to a training

    def is_due(self, step: int, recorder: Recorder | None) -> bool:
        """Return whether the batch is to be looked at before this step, once for each."""
        if self._batch is None or recorder is None or not self._due.is_due(step) or step == self._latest:
            return False
        self._latest = step
        return recorder.gate.is_wanted(STREAM)

    def batch(self, device: Any) -> Any:
        """Return a copy of the batch on a device, which a forward may change; the samples' ids stay where they are.

        It is moved there once: what is copied from the host later would wait for the device.
        """
        if self._moved is None or self._device != device:
            self._moved, self._device = _copied(self._batch, device), device
        copied = _copied(self._moved, device)
        if isinstance(self._batch, Mapping) and self.ids in self._batch:
            copied[self.ids] = self._batch[self.ids]
        return copied


def why_sharded(model: nn.Module) -> str | None:
    """Return why a forward in one process alone would wait for others; None if it would not."""
    parts = any(type(one).__name__ in _SHARDED or hasattr(one, "ds_id") for one in model.parameters())
    return PART if parts or any(type(one).__name__ == "FullyShardedDataParallel" for one in model.modules()) else None


def _copied(value: Any, device: Any) -> Any:
    """Return a copy of tensors in mappings, lists and tuples on a device; what else there is stays as it is."""
    if isinstance(value, Tensor):
        return value.detach().to(device, copy=True)
    if isinstance(value, Mapping):
        return {name: _copied(one, device) for name, one in value.items()}
    if isinstance(value, list | tuple):
        ones = [_copied(one, device) for one in value]
        return ones if isinstance(value, list) else type(value)(*ones) if hasattr(value, "_fields") else tuple(ones)
    return value
