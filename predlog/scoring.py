"""Tokens that two runs were both asked for → how many each has right, and which of them one alone."""

from dataclasses import dataclass, field

from predlog.records import Token


@dataclass(slots=True)
class Misses:
    """How often only one run had a label right, and the first such place: its step and what the other predicted."""

    label: int
    text: str | None
    count: int
    step: int
    other: Token


@dataclass(slots=True)
class Score:
    """How many tokens both runs, one alone or neither predicted right, and, by their labels, what one alone did."""

    both: int = 0
    only_a: int = 0
    only_b: int = 0
    neither: int = 0
    labels_a: dict[int, Misses] = field(default_factory=dict)
    labels_b: dict[int, Misses] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """How many tokens were held against each other."""
        return self.both + self.only_a + self.only_b + self.neither

    def add(self, a: Token, b: Token, step: int) -> None:
        """Take in what both predicted for the same label at the same place."""
        if a.match and b.match:
            self.both += 1
        elif a.match:
            self.only_a += 1
            _note(self.labels_a, a, b, step)
        elif b.match:
            self.only_b += 1
            _note(self.labels_b, b, a, step)
        else:
            self.neither += 1


def _note(misses: dict[int, Misses], right: Token, wrong: Token, step: int) -> None:
    known = misses.get(right.label)
    if known is None:
        misses[right.label] = Misses(right.label, right.label_text, 1, step, wrong)
    else:
        known.count += 1
        if known.text is None:
            known.text = right.label_text
