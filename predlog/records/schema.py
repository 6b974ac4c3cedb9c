"""The typed records and their schema version.

Events pass through structlog as plain dicts; a line is read back as one of the types below.
docs/explanations/records.md has the rules by which they may change.
"""

from collections.abc import MutableMapping
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from predlog.records import html

SCHEMA: Final = 1
# Keys that version 1 has gained: a line may lack them.
LATER_KEYS: Final = frozenset({
    "recorder", "document", "document_position", "reported_loss", "loss", "entropy", "alternatives", "worst",
    "all_tokens", "window", "sample_id", "rows", "label_rank_at_least", "missing_ids", "rows_of", "missing_rows",
})  # fmt: skip
# Keys that are left out where they are null: what only whoever joins parts knows, and which rows a part has.
JOINED_KEYS: Final = frozenset({"missing_ids", "missing_rows", "label_rank_at_least", "rows_of"})
# What a number of 64 bits holds, so that sums and tables of them need no care: no tensor has a larger one.
_MOST: Final = 2**63 - 1
Integer = Annotated[int, Meta(ge=-(2**63), le=_MOST)]
Count = Annotated[int, Meta(ge=0, le=_MOST)]
_Positive = Annotated[int, Meta(ge=1, le=_MOST)]
_Id = Annotated[Integer, Meta(description="A token id as the tokenizer and the loss know it.")]

# Keys that a comparison and a part of one have alike.
_Stream = Annotated[str, Meta(description="Name of the pair: text, audio, eval/text.")]
_Codebook = Annotated[Count | None, Meta(description="Index of the codebook; null if there are none.")]
_Sample = Annotated[Count, Meta(description="Index in the batch.")]
_SampleId = Annotated[
    str | None, Meta(description="Id of the sample, as it was passed, a number as text; null without ids.")
]
_Length = Annotated[_Positive, Meta(description="Number of label positions of the sample, as passed.")]
_Shift = Annotated[Count, Meta(description="By how many positions the labels are ahead of the logits.")]
_Supervised = Annotated[
    Count, Meta(description="Positions that have a row of logits and a label other than ignore_index.")
]
_ReportedLoss = Annotated[
    float | None, Meta(description="The loss that the trainer reported for the whole pair, if it was passed.")
]
_Context = Annotated[dict[str, Any], Meta(description="What the caller and the processors added.")]


class Alternative(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One of the best predictions at a position."""

    prediction: _Id
    logprob: Annotated[
        float | None, Meta(description="Natural log of its probability; null if not finite or not known.")
    ]
    text: Annotated[str | None, Meta(description="It as text, if a decoder was given.")] = None


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What the model predicted at one supervised position, beside what it was asked to predict."""

    slot: Annotated[
        Literal["first", "last"] | None,
        Meta(description="Which end of the sample it was taken from; null for one of the worst."),
    ]
    position: Annotated[Count, Meta(description="Index into the labels as they were passed.")]
    document: Annotated[
        Integer | None,
        Meta(description="The document of the label in its row, by the ids that were passed, if known."),
    ] = None
    document_position: Annotated[Integer | None, Meta(description="Index of the label in its document, if known.")] = (
        None
    )
    label: _Id
    prediction: Annotated[
        Integer | None, Meta(description="Index of the largest logit; null if the row has a NaN, or if not known.")
    ]
    match: Annotated[
        bool | None, Meta(description="Whether prediction and label are the same id; null if that is not known.")
    ]
    label_logprob: Annotated[
        float | None,
        Meta(
            description="Natural log of the label's probability; null if not finite, or if the label is out of range."
        ),
    ]
    prediction_logprob: Annotated[
        float | None, Meta(description="Natural log of the prediction's probability; null if not finite.")
    ]
    label_rank: Annotated[
        _Positive | None,
        Meta(description="1 + how many raw logits exceed the label's; ties share the better rank; null if not known."),
    ]
    input: Annotated[Integer | None, Meta(description="The id that the model read at this row of logits, if known.")]
    input_text: Annotated[str | None, Meta(description="The input as text, if a decoder was given.")]
    label_text: Annotated[str | None, Meta(description="The label as text, if a decoder was given.")]
    prediction_text: Annotated[str | None, Meta(description="The prediction as text, if a decoder was given.")]
    alternatives: Annotated[
        tuple[Alternative, ...], Meta(description="The best predictions, the likeliest first, if they were asked for.")
    ] = ()
    label_rank_at_least: Annotated[
        _Positive | None,
        Meta(description="The least that `label_rank` can be, if shards tell no more; else null."),
    ] = None


class AllTokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The first supervised tokens of a sample, as columns of equal length."""

    positions: tuple[Count, ...]
    labels: tuple[Integer, ...]
    predictions: tuple[Integer | None, ...]
    label_logprobs: tuple[float | None, ...]
    label_ranks: tuple[_Positive | None, ...]

    def __post_init__(self) -> None:
        """Raise ValueError if a column is longer or shorter than the others."""
        lengths = {name: len(getattr(self, name)) for name in self.__struct_fields__}
        if len({*lengths.values()}) > 1:
            raise ValueError(f"the columns of all_tokens differ in length: {lengths}")


class Passage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A piece of a sample's text: what the model read, and after it what it was asked for."""

    left_out: Annotated[Count, Meta(description="How many tokens of the text are left out before it.")]
    read: Annotated[
        str | None,
        Meta(description="Inputs without a label, such as a prompt, as text; null if the inputs are not known."),
    ]
    asked: Annotated[str, Meta(description="The labels after them as text: where the prompt ends, this begins.")]


# The decoder forbids unknown keys, so that a line that has one is noticed, and the key is kept.
class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="event"):
    level: Annotated[str, Meta(description="info, warning or error.")]
    timestamp: Annotated[str, Meta(description="ISO 8601 in UTC: when the pair was passed.")]
    schema: Annotated[_Positive, Meta(description="Version of this schema.")]
    run: Annotated[str | None, Meta(description="Name of the run's folder; null without one.")]
    recorder: Annotated[
        str | None,
        Meta(description="Which recorder wrote the line: several may write to one file; absent from older files."),
    ] = None
    attempt: Annotated[_Positive, Meta(description="1 for the first start on this file, then 2, …")]
    rank: Annotated[Count, Meta(description="Global rank of the process that wrote the line.")]
    seq: Annotated[Count, Meta(description="Counts the lines of one attempt from 0, without gaps.")]


