"""Comparisons in the film strip → links to single cells, by stream, codebook, sample, rank, attempt, step and token."""

from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

from predlog.reading.summary import Key
from predlog.reading.words import seen
from predlog.records.schema import Comparison


class CellLinks:
    """The cells of the rows that the strip shows; `names` has the name of the sample that each row is of.

    `columns` is how many cells a row has.
    """

    def __init__(self, rows: Sequence[Comparison], names: Iterable[str], columns: int) -> None:
        self._rows: dict[tuple[Key, int], list[tuple[Comparison, str]]] = {}
        for row, name in zip(rows, names, strict=True):
            self._rows.setdefault(((row.stream, row.codebook), row.step), []).append((row, name))
        self._columns = columns

    def to(self, key: Key, step: int, label: int, *, match: bool) -> str:
        """Return the link to the last cell of a step with this label, predicted correctly or wrongly.

        It is empty if the strip has no such cell, because it leaves steps out.
        """
        for row, name in reversed(self._rows.get((key, step), [])):
            for nth in reversed(range(len(row.tokens))):
                token = row.tokens[nth]
                if token.label == label and token.match == match:
                    return self._link(row, name, nth)
        return ""

    def _link(self, row: Comparison, name: str, nth: int) -> str:
        column = nth if row.tokens[nth].slot == "first" else self._columns - len(row.tokens) + nth
        asked = {
            "stream": seen(row.stream), "codebook": row.codebook, "sample": name, "rank": row.rank,
            "attempt": row.attempt, "step": row.step, "token": column,
        }  # fmt: skip
        return f"#{urlencode({field: value for field, value in asked.items() if value is not None})}"
