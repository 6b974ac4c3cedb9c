"""OpenTelemetry's own structlog processor as a sink, and in a host's chain."""

import queue
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog

from predlog import Comparison, Recorder, read
from predlog.processors.to_structlog import ToStructlog
from predlog.records.codec import to_event
from tests import events
from tests.integrations.needed import needed
from tests.sinks import tracked

theirs = needed("opentelemetry.instrumentation.structlog")
otlp = needed("opentelemetry.exporter.otlp.proto.http._log_exporter")

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: E402
from opentelemetry.sdk._logs import LoggerProvider  # noqa: E402
from opentelemetry.sdk._logs.export import (  # noqa: E402
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.trace import format_trace_id  # noqa: E402


@pytest.fixture
def exporter() -> InMemoryLogRecordExporter:
    return InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]


@pytest.fixture
def provider(exporter: InMemoryLogRecordExporter) -> Iterator[LoggerProvider]:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def collector() -> Iterator[tuple[str, "queue.SimpleQueue[ExportLogsServiceRequest]"]]:
    """Listen as a collector does."""
    requests: queue.SimpleQueue[ExportLogsServiceRequest] = queue.SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.put(ExportLogsServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/logs", requests
        server.shutdown()
        thread.join()


def exported(exporter: InMemoryLogRecordExporter) -> list[Any]:
    return [one.log_record for one in exporter.get_finished_logs()]


def plain(value: Any) -> Any:
    """Return an attribute as JSON has it: OpenTelemetry keeps lists as tuples."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def attributes(event: dict[str, Any], *unlike: str) -> dict[str, Any]:
    gone = {"event", "level", "timestamp", "seq", *unlike}
    return {name: plain(value) for name, value in event.items() if name not in gone}


def test_each_event_is_a_log_record(
    tmp_path: Path, provider: LoggerProvider, exporter: InMemoryLogRecordExporter
) -> None:
    """Name, severity, time and all values are the record's: numbers stay numbers, tokens and evidence are nested."""
    tracked.run(tmp_path / "run", theirs.StructlogProcessor(logger_provider=provider))
    written = [to_event(one) for one in read(tmp_path / "run")]
    sent = exported(exporter)
    # The last line counts what became of the comparisons, and each sink gets it at its own time.
    assert [attributes(dict(one.attributes), "stats") for one in sent] == [attributes(one, "stats") for one in written]
    assert [(one.body, one.severity_text, one.severity_number.value) for one in sent] == [
        (one["event"], *{"info": ("INFO", 9), "warning": ("WARN", 13), "error": ("ERROR", 17)}[one["level"]])
        for one in written
    ]
    assert [one.timestamp // 1000 for one in sent] == pytest.approx(
        [round(datetime.fromisoformat(one["timestamp"].replace("Z", "+00:00")).timestamp() * 1e6) for one in written],
        abs=1,
    )
    assert {"predlog.run", "predlog.comparison", "predlog.finding"} == {one.body for one in sent}


def test_it_reaches_a_collector(
    tmp_path: Path, collector: tuple[str, "queue.SimpleQueue[ExportLogsServiceRequest]"]
) -> None:
    """Over OTLP, with a batch that `flush` sends: typed values, nulls and hostile texts arrive as they are."""
    endpoint, requests = collector
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(otlp.OTLPLogExporter(endpoint=endpoint)))
    with Recorder(
        every=1, console=False, strict=True, decode=lambda one: tracked.HOSTILE[one % 6],
        sinks=[theirs.StructlogProcessor(logger_provider=provider)],
    ) as recorder:  # fmt: skip
        tracked.compare(recorder, 9)
        assert recorder.flush(30)
        records = requests.get(timeout=30).resource_logs[0].scope_logs[0].log_records
    provider.shutdown()
    comparison = next(one for one in records if one.body.string_value == "predlog.comparison")
    values = {one.key: one.value for one in comparison.attributes}
    assert values["step"].int_value == 9
    assert values["codebook"].WhichOneof("value") is None
    token = {one.key: one.value for one in values["tokens"].array_value.values[0].kvlist_value.values}
    assert token["match"].WhichOneof("value") == "bool_value"
    assert token["label_logprob"].WhichOneof("value") is None  # its row holds a NaN
    assert token["label_text"].string_value in tracked.HOSTILE


def test_a_trace_is_named_by_the_caller(provider: LoggerProvider, exporter: InMemoryLogRecordExporter) -> None:
    """The sink's thread is in no span; what the training's thread passes is kept in each record's context."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("training")
    with (
        Recorder(every=1, console=False, sinks=[theirs.StructlogProcessor(logger_provider=provider)]) as recorder,
        tracer.start_as_current_span("step") as span,
    ):
        recorder.compare(*events.pair(samples=1), 0, trace_id=format_trace_id(span.get_span_context().trace_id))
    (comparison,) = (one for one in exported(exporter) if one.body == "predlog.comparison")
    assert comparison.attributes["context"] == {"trace_id": format_trace_id(span.get_span_context().trace_id)}
    assert not comparison.trace_id


def test_it_stands_in_a_host_s_chain(
    host_structlog: None, provider: LoggerProvider, exporter: InMemoryLogRecordExporter
) -> None:
    """Beside the host's own events, which it exports as well."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            theirs.StructlogProcessor(logger_provider=provider),
            structlog.testing.LogCapture(),
        ]
    )
    structlog.get_logger().warning("disk nearly full", percent=97)
    with Recorder(every=1, console=False, strict=True, sinks=[ToStructlog()]) as recorder:
        tracked.compare(recorder, 7)
    sent = exported(exporter)
    assert (sent[0].body, dict(sent[0].attributes)) == ("disk nearly full", {"percent": 97})
    assert {one.attributes["step"] for one in sent if one.body == "predlog.comparison"} == {7}


def test_the_page_s_examples(
    own_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    collector: tuple[str, "queue.SimpleQueue[ExportLogsServiceRequest]"],
) -> None:
    """What docs/results/trackers.md shows, runs, and reaches a collector."""
    endpoint, requests = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", endpoint)
    (sends, sent_names), (joins, joined_names) = tracked.documented("OpenTelemetry")
    exec(sends, sent_names)
    (resource,) = requests.get(timeout=30).resource_logs
    assert "training" in {one.value.string_value for one in resource.resource.attributes}
    assert "predlog.comparison" in {one.body.string_value for one in resource.scope_logs[0].log_records}
    exec(joins, joined_names)
    joined = [one.context for one in read("runs/exp1") if isinstance(one, Comparison)]
    assert joined[-1] == {"trace_id": 32 * "0"}
