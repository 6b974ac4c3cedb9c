"""What listens to one call of a watched module: a mode that passes on what losses are called with."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.compiler import is_dynamo_compiling
from torch.overrides import TorchFunctionMode

from predlog._runtime import torch_state
from predlog._runtime.failure import own_failure
from predlog.integrations._watch.chunks import Chunks, Part, part_of
from predlog.integrations._watch.loss_call import LOSSES, LossPair, pair_of_call, with_positions
from predlog.integrations._watch.step_counter import StepCounter
from predlog.recorder.recorder import Recorder

FIX = "call predlog.compare(logits, labels, step) where you have both"
# Losses of one step; further ones are probably no streams.
_MOST_CALLS = 64


class Listener(TorchFunctionMode):
    """One call of the module on a step that is due: it passes on the arguments of losses, and changes nothing."""

    def __init__(self, recorder: Recorder, steps: StepCounter, number: int, place: int) -> None:
        super().__init__()
        self.recorder = recorder
        self.number = number
        self.compiled = torch_state.count_graphs()
        self.seen = 0
        self.has_begun = False
        self._steps = steps
        self._place = place
        self._chunks: Chunks | None = None
        self._is_left_out = self._is_split = False
        self.known: Mapping[str, Tensor] = {}
        self.sample_ids: Any = None

    def end(self) -> None:
        """Stop listening, and keep nothing of the call but chunks that are not recorded yet."""
        torch_state.removing([self])()
        self.known = {}

    def finish(self, name: str) -> None:
        """Record the chunks that came last, and report losses that are not recorded though nobody named streams."""
        self._record_chunks()
        if self._is_left_out:
            what = (
                f"step {self.number}: {name} calls cross_entropy several times, and only the first is recorded, if it"
                f" is no part of a sequence: if these are chunks, they can't be joined; {FIX}, or pass streams="
            )
            report_once(self.recorder, "left out", what)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if is_dynamo_compiling() or func not in LOSSES:
            return func(*args, **kwargs)
        name = self._read(func, args, kwargs)
        loss = func(*args, **kwargs)
        if name is not None:
            self.recorder.report_due_loss(loss, self.number, stream=name)
        return loss

    def _read(self, loss: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """Record what a loss is called with, and return its stream if the loss is the mean over it, and is due."""
        place, chunks = self._place + self.seen, self._chunks
        name = self._steps.name(place)
        self._is_split = "row_index" in self.known
        try:
            of_first = place == 0 or (chunks is not None and chunks.place == 0)
            pair = pair_of_call(loss, args, kwargs, self.known if of_first else {})
            part = _part(pair, args, kwargs) if self._steps.may_join else None
            if (
                of_first
                and part is not None
                and part.samples is not None
                and isinstance(pair, LossPair)
                and not pair.more
            ):
                pair = with_positions(pair, self.known, part)
            if chunks is not None and isinstance(pair, LossPair) and chunks.add(pair, part):
                return None
            if name is None and chunks is not None and len(chunks.pairs) == 1:
                self._chunks = None  # the first of several chunks: alone, it would show a fault that is none
            self._record_chunks()
            self.seen += 1
            if isinstance(pair, LossPair) and pair.is_nothing:
                return None
            if name is None:
                self._is_left_out |= not self._steps.is_named
            elif part is not None and part.is_chunk and isinstance(pair, LossPair):
                self._chunks = Chunks(name, place, [pair], part)
            else:
                return self._record(name, place, pair if place == 0 or isinstance(pair, str) else pair.without_more())
        except own_failure(Exception) as error:  # a run must not die of its log
            self.recorder.report_failure(self.number, name or "text", error)
        return None

    def _record_chunks(self) -> None:
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            self._record(chunks.name, chunks.place, chunks.joined())

    def _record(self, name: str, place: int, pair: LossPair | str) -> str | None:
        where = f"step {self.number}, stream {name!r}"
        if self._is_split and isinstance(pair, LossPair) and "row_index" not in pair.more:
            pair = f"not recorded: the call's row_index is not known to be that of the rows of this loss; {FIX}"
        if isinstance(pair, str):
            report_once(self.recorder, pair.partition("]")[2], f"{where}: {pair}")  # whatever the shape
        elif place >= _MOST_CALLS:
            many = f"only {_MOST_CALLS} losses of one step are recorded: pass streams= to name those you want"
            report_once(self.recorder, many, f"{where}: {many}")
        else:
            if pair.is_mean:
                self.recorder.expect_loss(name)
            self.recorder.compare_due(  # the steps may jump
                pair.logits, pair.labels, self.number,
                stream=name, layout=pair.layout, ignore_index=pair.ignore_index, declared=pair.declared,
                sample_ids=self.sample_ids, **pair.more,
            )  # fmt: skip
            return name if pair.is_mean else None
        return None


def _part(pair: LossPair | str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Part | None:
    """Return which part of all rows a loss is called with; None if these are all, or if that is not known."""
    rows = args[0] if args else kwargs.get("input")
    if isinstance(pair, str) or not isinstance(pair.logits, Tensor) or not isinstance(rows, Tensor):
        return None
    try:
        part = part_of(rows)
    except own_failure(Exception):  # torch may change its graph at any time
        return None
    # Rows in the order [t, b] are one sample, and chunks of them are no parts of it.
    return None if part is None or (part.samples is not None and getattr(pair.labels, "ndim", 0) != 2) else part


def report_once(recorder: Recorder, kind: str, message: str, error: Exception | None = None) -> None:
    """Report what is no failure of predlog's, each kind once for each recorder, where whole logits are recorded."""
    if recorder.gate.is_recording():  # the other ranks see the same
        recorder.report_once(f"watch: {kind}", message, error)
