"""`predlog tail`: the last records, filters, and following by name through truncation and replacement."""

import gzip
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import predlog
from predlog.cli import main
from predlog.reading import tail as following
from predlog.reading.tail import Follower, last
from predlog.records import codec, schema
from predlog.sinks import JSONL
from tests import ROOT, events

PREDLOG = [sys.executable, "-m", "predlog"]
# The same, and at the end on stderr the most memory that it took, in KiB.
_MEASURED = """
import sys; from predlog.cli.main import main; main(sys.argv[1:])
sys.stderr.write(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])
"""
MEASURED = [sys.executable, "-c", _MEASURED]
MOST_KIB = 120 << 10


def comparisons(numbers: range, **fields: Any) -> list[bytes]:
    """Return lines whose `seq` and `step` are these numbers."""
    return [
        codec.to_line(events.comparison(seq=one, step=one, timestamp=f"2026-01-02T03:04:05.{one:06}Z", **fields))
        for one in numbers
    ]


def change(file: Path, how: str) -> None:
    content = file.read_bytes()
    if how == "truncate":
        os.truncate(file, 0)
    elif how == "replace":
        file.unlink()
        file.write_bytes(content)
    else:
        file.write_bytes(content[len(content) // 2 :])


def seqs(follower: Follower) -> list[int]:
    return [read.record.seq for read in follower.poll()]


class TestLast:
    @given(st.lists(st.integers(0, 400), max_size=40), st.integers(0, 50), st.integers(1, 3), st.integers(40, 3000))
    def test_it_is_what_the_whole_file_ends_with(
        self, tmp_path_factory: pytest.TempPathFactory, sizes: list[int], many: int, every: int, block: int
    ) -> None:
        """Whatever the sizes of lines and blocks: the last wanted records, and the end of the last whole line."""
        file = tmp_path_factory.mktemp("last") / "x.jsonl"
        lines = [
            codec.to_line(events.gap(seq=number, reason="x" * size)) if size % 7 else b"\n" if size % 2 else b"torn\n"
            for number, size in enumerate(sizes)
        ]
        file.write_bytes(b"".join(lines) + b'{"event":"predlog.g')
        wanted = [number for number, size in enumerate(sizes) if size % 7 and number % every == 0]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("predlog.reading.tail._BLOCK", block)
            found, end = last(file, many, lambda record: record.seq % every == 0)
        assert [read.record.seq for read in found] == (wanted[-many:] if many else [])
        assert [read.line + b"\n" for read in found] == [lines[read.record.seq] for read in found]
        assert end == len(b"".join(lines))

    def test_a_line_longer_than_any(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """None of it is kept, and no part of it passes for a record, wherever blocks end."""
        before, inside, behind = comparisons(range(3))
        file = tmp_path / "x.jsonl"
        monkeypatch.setattr("predlog.reading.tail.LONGEST", 1000)
        monkeypatch.setattr("predlog.reading.tail._BLOCK", len(inside) + len(behind) - 1)
        for padding in range(900, 1200):
            file.write_bytes(before + b"\0" * padding + inside + behind)
            assert [read.record.seq for read in last(file, 9, lambda _: True)[0]] == [0, 2]


class TestFollower:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """Return a file of five lines."""
        file = tmp_path / "x.jsonl"
        file.write_bytes(b"".join(comparisons(range(5))))
        return file

    def test_half_a_line_is_waited_for(self, file: Path) -> None:
        """A line comes when its end does, once."""
        follower = Follower(file)
        whole = comparisons(range(5, 6))[0]
        assert seqs(follower) == [0, 1, 2, 3, 4]
        with file.open("ab", buffering=0) as opened:
            opened.write(whole[:50])
            assert seqs(follower) == []
            opened.write(whole[50:])
            assert seqs(follower) == [5]
        assert seqs(follower) == []

    @pytest.mark.parametrize("how", ["copied and truncated", "truncated and grown", "shorter"])
    def test_truncation(self, file: Path, how: str) -> None:
        """A file that was emptied is read from its beginning, also where it has grown beyond what was read."""
        follower = Follower(file)
        assert seqs(follower) == [0, 1, 2, 3, 4]
        more = {"copied and truncated": range(5, 7), "truncated and grown": range(5, 20), "shorter": range(5, 6)}[how]
        file.write_bytes(b"".join(comparisons(more)))
        assert seqs(follower) == [*more]
        assert [str(one) for one in follower.damage] == [
            "line 1: it was truncated while it was followed: lines that had not been read are lost"
        ]

    def test_a_file_that_does_not_stay_open(self, file: Path) -> None:
        """Any number of files can be followed: none is open between two looks, nor while its records are used."""
        follower = Follower(file, stays_open=False, block=700)
        here = len([*Path("/proc/self/fd").iterdir()])
        found = []
        for read in follower.poll():
            found.append(read.record.seq)
            assert len([*Path("/proc/self/fd").iterdir()]) == here
        with file.open("ab") as opened:
            opened.write(b"".join([*comparisons(range(5, 7)), b"damaged\n", *comparisons(range(7, 8))]))
        assert found + seqs(follower) == [*range(8)]
        assert [one.line for one in follower.damage] == [8]
        file.write_bytes(b"".join(comparisons(range(8, 9))))
        assert seqs(follower) == [8]
        file.unlink()
        assert seqs(follower) == []
        file.write_bytes(b"".join(comparisons(range(8, 12))))
        assert seqs(follower) == [9, 10, 11]
        assert len([*Path("/proc/self/fd").iterdir()]) == here

    @pytest.mark.parametrize("start", ["beginning", "end"])
    def test_replacement(self, file: Path, start: str) -> None:
        """What was written to the old file before it was moved is read, then the new one, and nothing twice."""
        follower = Follower(file, file.stat().st_size if start == "end" else 0)
        assert seqs(follower) == ([] if start == "end" else [0, 1, 2, 3, 4])
        with file.open("ab") as opened:
            opened.write(b"".join(comparisons(range(5, 8))))
        moved = shutil.move(file, file.with_suffix(".1"))
        assert seqs(follower) == [5, 6, 7]
        with Path(moved).open("ab") as opened:
            opened.write(b"".join(comparisons(range(8, 9))))
        file.write_bytes(b"".join(comparisons(range(6, 12))))  # repeats three that were in the other
        assert seqs(follower) == [8, 9, 10, 11]

    def test_a_new_run_under_the_same_name(self, file: Path) -> None:
        """Another run counts from 0 again: none of it is taken for a repetition."""
        follower = Follower(file)
        assert seqs(follower) == [0, 1, 2, 3, 4]
        file.unlink()
        assert seqs(follower) == []
        later = [events.comparison(seq=one, step=one, timestamp="2026-02-01T00:00:00.000000Z") for one in range(3)]
        file.write_bytes(b"".join(map(codec.to_line, later)))
        assert seqs(follower) == [0, 1, 2]

    @pytest.mark.parametrize("start", ["beginning", "end"])
    @pytest.mark.parametrize("how", ["removed", "emptied", "replaced"])
    @pytest.mark.parametrize("recorder", [None, "a"])
    def test_a_rerun_whose_clock_is_slow(self, file: Path, how: str, start: str, recorder: str | None) -> None:
        """A run that was started anew on a node whose clock is behind is followed, however the old file went."""
        noise = {"noise": "x" * (following._BLOCK // 50)}
        file.write_bytes(b"".join(comparisons(range(100), context=noise, recorder=recorder)))
        follower = Follower(file, file.stat().st_size if start == "end" else 0)
        assert seqs(follower) == ([] if start == "end" else [*range(100)])
        slow = [
            codec.to_line(
                events.comparison(
                    seq=one,
                    step=one,
                    timestamp=f"2026-01-01T00:00:00.{one:06}Z",
                    recorder=None if recorder is None else "b",
                )
            )
            for one in range(8)
        ]
        if how == "removed":
            file.unlink()
            assert seqs(follower) == []
        elif how == "emptied":
            file.write_bytes(b"")
        else:
            file.rename(file.with_suffix(".old"))
        with file.open("ab") as opened:
            opened.write(b"".join(slow[:3]))
            opened.flush()
            assert seqs(follower) == [0, 1, 2]
            opened.write(b"".join(slow[3:]))
        assert seqs(follower) == [3, 4, 5, 6, 7]
        copy = file.read_bytes()
        file.unlink()
        file.write_bytes(copy + comparisons(range(8, 9))[0])
        assert seqs(follower) == [8]

    @pytest.mark.parametrize("start", ["beginning", "end"])
    @pytest.mark.parametrize("how", ["renamed", "copied"])
    def test_recorders_of_one_attempt(self, tmp_path: Path, how: str, start: str) -> None:
        """If two recorders began at once, each begins a successor with its first line: neither is shown again."""
        file = tmp_path / "x.jsonl"
        sinks = {name: JSONL(file) for name in "ab"}

        def write(step: int) -> None:
            for name, sink in sinks.items():
                more = {"recorder": name, "seq": step, "timestamp": f"2026-01-02T03:04:05.{step:06}Z"}
                sink(None, "info", events.comparison(step=step, **more) if step else events.run(**more))

        def new() -> list[tuple[str | None, int]]:
            return [(read.record.recorder, read.record.seq) for read in follower.poll()]

        for step in range(3):
            write(step)
        follower = Follower(file, file.stat().st_size if start == "end" else 0)
        assert new() == ([] if start == "end" else [(name, step) for step in range(3) for name in "ab"])
        if how == "copied":
            shutil.copy(file, tmp_path / "copy")
            (tmp_path / "copy").rename(file)
        else:
            file.rename(tmp_path / "old")
            file.touch()
        write(3)
        write(4)
        assert new() == [(name, step) for step in (3, 4) for name in "ab"]

    def test_another_run_from_before(self, file: Path) -> None:
        """A file of another run may take the name, and be older: none of it was there before."""
        follower = Follower(file)
        assert seqs(follower) == [0, 1, 2, 3, 4]
        file.unlink()
        older = [events.comparison(seq=one, run="other", timestamp="2026-01-01T00:00:00.000000Z") for one in range(3)]
        file.write_bytes(b"".join(map(codec.to_line, older)))
        assert seqs(follower) == [0, 1, 2]

    @pytest.mark.parametrize("how", ["replaced", "truncated"])
    def test_more_than_is_remembered(self, file: Path, how: str) -> None:
        """Of a file that takes its own place, as rsync leaves it, what was there of old attempts is not given again."""
        noise = {"noise": "x" * (following._BLOCK // 100)}
        lines = comparisons(range(5), context=noise) + comparisons(range(5, 200), attempt=2, context=noise)
        file.write_bytes(b"".join(lines))
        follower = Follower(file, file.stat().st_size)
        assert seqs(follower) == []
        if how == "replaced":
            file.unlink()
        else:
            file.write_bytes(b"")
            assert seqs(follower) == []
        file.write_bytes(b"".join([*lines, *comparisons(range(200, 202), attempt=2)]))
        assert seqs(follower) == [200, 201]

    def test_damage_is_named(self, file: Path) -> None:
        """A damaged line is kept with its number in the file, wherever following began."""
        follower = Follower(file, file.stat().st_size)
        with file.open("ab") as opened:
            opened.write(b"".join([*comparisons(range(5, 7)), b"Killed\n", *comparisons(range(8, 9))]))
        assert seqs(follower) == [5, 6, 8]
        with file.open("ab") as opened:
            opened.write(b"".join([b"Killed\n", *comparisons(range(9, 10)), b"Killed\n"]))
        assert seqs(follower) == [9]
        assert [one.line for one in follower.damage] == [8, 10, 12]

    @given(
        st.lists(
            st.sampled_from(["write", "half", "again", "truncate", "replace", "rewrite", "poll", "join"]), max_size=30
        ),
        st.integers(1, 3000),
    )
    @example(["write", "again", "write", "write", "join", "replace"], 1)
    @example(["write", "write", "join", "truncate", "again", "write", "join", "replace", "write"], 1)
    def test_nothing_is_lost_and_nothing_twice(
        self, tmp_path_factory: pytest.TempPathFactory, happens: list[str], block: int
    ) -> None:
        """Whatever is done to the file behind a poll, every line that was there at one is given once.

        However many attempts there are, and however little of them a follower that begins at the end remembers.
        """
        file = tmp_path_factory.mktemp("follow") / "x.jsonl"
        follower, found, number, attempt, first = Follower(file), list[int](), 0, 1, 0

        def look() -> None:
            found.extend(read.record.step for read in follower.poll() if isinstance(read.record, schema.Comparison))

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("predlog.reading.tail._BLOCK", block)
            for what in happens:
                if what in {"write", "half"}:
                    at = f"2026-01-02T03:04:05.{number:06}Z"
                    event = events.comparison(seq=number - first, step=number, attempt=attempt, timestamp=at)
                    line = codec.to_line(event)
                    with file.open("ab", buffering=0) as opened:
                        opened.write(line[:40])
                        if what == "half":
                            look()
                        opened.write(line[40:])
                    number += 1
                elif what == "again":
                    attempt, first = attempt + 1, number
                elif what == "poll":
                    look()
                elif file.exists():
                    look()
                    if what == "join":
                        follower.close()
                        follower = Follower(file, file.stat().st_size)
                        look()
                    else:
                        change(file, what)
            look()
        assert found == [*range(number)]


class TestCommand:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        """Return a run of two ranks with two streams, a finding and a gap."""
        lines = [codec.to_line(events.run())]
        for step in range(1, 9):
            at = f"2026-01-02T03:04:05.{step:06}Z"
            right = [events.token(1)]
            lines += [
                codec.to_line(events.comparison(seq=step, step=step, timestamp=at, tokens=right, stream=stream, **more))
                for stream, more in (("text", {}), ("audio", {"codebook": step % 2}))
            ]
        lines.append(codec.to_line(events.finding(step=3, stream="audio", codebook=1)))
        lines.append(codec.to_line(events.comparison(step=9, seq=20, sample=1)))
        lines.append(codec.to_line(events.gap(first_step=4, last_step=5)))
        (tmp_path / "predictions.jsonl").write_bytes(b"".join(lines))
        (tmp_path / "predictions-rank1.jsonl").write_bytes(
            b"".join(comparisons(range(1, 4), rank=1, tokens=[events.token(1)]))
        )
        return tmp_path

    @pytest.mark.parametrize(
        ("arguments", "wanted"),
        [
            ([], 1 + 16 + 1 + 1 + 1 + 3),
            (["-n", "2"], 2),
            (["-n", "0"], 0),
            (["--stream", "audio", "--only", "findings"], 1),
            (["--stream", "text", "--rank", "0"], 9 + 1),
            (["--codebook", "1"], 4 + 1 + 1),
            (["--codebook", "0", "--codebook", "1", "--step", "3:4"], 2 + 1 + 1),
            (["--step", "3"], 2 + 1 + 1),
            (["--step", "8:", "--stream", "text"], 2),
            (["--sample", "1", "--only", "mistakes"], 1),
            (["--rank", "1"], 3),
            (["--only", "mistakes"], 1),
        ],
    )
    def test_filters(
        self, run: Path, capfdbinary: pytest.CaptureFixture[bytes], arguments: list[str], wanted: int
    ) -> None:
        """Each filter leaves what it says, and `--json` gives the lines as they are in the files."""
        count = [] if "-n" in arguments else ["-n", "all"]
        assert main.main(["tail", str(run), "--json", *count, *arguments]) == 0
        lines = capfdbinary.readouterr().out.splitlines(keepends=True)
        assert len(lines) == wanted
        whole = b"".join(file.read_bytes() for file in run.iterdir())
        assert all(line in whole for line in lines)

    @pytest.mark.parametrize("many", ["4", "6", "all"])
    def test_the_order_is_that_of_writing(
        self, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], many: str
    ) -> None:
        """A file's own order is kept, though a later attempt's clock is behind; files are merged by time."""
        early, noon, late = (f"2026-01-02T{hour}:00:0" for hour in ("11", "12", "13"))
        for name, rank, ats in (
            ("", 0, [noon + "1", noon + "3", early + "1", early + "2"]),
            ("-rank1", 1, [noon + "2", late]),
        ):
            made = [
                events.comparison(step=step, rank=rank, attempt=1 + at.startswith(early), timestamp=f"{at}.000000Z")
                for step, at in enumerate(ats)
            ]
            (tmp_path / f"predictions{name}.jsonl").write_bytes(b"".join(map(codec.to_line, made)))
        assert main.main(["tail", "--json", "-n", many, str(tmp_path)]) == 0
        shown = [(one["rank"], one["step"]) for one in map(json.loads, capfdbinary.readouterr().out.splitlines())]
        whole = [(0, 0), (1, 0), (0, 1), (0, 2), (0, 3), (1, 1)]
        assert shown == (whole if many == "all" else whole[-int(many) :])

    def test_a_line_that_says_nothing_is_not_counted(self, tmp_path: Path) -> None:
        """The last record of a run that was closed is its last comparison: of its last line no table is drawn."""
        with predlog.Recorder(tmp_path, every=1, samples=1, console=False) as recorder:
            for step in range(3):
                recorder.compare(*events.pair(step), step)
        tail = [*PREDLOG, "tail", "-n", "1", str(tmp_path)]
        assert "predlog step=2 stream=text" in subprocess.run(tail, capture_output=True, check=True, text=True).stdout
        (line,) = subprocess.run([*tail, "--json"], capture_output=True, check=True).stdout.splitlines()
        assert isinstance(codec.from_line(line), schema.Run)

    @pytest.mark.parametrize("lines", ["2", "all"])
    def test_where_nothing_fits_it_is_said_what_there_is(self, run: Path, tmp_path: Path, lines: str) -> None:
        """A mistyped stream looks like no empty run, and the status is 1, as grep's; what is no run is an error."""
        tail = [*PREDLOG, "tail", "-n", lines]
        mistyped = [*tail, "--stream", "txt", "--only", "mistakes", str(run)]
        done = subprocess.run(mistyped, capture_output=True, check=False, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.search(
            r"^predlog: nothing in \S+ matches: there (is|are) streams? .*text.*, steps 1 to \d+$", done.stderr
        )
        (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
        for path, piped in ((tmp_path / "x.jsonl", None), ("-", b'{"a": 1}\n')):
            nothing = subprocess.run([*tail, path], input=piped, capture_output=True, check=False)
            assert nothing.returncode == 2
            assert b"holds no records: is it a predictions.jsonl" in nothing.stderr.splitlines()[-1]
            assert nothing.stdout == b""

    def test_where_nothing_fits_it_is_said_before_one_waits(self, run: Path) -> None:
        """With --follow a mistyped stream is reported at once, as nothing else may ever be; then it is waited for."""
        call = [*PREDLOG, "tail", "-f", "--stream", "txt", str(run)]
        with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith(f"predlog: nothing in {run} matches: ")
            process.send_signal(signal.SIGINT)
            shown, said = process.communicate()
        # The gap alone, which belongs to no stream.
        assert re.fullmatch(r".*12 comparisons missing, steps 4 to 5: .*\n", shown)
        assert said == ""
        assert process.returncode == 130

    def test_the_console_shows_the_same(self, run: Path) -> None:
        """In a pipe the lines of a log, with colours forced the tables of a terminal."""
        for variables, sign in (
            ({}, "predlog step=9 stream=text sample=1 "),
            ({"FORCE_COLOR": "1"}, "\x1b[1mstep 9 · \x1b[0m\x1b[1;35mtext"),
        ):
            environment = {**os.environ, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", **variables}
            done = subprocess.run([*PREDLOG, "tail", run], capture_output=True, check=True, text=True, env=environment)
            assert sign in done.stdout

    def test_samples_of_a_pair_are_side_by_side(self, tmp_path: Path) -> None:
        """A wide terminal shows them as the run does; those of other steps, streams and ranks are apart."""
        made = [(step, rank, sample) for step in range(2) for rank in range(2) for sample in range(2)]
        lines = [
            codec.to_line(events.comparison(seq=seq, step=step, rank=rank, sample=sample))
            for seq, (step, rank, sample) in enumerate(made)
        ]
        (tmp_path / "x.jsonl").write_bytes(b"".join(lines))
        environment = {**os.environ, "COLUMNS": "200", "FORCE_COLOR": "1", "NO_COLOR": "1"}
        tail = [*PREDLOG, "tail", str(tmp_path / "x.jsonl")]
        done = subprocess.run(tail, capture_output=True, check=True, text=True, env=environment)
        shown = re.sub("\x1b.*?m", "", done.stdout).splitlines()
        headings = [re.findall(r"step (\d).*?sample (\d)(?: rank (\d))?", line) for line in shown if "sample" in line]
        assert headings == [
            [(str(step), str(sample), "1" if rank else "") for sample in range(2)]
            for step in range(2)
            for rank in range(2)
        ]

    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize("arguments", [["-n", "2"], ["-n", "2", "--only", "mistakes"], ["--step", "8:"]])
    def test_what_stood_before_heads_the_tables(self, tmp_path: Path, arguments: list[str], *, packed: bool) -> None:
        """An error from before the first record shown, or that a filter leaves out, is in the headings."""
        file = tmp_path / ("x.jsonl.gz" if packed else "x.jsonl")
        at = "2026-01-02T03:04:05.000005Z"
        found = codec.to_line(events.finding(seq=5, step=5, message="not shown", timestamp=at))
        lines = [*comparisons(range(5)), found, *comparisons(range(6, 10))]
        new = [codec.to_line(events.run(seq=0, attempt=2, timestamp=at)), *comparisons(range(8, 10), attempt=2)]
        for written, stands in ((lines, True), ([*lines, *new], False)):
            file.write_bytes((gzip.compress if packed else bytes)(b"".join(written)))
            done = subprocess.run([*PREDLOG, "tail", *arguments, file], capture_output=True, check=True, text=True)
            *_, shown = (line for line in done.stdout.splitlines() if "step=9 " in line and "accuracy=" in line)
            assert ("labels-are-inputs" in shown) is stands
            assert "not shown" not in done.stdout

    @pytest.mark.parametrize("command", ["tail -n all --json", "tail -n 1", "summary", "check", "export -o out.csv"])
    def test_more_files_than_can_be_open(self, tmp_path: Path, command: str) -> None:
        """A job of more ranks than a process may have files open can be looked at."""
        for rank in range(100):
            (tmp_path / f"predictions-rank{rank}.jsonl").write_bytes(b"".join(comparisons(range(3), rank=rank)))
        limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))"
        code = f"{limited}; from predlog.cli.main import main; sys.exit(main(sys.argv[1:]))"
        call = [sys.executable, "-c", code, *command.split(), str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        if "all" in command:
            assert len(done.stdout.splitlines()) == 300

    @pytest.fixture
    def started(self, run: Path) -> Iterator[subprocess.Popen[str]]:
        """Return a `predlog tail -f --json -n 1` of the run's first file."""
        command = [*PREDLOG, "tail", "-f", "--json", "-n", "1", str(run / "predictions.jsonl")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            yield process
            process.kill()

    def test_following(self, run: Path, started: subprocess.Popen[str]) -> None:
        """What is written comes out; an interrupt ends it with 130 and without a word."""
        assert started.stdout is not None
        assert started.stderr is not None
        assert json.loads(started.stdout.readline())["event"] == "predlog.gap"
        with (run / "predictions.jsonl").open("ab") as opened:
            opened.write(comparisons(range(30, 31))[0])
        assert json.loads(started.stdout.readline())["seq"] == 30
        started.send_signal(2)
        assert started.wait(10) == main.INTERRUPTED
        assert started.stderr.read() == ""

    def test_of_standard_input(self, run: Path) -> None:
        """`tail -f file | predlog tail -` shows each line as it comes; with `-n` it waits for the end."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        with subprocess.Popen(
            [*PREDLOG, "tail", "-", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                for line in comparisons(range(3)):
                    process.stdin.write(line)
                    process.stdin.flush()
                    assert select.select([process.stdout], [], [], 30)[0]
                    assert process.stdout.readline() == line
            finally:
                process.stdin.close()
        done = subprocess.run(
            [*PREDLOG, "tail", "-", "--json", "-n", "2"],
            input=b"".join(comparisons(range(9))),
            capture_output=True,
            check=True,
        )
        assert done.stdout == b"".join(comparisons(range(7, 9)))

    def test_of_standard_input_memory_is_bounded(self) -> None:
        """The last lines of what is piped in take no more than they need, however much there is before them."""
        noise = {"noise": "x" * 1_000_000}
        lines = comparisons(range(200), context=noise)
        lines += [codec.to_line(events.finding(seq=seq, context=noise)) for seq in range(200, 202)]
        lines += comparisons(range(202, 204))
        done = subprocess.run(
            [*MEASURED, "tail", "-", "-n", "1", "--json"], input=b"".join(lines), capture_output=True, check=True
        )
        assert done.stdout == lines[-1]
        assert int(done.stderr) < MOST_KIB

    def test_standard_input_that_is_closed(self) -> None:
        """It is one line on stderr, and 2."""
        command = ["sh", "-c", 'exec "$@" <&-', "sh", *PREDLOG, "tail", "-"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (2, "predlog: standard input is closed\n")

    @pytest.mark.parametrize("arguments", [[], ["-f"], ["-n", "all"]])
    def test_what_is_no_file(self, tmp_path: Path, arguments: list[str]) -> None:
        """A pipe that is named, as a shell's `<(…)` is, is refused with a way to do it, and not waited for."""
        os.mkfifo(pipe := tmp_path / "pipe")
        command = [*PREDLOG, "tail", *arguments, str(pipe)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert done.stderr == f"predlog: {pipe} is no file: pipe it in and read -\n"

    @pytest.mark.parametrize(("many", "named"), [("3", []), ("all", ["line 2: the checksum"])])
    def test_a_line_that_never_ends(self, tmp_path: Path, many: str, named: list[str]) -> None:
        """A block of zeros, as a full disk leaves it, takes no memory, and is one damaged line where all are read."""
        file = tmp_path / "x.jsonl"
        first, second = comparisons(range(2))
        file.write_bytes(first)
        with file.open("r+b") as opened:
            opened.truncate(300 << 20)
            opened.seek(0, os.SEEK_END)
            opened.write(b"\n" + second)
        done = subprocess.run([*MEASURED, "tail", "--json", "-n", many, file], capture_output=True, check=True)
        assert done.stdout == first + second
        *said, peak = done.stderr.decode().splitlines()
        assert len(said) == len(named)
        assert all(words in line for words, line in zip(named, said, strict=True))
        assert int(peak) < MOST_KIB

    def test_nobody_reads_on(self, run: Path) -> None:
        """`predlog tail … | head -1` ends without a word."""
        with subprocess.Popen(
            [*PREDLOG, "tail", "-n", "all", run], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.wait(20) == main.BROKEN_PIPE
            assert process.stderr is not None
            assert process.stderr.read() == b""
