"""A comparison's `window` on its way into the record: first ids, then passages, some of them for processors only."""

from dataclasses import dataclass
from typing import Any, Final

# A passage that only processors see has this key.
BEYOND: Final = "beyond"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The ids around the first and the last label of a sample, in the order of the text.

    `is_asked` is 1 for each id that is a label, and 0 for one that was read. From `first` to before `last` they belong
    to the part with labels. `left_out` says how many ids of the text are missing before a place. Of the text at most
    `characters` are kept, and `beyond` more on each side are shown to the processors.
    """

    ids: list[int]
    is_asked: bytes
    first: int
    last: int
    left_out: dict[int, int]
    knows_inputs: bool
    characters: int
    beyond: int


def kept(window: Any) -> Any:
    """Return a window without what only processors see; anything else that a processor has put there as it is."""
    if not isinstance(window, list) or not any(isinstance(one, dict) and BEYOND in one for one in window):
        return window
    return [one for one in window if not (isinstance(one, dict) and BEYOND in one)]
