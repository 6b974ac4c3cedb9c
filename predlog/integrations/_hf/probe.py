"""One look of a callback at its probe batch: a forward in evaluation mode, and the pair of it."""

from collections.abc import Callable, Mapping
from typing import Any

from predlog._runtime import torch_state
from predlog._runtime.failure import located, own_failure, raised_at
from predlog.errors import PredlogError
from predlog.integrations._hf import hooks
from predlog.integrations._hf.forward_pair import NOTHING_TO_DO, ForwardPair, NoPair, PairReader
from predlog.integrations._hf.hooks import Forward
from predlog.integrations.probe import STREAM, Probe, why_sharded
from predlog.integrations.untouched import set_eval, untouched
from predlog.recorder.recorder import Recorder

_NOT_SEEN = f"the probe is not recorded, because the model was compiled by its `compile()`: {NOTHING_TO_DO}"
_NO_PAIR = "the probe is not recorded: {}"


def look(
    model: Any, probe: Probe, reader: PairReader, recorder: Recorder | None, step: int, report: Callable[..., None],
    context: Mapping[str, float],
) -> None:  # fmt: skip
    """Call a model with its probe batch, and record the pair; what goes wrong is reported once.

    Raises PredlogError if the recorder is strict and raises it.
    """
    if recorder is None:
        return
    try:
        _look(model, probe, reader, recorder, step, report, context)
    except PredlogError:
        raise
    except own_failure(Exception, model) as error:  # a run must not die of its log
        what = f"step {step}: the probe is not recorded, because it raised {located(error)}; the training goes on"
        report(what, f"probe: {raised_at(error)}")


def _look(
    model: Any, probe: Probe, reader: PairReader, recorder: Recorder, step: int, report: Callable[..., None],
    context: Mapping[str, float],
) -> None:  # fmt: skip
    model = torch_state.uncompiled(model)
    core = hooks.core(model)
    why_not = _NOT_SEEN if torch_state.is_compiled_in_place(core) else why_sharded(model)
    if why_not is not None:
        report(why_not)
        return
    given = probe.batch(next((one.device for one in model.parameters() if not one.is_meta), None))
    if not isinstance(given, dict):
        report(_NO_PAIR.format(f"it is a {type(given).__name__}; pass a mapping of tensors, as the model takes them"))
        return
    ids = None if probe.ids is None else given.pop(probe.ids, None)
    seen: list[bool] = []
    failures: list[PredlogError] = []

    def receive(forward: Forward) -> bool:
        pair = reader.read(forward)
        if pair is NoPair.NOT_YET:
            return False
        seen.append(isinstance(pair, ForwardPair))
        if isinstance(pair, ForwardPair):
            try:
                recorder.compare_due(
                    pair.logits, pair.labels, step, stream=STREAM, autocast=forward.autocast, sample_ids=ids,
                    **pair.more, **context,
                )  # fmt: skip
            except PredlogError as error:  # of a strict recorder: it is no error of the forward's
                failures.append(error)
        return True

    with untouched(model):
        set_eval(model)
        hooks.called(model, core, given, receive)
    if failures:
        raise failures[0]
    if not any(seen):
        report(_NO_PAIR.format("the model was given no labels, or makes no logits of them"))
