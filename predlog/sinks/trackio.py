"""Show curves, findings and tokens in a Trackio run."""

from typing import Any, Final

from predlog.errors import MissingExtraError, SettingError
from predlog.records.schema import Event, Finding
from predlog.sinks.tracker import COLUMNS, Step, Steps, text, title

try:
    import trackio
    from trackio import context_vars
    from trackio.run import Run
except ModuleNotFoundError as missing:
    raise MissingExtraError("trackio", str(missing.name).partition(".")[0]) from None
_LEVELS: Final = {"error": trackio.AlertLevel.ERROR, "warning": trackio.AlertLevel.WARN}


class Trackio:
    """Log each whole step to a Trackio run; pass every event on unchanged.

    Metrics are `predlog/text/accuracy`, `…/logprob` and `…/supervised`; `predlog/text/tokens` is a table of that step
    alone, and findings are alerts. All have the step that `compare` was given; what `trackio.log` is given without one
    is numbered on from it. Without a `run`, it is the one that is current in the thread that calls.

    Raises:
        SettingError: There is no run.
    """

    def __init__(self, run: Run | None = None) -> None:
        if (run := run or context_vars.current_run.get()) is None:
            raise SettingError("no Trackio run is active: call trackio.init() first, or pass Trackio(run)")
        self._run = run
        self._steps = Steps(self._show, self._tell)

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Log what is whole now, if the event is one of predlog's."""
        self._steps.add(event)
        return event

    def flush(self) -> None:
        """Log the steps that wait for more."""
        self._steps.end()

    close = flush

    def _show(self, step: Step) -> None:
        metrics: dict[str, Any] = {name: value for name, value in step.curves().items() if value is not None}
        if rows := [list(row) for row in step.rows()]:
            metrics[f"{step.name}/tokens"] = trackio.Table(columns=[*COLUMNS], data=rows)
        self._run.log(metrics, step=step.number)

    def _tell(self, finding: Finding) -> None:
        level = _LEVELS.get(finding.level, trackio.AlertLevel.INFO)
        self._run.alert(f"predlog: {title(finding)}", text(finding), level=level, step=finding.step)
