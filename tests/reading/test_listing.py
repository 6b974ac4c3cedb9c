"""A folder's runs at a glance: the figures that a summary has, read from the heads and tails of files."""

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import predlog
from predlog.errors import NoRecordsError
from predlog.findings.ledger import across_ranks
from predlog.reading.listing import Listed, listed
from predlog.reading.reader import Reading
from predlog.reading.summary import Summary
from predlog.records import codec
from predlog.records.schema import Comparison
from tests import events
from tests.written import sealed, written

MINUTE = 60.0
OLD = 1_700_000_000.0


def aged(folder: str | Path) -> Path:
    """Make all files of a folder look as if nobody had written to them for long."""
    for file in Path(folder).iterdir():
        os.utime(file, (OLD, OLD))
    return Path(folder)


def start(**fields: Any) -> dict[str, Any]:
    return events.run(**{"recorder": "r", **fields})


def end(**fields: Any) -> dict[str, Any]:
    return start(stats={"submitted": 1}, **fields)


def steps(*numbers: int, **fields: Any) -> list[dict[str, Any]]:
    return [events.comparison(step=step, **{"recorder": "r", "loss": 8.0 / (1 + step), **fields}) for step in numbers]


def one(folder: str | Path) -> Listed:
    (found,) = listed(Path(folder))
    return found


def test_a_row_has_the_figures_of_the_summary(tmp_path: Path) -> None:
    """Step, loss and accuracy are those that `predlog summary` has last, and the loss is a mean of 10 records."""
    run = written(tmp_path / "exp1", start(), *(two for step in range(30) for two in steps(step, step)))
    summary = Summary.of(predlog.read(run))
    curve = summary.curves["text", None]
    assert curve.loss is not None
    assert curve.accuracy is not None
    found = one(tmp_path)
    assert (found.path, found.name, found.stream) == (tmp_path / "exp1", "exp1", "text")
    assert (found.step, found.loss, found.accuracy) == (29, curve.loss.last.value, curve.accuracy.last.value)
    assert found.loss == pytest.approx(sum(8.0 / (1 + step) for step in range(25, 30)) / 5)
    assert found.is_complete
    assert found.problem is None
    assert found.timestamp == "2026-01-02T03:04:05.678901Z"


def test_an_evaluation_is_not_the_figure_of_a_run(tmp_path: Path) -> None:
    """The figures are those of the first stream that is trained, also if an evaluation comes first and last."""
    evaluated = [steps(step, stream="eval/text", loss=0.5)[0] for step in (0, 40)]
    run = written(tmp_path, start(), evaluated[0], *steps(0, 10, 20), evaluated[1])
    assert (one(run).stream, one(run).step) == ("text", 20)
    assert one(written(tmp_path / "only" / "it", start(), *evaluated)).stream == "eval/text"


STREAMS = st.sampled_from(["text", "eval/text"])


