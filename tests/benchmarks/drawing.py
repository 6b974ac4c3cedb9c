"""A `rich.table.Table` with the same content against our table."""

import math
from collections.abc import Iterator

from rich.table import Table

from predlog.sinks.terminal.tables import Drawn, token_table
from tests.benchmarks.harness import Row, duration, interleaved, ratio, repeated
from tests.benchmarks.material import comparison, terminal
from tests.benchmarks.options import Options


def drawing(_options: Options) -> Iterator[Row]:
    """Measure one table of ten tokens."""
    event, console = comparison(), terminal()
    tokens = event["tokens"]

    def with_rich() -> None:
        table = Table(title="step 120 · text · sample 0 · 388 of 512 supervised · 41.2% correct")
        for _ in range(11):
            table.add_column()
        table.add_row("position", *(str(token["position"]) for token in tokens))
        table.add_row("label", *(token["label_text"] for token in tokens))
        table.add_row("prediction", *(token["prediction_text"] for token in tokens))
        table.add_row("p(label)", *(f"{math.exp(token['label_logprob']):.2f}" for token in tokens))
        table.add_row("rank", *(str(token["label_rank"]) for token in tokens))
        console.print(table)

    def with_ours() -> None:
        console.print(Drawn(token_table, event), end="", crop=False)

    times = interleaved({"rich": repeated(with_rich, 3), "ours": repeated(with_ours, 30)}, rounds=40)
    yield ratio(
        times, "rich", "ours", name="table", title="rich.table.Table / our table, the same content",
        at_least=30, note=duration(times["ours"].median),
    )  # fmt: skip
