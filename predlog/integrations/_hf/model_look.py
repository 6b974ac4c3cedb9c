"""One look at a Hugging Face model: its forwards, the pair of the first, its loss, and what its logits see."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from torch import Tensor

from predlog._runtime.failure import located
from predlog.errors import PairError, SettingError
from predlog.integrations._hf import causality, hooks, label_shift
from predlog.integrations._hf.causality import Causality
from predlog.integrations._hf.forward_pair import ForwardPair, NoPair, PairReader
from predlog.integrations._hf.hooks import Forward
from predlog.integrations.untouched import set_eval
from predlog.recorder.inspector import Inspector

LOSS: Final = "loss-differs-from-pair"
_NO_LABELS: Final = (
    "the batch has no labels, so there is no pair: pass {**batch, 'labels': labels}. For a causal model these are a"
    " copy of input_ids with -100 where nothing is to be learned, such as padding and prompts"
)
# What a forward gets for its loss alone.
_FOR_THE_LOSS: Final = frozenset({"labels", "shift_labels", "num_items_in_batch"})
_FUTURE: Final = "sees-the-future"
# The shifts that are tried if the model's source does not show its own: the usual one first.
_SHIFTS: Final = (1, 0, 2)
_PROBED: Final = (
    "the loss of the batch can't be told from that of other labels, so it was also checked with the labels that the"
    " model predicts"
)


class ModelLook:
    """One look at a model: its forwards, and what is found in them.

    Args:
        model: The model that is called.
        core: The model that adapters have wrapped, or the model itself.
        inspector: Looks at the pair.
        place: The step and the stream of the pair.
        reader: Makes a reader of pairs for a shift.
        ignore_index: The label that marks positions without supervision.
    """

    def __init__(
        self, model: Any, core: Any, inspector: Inspector, place: tuple[int, str], reader: Callable[..., PairReader],
        ignore_index: int,
    ) -> None:  # fmt: skip
        self._model = model
        self._core = core
        self._inspector = inspector
        self._place = place
        self._reader = reader
        self._ignore_index = ignore_index
        self._unread: dict[str, str] = {}

    def given(self, batch: Any) -> dict[str, Any]:
        """Return a copy of a batch on the model's device, so that a forward can't change the caller's."""
        if not hasattr(batch, "keys"):
            raise SettingError(f"batch is a {type(batch).__name__}: pass a mapping of tensors, as the model takes them")
        given = {name: batch[name] for name in batch.keys()}  # noqa: SIM118 - a BatchEncoding is no mapping
        if given.get("labels") is None and given.get("shift_labels") is None:
            raise SettingError(_NO_LABELS)
        lists = [name for name, value in given.items() if isinstance(value, list)]
        if lists:
            raise SettingError(f"{lists[0]} is a list: pass tensors, as with return_tensors='pt'")
        device = next((one.device for one in self._model.parameters() if not one.is_meta), None)
        tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        others = sorted({str(value.device) for value in tensors.values() if device and value.device != device})
        if others:
            self._inspector.notes.append(
                f"the batch was copied from {', '.join(others)} to {device}, where the model is"
            )
        return given | {name: value.to(device or value.device, copy=True) for name, value in tensors.items()}

    def at(self, given: dict[str, Any], shift: int | None) -> dict[str, Any]:
        """Return what the forwards show, as the arguments of a `Preflight`."""
        inspector = self._inspector
        try:
            pair, forward = self._pair(given, shift)
            known = self._shift_from(given, shift, pair)
            if pair is None and forward is not None and (measured := self._measured(given, forward)) is not None:
                known = f"measured: {type(self._core).__name__} reports the loss of labels that are shifted so"
                pair, forward = self._pair(given, measured)
        except PairError as error:  # the model raised because of its labels
            inspector.refuse(error, *self._place)
            return {**inspector.result(self._place[1]), "sight_why": "the forward raised"}
        if pair is None or forward is None:
            raise PairError(f"no pair can be read: {'; '.join(self._unread.values()) or 'the model made none'}")
        inspector.notes += self._unread.values()
        inspector.look(pair.logits, pair.labels, *self._place, self._how(pair, forward))
        if LOSS in inspector.judge.waiting(self._place[1]) and "reported_loss" in pair.more:
            self._probe(given, forward, pair.more["shift"])
        seen = self._causality(given, forward, pair)
        result = inspector.result(self._place[1])
        loss = next((one.reported_loss for one in result["comparisons"]), None)
        return {
            **result, "shift": pair.more["shift"], "shift_from": known, "loss": loss, "sight": seen.sight,
            "sight_why": seen.why,
        }  # fmt: skip

    # --- the pair -------------------------------------------------------------------------------------------------

    def _pair(self, given: Mapping[str, Any], shift: int | None) -> tuple[ForwardPair | None, Forward | None]:
        """Return the pair of one forward, and the forward; raise PairError if the model's labels made it raise."""
        self._unread = {}
        reader = self._reader(shift=shift, report=self._note)
        found: list[ForwardPair] = []
        forwards: list[Forward] = []
        faults: list[PairError] = []

        def receive(forward: Forward) -> bool:
            forwards.append(forward)
            read = reader.read(forward)
            if isinstance(read, ForwardPair):
                found.append(read)
            elif isinstance(read, PairError):
                faults.append(read)
            return read is not NoPair.NOT_YET

        try:
            self._call(given, receive)
        except Exception as error:
            if not faults:
                raise
            raise faults[0] from error
        return found[0] if found else None, forwards[-1] if forwards else None

    def _call(self, given: Mapping[str, Any], receive: Callable[[Forward], bool]) -> Any:
        return hooks.called(self._model, self._core, given, receive)

    def _note(self, message: str, kind: str = "") -> None:
        self._unread.setdefault(kind or message, message)

    @staticmethod
    def _how(pair: ForwardPair, forward: Forward) -> dict[str, Any]:
        return {**pair.more, "autocast": forward.autocast}

    def _shift_from(self, given: Mapping[str, Any], passed: int | None, pair: ForwardPair | None) -> str:
        name = type(self._core).__name__
        if passed is not None:
            return "as passed"
        if given.get("shift_labels") is not None:
            return "since the batch has shift_labels"
        if pair is not None and pair.labels.ndim == 2 and pair.labels.shape[1] == 1:
            return "since there is one label per sample"
        if given.get("fused_lm_head"):
            return "since TRL's fused head shifts by it"
        if hooks.is_encoder_decoder(self._core):
            return f"since {name} has a decoder, whose labels are aligned"
        return f"read from the source of the loss of {name}"

    # --- the loss -------------------------------------------------------------------------------------------------

    def _measured(self, given: Mapping[str, Any], forward: Forward) -> int | None:
        """Return the shift with which the model's loss is that of the pair, whatever its source says; None if none."""
        if label_shift.shift(self._core) is not None:
            return None
        for shift in _SHIFTS:
            found = self._predicted(given, forward, shift)
            if found is not None and self._inspector.fits(found[0].logits, found[0].labels, self._how(*found)):
                return shift
        return None

    def _probe(self, given: Mapping[str, Any], forward: Forward, shift: int) -> None:
        """Hold the model's loss against the pair once more, with labels of which any other shift has a higher loss."""
        found = self._predicted(given, forward, shift)
        if found is not None:
            self._inspector.notes.append(_PROBED)
            self._inspector.hold_loss(found[0].logits, found[0].labels, *self._place, self._how(*found))

    def _predicted(self, given: Mapping[str, Any], forward: Forward, shift: int) -> tuple[ForwardPair, Forward] | None:
        """Return the pair of a forward whose labels are what the model predicts at a shift; None if it makes none."""
        name = "shift_labels" if given.get("shift_labels") is not None else "labels"
        labels, logits = given[name], hooks.logits(forward.output, has_loss=True)
        if not isinstance(logits, Tensor) or labels.ndim != 2 or logits.shape[:-1] != labels.shape:
            return None
        predicted = labels.clone()
        rows = labels.shape[1] - shift
        predicted[:, shift:] = (
            logits[:, :rows].argmax(-1).masked_fill(labels[:, shift:] == self._ignore_index, self._ignore_index)
        )
        decoded = {} if forward.decoded is None else {"decoder_input_ids": forward.decoded}
        unread = dict(self._unread)
        pair, again = self._pair({**given, **decoded, name: predicted}, shift)
        self._unread = unread
        return None if pair is None or again is None or "reported_loss" not in pair.more else (pair, again)

    # --- causality ------------------------------------------------------------------------------------------------

    def _causality(self, given: Mapping[str, Any], forward: Forward, pair: ForwardPair) -> Causality:
        """Return what the model sees, with a finding if that is the future, or an undecided rule if it is not known."""
        labels, shift = pair.labels, pair.more["shift"]
        own = given.get("labels")
        if isinstance(own, Tensor) and labels.ndim == own.ndim == 2 and own.shape[1] < labels.shape[1]:
            labels = own  # a prompt that is learnt stands before them
        inputs = causality.inputs_of(self._core, given, forward.decoded, labels, shift, self._ignore_index)
        if labels.ndim == 2 and labels.shape[1] == 1:
            return Causality("sees both sides", "there is one label per sample, whose logits may depend on all inputs")
        if isinstance(inputs, str):
            seen = Causality("unknown", inputs)
        else:
            set_eval(self._model)
            try:
                seen = causality.check(self._core, inputs, partial(self._logits, given))
            except Exception as error:  # noqa: BLE001 - a model may refuse other ids, and its pair was looked at
                seen = Causality("unknown", f"{type(self._core).__name__} raised {located(error)}")
        if seen.sight == "sees the future" and seen.moved is not None:
            what = f"{seen.why}, so the model sees the tokens that it is to predict"
            self._inspector.find_future(what, causality.FIX, seen.moved.evidence, *self._place)
        elif seen.sight == "unknown":
            self._inspector.leave_undecided(_FUTURE, seen.why)
        return seen

    def _logits(self, given: Mapping[str, Any], ids: Mapping[str, Tensor]) -> Any:
        """Return the logits of a forward with these ids: as in training, or without labels if there are none then."""
        asked = {name: value for name, value in given.items() if name != "fused_lm_head"}
        if not hooks.is_loss_replaced() and (logits := self._output(asked, ids, has_loss=True)) is not None:
            return logits
        plain = {name: value for name, value in asked.items() if name not in _FOR_THE_LOSS}
        return self._output(plain, ids, has_loss=False)

    def _output(self, given: Mapping[str, Any], ids: Mapping[str, Tensor], *, has_loss: bool) -> Any:
        output = self._model(**{**given, **ids})
        return output if isinstance(output, Tensor) else hooks.logits(output, has_loss=has_loss)
