"""What nobody closes: recorders that nothing refers to any more, copies of them, and trainings that raise.

The rule: no thread and no descriptor is left, every file is whole, and a copy records nothing and prevents nothing.
"""

import copy
import gc
import pickle
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import predlog
from predlog import Recorder
from tests.faults.experiment import Figure, Size, equals

_OURS = Path(predlog.__file__).parent
_LABELS = torch.arange(8).view(1, 8)


def _pickled(one: Any) -> Any:
    return pickle.loads(pickle.dumps(one))


_WAYS = (copy.copy, copy.deepcopy, _pickled)


class _Holder(nn.Module):
    """A module that holds a recorder, made with what can be neither copied nor pickled."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        lock = threading.Lock()
        self.recorder = Recorder(folder, every=1, console=False, decode=lambda one: f"{one}{lock.locked()}")
        self.recorded: Any = None

    def forward(self, step: int) -> Tensor:
        self.recorded = self.recorder.compare(torch.zeros(1, 8, 16), _LABELS, step)
        return torch.zeros(1)


def run(size: Size) -> Iterator[Figure]:
    """Drop recorders, copy those that are held, and interrupt what is watched."""
    many = size.of(1000, 50)
    with tempfile.TemporaryDirectory() as folder:
        yield from _dropped(Path(folder) / "dropped", many)
        yield from _copied(Path(folder) / "copied", many)
    yield from _interrupted(size.of(5000, 300))


def _descriptors() -> int:
    # Elsewhere they can't be counted.
    place = Path("/proc/self/fd")
    return len(list(place.iterdir())) if place.exists() else 0


def _dropped(folder: Path, many: int) -> Iterator[Figure]:
    threads, descriptors, ours = threading.active_count(), _descriptors(), []
    for number in range(many):
        recorder = Recorder(folder / str(number), every=1, console=False)
        recorder.compare(torch.zeros(1, 8, 16), _LABELS, 0)
        ours += [one for one in threading.enumerate() if one.name == "predlog" and one not in ours]
    del recorder
    gc.collect()
    for one in ours:
        one.join(10)
    yield equals("recorders dropped: threads left", threading.active_count() - threads, 0)
    yield equals("recorders dropped: descriptors left", _descriptors() - descriptors, 0)
    ends = [[*predlog.read(folder / str(number))][-1] for number in range(many)]
    whole = [one for one in ends if isinstance(one, predlog.Run) and one.stats is not None]
    yield equals("recorders dropped: files with their last line", len(whole), many)


def _copied(folder: Path, many: int) -> Iterator[Figure]:
    held, failed, recorded = _Holder(folder), 0, 0
    for step in range(many):
        held(step)
        for way in _WAYS:
            try:
                other = way(held)
            except Exception:  # noqa: BLE001 - which must not be
                failed += 1
                continue
            if other.recorder is not held.recorder:
                other(many + step)
                recorded += other.recorder.stats()["submitted"]
    held.recorder.close()
    yield equals("copies: failed", failed, 0)
    yield equals("copies: pairs that a copy recorded", recorded, 0)
    yield equals("copies: pairs that the original recorded", held.recorder.stats()["written"], many)


class _Interrupted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 4))

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(rows @ self.weight, labels)


def _interrupted(many: int) -> Iterator[Figure]:
    """Raise KeyboardInterrupt in the n-th line that is run of the user's forward, and of torch's, in a mode."""
    model, left, devices, raised = _Interrupted(), 0, 0, 0
    rows, labels = torch.zeros(2, 4), torch.zeros(2).long()
    with Recorder(every=1, console=False, sinks=[lambda *given: given[2]]) as recorder:
        for number in range(many):
            with predlog.watch(model, recorder=recorder, step=number):
                try:
                    with torch.device("meta"):
                        _call_interrupted(model, rows, labels, number % 60)
                except KeyboardInterrupt:
                    raised += 1
                left += int(torch._C._len_torch_function_stack())
                devices += torch.zeros(1).device.type != "cpu"
    yield equals("interrupted forwards: modes left", left, 0)
    yield equals("interrupted forwards: tensors elsewhere than by default", devices, 0)
    yield equals("interrupted forwards: that none was interrupted", int(not raised), 0)


def _call_interrupted(model: nn.Module, rows: Tensor, labels: Tensor, line: int) -> None:
    seen = [0]

    def trace(frame: Any, event: str, _argument: Any) -> Any:
        # predlog's own frames are another experiment's: there, whatever is raised leaves the mode for a moment.
        if Path(frame.f_code.co_filename).is_relative_to(_OURS):
            return None
        if event == "line":
            seen[0] += 1
            if seen[0] == line:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        model(rows, labels)
    finally:
        sys.settrace(before)
