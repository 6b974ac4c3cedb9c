"""Records → which tokens a model does not learn, and which it has forgotten.

A *sight* of a token is one of its places among the tokens shown. At a logged step a token counts as correct if it was
predicted correctly at any of its sights there, in any order. Its *wrong sights in a row* are those at the
steps since the last one where it was correct.

- *Stubborn* is what was never correct, and was seen at three logged steps or more.
- *Forgotten* is what was correct once, and was wrong at the last three logged steps, or more, that showed it.

Both are ordered by the wrong sights in a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import nlargest

from predlog.reading.curves import Key
from predlog.records.schema import Comparison, Record

# At how many logged steps a token must be wrong; at fewer it may be by chance.
SEVERAL = 3


@dataclass(slots=True)
class Sights:
    """How one label of a stream and codebook was predicted, over all samples and ranks.

    `wrong` counts the wrong sights in a row and `wrong_steps` the logged steps that they are from; `last_right` is the
    last step at which it was correct.
    """

    label: int
    text: str | None = None
    sights: int = 0
    right: int = 0
    last_step: int = -1
    last_right: int | None = None
    wrong: int = 0
    wrong_steps: int = 0


class Learning:
    """Take records by step, and return the tokens that go wrong; memory is proportional to the vocabulary seen."""

    def __init__(self) -> None:
        self._seen: dict[Key, dict[int, Sights]] = {}

    def add(self, record: Record) -> None:
        """Take in one more record; only comparisons count."""
        if not isinstance(record, Comparison):
            return
        seen = self._seen.setdefault((record.stream, record.codebook), {})
        step = record.step
        for token in record.tokens:
            if token.match is None:  # parts of some ids are missing
                continue
            sights = seen.get(token.label)
            if sights is None:
                sights = seen[token.label] = Sights(token.label)
            if sights.text is None:
                sights.text = token.label_text
            _see(sights, step, match=token.match)

    def stubborn(self, most: int = 10) -> dict[Key, list[Sights]]:
        """Return the most stubborn tokens of each stream and codebook, at most `most` of each."""
        return self._worst(most, lambda one: not one.right)

    def forgotten(self, most: int = 10) -> dict[Key, list[Sights]]:
        """Return the most forgotten tokens of each stream and codebook, at most `most` of each."""
        return self._worst(most, lambda one: one.right > 0)

    def _worst(self, most: int, is_one: Callable[[Sights], bool]) -> dict[Key, list[Sights]]:
        worst = {}
        for key, seen in self._seen.items():
            ones = (one for one in seen.values() if one.wrong_steps >= SEVERAL and is_one(one))
            worst[key] = nlargest(most, ones, key=lambda one: (one.wrong, one.wrong_steps, -one.label))
        return {key: ones for key, ones in worst.items() if ones}


def _see(sights: Sights, step: int, *, match: bool) -> None:
    is_first = step != sights.last_step
    sights.sights += 1
    if match:
        sights.right += 1
        sights.last_right = step
        sights.wrong = sights.wrong_steps = 0
    elif is_first or sights.last_right != step:
        sights.wrong += 1
        sights.wrong_steps += is_first
    sights.last_step = step
