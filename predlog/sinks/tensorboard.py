"""Show curves, findings and the tokens of each step in TensorBoard."""

import re
from collections.abc import Iterable, Iterator

from predlog.errors import required
from predlog.records.schema import Comparison, Finding, Token
from predlog.records.text import probability, sample_name
from predlog.records.token_text import token_text
from predlog.sinks.terminal.style import known
from predlog.sinks.tracker import Step, Tracker, text, title

with required("tensorboard"):
    from torch.utils.tensorboard import SummaryWriter
_MARKS = re.compile(r"[^\w ]", re.ASCII)


class TensorBoard(Tracker):
    """Write each whole step to a `SummaryWriter`; pass every event on unchanged.

    Scalars are `predlog/text/loss`, `…/entropy`, `…/accuracy`, `…/logprob` and `…/supervised`; `predlog/text/tokens` is
    a text, with the table of that step alone, and `predlog/findings` has a text for each finding. The writer stays
    open.
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
            self._writer.add_text(f"{step.name}/tokens", "\n".join(_table(step.comparisons)), step.number)

    def _report(self, finding: Finding) -> None:
        words = f"**{finding.level}: {_literal(title(finding))}** {_literal(text(finding))}"
        self._writer.add_text("predlog/findings", words, finding.step)


def _table(comparisons: Iterable[Comparison]) -> Iterator[str]:
    yield "| sample | codebook | position | input | label | prediction | p(label) | rank |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in comparisons:
        for token in one.tokens:
            cells = (
                sample_name(one.sample, one.sample_id),
                known(one.codebook),
                str(token.position),
                "-" if token.input is None else _token(token, "input"),
                _token(token, "label"),
                f"{'✓ ' if token.match else ''}{_token(token, 'prediction')}",
                probability(token.label_logprob),
                known(token.label_rank),
            )
            yield f"| {' | '.join(map(_literal, cells))} |"


def _token(token: Token, which: str) -> str:
    return token_text(getattr(token, f"{which}_text"), getattr(token, which))


def _literal(words: str) -> str:
    """Return words as Markdown that shows just them: whatever could be markup is written as its character number."""
    return _MARKS.sub(lambda found: f"&#{ord(found[0])};", words)
