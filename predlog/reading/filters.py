"""Which records are wanted: by stream, codebook, rank, sample and its id, step and kind."""

from collections.abc import Callable
from dataclasses import dataclass

from predlog.reading.words import attempts_named
from predlog.records.schema import Comparison, Finding, Gap, Part, Record

# No more streams and attempts are listed.
_MOST_NAMED = 100


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted of each kind; None means everything, and `steps` includes both of its ends."""

    streams: frozenset[str] | None = None
    codebooks: frozenset[int] | None = None
    ranks: frozenset[int] | None = None
    samples: frozenset[int] | None = None
    sample_ids: frozenset[str] | None = None
    steps: tuple[int | None, int | None] = (None, None)
    only: str | None = None
    attempt: int | None = None

    def __call__(self, record: Record) -> bool:
        """Return whether a record is wanted.

        A gap belongs to no stream, so only `steps`, `ranks` and `only` exclude it; the lines about an attempt are
        excluded by any choice of streams, codebooks, samples or steps. A finding names no sample by its id, and stays.
        """
        if self.ranks is not None and record.rank not in self.ranks:
            return False
        if self.attempt is not None and record.attempt != self.attempt:
            return False
        match record:
            case Comparison():
                return self.only != "findings" and self._has(record) and (self.only is None or _is_mistaken(record))
            case Finding():
                return self.only != "mistakes" and self._has(record)
            case Gap():
                return self.only is None and self._reaches(record.first_step, record.last_step)
        return self.only is None and self._is_wide

    def may_take(self, part: Part) -> bool:
        """Return whether a comparison that a part is of may be wanted, whichever rank it will have."""
        return (self.attempt is None or part.attempt == self.attempt) and self.only != "findings" and self._has(part)

    @property
    def _is_wide(self) -> bool:
        return {self.streams, self.codebooks, self.samples, self.sample_ids} == {None} and self.steps == (None, None)

    def _has(self, record: Comparison | Part | Finding) -> bool:
        # A finding may be about several codebooks, and about no sample in particular.
        codebooks = record.codebooks if isinstance(record, Finding) else {record.codebook}
        return (
            self._reaches(record.step, record.step)
            and (self.streams is None or record.stream in self.streams)
            and (self.codebooks is None or not self.codebooks.isdisjoint(codebooks))
            and (self.samples is None or record.sample is None or record.sample in self.samples)
            and (self.sample_ids is None or isinstance(record, Finding) or record.sample_id in self.sample_ids)
        )

    def _reaches(self, first: int, last: int) -> bool:
        start, end = self.steps
        return (start is None or last >= start) and (end is None or first <= end)


class Asked:
    """A selection that remembers what it was asked about, to be reported if nothing matches."""

    def __init__(self, selection: Callable[[Record], bool]) -> None:
        self._selection = selection
        self._streams: dict[str, None] = {}
        self._steps: tuple[int, int] | None = None
        self._attempts: set[int] = set()
        self.asked = self._gaps = self._others = 0

    def __call__(self, record: Record) -> bool:
        """Return whether a record is wanted."""
        fits = self._selection(record)
        if isinstance(record, Gap):
            self._gaps += fits
        else:
            self._others += fits
        self.note(record)
        return fits

    @property
    def fitting(self) -> int:
        """Return how many records were wanted.

        A gap belongs to no stream: beside comparisons of which none is wanted, it is not what was asked for.
        """
        return self._others or (0 if self._streams else self._gaps)

    def note(self, record: Record) -> None:
        """Remember what there is, as long as nothing has matched."""
        self.asked += 1
        if not self._others and len(self._attempts) < _MOST_NAMED:
            self._attempts.add(record.attempt)
        if not self._others and isinstance(record, Comparison | Part) and len(self._streams) < _MOST_NAMED:
            self._streams[record.stream] = None
            first, last = self._steps or (record.step, record.step)
            self._steps = min(first, record.step), max(last, record.step)

    def there(self) -> str:
        """Return which streams and steps there are, in words."""
        if self._steps is None:
            return "there is no comparison"
        first, last = self._steps
        of = f", {attempts_named(self._attempts)}" if self._attempts != {1} else ""
        streams = f"stream{'s' if len(self._streams) > 1 else ''} {', '.join(self._streams)}"
        return f"there {'are' if len(self._streams) > 1 else 'is'} {streams}, steps {first} to {last}{of}"


def _is_mistaken(record: Comparison) -> bool:
    return any(token.match is False for token in record.tokens)
