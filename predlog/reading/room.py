"""How much a packed file may make its readers keep: few bytes can unpack to any number of streams, findings and starts.

A file that is not packed is as long as what it holds, so it needs no such bound.
"""

from typing import Final

from predlog.records.schema import Comparison, Part, Record

# Bytes of lines, beside twice the packed file's size. What is kept of a line takes up to ten times its length, and two
# files may be read at once.
_MOST: Final = 10 << 20
# How many attempts a packed file may have, and streams in these, before the first record is read.
MOST_ATTEMPTS: Final = 20_000
FULL: Final = "it unpacks to more streams, findings and starts than a run has: unpack it yourself to read what follows"


class Room:
    """What is left for what readers keep of packed files of `size` bytes.

    They keep each start, finding and gap, one comparison of each stream and codebook, and those of the current step.
    """

    def __init__(self, size: int) -> None:
        self._left = _MOST + 2 * size
        self._known: set[tuple[str, int | None]] = set()
        self._step: tuple[str, int] | None = None
        self._of_step = 0

    def takes(self, record: Record, size: int) -> bool:
        """Return whether there is room for a record, whose line has `size` bytes."""
        if isinstance(record, Comparison | Part):
            if (step := (record.stream, record.step)) != self._step:
                self._step, self._of_step = step, 0
            self._of_step += size
            if (key := (record.stream, record.codebook)) in self._known:
                size = 0
            self._known.add(key)
        self._left -= size
        return self._of_step <= self._left