@st.composite
def runs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw several attempts, each of which resumes somewhere or begins anew, with findings that come and go."""
    found: list[dict[str, Any]] = []
    begin = 0
    for attempt in range(1, draw(st.integers(1, 3)) + 1):
        last = begin + draw(st.integers(0, 12))
        about: dict[str, Any] = {"attempt": attempt, "recorder": f"r{attempt}"}
        found.append(start(**about))
        for step in range(begin, last + 1):
            found += steps(step, **about) * draw(st.integers(1, 2))
            if draw(st.integers(0, 5)) == 0:
                level = draw(st.sampled_from(["error", "warning", "info"]))
                code = draw(st.sampled_from(["collapsed", "labels-are-inputs", "same-batch"]))
                found.append(events.finding(step=step, level=level, code=code, stream=draw(STREAMS), **about))
        if draw(st.booleans()):
            found.append(end(**about))
        begin = draw(st.integers(0, last + 1))
    return found


@given(run=runs())
@settings(max_examples=40, deadline=None)
def test_a_whole_file_gives_what_summary_and_check_have(
    tmp_path_factory: pytest.TempPathFactory, run: list[dict[str, Any]]
) -> None:
    """Whatever the attempts, the last step, the loss, the accuracy and the open findings are those of the summary.

    Only where the last attempt has not come as far as one before it, the summary still has what was recorded after it.
    """
    folder = written(tmp_path_factory.mktemp("run"), *run)
    records = [*Reading(folder, warns=False)]
    summary, latest = Summary.of(records), run[-1]["attempt"]
    furthest = max(record.step for record in records if isinstance(record, Comparison) and record.attempt == latest)
    until = Summary.of(record for record in records if not isinstance(record, Comparison) or record.step <= furthest)
    curve = until.curves["text", None]
    found = one(folder)
    assert (found.step, found.loss) == (curve.last_step, None if curve.loss is None else curve.loss.last.value)
    assert found.accuracy == (None if curve.accuracy is None else curve.accuracy.last.value)
    assert found.findings == tuple(each.finding for each in across_ranks(summary.findings) if each.is_open)
    assert found.is_ended == (run[-1]["event"] == "predlog.run" and run[-1]["stats"] is not None)


def read_bytes() -> int:
    """Return how many bytes this process has read so far, as the kernel counts them."""
    return int(Path("/proc/self/io").read_text().split()[1])


def large(folder: Path, size: int, head: list[dict[str, Any]], tail: list[dict[str, Any]]) -> Path:
    """Write a file with a hole of `size` bytes between its first and its last lines."""
    folder.mkdir(parents=True)
    with (folder / "predictions.jsonl").open("wb") as file:
        file.write(b"".join(map(codec.to_line, head)))
        file.seek(size)
        file.write(b"\n" + b"".join(map(codec.to_line, tail)))
    return folder


def test_only_heads_and_tails_are_read(tmp_path: Path) -> None:
    """Of a file of 300 MB, a little more than a megabyte is read: what is at its beginning and its end is known."""
    head = [start(), *steps(0, 1), events.finding(recorder="r", code="collapsed")]
    tail = [*steps(*range(90_000, 90_200)), events.finding(recorder="r", stream="text", code="same-batch")]
    large(tmp_path / "exp1", 300_000_000, head, [*tail, end()])
    listed(tmp_path)
    before = read_bytes()
    found = one(tmp_path)
    assert read_bytes() - before < 1.5 * 2**20 + 2**16  # and the kernel's own list of open files
    assert (found.step, found.is_ended, found.is_complete) == (90_199, True, False)
    assert {finding.code for finding in found.findings} == {"collapsed", "same-batch"}


def test_many_ranks_share_what_is_read(tmp_path: Path) -> None:
    """A run of many ranks costs little more than one of a single rank."""
    for rank in range(64):
        large(tmp_path / str(rank), 10_000_000, [start(rank=rank)], steps(*range(10), rank=rank))
        (tmp_path / str(rank) / "predictions.jsonl").rename(tmp_path / f"predictions-rank{rank}.jsonl")
        (tmp_path / str(rank)).rmdir()
    before = read_bytes()
    assert one(tmp_path).step == 9
    assert read_bytes() - before < 3 * 2**20


def test_long_lines(tmp_path: Path) -> None:
    """Where the last megabyte is a few lines, more is read: the loss is still a mean of 10 records."""
    context = {"context": {"note": "x" * 300_000}}
    run = large(tmp_path / "a", 30_000_000, [start()], steps(*range(20), **context))
    assert one(run).loss == pytest.approx(sum(8.0 / (1 + step) for step in range(10, 20)) / 10)


WRITER = """
import os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_APPEND) if sys.argv[2] == "writes" else os.open(sys.argv[1], os.O_RDONLY)
print("open", flush=True)
sys.stdin.read()
"""


def holding(file: Path, how: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield process
        process.kill()


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="the kernel lists no open files")  # noqa: PTH110
@pytest.mark.parametrize(("how", "is_running"), [("writes", True), ("reads", False)])
def test_a_process_that_writes_keeps_a_run_running(tmp_path: Path, how: str, is_running: bool) -> None:
    """However long ago the last record was made, a run is running while a process may write to it, and no reader."""
    run = aged(written(tmp_path, start(), *steps(0)))
    assert not one(run).is_running
    for process in holding(run / "predictions.jsonl", how):
        assert one(run).is_running == is_running
        process.kill()
        process.wait()
        assert not one(run).is_running


def test_a_file_that_grew_is_running(tmp_path: Path) -> None:
    """On whichever host: a file that was written to within a minute is of a run that is running, unless it has ended.

    The clock of the other host may be a little ahead.
    """
    run = Path(written(tmp_path, start(), *steps(0)))
    file = run / "predictions.jsonl"
    now = file.stat().st_mtime
    for at, is_running in ((now, True), (now - 2 * MINUTE, False), (now + 0.5 * MINUTE, True)):
        os.utime(file, (at, at))
        assert (one(run).is_running, one(run).is_ended) == (is_running, False)
    written(run, end())
    assert (one(run).is_running, one(run).is_ended) == (False, True)


def test_a_run_has_ended_on_all_ranks(tmp_path: Path) -> None:
    """A run of several ranks is one row; it has ended when each rank has, and a new attempt opens it again."""
    run = written(tmp_path, start(), *steps(0, 10), end(), start(rank=1), *steps(0, 10, rank=1))
    assert not one(run).is_ended
    written(tmp_path, end(rank=1))
    assert one(run).is_ended
    written(tmp_path, start(attempt=2))
    assert not one(run).is_ended


def test_nested_folders_newest_first(tmp_path: Path) -> None:
    """Runs are found at any depth, also within another run and the folder itself, and the newest comes first."""
    for name, at in ((".", "2026-01-02"), ("a/b", "2026-01-04"), ("a/b/c", "2026-01-03"), ("d", "2026-01-05")):
        written(tmp_path / name, start(timestamp=f"{at}T00:00:00.000000Z"))
    (tmp_path / "notes").mkdir()
    written(tmp_path / ".hidden", start())
    assert [run.name for run in listed(tmp_path)] == ["d", "a/b", "a/b/c", "."]


def test_links(tmp_path: Path) -> None:
    """A link to a run elsewhere is a run; one to a run that is listed anyway, to a folder or in a circle is none."""
    top = tmp_path / "runs"
    written(top / "exp1", start())
    written(tmp_path / "scratch" / "exp2", start())
    for name, target in (
        ("latest", top / "exp1"), ("exp2", tmp_path / "scratch" / "exp2"), ("data", tmp_path / "scratch"), ("top", top),
        ("lost", tmp_path / "gone"),
    ):  # fmt: skip
        (top / name).symlink_to(target)
    assert sorted(run.name for run in listed(top)) == ["exp1", "exp2"]


def test_what_cannot_be_read_is_listed(tmp_path: Path) -> None:
    """A run that can't be read has a row that tells why, and the others are listed as ever."""
    written(tmp_path / "good", start(), *steps(0))
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "predictions.jsonl").write_bytes(sealed(codec.to_line({**start(), "schema": 1})[:-19] + b"}"))
    line = codec.to_line(start()).replace(b'"schema":1', b'"schema":9')
    (newer / "predictions.jsonl").write_bytes(sealed(line[:-19] + b"}"))
    for name, content in (("foreign", b"hello\nworld\n"), ("empty", b""), ("cut", b'{"event":"predlog.run"')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.jsonl").write_bytes(content)
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / "predictions.jsonl").symlink_to(tmp_path / "gone")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "predictions.jsonl")
    problems = {run.name: run.problem for run in listed(tmp_path)}
    assert problems.pop("good") is None
    assert problems.pop("empty") is None  # it has only begun
    assert problems.pop("foreign") == problems.pop("cut") == "none of its lines is a record"
    assert problems.pop("dangling") == "No such file or directory"
    assert "schema 9" in str(problems.pop("newer"))
    assert "holds no predictions*.jsonl" in str(problems.pop("pipe"))
    assert not problems