class Run(_Line, frozen=True, kw_only=True, tag="predlog.run"):
    """The first line of each attempt, and the last of one that was closed: where it runs, and what became of it."""

    event: ClassVar[str] = "predlog.run"

    host: str
    pid: Integer
    world_size: _Positive
    versions: dict[str, str]
    settings: dict[str, Any]
    stats: Annotated[
        dict[str, Any] | None,
        Meta(
            description="In an attempt's last line, what `Recorder.stats` returns, `loss_checked`, the streams whose"
            " reported loss was checked, and `error`, the exception that ended the run, if one did; null in its first."
        ),
    ] = None
    context: dict[str, Any]


class Comparison(_Line, frozen=True, kw_only=True, tag="predlog.comparison"):
    """One sample, in one stream and codebook, at one step."""

    event: ClassVar[str] = "predlog.comparison"

    step: Count
    stream: _Stream
    codebook: _Codebook
    sample: _Sample
    sample_id: _SampleId = None
    length: _Length
    vocabulary: Annotated[_Positive | None, Meta(description="Number of logits in a row; null if it is not known.")]
    shift: _Shift
    supervised: _Supervised
    matched: Annotated[
        Count | None,
        Meta(description="Supervised positions where the prediction equals the label; null if not counted."),
    ]
    reported_loss: _ReportedLoss = None
    loss: Annotated[
        float | None,
        Meta(
            description="Mean loss of all supervised tokens in nats, weighted by the loss mask if one was passed;"
            " null if not finite or not scored."
        ),
    ] = None
    entropy: Annotated[
        float | None,
        Meta(description="Mean entropy of all supervised rows in nats; null if not finite or not scored."),
    ] = None
    nonfinite: Annotated[
        Count, Meta(description="How many log-probabilities in `tokens` are null because they were not finite.")
    ]
    context: _Context
    tokens: tuple[Token, ...]
    worst: Annotated[
        tuple[Token, ...],
        Meta(description="Of the supervised tokens that are not in `tokens`, those with the lowest label probability."),
    ] = ()
    all_tokens: Annotated[
        AllTokens | None, Meta(description="The first supervised tokens as columns, if they were asked for.")
    ] = None
    window: Annotated[
        tuple[Passage, ...] | None, Meta(description="The text around the first and the last label; null if unknown.")
    ] = None
    missing_ids: Annotated[
        Count | None,
        Meta(
            description="Of how many ids of the vocabulary no part was found, if it was joined from those of several"
            " processes: with any, it has labels, and no predictions or figures. Null if one process recorded it."
        ),
    ] = None
    missing_rows: Annotated[
        Count | None,
        Meta(
            description="Of how many positions at least no part was found, if it was joined from parts of its rows:"
            " with any, its tokens are of the others, and it has no figures. Null if its rows were not split."
        ),
    ] = None

    _repr_html_ = html.comparison  # what a notebook shows


