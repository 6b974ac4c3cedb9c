"""The facts of a part, typed: what a line may have there is checked once, before anything is computed with it."""

import msgspec

from predlog.errors import RecordError
from predlog.records.schema import Count, Integer, Part


class Specials(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Special tokens by their role; of the large sets what is among the ids of the part."""

    pad: tuple[Integer, ...]
    eos: tuple[Integer, ...]
    bos: tuple[Integer, ...]
    unk: tuple[Integer, ...]
    stop: tuple[Integer, ...]
    prompt: tuple[Integer, ...]
    every: frozenset[Integer]
    added: frozenset[Integer]
    size: Count


class RunFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is at the ends of a part's rows, as columns: see `predlog.numbers.runs`."""

    ends: tuple[Count, Count]
    is_counted: bool
    has_places: bool
    is_blank: bool
    checks: tuple[str, ...]
    edges: dict[str, str]
    ids: dict[str, str] | None = None
    has_codes: bool = False


class PartFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Numbers of the rows shown, and counts over all; a column of numbers is a text, its type and base64."""

    peak: str
    log_sum: str
    label_logit: str
    above: tuple[Count | None, ...]
    best: str
    around: tuple[tuple[Integer, Integer, Integer, Integer], ...]
    reads: tuple[tuple[Integer | None, Integer | None], ...]
    counts: dict[str, tuple[Integer, ...]]
    ignore_index: Integer
    declared: frozenset[str]
    specials: Specials
    is_trained: bool
    has_probabilities: bool
    knows_inputs: bool
    knows_documents: bool
    knows_padding: bool
    has_weights: bool
    runs: RunFacts | None = None


class LossFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the first part of a pair has of its loss, under `loss` of its facts: see `predlog.numbers.losses`."""

    reported: str
    accumulate: Integer | None
    ways: tuple[str, ...]
    samples: Count
    labels: str
    log_sums: str | None
    many: Count
    rows: str | None
    weights: str | None
    counts: dict[str, float] | None
    unseen: Count
    marks: str | None
    scales: str | None


def facts_of(part: Part) -> PartFacts:
    """Return the facts of a part; raise RecordError if they are none."""
    try:
        return msgspec.convert(part.facts, PartFacts)
    except msgspec.ValidationError as error:
        raise RecordError(f"the facts of a part don't fit: {error}") from None


def loss_facts(fact: object) -> LossFacts:
    """Return what the facts of a part have under `loss`; raise RecordError if it is none."""
    try:
        return msgspec.convert(fact, LossFacts)
    except msgspec.ValidationError as error:
        raise RecordError(f"the sums of a part's loss don't fit: {error}") from None


def from_base64(text: str) -> bytes:
    """Return the bytes that base64 stands for; raise ValueError if it is none.

    It takes a seventh of the time of Python's own.
    """
    try:
        return msgspec.convert(text, bytes)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
