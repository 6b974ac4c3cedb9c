"""Watch a module: on due steps, the arguments of `cross_entropy` in its forward are compared. Experimental."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.compiler import is_dynamo_compiling
from torch.utils.hooks import RemovableHandle

from predlog._runtime import torch_state
from predlog._runtime.failure import located, own_failure
from predlog._runtime.torch_state import is_in_backward, is_traced
from predlog.capture import dtensor
from predlog.integrations._watch import call_arguments, ended_call, listening_forward
from predlog.integrations._watch.listener import FIX, Listener, report_once
from predlog.integrations._watch.step_counter import StepCounter
from predlog.integrations.callback import DueSteps
from predlog.recorder import default
from predlog.recorder.gate import PATIENCE
from predlog.recorder.recorder import Recorder


@contextmanager
def watch(
    module: nn.Module,
    *,
    step: int | Callable[[], int] = 0,
    accumulate: int = 1,
    streams: Sequence[str] | None = None,
    inputs: str | None = None,
    sample_ids: str | None = None,
    recorder: Recorder | None = None,
) -> Iterator[None]:
    """Record what `cross_entropy` is called with while `module` is called, in training, on steps that are due.

    Experimental: its arguments may change with any version, and it does not see every loss.

    Within the context, each call of the module in training mode with gradients enabled is a step. On a step that is
    due, the arguments of `torch.nn.functional.cross_entropy` and `linear_cross_entropy` inside of it are passed to
    `compare`. Nothing of torch's is patched, and nothing remains after the context, however it ends.

    Args:
        module: A model that makes its own loss, or a loss such as `torch.nn.CrossEntropyLoss()`: a module without
            parameters is treated as a loss.
        step: The number of the first step, which a training that is resumed must pass, or a callable that returns the
            number of the current step. Of several calls with the same number the first is recorded.
        accumulate: How many calls of the module make a step, if `step` is a number; the first is recorded.
        streams: Names of the losses of one step, in the order of their calls; further ones are not recorded. Left out,
            the first is "text", as in `compare`, and a model's others are "loss 1", "loss 2" and so on. If the module
            is a *loss* with n names, every n calls make a step.
        inputs: The parameter of the module's forward that takes the token ids, one for each position of its logits,
            such as "idx". Left out, it is "input_ids" for Hugging Face's models without an encoder.
        sample_ids: The parameter of the module's forward that takes one id per sample, such as "ids"; None keeps none.
        recorder: Left out, the default one, as `predlog.configure` makes it.

    Raises:
        SettingError: An argument makes no sense; the message says which and why.
    """
    watcher = _Watcher(module, StepCounter(module, step, accumulate, streams), (inputs, sample_ids), recorder)
    handles: list[RemovableHandle] = []
    try:
        handles += watcher.attach()
        yield
        watcher.report_missed_calls()
    finally:
        for handle in handles:
            handle.remove()
        watcher.close()


class _Watcher:
    """The hooks of a watched module: before a call, and after it.

    `names` are the parameters of the module's forward that take the token ids, and the ids of the samples.
    """

    def __init__(
        self, module: nn.Module, steps: StepCounter, names: tuple[str | None, str | None], recorder: Recorder | None
    ) -> None:
        self._module = module
        self._steps = steps
        self._names = names
        self._may_take_rows = call_arguments.may_take_rows(module)
        self._recorder = recorder
        self._active: dict[int, Listener] = {}  # by thread
        self._due = DueSteps(1)
        self._was_called = False
        self._gave_up = False
        self._is_asked = False
        # Of calls that raised. Torch takes a mode off its stack while that is asked: if a signal raises just there,
        # torch puts it back when the error is dropped, which is later than the end of the call.
        self._raised: list[Listener] = []

    def attach(self) -> list[RemovableHandle]:
        """Attach the hooks, and have the module's forward ask which call is listened to."""
        # A compiled model around the module is compiled anew only for hooks that torch knows by number: those below.
        self._is_asked = listening_forward.attach(self._module, self.begin)
        if not self._is_asked:
            ended_call.attach(self._module, self._active.values(), self.leave)
        return [
            self._module.register_forward_pre_hook(self.enter, with_kwargs=not self._is_asked),
            # Called before the hooks of contexts that were entered earlier: the last one entered is left first.
            self._module.register_forward_hook(self.leave, prepend=True, always_call=not self._is_asked),
        ]

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Listener | None:
        """Return the listener of the call that begins in this thread, once; None if nobody listens to it."""
        call = self._active.get(threading.get_ident()) if self._active else None
        if call is None or call.has_begun:
            return None
        call.has_begun = True
        try:
            report = partial(report_once, call.recorder)
            names = self._names
            call.known, call.sample_ids = call_arguments.known(
                self._module, args, kwargs, names[0], report, sample_ids=names[1]
            )
        except own_failure(Exception, self._module) as error:  # a foreign object's own code
            report_once(call.recorder, "ids", f"the inputs of {self._name} can't be read: {located(error)}", error)
        may_be_part = dtensor.may_exist() or "row_index" in call.known
        return call if may_be_part or call.recorder.gate.is_recording() else None

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of a watched module is not watched.
        return _inactive, ()

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> None:
        """Listen to the call that begins, if its step is due."""
        # A compiler treats the first answer as a constant. A module other than the watched one is a replica or a copy.
        if is_dynamo_compiling() or module is not self._module:
            return
        # Without gradients nothing is trained; a forward within a backward is a repetition.
        if not module.training or not torch.is_grad_enabled() or is_in_backward():
            return
        self._was_called = True
        self._stop_listening()  # of a call that was interrupted
        self._remove_what_came_back()
        recorder = default.current_or_none() if self._recorder is None else self._recorder
        if recorder is None:
            return
        try:
            number, place = self._steps.next()
            if not self._is_due(recorder, number) or place >= self._steps.recorded_calls:
                return
            # A loss may get a part of the logits, which is recorded by other ranks, too, than whole logits are.
            is_part = dtensor.may_exist() or self._may_take_rows
            is_recording = recorder.gate.is_recording(is_part=is_part)
            if not is_traced() and is_recording and self._can_listen(recorder):
                if self._steps.counts_from_0 and number == 0:
                    recorder.expect_restart(self._restarted)
                self._active[threading.get_ident()] = Listener(recorder, self._steps, number, place)
                if not self._is_asked and (call := self.begin(args, kwargs or {})) is not None:
                    call.__enter__()  # type: ignore[no-untyped-call]
        except own_failure(Exception) as error:  # a run must not die of its log
            recorder.report_failure(None, "text", error)

    def _restarted(self, earlier: str) -> str:
        return (
            f"predlog.watch counts the steps of {self._name} from 0, and {earlier}, so this is read as another run."
            " If it resumes from a checkpoint, pass the number of its first step: predlog.watch(model, step=...)"
        )

    def _is_due(self, recorder: Recorder, number: int) -> bool:
        if self._due.every != recorder.gate.every:  # the default one may be another by now
            self._due = DueSteps(recorder.gate.every)
        if self._steps.stays == PATIENCE:
            many = f"step() returned {number} at {PATIENCE} calls of {self._name}: does it count? The first is recorded"
            report_once(recorder, "still", f"predlog.watch: {many}")
        return self._due.is_due(number)

    def leave(self, *_call: Any) -> None:
        """Stop listening, and report it if no loss was called."""
        if is_dynamo_compiling() or (call := self._stop_listening()) is None:
            return
        has_failed = sys.exc_info()[1] is not None
        if has_failed:
            self._raised.append(call)
        if not has_failed:
            call.finish(self._name)
        if call.compiled != torch_state.count_graphs():
            self._give_up(call.recorder, "calls functions that torch.compile compiles")
        elif not call.seen and not has_failed:
            report_once(
                call.recorder,
                "no loss",
                f"step {call.number}: {self._name} called no cross_entropy that predlog.watch can see: its loss is "
                f"compiled, fused, written by hand, or made elsewhere; {FIX}, or watch the module that makes it",
            )

    def report_missed_calls(self) -> None:
        """Report it if the module was never called."""
        if self._was_called:
            return
        recorder = default.current_or_none() if self._recorder is None else self._recorder
        if recorder is not None:
            report_once(
                recorder,
                "never called",
                f"predlog.watch saw no call of {self._name} in training mode: was another module called, or one "
                f"that was compiled with this one inside? {FIX}",
            )

    def close(self) -> None:
        """Stop listening to a call that was interrupted in this thread, and to the module."""
        self._stop_listening()
        self._remove_what_came_back()
        listening_forward.detach(self._module, self.begin)
        ended_call.detach(self._module, self.leave)

    @property
    def _name(self) -> str:
        return type(self._module).__name__

    def _can_listen(self, recorder: Recorder) -> bool:
        # Compiled code depends on the active modes: a listener would have it compiled again.
        if not self._gave_up and torch_state.has_compiled_parts(self._module):
            self._give_up(recorder, "has parts that torch.compile compiles")
        return not self._gave_up

    def _give_up(self, recorder: Recorder, why: str) -> None:
        self._gave_up = True
        message = f"{self._name} {why}, so predlog.watch records nothing more of it; {FIX}, or watch the loss"
        report_once(recorder, why, message)

    def _remove_what_came_back(self) -> None:
        if self._raised:
            gone, self._raised = self._raised, []
            torch_state.removing(gone)()

    def _stop_listening(self) -> Listener | None:
        call = self._active.get(threading.get_ident()) if self._active else None
        if call is not None:
            call.end()  # first, since a signal's handler may raise after it
            self._active.pop(threading.get_ident(), None)
        return call


def _inactive() -> _Watcher:
    empty = nn.Module()
    return _Watcher(empty, StepCounter(empty, 0, 1, None), (None, None), None)
