"""Ids whose text a comparison keeps as its `window`, on their way from the capture to the decoder."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The ids around the first and the last label of a sample, in the order of the text.

    `is_asked` says of each id whether it is a label; the others were read. From `first` to before `last` they belong
    to the part with labels. `left_out` says how many ids of the text are missing before a place. Of the text at most
    `characters` are kept, and `beyond` more on each side are shown to the processors.
    """

    ids: list[int]
    is_asked: list[bool]
    first: int
    last: int
    left_out: dict[int, int]
    knows_inputs: bool
    characters: int
    beyond: int
