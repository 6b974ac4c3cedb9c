"""The facts of a part, typed: what a line may have there is checked once, before anything is computed with it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from predlog.errors import RecordError
from predlog.records.schema import Part

_MOST = 2**63 - 1
_Integer = Annotated[int, Meta(ge=-(2**63), le=_MOST)]
_Count = Annotated[int, Meta(ge=0, le=_MOST)]


class Specials(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Special tokens by their role; of the large sets what is among the ids of the part."""

    pad: tuple[_Integer, ...]
    eos: tuple[_Integer, ...]
    bos: tuple[_Integer, ...]
    unk: tuple[_Integer, ...]
    stop: tuple[_Integer, ...]
    prompt: tuple[_Integer, ...]
    every: frozenset[_Integer]
    added: frozenset[_Integer]
    size: _Count


class RunFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is at the ends of a part's rows, as columns: see `predlog.numbers.runs`."""

    ends: tuple[_Count, _Count]
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
    above: tuple[_Count | None, ...]
    best: str
    around: tuple[tuple[_Integer, _Integer, _Integer, _Integer], ...]
    reads: tuple[tuple[_Integer | None, _Integer | None], ...]
    counts: dict[str, tuple[_Integer, ...]]
    ignore_index: _Integer
    declared: frozenset[str]
    specials: Specials
    is_trained: bool
    has_probabilities: bool
    knows_inputs: bool
    knows_documents: bool
    knows_padding: bool
    has_weights: bool
    runs: RunFacts | None = None


def facts_of(part: Part) -> PartFacts:
    """Return the facts of a part; raise RecordError if they are none."""
    try:
        return msgspec.convert(part.facts, PartFacts)
    except msgspec.ValidationError as error:
        raise RecordError(f"the facts of a part don't fit: {error}") from None