def test_packed_files(tmp_path: Path) -> None:
    """A packed run is read if it is small; of a large one, the row tells that it was not."""
    for name, many in (("small", 50), ("large", 20_000)):
        file = Path(written(tmp_path / name, start(), *steps(*range(50)))) / "predictions.jsonl"
        (tmp_path / name / "predictions.jsonl.gz").write_bytes(gzip.compress(file.read_bytes() * (many // 50)))
        file.unlink()
    found = {run.name: run for run in listed(tmp_path)}
    assert (found["small"].step, found["small"].problem, found["small"].is_running) == (49, None, False)
    assert found["large"].is_packed
    assert not found["large"].is_complete


def test_no_folder(tmp_path: Path) -> None:
    """What is no folder is an error; a folder without runs has none."""
    assert listed(tmp_path) == []
    with pytest.raises(NoRecordsError, match="does not exist"):
        listed(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(NoRecordsError, match="is no folder"):
        listed(tmp_path / "file")


def test_recorders_that_share_a_file(tmp_path: Path) -> None:
    """Two recorders on one folder at once: the findings of both are open, as `predlog check` has them."""
    first, second = ({"attempt": number, "recorder": f"r{number}"} for number in (1, 2))
    run = written(
        tmp_path, start(**first), start(**second), events.finding(**first), *steps(0, **first),
        *steps(0, **second), *steps(1, **first), end(**second),
    )  # fmt: skip
    assert [finding.code for finding in one(run).findings] == ["labels-are-inputs"]
    assert not one(run).is_ended
