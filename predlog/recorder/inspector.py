"""`predlog.inspect`: one look at a pair in the calling thread, which may wait for the device and writes nothing."""

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from predlog._runtime.notices import Notices
from predlog._runtime.torch_state import is_traced, obstacle
from predlog.capture.capture import capture
from predlog.errors import PairError, PredlogError
from predlog.findings.catalog import CAUSAL_RULE, LOSS
from predlog.findings.facts import Facts
from predlog.findings.judge import Judge
from predlog.findings.ledger import FindingEvent
from predlog.findings.loss_check import LossCheck
from predlog.findings.needs import COMPARE_STEPS
from predlog.findings.rule import CLEAN, Fault
from predlog.numbers.snapshot import Snapshot
from predlog.numbers.unpack import unpack
from predlog.numbers.window import Window
from predlog.recorder import settings
from predlog.recorder.attempt import Attempt
from predlog.recorder.gate import check_stream, whole_step
from predlog.recorder.inspection import Findings, Inspection
from predlog.recorder.loss_report import Losses
from predlog.recorder.verdict import judge_pair, refusal_message, remarks, specials_of
from predlog.records import codec
from predlog.records.schema import Comparison, Finding

# Supervised tokens of a pair that rules look at: four times as many as the statistical ones need.
_JUDGED: Final = 256
_ALL: Final = 2**31
_IN_SHARDS: Final = (
    "the logits are a shard of the vocabulary, and one look needs whole rows: record the shards with compare on each"
    " process, and let predlog check or predlog.read join them, or pass logits that were gathered"
)
_UNCHECKED: Final = "the loss can be checked against whole logits only, and this pair has none"


class Inspector:
    """Looks at pairs one by one; what it is asked to show are the arguments of `inspect`.

    Raises SettingError if one of them makes no sense.
    """

    def __init__(
        self, *, decode: Any, special_tokens: Any, ignore: Any, samples: int | None, first: int, last: int,
        codebooks: int | None,
    ) -> None:  # fmt: skip
        samples, codebooks = (_ALL if value is None else value for value in (samples, codebooks))
        settings.check_window(samples, first, last, codebooks)
        text = 0 if decode is None else settings.TEXT_WINDOW
        self._window = Window(samples, first, last, codebooks, text=text)
        self.notes: list[str] = []
        self.notices = Notices(collect=self.notes.append)
        self._processors = settings.decoding(decode, self.notices)
        self.specials = settings.special_tokens(special_tokens, decode, self.notices)
        self.judge = Judge(settings.ignored(ignore))
        self._losses = Losses(self.judge, self.notices)
        self._attempt = Attempt({"directory": None}, 1)
        self._at = time.time()
        self._comparisons: list[Comparison] = []
        self._unknown: dict[str, str] = {}

    def look(self, logits: object, labels: object, step: int, stream: str, how: Mapping[str, Any]) -> None:
        """Look at a pair; `how` are the other arguments of `capture`. A pair that can't be read is a finding.

        Raises PredlogError where nothing can be read, as inside of a compiled function.
        """
        why = "the caller is compiled or traced" if is_traced() else obstacle()
        if why is not None:
            raise PredlogError(f"nothing can be inspected here: {why}")
        try:
            self._look(logits, labels, step, stream, how)
        except PairError as error:
            self.refuse(error, step, stream)

    def hold_loss(self, logits: object, labels: object, step: int, stream: str, how: Mapping[str, Any]) -> None:
        """Hold the loss of a further pair, which is not shown, against that pair."""
        self._losses.reported(self._summed_up(logits, labels, how), step, stream)

    def fits(self, logits: object, labels: object, how: Mapping[str, Any]) -> bool:
        """Return whether the loss that is reported of a pair is that of the pair, and of no other shift."""
        captured = self._summed_up(logits, labels, how)
        if captured.totals is None or captured.reported is None:
            return False
        return LossCheck().judge(captured.totals(), captured.reported()) is CLEAN

    def find_future(self, what: str, fix: str, evidence: Mapping[str, Any], step: int, stream: str) -> None:
        """Add the finding about a model whose logits depend on the tokens that they predict."""
        self.judge.find(step, stream, CAUSAL_RULE, Fault(what, fix, evidence))

    def leave_undecided(self, code: str, why: str) -> None:
        """Note that a rule can't decide."""
        self._unknown[code] = why

    def _summed_up(self, logits: object, labels: object, how: Mapping[str, Any]) -> Snapshot:
        return capture(logits, labels, **how, window=Window(1, 1, 0, 1, score=False), has_totals=True)

    def refuse(self, error: PairError, step: int, stream: str) -> None:
        """Note that a pair can't be read."""
        message = refusal_message(str(error), stream, "")
        self.judge.refuse(step, stream, error.code, message, error.evidence)

    def result(self, stream: str) -> dict[str, Any]:
        """Return what was seen, as the arguments of an `Inspection`."""
        findings = [self._finding(one) for one in self.judge.open]
        waiting = self.judge.waiting(stream)
        unknown = {code: why for code, why in self.judge.undecided.get(stream, {}).items() if code not in COMPARE_STEPS}
        return {
            "comparisons": tuple(self._comparisons),
            "findings": Findings(sorted(findings, key=lambda one: one.level != "error")),
            "undecided": {stream: waiting | unknown | self._unknown} if self._comparisons else {},
            "notes": tuple(self.notes),
        }

    def _look(self, logits: object, labels: object, step: int, stream: str, how: Mapping[str, Any]) -> None:
        specials = specials_of(self.specials, stream, how.get("layout"))
        shown = capture(logits, labels, **{**how, "reported_loss": None}, window=self._window, specials=specials)
        if shown.sizes.shard is not None:
            raise PairError(_IN_SHARDS)
        judged = capture(
            logits, labels, **how, window=self._wider(shown), specials=specials,
            has_totals=how.get("reported_loss") is not None, has_axes=True,
        )  # fmt: skip
        if shown.numbers is None or judged.numbers is None:
            raise PredlogError("all slots for copies to the host are in use: flush the recorders of this process first")
        self.notes += [remark for _, remark in remarks(judged.sizes)]
        self._comparisons, facts = self._unpacked(shown, judged, step, stream)
        judge_pair(self.judge, judged, facts, step, stream)
        if judged.reported is not None and judged.totals is None:
            self._unknown[LOSS] = _UNCHECKED

    def _wider(self, shown: Snapshot) -> Window:
        """Return the window of what is judged: more tokens, if there are few samples."""
        each = math.ceil(_JUDGED / (2 * max(shown.sizes.samples, 1)))
        window = self._window
        return replace(window, first=max(window.first, each), last=max(window.last, each), text=0)

    def _unpacked(
        self, shown: Snapshot, judged: Snapshot, step: int, stream: str
    ) -> tuple[list[Comparison], list[Facts]]:
        """Return the comparisons of the tokens shown, and the facts about those that are judged."""
        loss = self._losses.reported(judged, step, stream)
        comparisons, facts = [], []
        for (fields, _), (_, fact) in zip(unpack(shown), unpack(judged), strict=True):
            facts.append(fact)
            fields |= {"step": step, "stream": stream, "context": {}, "reported_loss": loss}
            event = self._attempt.event("predlog.comparison", "info", self._at, fields)
            for processor in self._processors:
                processor(None, "", event)
            comparisons.append(self._record(event))
        return comparisons, facts

    def _finding(self, found: FindingEvent) -> Finding:
        record = self._record(self._attempt.event("predlog.finding", found.level, self._at, found.fields))
        assert isinstance(record, Finding)  # noqa: S101 - for the type checker
        return record

    def _record(self, event: dict[str, Any]) -> Any:
        conformed = codec.conform(event)
        self._attempt.number(conformed)
        return codec.from_event(conformed)


