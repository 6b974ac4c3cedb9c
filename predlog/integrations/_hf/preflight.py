"""`preflight`: one forward of a Hugging Face model, and all that its pair, its loss and its logits show."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from predlog._runtime import torch_state
from predlog.errors import SettingError
from predlog.integrations._hf import generation, hooks
from predlog.integrations._hf.causality import Sight
from predlog.integrations._hf.forward_pair import PairReader
from predlog.integrations._hf.model_look import LOSS, ModelLook
from predlog.integrations.untouched import untouched
from predlog.recorder.inspection import Inspection
from predlog.recorder.inspector import Inspector


@dataclass(frozen=True, repr=False, eq=False)
class Preflight(Inspection):
    """What one forward of a model shows: an `Inspection` of its pair, and how the model makes it.

    Attributes:
        shift: By how many positions the labels lead the logits; None if no pair could be read.
        shift_from: How that is known: as passed, read from the source of the model's loss, or measured.
        loss: The loss that the model reports, in nats, without what a router adds; None if it reports none.
        sight: "causal", "sees the future" (then there is a finding), "sees both sides" (by design: its labels are not
            the next tokens) or "unknown".
        sight_why: What shows it, in numbers.
    """

    shift: int | None = None
    shift_from: str = ""
    loss: float | None = None
    sight: Sight = "unknown"
    sight_why: str = ""

    def _remarks(self) -> Iterator[str]:
        if self.shift is not None:
            yield f"shift: {self.shift}, {self.shift_from}"
        if self.loss is not None:
            is_checked = not any(LOSS in rules for rules in self.undecided.values())
            is_other = any(one.code == LOSS for one in self.findings)
            fits = ", not that of the pair" if is_other else ", that of the pair" if is_checked else ""
            yield f"loss: {self.loss:.6g} nats{fits}"
        yield f"causality: {self.sight}: {self.sight_why}"
        yield from super()._remarks()


def preflight(
    model: Any,
    batch: Any,
    *,
    shift: int | None = None,
    layout: str | None = None,
    ignore_index: int = -100,
    decode: Any = None,
    special_tokens: Any = None,
    ignore: Collection[str] | Mapping[str, Collection[str]] = (),
    samples: int | None = None,
    first: int = 5,
    last: int = 5,
    codebooks: int | None = None,
    step: int = 0,
    stream: str = "text",
) -> Preflight:
    """Look at one batch of a Hugging Face model before its training: its pair, its shift, its loss, and causality.

    The model is called as in training, without gradients, and a few times more in evaluation mode with later inputs
    replaced: no earlier logit may move. Random states, the mode of each module, buffers and other attributes of modules
    are put back afterwards.

    Args:
        model: A model of transformers, or one with the same `forward`; also with adapters of PEFT, or compiled around.
        batch: What the model is called with, labels included: a mapping of tensors, on any device.
        shift: By how many positions the labels lead the logits; None reads it from the model's own loss.
        layout: einops patterns, as `compare` takes them.
        ignore_index: The label that marks positions without supervision.
        decode: A tokenizer, a processor that has one, or a callable from one id to its text.
        special_tokens: As in `predlog.inspect`; left out, those of `decode`, and where the model's generation stops.
        ignore: Codes of findings to ignore.
        samples: How many samples to look at; None looks at all.
        first: How many supervised tokens to keep from the start of a sample.
        last: How many to keep from its end.
        codebooks: How many codebooks to look at; None looks at all.
        step: The step that the records name.
        stream: Name of the pair.

    Returns:
        A `Preflight`: an `Inspection` with `shift`, `loss` and `sight`.

    Raises:
        SettingError: An argument makes no sense, the batch has no labels, or the model can't be seen.
        PairError: The model makes no pair that can be read; the message says why, and what to pass.
        Exception: Whatever the model itself raises, unless labels out of range explain it, which is a finding.
    """
    while isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module  # whose forward would synchronize processes
    model = torch_state.uncompiled(model)
    core = hooks.core(model)
    if torch_state.is_compiled_in_place(core):
        raise SettingError("the model was compiled by its `compile()`, so its outputs can't be seen: look before that")
    inspector = Inspector(
        decode=hooks.tokenizer(decode) or decode, special_tokens=special_tokens, ignore=ignore, samples=samples,
        first=first, last=last, codebooks=codebooks,
    )  # fmt: skip
    if stop := generation.stop(core):
        inspector.specials = inspector.specials.changed(lambda known: known.stopping_at(stop))
    reader = partial(PairReader, core, layout=layout, ignore_index=ignore_index)
    look = ModelLook(model, core, inspector, (step, stream), reader, ignore_index)
    given = look.given(batch)
    with untouched(model):
        return Preflight(**look.at(given, shift))
