"""One forward of a model → the pair that its loss gets, with its inputs, masks and positions, and the loss itself."""

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from torch import Tensor

from predlog.capture import dtensor, holders
from predlog.capture.projection import Projection
from predlog.errors import PairError
from predlog.integrations._hf import hooks, label_shift, model_loss
from predlog.integrations._hf.head import head_of, with_scores
from predlog.integrations._hf.hooks import Forward
from predlog.integrations._hf.split_rows import SplitRows
from predlog.integrations.known_positions import begins_with_padding, fitting
from predlog.integrations.step_output import described

NOTHING_TO_DO = "call predlog.compare where you have the pair"
# The cumulative lengths of padding-free batches, and the number of each position's document.
_DOCUMENTS = ("cu_seq_lens_q", "seq_idx", "document_ids")
_NO_IDS = (
    "samples have no ids, because the model got no {!r}: with remove_unused_columns=True the Trainer takes out what the"
    " model's forward does not name; what your compute_loss takes out is seen with PredictionMixin"
)


class NoPair(Enum):
    """Why a forward gives no pair."""

    NO_LABELS = "the model was given no labels"
    NOT_YET = "it is running, and may still make logits"
    NEVER = "what it has is not recorded"


class _Labels(NamedTuple):
    """The labels of a batch, whether they were shifted before, and whether the model computes its own loss of them."""

    ids: Tensor
    is_shifted: bool
    has_loss: bool


class ForwardPair(NamedTuple):
    """What `compare_due` takes; `has_loss` is whether the model computes a loss of these labels."""

    logits: object
    labels: Tensor
    more: dict[str, Any]
    has_loss: bool


