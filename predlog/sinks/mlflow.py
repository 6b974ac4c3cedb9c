"""Show curves, findings and tokens in an MLflow run."""

import csv
import io
import re
import time
import uuid
from typing import Final

from predlog.errors import SettingError, required
from predlog.records import html
from predlog.records.schema import Finding
from predlog.sinks.tracker import COLUMNS, Row, Step, Tracker, text, title

with required("mlflow"):
    import mlflow
    from mlflow.entities import Metric
# Rows of one artifact.
_MOST_ROWS: Final = 1000
# What MLflow takes: characters of a name, and of a tag's value.
_LONGEST_NAME: Final = 250
_LONGEST_TAG: Final = 5000
_UNKNOWN: Final = re.compile(r"[^\w\-. /]", re.ASCII)
# Parts of a path that are no name.
_PATH: Final = re.compile(r"(?<![^/])\.{0,2}(?![^/])")


class MLflow(Tracker):
    """Log each whole step to an MLflow run; pass every event on unchanged.

    Metrics are `predlog/text/loss`, `…/entropy`, `…/accuracy`, `…/logprob` and `…/supervised`. Samples are shown as on
    the console in artifacts in `predlog/samples/`, HTML pages of about 1000 tokens; the same tokens are rows in
    `predlog/tokens/`, CSV files. A finding is a tag, `predlog/findings/labels-are-inputs_ text`,
    with its latest report. In names, MLflow accepts letters, digits and `_-. /`; other characters become `_`. Without
    `run_id`, it is the run that is active in the calling thread.

    Raises:
        SettingError: There is no run.
    """

    def __init__(self, run_id: str | None = None, *, client: "mlflow.MlflowClient | None" = None) -> None:
        if run_id is None:
            if (active := mlflow.active_run()) is None:
                raise SettingError("no MLflow run is active: call mlflow.start_run() first, or pass MLflow(run_id)")
            run_id = active.info.run_id
        super().__init__()
        self._run_id = run_id
        self._client = client or mlflow.MlflowClient()
        self._pages: list[str] = []

    def _show(self, step: Step) -> None:
        now = int(time.time() * 1000)
        metrics = [Metric(_name_of(name), value, now, step.number) for name, value in step.known_curves().items()]
        self._client.log_batch(self._run_id, metrics)
        self._pages.append(step.html())
        self._collect(step.rows(), _MOST_ROWS)

    def _log_rows(self, rows: list[Row]) -> None:
        pages, self._pages = self._pages, []
        table = io.StringIO()
        csv.writer(table).writerows([COLUMNS, *rows])
        # Another attempt, or rank, may log the same steps to the same run.
        name = f"steps-{rows[0][0]:09}-{rows[-1][0]:09}-{uuid.uuid4().hex[:8]}"
        page = html.page(f"steps {rows[0][0]} to {rows[-1][0]}", pages)
        self._client.log_text(self._run_id, page, f"predlog/samples/{name}.html")
        self._client.log_text(self._run_id, table.getvalue(), f"predlog/tokens/{name}.csv")

    def _report(self, finding: Finding) -> None:
        name = _name_of(f"predlog/findings/{title(finding)}")
        self._client.set_tag(self._run_id, name, f"{finding.level}, {text(finding)}"[:_LONGEST_TAG])


def _name_of(name: str) -> str:
    """Return the name with only what MLflow accepts."""
    return _PATH.sub("_", _UNKNOWN.sub("_", name))[:_LONGEST_NAME]
