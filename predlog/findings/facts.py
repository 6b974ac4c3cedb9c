"""What was captured of one sample and codebook beside its record: what findings need and nobody reads."""

from dataclasses import dataclass
from typing import NamedTuple

from predlog.findings.special_tokens import SpecialTokens


class Shown(NamedTuple):
    """One token shown, with the labels around it; None for what is not known, not finite or ignored.

    `around` are the labels at the offsets `AROUND`.
    """

    position: int
    label: int
    prediction: int | None
    read: int | None
    label_logprob: float | None
    prediction_logprob: float | None
    around: tuple[int | None, ...]


class Text(NamedTuple):
    """Where the text of a row begins and ends, and what stands there; -1 for what is not known.

    The text is at the inputs from `begin` to before `end`: the others are padding. `first` and `last` are the positions
    of the first and the last supervised label among the inputs, and `head` and `tail` these labels, `tail` with the two
    before it if they are supervised as well. `opening` is the input at `begin`. `inner` labels end a text, though more
    labels follow, and `ended` inputs do; `after` are the lowest and the highest input after such labels' rows. The
    row has `documents`, if they are known.
    """

    begin: int
    end: int
    first: int
    last: int
    opening: int
    head: int
    inner: int
    ended: int
    after: tuple[int, int]
    documents: int
    tail: tuple[int, ...]

    @property
    def used(self) -> int:
        """The number of positions that are no padding; -1 if it is not known."""
        return -1 if self.end < 0 else self.end - self.begin


@dataclass(slots=True, eq=False)  # a frozen one takes four times as long to make
class Facts:
    """Counts over the supervised positions of one sample and codebook; None for what was not counted.

    `equal[n]` of `compared[n]` labels equal the input n positions after the one that their row read, and
    `lone[n]` of these are an end token that is no input anywhere; None if it was not looked for. `copied` counts
    the predictions that equal the input read where the label does not. `start` are the first inputs; `follower` is the
    input after the position of the last supervised label. `pad`, `eos`, `bos` and `unk` count such labels.
    `crossing` labels belong to another document than their row, whose lowest and highest inputs are `separators`;
    `from_padding` labels have a row that reads padding, and `padding` ones are padding by the attention mask.
    `text` is where the text begins and ends, of streams without codebooks. `span` are the first and the last row with a
    label, and `is_weighed` is whether a mask of the loss was passed; see `capture.masking` for `special_run`, `holes`
    and `answer`. In a codebook `varied` labels differ from the highest. Among the tokens shown, `nonfinite`
    log-probabilities and `broken` rows of logits are not finite.
    """

    sample: int
    codebook: int | None
    length: int
    vocabulary: int | None
    shift: int
    ignore_index: int
    specials: SpecialTokens
    supervised: int
    nonfinite: int
    broken: int
    out_of_range: int
    lowest: int
    highest: int
    fingerprint: tuple[int, ...]
    copied: int | None
    equal: tuple[int, ...] | None
    compared: tuple[int, ...] | None
    start: tuple[int, ...]
    follower: int | None
    pad: int | None
    eos: int | None
    bos: int | None
    tokens: tuple[Shown, ...]
    lone: tuple[int, ...] | None = None
    crossing: int | None = None
    from_padding: int | None = None
    padding: int | None = None
    separators: tuple[int, ...] | None = None
    text: Text | None = None
    unk: int | None = None
    span: tuple[int, int] | None = None
    is_weighed: bool = False
    special_run: tuple[int, ...] | None = None
    holes: tuple[int, ...] | None = None
    answer: tuple[int, ...] | None = None
    varied: int | None = None

    @property
    def ends_at_padding(self) -> bool:
        """Whether what follows the last label is known to be padding, by the attention mask."""
        return self.padding is not None and self.text is not None and self.text.end <= self.text.last + 1


class Across(NamedTuple):
    """How many labels equal the input one sample on, and of how many; the same of two samples on, if that was counted.

    `advice` are the arguments with which samples and time are the other way round. `along` is how many labels of all
    samples equal the input of the next position, and of how many.
    """

    counts: tuple[int, ...]
    advice: str
    along: tuple[int, int] = (0, 0)
