"""What the page has of one run, collected while its records are read once, or while they are still being written."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from predlog.errors import PredlogError
from predlog.reading.damage import Damages
from predlog.reading.forgetting import Learning
from predlog.reading.reader import Reading
from predlog.reading.summary import Summary
from predlog.reading.words import counted, left_out
from predlog.records.schema import Comparison, Gap, Record
from predlog.report.film_strip import MOST, Strip

# How many are drawn on the curves.
_MOST_GAPS: Final = 1000


@dataclass
class Contents:
    """One run of a page.

    `source` is the path that the page names, and `name` what tells the run apart from others on the page. More records
    may be added at any time.
    """

    source: str
    name: str
    strip: Strip
    summary: Summary = field(default_factory=Summary)
    learning: Learning = field(default_factory=Learning)
    gaps: list[Gap] = field(default_factory=list)
    damage: Damages = field(default_factory=Damages)

    @classmethod
    def of(cls, records: Iterable[Record], source: str, name: str = "", most: int = MOST) -> "Contents":
        """Return the contents of a run; the records are read once.

        The film strip has about `most` comparisons at most. Damage is reported if `records` come from `predlog.read`.
        """
        run = cls(source, name or source, Strip(most))
        for record in records:
            run.add(record)
        if isinstance(records, Reading):
            run.summary.share(records.writers)
            run.summary.left_out = tuple(records.left_out)
            run.summary.lacks = records.lacks
            run.damage = records.damage
        return run

    def add(self, record: Record) -> None:
        """Add the next record."""
        self.summary.add(record)
        self.learning.add(record)
        if isinstance(record, Comparison):
            self.strip.add(record)
        elif isinstance(record, Gap) and len(self.gaps) < _MOST_GAPS:
            self.gaps.append(record)

    @property
    def is_empty(self) -> bool:
        """Return whether there is neither a comparison nor a pair that was refused."""
        return not (self.strip.left_out.of_comparisons or self.summary.lost["refused"])

    @property
    def spells(self) -> bool:
        """Return whether an id may have the text that it has elsewhere: not if a processor may have taken texts out."""
        return not any(one.start.settings.get("processors") for one in self.summary.attempts if one.start)

    def why_empty(self) -> PredlogError:
        """Return the error to raise if there is no comparison."""
        found = self.summary.findings
        hint = f", but {counted(len(found), 'finding')}: see `predlog check {self.source}`" if found else ""
        earlier = f"; {left_out(self.summary.left_out)}" if self.summary.left_out else ""
        return PredlogError(f"{self.source} holds no comparison{hint}; a page needs at least one{earlier}")
