"""Show curves, findings and the tokens of each step in TensorBoard."""

import re
from collections.abc import Iterator

from predlog.errors import required
from predlog.records.schema import Finding
from predlog.sinks.cells import Sample
from predlog.sinks.tracker import Step, Tracker, text, title

with required("tensorboard"):
    from torch.utils.tensorboard import SummaryWriter
_MARKS = re.compile(r"[^\w ]", re.ASCII)


class TensorBoard(Tracker):
    """Write each whole step to a `SummaryWriter`; pass every event on unchanged.

    Scalars are `predlog/text/loss`, `…/entropy`, `…/accuracy`, `…/logprob` and `…/supervised`; `predlog/text/tokens` is
    a text, with the samples of that step as on the console, and `predlog/findings` has a text for each finding. The
    writer stays open.
    """

    def __init__(self, writer: SummaryWriter) -> None:
        super().__init__()
        self._writer = writer

    def flush(self) -> None:
        """Write the steps that are still held back, and flush the writer."""
        super().flush()
        self._writer.flush()

    def _show(self, step: Step) -> None:
        for name, value in step.known_curves().items():
            self._writer.add_scalar(name, value, step.number)
        if any(one.tokens for one in step.comparisons):
            lines = [line for sample in step.samples() for line in _sample(sample)]
            self._writer.add_text(f"{step.name}/tokens", "\n".join(lines), step.number)

    def _report(self, finding: Finding) -> None:
        words = f"**{finding.level}: {_literal(title(finding))}** {_literal(text(finding))}"
        self._writer.add_text("predlog/findings", words, finding.step)


def _sample(sample: Sample) -> Iterator[str]:
    """Yield a sample as Markdown: its heading, and a table, whose head is the row of labels or empty."""
    yield f"**{_literal(f'{sample.place} · {sample.figures}')}**"
    yield ""
    width = max(map(len, sample.rows), default=0)
    head = [] if sample.rows and sample.rows[0][0] == "label" else [[""]]
    for number, row in enumerate([*head, *sample.rows] if sample.rows else []):
        cells = [*row, *[""] * (width - len(row))]
        yield f"| {' | '.join(map(_literal, cells))} |"
        if number == 0:
            yield f"|{'---|' * width}"
    yield ""


def _literal(words: str) -> str:
    """Return words as Markdown that shows just them: whatever could be markup is written as its character number."""
    return _MARKS.sub(lambda found: f"&#{ord(found[0])};", words)
