"""Show curves, findings and tokens in a W&B run."""

from datetime import timedelta
from typing import Any, Final

from predlog.errors import SettingError, required
from predlog.records import html
from predlog.records.schema import Finding
from predlog.sinks.tracker import COLUMNS, Row, Step, Tracker, alert_level, text, title

with required("wandb"):
    import wandb
# Rows of an increment, and of a table: W&B shows so many, and a table keeps all that it has logged.
_INCREMENT: Final = 1000
_MOST_ROWS: Final = 10_000
_MOST_INCREMENTS: Final = 100
_LONGEST_TITLE: Final = 63
# W&B drops alerts of the same title for a minute, also if the second reports that it is gone; 0 means a minute, too.
_AT_ONCE: Final = timedelta(milliseconds=1)


class WandB(Tracker):
    """Log each whole step to a W&B run; pass every event on unchanged.

    Curves are `predlog/text/loss`, `…/entropy`, `…/accuracy`, `…/logprob` and `…/supervised` over `predlog/text/step`,
    an axis of their own. `predlog/text/samples` has the samples of each step as on the console, in HTML. Their tokens
    are also rows of the table `predlog/tokens`, logged in increments, and findings are alerts.

    With `commit`, each logged step is a row of W&B's history. Without it, what predlog logs joins the row that your
    next `log` call ends: a row of its own would raise W&B's step, and W&B ignores what is then logged with a lower
    `step=`. So pass `commit=True` only if none of your calls passes `step=`.

    Raises:
        SettingError: There is no run.
    """

    def __init__(self, run: "wandb.Run | None" = None, *, commit: bool = False) -> None:
        if (run := run or wandb.run) is None:
            raise SettingError("no W&B run is active: call wandb.init() first, or pass WandB(run)")
        super().__init__()
        self._run = run
        self._commit = commit
        self._axes: set[str] = set()
        self._tables = 0
        self._begin_table()

    def _show(self, step: Step) -> None:
        axis = f"{step.name}/step"
        if axis not in self._axes:
            self._axes.add(axis)
            self._run.define_metric(axis, hidden=True)
            self._run.define_metric(f"{step.name}/*", step_metric=axis)
        # Also what is None: in a row that is still open, the last step's value would be taken for this one's.
        row: dict[str, Any] = {**step.curves(), axis: step.number}
        if shown := step.html():
            page = html.page(f"{step.stream}, step {step.number}", [shown])
            row[f"{step.name}/samples"] = wandb.Html(page, inject=False)
        self._run.log(row, commit=self._commit)
        self._collect(step.rows(), _INCREMENT)

    def _log_rows(self, rows: list[Row]) -> None:
        for row in rows:
            self._table.add_data(*row)
        self._increments += 1
        self._run.log({self._table_name: self._table}, commit=self._commit)
        if self._increments >= _MOST_INCREMENTS or len(self._table.data) >= _MOST_ROWS:
            self._begin_table()

    def _begin_table(self) -> None:
        self._tables += 1
        self._increments = 0
        self._table_name = "predlog/tokens" if self._tables == 1 else f"predlog/tokens {self._tables}"
        self._table = wandb.Table(columns=[*COLUMNS], log_mode="INCREMENTAL", allow_mixed_types=True)

    def _report(self, finding: Finding) -> None:
        self._run.alert(
            title=f"predlog: {title(finding)}"[:_LONGEST_TITLE],
            text=text(finding),
            level=alert_level(finding),
            wait_duration=_AT_ONCE,
        )