def inspect(
    logits: object,
    labels: object,
    *,
    step: int = 0,
    stream: str = "text",
    layout: str | None = None,
    shift: int = 0,
    inputs: object = None,
    ignore_index: int = -100,
    loss_mask: object = None,
    position_ids: object = None,
    document_ids: object = None,
    attention_mask: object = None,
    reported_loss: object = None,
    sample_ids: object = None,
    shard: object = None,
    decode: Any = None,
    special_tokens: Any = None,
    ignore: Collection[str] | Mapping[str, Collection[str]] = (),
    samples: int | None = None,
    first: int = 5,
    last: int = 5,
    codebooks: int | None = None,
) -> Inspection:
    """Look at one pair at once: no recorder, no file and no thread, and the device may be waited for.

    Every sample of the batch is looked at. It works with `PREDLOG_DISABLE=1`, too.

    Args:
        logits: As in `compare`: [b, t, v] or as `layout` says, of any dtype and device.
        labels: Integer token ids of the same samples, [b, t].
        step: The step that the records name.
        stream: Name of the pair, for the records and for what is given per stream.
        layout: einops patterns of logits and labels, such as "b t v, b t".
        shift: By how many positions the labels lead the logits.
        inputs: The token ids that the model read, laid out as the labels are.
        ignore_index: The label that marks positions without supervision.
        loss_mask: Booleans, 0 and 1, or weights, laid out as the labels are.
        position_ids: The position of each token in its document.
        document_ids: The document of each token, or the cumulative lengths of the documents.
        attention_mask: [b, t], 0 at padding.
        reported_loss: The loss of this pair as the trainer computes it, in nats; it is checked against the pair.
        sample_ids: One id per sample, as in `compare`.
        shard: As in `compare`; a shard alone can't be looked at, so it gives a finding that says what to do.
        decode: A tokenizer, a callable from one id to its text, or one of these for each stream.
        special_tokens: A tokenizer, {"pad": 0, "eos": 2, "bos": 1}, or one of these for each stream.
        ignore: Codes of findings to ignore, or codes for each stream.
        samples: How many samples to look at; None looks at all.
        first: How many supervised tokens to keep from the start of a sample.
        last: How many to keep from its end.
        codebooks: How many codebooks to look at; None looks at all.

    Returns:
        An `Inspection`. A pair that can't be read has no comparisons, and a finding that says why, such as
        length-mismatch.

    Raises:
        SettingError: One of the last seven arguments makes no sense.
        PairError: `step` or `stream` is none.
        PredlogError: Nothing can be read here, as inside of `torch.compile` or with fake tensors.
    """
    how = {
        "layout": layout, "shift": shift, "inputs": inputs, "ignore_index": ignore_index, "loss_mask": loss_mask,
        "position_ids": position_ids, "document_ids": document_ids, "attention_mask": attention_mask,
        "reported_loss": reported_loss, "sample_ids": sample_ids, "shard": shard,
    }  # fmt: skip
    check_stream(stream)
    number = whole_step(step)
    inspector = Inspector(
        decode=decode, special_tokens=special_tokens, ignore=ignore, samples=samples, first=first, last=last,
        codebooks=codebooks,
    )  # fmt: skip
    inspector.look(logits, labels, number, stream, how)
    return Inspection(**inspector.result(stream))
