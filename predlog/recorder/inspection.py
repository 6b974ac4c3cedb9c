"""What one look at a pair has shown: typed records, drawn as the console and a notebook draw them."""

import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from predlog.records import codec, html
from predlog.records.schema import Comparison, Finding
from predlog.records.text import encodable, harmless
from predlog.sinks.console import drawn

# Samples that are drawn; `comparisons` has all.
_DRAWN: Final = 4
# Columns of a text that no terminal shows, and the fewest that are of use.
_USUAL, _LEAST = 100, 40


class Findings(tuple[Finding, ...]):
    """Findings whose `repr` has their codes and messages, so that a failing assertion says what is wrong."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{'; '.join(f'{one.code}: {one.message}' for one in self) or 'no findings'}>"


@dataclass(frozen=True, repr=False, eq=False)
class Inspection:
    """What one pair shows; `print` draws it as the console does, and a notebook shows it.

    Attributes:
        comparisons: The records that `compare` would have written, one per sample and codebook.
        findings: What is wrong with the pair, as far as one pair can show it.
        undecided: Which rules can't decide, and why, by stream, as in `Recorder.undecided`.
        notes: The lines that a recorder would have written to stderr.
    """

    comparisons: tuple[Comparison, ...]
    findings: Findings
    undecided: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._summary()}>"

    def __str__(self) -> str:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        width = max(shutil.get_terminal_size((_USUAL, 24)).columns, _LEAST)
        shown, more = self._drawn()
        found = [codec.to_event(one) for one in self.findings]
        parts = [drawn([codec.to_event(one) for one in shown], found, width=width, encoding=encoding)]
        fill = textwrap.TextWrapper(width, subsequent_indent="  ", break_on_hyphens=False).fill
        parts += [more, drawn(found, (), width=width, encoding=encoding)]
        parts += [fill(harmless(line)) for line in (*self._remarks(), self._summary())]
        return "\n".join(encodable(part, encoding) for part in parts if part)

    def _repr_html_(self) -> str:
        shown, more = self._drawn()
        return html.inspection(self._summary(), self.findings, shown, list(filter(None, (more, *self._remarks()))))

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))

    def _drawn(self) -> tuple[list[Comparison], str]:
        """Return the comparisons of the first samples, and a line about those of the others."""
        left_out = len({one.sample for one in self.comparisons}) - _DRAWN
        more = f"… {left_out} more sample{'s' * (left_out > 1)} in .comparisons" if left_out > 0 else ""
        return [one for one in self.comparisons if one.sample < _DRAWN], more

    def _remarks(self) -> Iterator[str]:
        """Yield the notes, and the undecided rules, those with the same reason together."""
        yield from (f"note: {line}" for line in self.notes)
        reasons: dict[str, list[str]] = {}
        for rules in self.undecided.values():
            for code, why in rules.items():
                reasons.setdefault(why, []).append(code)
        yield from (f"undecided: {', '.join(dict.fromkeys(codes))}: {why}" for why, codes in reasons.items())

    def _summary(self) -> str:
        many, samples = len(self.findings), len({one.sample for one in self.comparisons})
        codes = ", ".join(dict.fromkeys(one.code for one in self.findings))
        found = f"{many} finding{'s' * (many > 1)} ({codes})" if many else "no findings"
        if not samples:
            return f"{found}, and no pair could be read"
        undecided = len({code for rules in self.undecided.values() for code in rules})
        return f"{found} in {samples} sample{'s' * (samples > 1)}, {undecided} rule{'s' * (undecided != 1)} undecided"