class Columns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Which ids of the vocabulary the logits are of: from `start` to before `stop`, of so many."""

    start: Count
    stop: _Positive
    of: _Positive


class Split(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Which positions of a whole sample a part has: from each of `starts` to before its stop, of so many."""

    starts: tuple[Count, ...]
    stops: tuple[_Positive, ...]
    of: Annotated[_Positive | None, Meta(description="Positions of the whole sample; null if that was not passed.")]
    ranks: Annotated[tuple[Count, ...] | None, Meta(description="Which processes have it; null if not passed.")]


class Part(_Line, frozen=True, kw_only=True, tag="predlog.part"):
    """What one process knows of a comparison, of a shard or some rows of its logits; who reads all parts joins them."""

    event: ClassVar[str] = "predlog.part"

    step: Count
    stream: _Stream
    codebook: _Codebook
    sample: _Sample
    sample_id: _SampleId = None
    length: _Length
    vocabulary: Annotated[_Positive, Meta(description="Number of ids in the whole vocabulary.")]
    shift: _Shift
    supervised: _Supervised
    shard: Columns
    rows_of: Annotated[Split | None, Meta(description="Which rows it has; null for all rows of the sample.")] = None
    reported_loss: _ReportedLoss = None
    context: _Context
    tokens: Annotated[
        tuple[Token, ...],
        Meta(
            description="The tokens shown, and without a slot others that may be among the worst; `prediction` and"
            " `alternatives` are those of the shard, without figures."
        ),
    ]
    window: Annotated[
        tuple[Passage, ...] | None,
        Meta(description="The text around the first and the last label; null without a decoder, and in later shards."),
    ] = None
    facts: Annotated[
        dict[str, Any], Meta(description="Numbers of the rows shown, and counts: what joining and judging need.")
    ]
    rows: Annotated[
        dict[str, str] | None,
        Meta(description="Columns of all supervised rows, base64 of little-endian numbers after their type."),
    ] = None


class Finding(_Line, frozen=True, kw_only=True, tag="predlog.finding"):
    """Something wrong with the pair itself, under a stable code: written when it is found, not at each step."""

    event: ClassVar[str] = "predlog.finding"

    step: Annotated[Count, Meta(description="The step at which it was found.")]
    stream: str
    codebook: Annotated[Count | None, Meta(description="Null if there are none, or if `evidence` lists several.")]
    sample: Annotated[Count | None, Meta(description="Index in the batch, if it is about one sample.")]
    code: Annotated[str, Meta(description="labels-are-inputs, …: each has its page in the documentation.")]
    message: Annotated[str, Meta(description="What is wrong, in numbers, and how to fix it.")]
    evidence: Annotated[dict[str, Any], Meta(description="The numbers that show it.")]
    help: Annotated[str | None, Meta(description="The command that prints the page about this code.")]
    context: dict[str, Any]

    @property
    def codebooks(self) -> set[int | None]:
        """Return the codebooks that it is about; None for a stream without any."""
        several = self.evidence.get("codebooks")
        if self.codebook is not None or not isinstance(several, list):
            return {self.codebook}
        return {one for one in several if type(one) is int} or {None}

    _repr_html_ = html.finding


class Gap(_Line, frozen=True, kw_only=True, tag="predlog.gap"):
    """Comparisons that were captured and are not in the file, and why."""

    event: ClassVar[str] = "predlog.gap"

    count: Annotated[_Positive, Meta(description="How many comparisons are missing.")]
    reason: str
    first_step: Count
    last_step: Count
    context: dict[str, Any]


Record = Run | Comparison | Part | Finding | Gap
# What a reader yields, who has joined the parts.
WholeRecord = Run | Comparison | Finding | Gap
# What a pair is recorded as; of these, losses are counted.
OF_PAIRS: Final = frozenset({Comparison.event, Part.event})
Event = MutableMapping[str, Any]


class Checked(dict[str, Any]):
    """A conformed event that is known to fit the schema, so that it need not be checked again."""