class PairReader:
    """Reads the forwards of one model in one training.

    `labels` and `ids` are those of the batch, for a trainer that does not pass them to the model. `sample_ids` is the
    name by which the model gets one id per sample. `report` reports a line once,
    by its text or by a kind that is passed with it.
    """

    def __init__(
        self, model: Any, shift: int | None, layout: str | None, ignore_index: int, report: Callable[..., None],
        sample_ids: str | None = None,
    ) -> None:  # fmt: skip
        self._model = model
        self._shift = shift
        self._layout = layout
        self._ignore_index = ignore_index
        self._report = report
        self._mask: str | bool | None = False  # not read yet
        # Whether rows are projected during the forward, when the whole weight of the head is here; whether that weight
        # is sharded between two forwards, so that a head which is known to be fused must be read so.
        self._is_early = self._is_sharded = False
        self._name_of_ids = sample_ids
        # How the trainer splits rows over processes, or why that isn't known; and whether the last pair was whole.
        self.split: SplitRows | str | None = None
        self._sees_whole = False
        self.forget()

    def forget(self) -> None:
        """Forget what a batch had."""
        self.labels: Any = None
        self.ids: Any = None
        self._beside: dict[str, Any] = {}

    def keep(self, batch: Any) -> None:
        """Keep the labels of a batch, and where they belong in the whole sample: the model may not get them."""
        self.labels = batch.get("labels")
        self._beside = {name: batch.get(name) for name in ("shift_labels", "row_index")}

    @property
    def may_be_part(self) -> bool:
        """Whether a process may have a part of the logits only: if there are DTensors, until a pair tells."""
        return self.split is not None or (dtensor.may_exist() and not self._sees_whole)

    def begin(self) -> None:
        """Forget the last batch, and look, between two forwards, whether the head's weights are sharded there."""
        self.forget()
        head = self._model.get_output_embeddings() if hasattr(self._model, "get_output_embeddings") else None
        weight = getattr(head, "weight", None)
        self._is_sharded |= isinstance(weight, Tensor) and hooks.is_sharded(weight)

    def read(self, forward: Forward) -> ForwardPair | NoPair | PairError:
        """Return the pair of a forward, or why there is none; of one that raised, what is wrong with its labels."""
        labels = self._labels(forward)
        if labels is None:
            return NoPair.NO_LABELS
        if forward.has_failed:
            return self._out_of_range(labels.ids)
        is_early = self._is_early or (self._is_sharded and forward.arguments.get("fused_lm_head"))
        if forward.output is None and not is_early:
            return NoPair.NOT_YET
        return self._pair(forward, labels) or NoPair.NEVER

    def _pair(self, forward: Forward, found: _Labels) -> ForwardPair | None:
        labels, is_shifted, has_loss = found
        is_done = forward.output is not None
        logits: Any = hooks.logits(forward.output, has_loss=has_loss) if is_done else None
        if labels.is_floating_point():
            none = "" if logits is not None else f"{type(self._model).__name__} gives no logits, and "
            shown = f"{labels.dtype} {list(labels.shape)}"
            self._report(f"{none}labels are floats: nothing to compare ({shown})", "floats")
            return None
        if logits is None or hooks.is_loss_replaced():
            logits = self._projected(forward, is_overwritten=logits is not None)
        if logits is None:
            return None
        more: dict[str, Any] = {"layout": self._layout, "ignore_index": self._ignore_index}
        more |= self._sample_ids(forward)
        if has_loss and is_done:
            more |= model_loss.of_output(self._model, forward.arguments, forward.output, self._report)
        if self._layout is None and (pair := label_shift.of_samples(logits, labels)) is not None:
            return ForwardPair(*pair, more | {"shift": 0}, has_loss)
        is_fused = forward.arguments.get("fused_lm_head")
        read = 0 if is_shifted else 1 if is_fused else label_shift.shift(self._model)
        unknown = (logits, labels) if self._layout is None else None
        shift = label_shift.chosen(self._model, self._shift, read, unknown, self._report, has_loss=has_loss)
        if shift is None:
            return None
        if isinstance(logits, Projection) and is_done and is_fused:
            logits = with_scores(logits, forward.output, shift=shift, ignore_index=self._ignore_index)
        inputs = hooks.inputs(self._model, forward, labels)
        known = self._known(forward, labels, inputs, has_loss=has_loss)
        if (where := self._where(forward, logits, labels, known)) is None:
            return None
        more |= {**known, **where, "shift": shift, "inputs": inputs}
        self._sees_whole = not holders.is_part(logits, more.get("row_index"))
        return ForwardPair(logits, labels, more, has_loss)

    def _where(self, forward: Forward, logits: object, labels: Tensor, known: dict[str, Any]) -> dict[str, Any] | None:
        """Return where the rows belong in whole samples, if the trainer has split these; None if that isn't known."""
        if isinstance(self.split, str):
            self._report(self.split, "split")
            return None
        if self.split is None or not self.split.has_split({**self._beside, **forward.arguments}):
            return {}
        if getattr(known.get("document_ids"), "ndim", 0) == 1:
            known["document_ids"] = None  # the lengths of whole documents, and these are pieces
        return self.split.arguments(labels, known.get("row_index"), is_part=holders.is_part(logits))

    def given_labels(self, forward: Forward) -> Any:
        """Return what was given as labels, to the model or to the trainer."""
        names = ("shift_labels", "labels")
        given = [*map(forward.arguments.get, names), self._beside.get("shift_labels"), self.labels]
        return next((one for one in given if one is not None), None)

    def _sample_ids(self, forward: Forward) -> dict[str, Any]:
        """Return the ids of the samples, if they are wanted: what the model got by their name, or the batch's."""
        if self._name_of_ids is None:
            return {}
        ids = forward.arguments.get(self._name_of_ids, self.ids)
        if ids is None:
            self._report(_NO_IDS.format(self._name_of_ids), "no ids")
        return {"sample_ids": ids}

    def _labels(self, forward: Forward) -> _Labels | None:
        is_given = any(forward.arguments.get(name) is not None for name in ("shift_labels", "labels"))
        is_shifted = forward.arguments.get("shift_labels") is not None
        # A loss outside of the model takes them, and the model gets none.
        is_shifted |= not is_given and self._beside.get("shift_labels") is not None
        ids = self.given_labels(forward)
        return _Labels(ids, is_shifted, is_given) if isinstance(ids, Tensor) else None

    def _known(self, forward: Forward, labels: Tensor, inputs: Tensor | None, *, has_loss: bool) -> dict[str, Tensor]:
        """Return what is known of the labels' positions; of an encoder-decoder model, of its decoder's."""
        given = forward.arguments
        if hooks.is_encoder_decoder(self._model):
            found = {name: given.get(f"decoder_{name}") for name in ("attention_mask", "position_ids")}
            if begins_with_padding(self._model.config):
                del found["attention_mask"]
        else:
            documents = next((given[name] for name in _DOCUMENTS if given.get(name) is not None), None)
            places = given.get("position_ids")
            if getattr(places, "ndim", 0) > labels.ndim:
                places = None  # of several axes, as in M-RoPE
            found = {
                "attention_mask": given.get("attention_mask"), "position_ids": places, "document_ids": documents,
                "row_index": given.get("row_index", self._beside.get("row_index")),
            }  # fmt: skip
        if has_loss and (mask := self._mask_of_loss()) is not None and getattr(given.get(mask), "ndim", 0) == 2:
            found["loss_mask"] = given[mask]
        return fitting(labels, found, layout=self._layout, inputs=inputs)

    def _mask_of_loss(self) -> str | None:
        if self._mask is False:
            self._mask = label_shift.mask(self._model)
        return self._mask if isinstance(self._mask, str) else None

    def _out_of_range(self, labels: Tensor) -> PairError | NoPair:
        """Return that labels have no logit, if the model raised and there are such labels.

        On other devices than the CPU the error comes later, and nothing can be read after it.
        """
        head = self._model.get_output_embeddings() if hasattr(self._model, "get_output_embeddings") else None
        size = getattr(getattr(head, "weight", None), "shape", (None,))[0]
        size = size or getattr(getattr(self._model, "config", None), "vocab_size", None)
        if labels.device.type != "cpu" or labels.is_floating_point() or size is None:
            return NoPair.NEVER
        supervised = labels[labels != self._ignore_index]
        count = int(((supervised < 0) | (supervised >= size)).sum())
        if not count:
            return NoPair.NEVER
        lowest, highest = int(supervised.min()), int(supervised.max())
        worst = lowest if lowest < 0 else highest
        return PairError(
            f"{type(self._model).__name__} raised, and {count} of {len(supervised)} supervised labels lie outside 0 to"
            f" {size - 1} (lowest {lowest}, highest {highest}): mask with {self._ignore_index} what is not to be"
            f" learned, instead of {worst}, or, if tokens were added to the tokenizer, resize the model's embeddings",
            "label-out-of-range",
            out_of_range=count, supervised=len(supervised), vocabulary=int(size), lowest=lowest, highest=highest,
            ignore_index=self._ignore_index,
        )  # fmt: skip

    def _projected(self, forward: Forward, *, is_overwritten: bool) -> Projection | None:
        """Return a projection in place of logits that were not made; None, which is reported, if there can be none."""
        hidden, name = forward.hidden, type(self._model).__name__
        gives_none = f"{name} gives no 'logits': its forward returned {described(forward.output)}"
        if not hasattr(self._model, "get_output_embeddings"):
            self._report(f"{gives_none}. Return them as 'logits' beside 'loss', or {NOTHING_TO_DO}")
            return None
        head = head_of(self._model)
        if isinstance(head, str) or hidden is None:
            why = head if isinstance(head, str) else "its hidden states are not available"
            what = f"the loss of {name} overwrites its logits" if is_overwritten else gives_none
            self._report(f"{what}, and {why}: {NOTHING_TO_DO}")
            return None
        if hooks.is_sharded(head.linear.weight) and not self._is_early:
            self._is_early = True  # next time during the forward, when the whole weight is here
            return None
        if head.unknown:
            self._report(
                f"{name} makes no logits, and how it would scale or cap them isn't known "
                f"({head.unknown}): predictions and ranks are those of its head, and probabilities are left out"
            )
        return head.project(hidden)
