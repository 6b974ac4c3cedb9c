"""Records → the summary of a run: its curves, findings, gaps and attempts, in bounded memory.

summary = Summary.of(predlog.read("runs/exp1"))
summary.curves["text", None].accuracy.last.value
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from predlog.findings.ledger import Found, Ledger
from predlog.reading.coverage import Coverage
from predlog.reading.curves import Course, Curve, CurveBuilder, Key, Mark, Source, none_first
from predlog.reading.lacks import Lacks
from predlog.reading.restarts import EarlierRun
from predlog.reading.runs import Attempt, Attempts
from predlog.reading.writers import Shared, Writer, newest_beside, shared
from predlog.records.figures import Point
from predlog.records.schema import Comparison, Finding, Gap, Record, Run

__all__ = ["Attempt", "Course", "Curve", "Found", "Key", "Mark", "Missing", "Point", "Summary"]
# Counts in an attempt's last line of comparisons that did not reach the file.
_LOST = ("dropped", "failed", "filtered", "pending", "refused")


@dataclass(frozen=True, slots=True)
class Missing:
    """How many comparisons are not in the file for one reason, and how many gaps report them."""

    reason: str
    count: int
    gaps: int
    first_step: int
    last_step: int


class Summary:
    """The curves, findings, gaps and attempts of a run.

    Attributes:
        shared: Which recorders wrote to a file at the same time, if they were passed to `share`.
        beside: For each run, rank and attempt the highest attempt that was written at the same time.
        lacks: Which comparisons lack parts, and of which ranks; `Reading.lacks` has them.
        left_out: The earlier runs whose records are not among those added; `Reading.left_out` has them.

    Records are added in the order of `predlog.read`: by step, all ranks together. Each property is computed from all
    records so far; more may be added at any time.
    """

    def __init__(self) -> None:
        self._builders: dict[Key, CurveBuilder] = {}
        self._curves: dict[Key, Curve] | None = None
        self._attempts = Attempts()
        self._ledger = Ledger()
        self._missing: dict[str, Missing] = {}
        # Streams of which a token had its input, its document, and its probability; and those with a reported loss.
        self._with_inputs: set[str] = set()
        self._with_positions: set[str] = set()
        self._with_probabilities: set[str] = set()
        self._in_parts: set[str] = set()
        self._with_losses: set[str] = set()
        self.shared: tuple[Shared, ...] = ()
        self.beside: dict[tuple[str | None, int, int], int] = {}
        self.left_out: tuple[EarlierRun, ...] = ()
        self.lacks = Lacks()

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Summary":
        """Return the summary of all records."""
        summary = cls()
        add = summary.add
        for record in records:
            add(record)
        return summary

    def add(self, record: Record) -> None:
        """Add one more record."""
        if isinstance(record, Comparison):
            self._add_comparison(record)
        elif isinstance(record, Finding):
            self._ledger.add(record)
        elif isinstance(record, Gap):
            self._miss(record)
        elif isinstance(record, Run):
            self._attempts.add(record)

    def _add_comparison(self, record: Comparison) -> None:
        self._curves = None
        key = record.stream, record.codebook
        builder = self._builders.get(key)
        if builder is None:
            builder = self._builders[key] = CurveBuilder(*key)
        builder.add(record)
        if record.reported_loss is not None:
            self._with_losses.add(record.stream)
        if record.missing_ids is not None:
            self._in_parts.add(record.stream)
        if record.tokens:
            stream, token = record.stream, record.tokens[0]
            if stream not in self._with_inputs and token.input is not None:
                self._with_inputs.add(stream)
            if stream not in self._with_positions and token.document is not None:
                self._with_positions.add(stream)
            if stream not in self._with_probabilities and token.prediction_logprob is not None:
                self._with_probabilities.add(stream)

    def replace(self, counts: Mapping[Source, int]) -> None:
        """Set how many comparisons of each run, attempt and rank a later attempt has done again.

        They are not among the records; `Reading.replaced` has them when all has been read.
        """
        self._attempts.replaced = {**counts}

    def share(self, writers: Sequence[Writer]) -> None:
        """Set which recorders wrote the files: of those that did at the same time, none is a later start of another.

        `Reading.writers` has them when all has been read.
        """
        self.shared = tuple(shared(writers))
        self.beside = newest_beside(writers)

    @property
    def is_empty(self) -> bool:
        """Return whether no record was added."""
        return not (self._builders or self._missing or self._ledger.entries or self.attempts)

    @property
    def comparisons(self) -> int:
        """Return how many comparisons there are, of all streams."""
        return sum(curve.records for curve in self.curves.values())

    @property
    def curves(self) -> dict[Key, Curve]:
        """Return the curves by stream and codebook: streams in the order of their first record, codebooks ascending."""
        if self._curves is None:
            streams = {stream: place for place, stream in enumerate(dict.fromkeys(key[0] for key in self._builders))}
            keys = sorted(self._builders, key=lambda key: (streams[key[0]], none_first(key[1])))
            self._curves = {key: self._builders[key].curve() for key in keys}
        return self._curves

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Return each process of each attempt, by run, attempt and rank."""
        return self._attempts.listed(builder.covered() for builder in self._builders.values())

    @property
    def runs(self) -> tuple[Run, ...]:
        """Return the first lines of the attempts, with their hosts, versions and settings."""
        return tuple(one.start for one in self.attempts if one.start is not None)

    @property
    def ends(self) -> tuple[Run, ...]:
        """Return the last lines of the attempts that were closed, with their `stats`."""
        return self._attempts.ends

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return the global ranks that have written anything."""
        return tuple(sorted({one.rank for one in self.attempts}))

    @property
    def findings(self) -> tuple[Found, ...]:
        """Return all findings in the order in which they were reported, each with what became of it."""
        recorded: dict[tuple[str | None, int, str], int] = {}
        for (stream, _), builder in self._builders.items():
            for run, attempt, rank in builder.covered():
                key = run, rank, stream
                recorded[key] = max(recorded.get(key, 0), attempt)
        return self._ledger.found(recorded, self.beside)

    @property
    def unaligned(self) -> tuple[str, ...]:
        """Return the streams without inputs: whether their labels are shifted correctly is not certain."""
        streams = dict.fromkeys(stream for stream, _ in self._builders)
        return tuple(stream for stream in streams if stream not in self._with_inputs)

    @property
    def coverage(self) -> tuple[Coverage, ...]:
        """Return what could be checked in each stream, in the order of their first records."""
        samples, checked = Counter[str](), self._with_checked_loss()
        for (stream, _), curve in self.curves.items():
            samples[stream] = max(samples[stream], curve.records)
        return tuple(
            Coverage(
                stream, count, stream in self._with_inputs, stream in self._with_positions,
                stream in self._with_probabilities, stream in checked, stream not in self._in_parts,
            )
            for stream, count in samples.items()
        )  # fmt: skip

    @property
    def gaps(self) -> tuple[Missing, ...]:
        """Return what is not in the file, one entry per reason, the largest count first."""
        return tuple(sorted(self._missing.values(), key=lambda one: (-one.count, one.reason)))

    @property
    def lost(self) -> dict[str, int]:
        """Return how many the last lines count as dropped, failed, filtered, pending and refused, over all attempts."""
        lost = Counter[str](dict.fromkeys(_LOST, 0))
        for end in self.ends:
            lost.update({name: number for name in _LOST if _is_count(number := (end.stats or {}).get(name))})
        return dict(lost)

    def _with_checked_loss(self) -> set[str]:
        """Return the streams whose loss was checked: as the last lines say; without one, those that had a loss."""
        told = [streams for end in self.ends if isinstance(streams := (end.stats or {}).get("loss_checked"), list)]
        found = {one for streams in told for one in streams if isinstance(one, str)} if told else self._with_losses
        return (found - self._in_parts) | self.lacks.checked  # of parts, whoever joins them knows

    def _miss(self, gap: Gap) -> None:
        one = self._missing.get(gap.reason, Missing(gap.reason, 0, 0, gap.first_step, gap.last_step))
        self._missing[gap.reason] = Missing(
            gap.reason,
            one.count + gap.count,
            one.gaps + 1,
            min(one.first_step, gap.first_step),
            max(one.last_step, gap.last_step),
        )


def _is_count(value: object) -> bool:
    """Return whether a value of the stats, which the schema leaves open, is one that a recorder may have counted."""
    return type(value) is int and 0 <= value < 2**63
