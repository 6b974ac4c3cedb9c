"""Show curves, findings and tokens in a Trackio run."""

from typing import Any

from predlog.errors import SettingError, required
from predlog.records.schema import Finding
from predlog.sinks.tracker import Step, Tracker, alert_level, text, title

with required("trackio"):
    import trackio
    from trackio import context_vars
    from trackio.run import Run


class Trackio(Tracker):
    """Log each whole step to a Trackio run; pass every event on unchanged.

    Metrics are `predlog/text/loss`, `…/entropy`, `…/accuracy`, `…/logprob` and `…/supervised`; `predlog/text/tokens` is
    a table of that step alone, with the samples as on the console, and findings are alerts. All have the step that
    `compare` was given; what `trackio.log` is given without a step continues from the highest. Without a `run`, it is
    the one that is current in the calling thread.

    Raises:
        SettingError: There is no run.
    """

    def __init__(self, run: Run | None = None) -> None:
        if (run := run or context_vars.current_run.get()) is None:
            raise SettingError("no Trackio run is active: call trackio.init() first, or pass Trackio(run)")
        super().__init__()
        self._run = run

    def _show(self, step: Step) -> None:
        metrics: dict[str, Any] = {**step.known_curves()}
        # The heading of a sample is in its first row.
        rows = [
            [sample.figures if place == 0 else "", *row]
            for sample in step.samples()
            for place, row in enumerate(sample.rows)
        ]
        if rows:
            width = max(map(len, rows))
            # A name that were a number alone would come before all others.
            columns = ["sample", "row", *(f"token {number}" for number in range(1, width - 1))]
            filled = [[*row, *[""] * (width - len(row))] for row in rows]
            metrics[f"{step.name}/tokens"] = trackio.Table(columns=columns, data=filled)
        self._run.log(metrics, step=step.number)

    def _report(self, finding: Finding) -> None:
        level = trackio.AlertLevel[alert_level(finding)]
        self._run.alert(f"predlog: {title(finding)}", text(finding), level=level, step=finding.step)
