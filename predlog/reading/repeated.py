"""Which records were followed before: a file that takes the place of another one may repeat them."""

from dataclasses import dataclass, field

from predlog.records.schema import Record


@dataclass(slots=True)
class _Place:
    """What was followed of one run and rank."""

    # Of which file the last record was.
    file: int = 0
    # Of each attempt and recorder: the last `seq`, and the latest time.
    reached: dict[tuple[int, str], tuple[int, str]] = field(default_factory=dict)
    # Of each attempt: the checksums of its recorders' first lines.
    first: dict[int, set[bytes]] = field(default_factory=dict)


class Repeated:
    """Tell whether a record of a file that took another's place was in that one, too.

    If its `seq` was there before and its time was not, it is of a new run with the same name, which counts from 0
    again. So are all records of a file that begins with the first line of another start: its clock may be slow. Of an
    attempt before those remembered, only the time is compared.
    """

    def __init__(self) -> None:
        self._places: dict[tuple[str | None, int], _Place] = {}

    def __call__(self, record: Record, line: bytes, file: int) -> bool:
        """Return whether a record is repeated, and remember it; files are counted from 0."""
        place = self._places.setdefault((record.run, record.rank), _Place())
        if place.file != file:
            place.file = file
            if self._is_of_another_start(place, record, line):
                place.reached, place.first = {}, {}
        self.remember_first(record, line)
        key = record.attempt, record.recorder or ""
        seq, at = place.reached.get(key, (-1, ""))
        if file and place.reached:
            is_earlier = key not in place.reached and record.attempt < max(place.reached)[0]
            until = max(at for _, at in place.reached.values()) if is_earlier else at
            if record.timestamp <= until and (is_earlier or record.seq <= seq):
                return True
        place.reached[key] = (record.seq, max(at, record.timestamp))
        return False

    def remember_first(self, record: Record, line: bytes) -> None:
        """Remember a record if it is the first one of its attempt and recorder."""
        if not record.seq:
            place = self._places.setdefault((record.run, record.rank), _Place())
            place.first.setdefault(record.attempt, set()).add(_checksum(line))

    @staticmethod
    def _is_of_another_start(place: _Place, record: Record, line: bytes) -> bool:
        """Return whether a file begins with an attempt that was followed, but not with a first line of it."""
        known = place.first.get(record.attempt)
        is_known = (record.attempt, record.recorder) in place.reached
        return not record.seq and known is not None and _checksum(line) not in known and not is_known


def _checksum(line: bytes) -> bytes:
    return line[-10:-2]
