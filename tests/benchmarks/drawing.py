"""A `rich.table.Table` with the same content against ours, in both forms, and as a notebook shows it."""

import math
from collections.abc import Iterator

from rich.table import Table

from predlog.records import html
from predlog.sinks.console import _plain
from predlog.sinks.notebook import Notebook
from predlog.sinks.terminal.compact import compact
from predlog.sinks.terminal.drawn import NO_INPUTS, Drawn
from predlog.sinks.terminal.tables import full
from tests.benchmarks.harness import Row, duration, interleaved, ratio, repeated
from tests.benchmarks.material import comparison, terminal
from tests.benchmarks.options import Options

_HEADING = "step 120 · text · sample 0 · 388 of 512 supervised · 41.2% correct"


def drawing(_options: Options) -> Iterator[Row]:
    """Measure one sample of ten tokens as a full table, and a pair of two samples in the compact form."""
    event, console = comparison(), terminal()
    pair = [event, {**event, "sample": 1}]
    tokens = event["tokens"]
    probabilities = [f"{math.exp(token['label_logprob']):.2f}" for token in tokens]

    def table(title: str) -> Table:
        made = Table(title=title)
        for _ in range(11):
            made.add_column()
        return made

    def full_with_rich() -> None:
        made = table(_HEADING)
        made.add_row("position", *(str(token["position"]) for token in tokens))
        made.add_row("label", *(token["label_text"] for token in tokens))
        made.add_row("prediction", *(token["prediction_text"] for token in tokens))
        made.add_row("p(label)", *probabilities)
        made.add_row("rank", *(str(token["label_rank"]) for token in tokens))
        console.print(made)

    def compact_with_rich() -> None:
        for _ in pair:
            made = table(_HEADING)
            made.add_row("label", *(token["label_text"] for token in tokens))
            made.add_row("pred", *("✓" if token["match"] else token["prediction_text"] for token in tokens))
            made.add_row("p", *probabilities)
            console.print(made)

    def full_with_ours() -> None:
        console.print(Drawn(full, [event]), end="", crop=False)

    def compact_with_ours() -> None:
        console.print(Drawn(compact, pair), end="", crop=False)

    notebook = Notebook(html.COMPACT, NO_INPUTS, _plain)
    for one in pair:
        notebook._take(one)

    times = interleaved(
        {
            "rich": repeated(full_with_rich, 3),
            "ours": repeated(full_with_ours, 30),
            "rich, compact": repeated(compact_with_rich, 3),
            "ours, compact": repeated(compact_with_ours, 30),
            "ours, notebook": repeated(notebook._drawn, 10),
        },
        rounds=40,
    )
    yield ratio(
        times, "rich", "ours", name="table", title="rich.table.Table / our full table, the same content",
        at_least=30, note=duration(times["ours"].median),
    )  # fmt: skip
    yield ratio(
        times, "rich, compact", "ours, compact", name="compact",
        title="rich.table.Table / our compact form, the same content, two samples", at_least=30,
        note=duration(times["ours, compact"].median),
    )  # fmt: skip
    yield ratio(
        times, "rich, compact", "ours, notebook", name="notebook",
        title="rich.table.Table / a notebook's table, as HTML and as text, the same content", at_least=10,
        note=duration(times["ours, notebook"].median),
    )  # fmt: skip
