"""The file: one write a line, attempts, torn lines, full disks."""

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import zlib
from contextlib import nullcontext
from pathlib import Path

import pytest

from predlog import Comparison, read
from predlog.errors import NotDurableError, RecordError, TruncatedError
from predlog.records import codec, schema
from predlog.sinks import JSONL
from tests import events


def append(sink: JSONL, *steps: int, **fields: object) -> None:
    for step in steps:
        sink(None, "info", events.comparison(step=step, **fields))


def steps(path: Path) -> list[int]:
    return [record.step for record in read(path) if isinstance(record, schema.Comparison)]


def test_lines_are_there_before_anything_is_closed(tmp_path: Path) -> None:
    """What the sink returned from is in the file; folders are made on the way."""
    file = tmp_path / "deep" / "er" / "predictions.jsonl"
    sink = JSONL(file)
    assert not file.exists()
    append(sink, 1, 2)
    assert steps(file) == [1, 2]
    sink.close()
    append(sink, 3)
    assert steps(file) == [1, 2, 3]
    sink.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_one_write_a_line_by_the_kernels_account(tmp_path: Path) -> None:
    """Each line goes out in a single write(2)."""
    program = (
        "from tests import events; from predlog.sinks import JSONL; import sys\n"
        "sink = JSONL(sys.argv[1])\n"
        "for step in range(7): sink(None, 'info', events.comparison(step=step))\n"
    )
    log, file = tmp_path / "strace", tmp_path / "predictions.jsonl"
    subprocess.run(["strace", "-f", "-e", "trace=write", "-o", log, sys.executable, "-c", program, file], check=True)
    assert len(re.findall(r'write\(\d+, "\{\\"event', log.read_text())) == 7


def test_one_write_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is passed to `os.write` whole, newline included."""
    written: list[bytes] = []
    write = os.write

    def watched(file: int, line: bytes) -> int:
        written.append(line)
        return write(file, line)

    monkeypatch.setattr(os, "write", watched)
    sink = JSONL(tmp_path / "predictions.jsonl")
    append(sink, 1, 2, 3)
    sink.close()
    assert [line.count(b"\n") for line in written] == [1, 1, 1]
    assert all(line.endswith(b"\n") for line in written)


def test_a_torn_last_line_is_closed_first(tmp_path: Path) -> None:
    """What a kill tore stays one damaged line, and the next one is whole."""
    file = tmp_path / "predictions.jsonl"
    sink = JSONL(file)
    append(sink, 1, 2)
    sink.close()
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    sink = JSONL(file)
    assert sink.last_attempt() == 1
    append(sink, 3)
    sink.close()
    with pytest.warns(UserWarning, match="1 line is skipped: line 2: the checksum"):
        assert steps(file) == [1, 3]


def test_attempts_are_counted_from_the_last_whole_line(tmp_path: Path) -> None:
    """The next attempt is one more than the newest that can still be read, whatever comes after it."""
    file = tmp_path / "predictions.jsonl"
    assert JSONL(file).last_attempt() == 0
    sink = JSONL(file)
    append(sink, 1, attempt=4)
    append(sink, 2, attempt=5)
    sink.close()
    with file.open("ab") as damage:
        damage.write(b"noise\n" + b"x" * 1000)
    assert sink.last_attempt() == 5
    assert sink.last() == (5, 2)
    assert JSONL(tmp_path / "none.jsonl").last() == (0, -1)


def test_foreign_events_pass_and_are_not_written(tmp_path: Path) -> None:
    """The sink gives back what it got, and writes predlog's events alone."""
    sink = JSONL(tmp_path / "predictions.jsonl")
    foreign = {"event": "epoch done", "level": "info"}
    assert sink(None, "info", foreign) is foreign
    assert not sink.path.exists()
    ours = events.comparison()
    assert sink(None, "info", ours) is ours
    sink.close()


def test_a_short_write_is_taken_back(tmp_path: Path) -> None:
    """Where the file may grow no further, the part of a line is removed, and writing goes on when it may again."""
    file = tmp_path / "predictions.jsonl"
    sink = JSONL(file)
    append(sink, 1)
    size = file.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
        with pytest.raises(OSError, match="File too large"):
            append(sink, 2)
        assert file.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    append(sink, 3)
    sink.close()
    assert steps(file) == [1, 3]


def test_a_line_that_is_not_ended_is_not_there_yet(tmp_path: Path) -> None:
    """A reader leaves the last line alone until its newline is there; where nobody writes it any more, it is named."""
    file = tmp_path / "predictions.jsonl"
    line = codec.to_line(events.comparison())
    file.write_bytes(line + line[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(read(file))) == 1
    os.utime(file, (0, 0))
    with pytest.warns(UserWarning, match="line 2: it is incomplete: its writer was killed"):
        assert len(list(read(file))) == 1


def test_a_folder_reads_as_its_files(tmp_path: Path) -> None:
    """A folder gives the records of every rank, and says where there are none."""
    for rank, name in ((0, "predictions.jsonl"), (3, "predictions-rank3.jsonl")):
        sink = JSONL(tmp_path / name)
        append(sink, 1, rank=rank)
        sink.close()
    assert {record.rank for record in read(tmp_path)} == {0, 3}
    with pytest.raises(FileNotFoundError, match=r"predictions\*\.jsonl"):
        list(read(tmp_path.parent / tmp_path.name / ".."))


def test_lines_are_made_durable_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fdatasync is called once `durable_every` seconds of writing have passed, and at flush where there is news."""
    calls: list[int] = []
    monkeypatch.setattr(os, "fdatasync", calls.append)
    eager = JSONL(tmp_path / "eager.jsonl", durable_every=0.0)
    append(eager, 1, 2)
    assert len(calls) == 2
    lazy = JSONL(tmp_path / "lazy.jsonl", durable_every=3600.0)
    append(lazy, 1, 2)
    assert len(calls) == 2
    lazy.flush()
    lazy.flush()
    assert len(calls) == 3
    eager.close()
    lazy.close()


def test_a_removed_file_is_made_again(tmp_path: Path) -> None:
    """Where somebody removed the file, or its folder, the next line goes to a new one."""
    file = tmp_path / "run" / "predictions.jsonl"
    sink = JSONL(file)
    append(sink, 1)
    shutil.rmtree(file.parent)
    append(sink, 2)
    sink.close()
    assert steps(file) == [2]


def test_a_failure_to_open_leaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that can't be readied is closed again, however often it is tried."""
    file = tmp_path / "predictions.jsonl"
    file.write_bytes(b"torn")
    monkeypatch.setattr(os, "read", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    before = len(list(Path("/proc/self/fd").iterdir()))
    sink = JSONL(file)
    for _ in range(20):
        with pytest.raises(OSError, match="No space"):
            append(sink, 1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    """In a chain that rewrites an event's own keys, the sink refuses instead of writing damage."""
    sink = JSONL(tmp_path / "predictions.jsonl")
    with pytest.raises(RecordError, match="timestamp"):
        append(sink, 1, timestamp=1234.5)
    assert not sink.path.exists()


def test_a_kind_of_a_later_version_is_passed_over(tmp_path: Path) -> None:
    """Within a schema new kinds may come; a reader that does not know them says nothing and reads on."""
    file = tmp_path / "predictions.jsonl"
    body = b'{"event":"predlog.news","schema":1'
    news = b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))
    file.write_bytes(news + codec.to_line(events.comparison(step=7)))
    assert steps(file) == [7]


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    """Without a mode the file and its folder are what the umask leaves of everything."""
    before = os.umask(0o027)
    try:
        sink = JSONL(tmp_path / "run" / "predictions.jsonl")
        append(sink, 1)
    finally:
        os.umask(before)
    sink.close()
    assert (permissions(sink.path), permissions(sink.path.parent)) == (0o640, 0o750)


def test_a_mode_narrows_permissions(tmp_path: Path) -> None:
    """A mode takes permissions away, from a file that is there as well, and gives none."""
    before = os.umask(0o077)
    try:
        old = JSONL(tmp_path / "old" / "predictions.jsonl")
        append(old, 1)
        old.close()
        old.path.chmod(0o664)
        for mode, path in ((0o640, old.path), (0o666, tmp_path / "new" / "predictions.jsonl")):
            sink = JSONL(path, mode=mode)
            append(sink, 2)
            sink.close()
    finally:
        os.umask(before)
    assert permissions(old.path) == 0o640
    assert (permissions(path), permissions(path.parent)) == (0o600, 0o700)


@pytest.mark.parametrize("is_dangling", [True, False])
def test_a_symbolic_link_is_not_followed(tmp_path: Path, is_dangling: bool) -> None:
    """Whoever could put a link there could choose what is written to: nothing is, and the error says why."""
    target = tmp_path / "target"
    if not is_dangling:
        target.write_text("precious\n")
    link = tmp_path / "predictions.jsonl"
    link.symlink_to(target)
    with pytest.raises(OSError, match=r"a symbolic link, which is not followed; name the file: .*predictions\.jsonl"):
        append(JSONL(link), 1)
    assert target.exists() != is_dangling
    assert is_dangling or target.read_text() == "precious\n"


def test_a_removed_file_begins_anew_with_its_first_line(tmp_path: Path) -> None:
    """Where somebody removes the folder in the middle of a run, a new file has the run's line before the next."""
    sink = JSONL(tmp_path / "run" / "predictions.jsonl")
    sink(None, "info", events.run())
    append(sink, 1)
    shutil.rmtree(sink.path.parent)
    append(sink, 2, seq=2)
    sink.close()
    assert [(one.event, one.seq) for one in read(sink.path)] == [("predlog.run", 0), ("predlog.comparison", 2)]


def test_a_file_that_fails_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale handle, as of a file server that was started again, costs the line that met it and no other."""
    sink = JSONL(tmp_path / "predictions.jsonl")
    append(sink, 1)
    stale = sink._file
    write = os.write

    def failing(file: int, data: bytes) -> int:
        if file == stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return write(file, data)

    monkeypatch.setattr(os, "write", failing)
    with pytest.raises(OSError, match="Stale file handle"):
        append(sink, 2)
    blocker = os.dup(0)  # has the number, lest the new file gets it
    assert blocker == stale
    append(sink, 3)
    os.close(blocker)
    assert steps(sink.path) == [1, 3]
    sink.close()


def test_what_is_written_and_not_durable_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line whose fdatasync fails is in the file: the error is another than that of a line that is not."""
    sink = JSONL(tmp_path / "predictions.jsonl", durable_every=0)

    def failing(_file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing)
        with pytest.raises(NotDurableError, match="written, but not safe against a power cut"):
            append(sink, 1)
    append(sink, 2)
    sink.close()
    assert steps(sink.path) == [1, 2]


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    """What is no file is no attempt of before, and nobody hangs to find that out."""
    path = tmp_path / "predictions.jsonl"
    os.mkfifo(path)
    assert JSONL(path).last_attempt() == 0


def test_threads_share_a_sink(tmp_path: Path) -> None:
    """Threads that write at once through one sink write every line once and whole, into one open file."""
    sink = JSONL(tmp_path / "predictions.jsonl")
    start = threading.Barrier(8)

    def work(thread: int) -> None:
        start.wait()
        append(sink, *range(100 * thread, 100 * thread + 100))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(steps(sink.path)) == list(range(800))
    open_files = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert open_files.count(str(sink.path)) == 1
    sink.close()


def test_the_file_is_no_standard_stream(tmp_path: Path) -> None:
    """Where a process was started with its stdout closed, nothing that prints there writes into the file."""
    program = (
        "import os; from tests import events; from predlog.sinks import JSONL; import sys\n"
        "sink = JSONL(sys.argv[1]); sink(None, 'info', events.comparison(step=1))\n"
        "os.write(2, str(sink._file).encode())\n"
    )
    done = subprocess.run(
        ["bash", "-c", '"$@" >&-', "-", sys.executable, "-c", program, tmp_path / "predictions.jsonl"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stderr) > 2
    assert steps(tmp_path / "predictions.jsonl") == [1]


def test_a_line_that_is_being_written_is_not_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens the file while another process is in the middle of a line adds nothing to it."""
    file = tmp_path / "predictions.jsonl"
    line = codec.to_line(events.comparison(step=1))
    file.write_bytes(line[:100])

    def goes_on(_seconds: float) -> None:
        with file.open("ab") as other:
            other.write(line[100:])

    monkeypatch.setattr(time, "sleep", goes_on)
    sink = JSONL(file)
    append(sink, 2)
    sink.close()
    assert steps(file) == [1, 2]
    assert b"\n\n" not in file.read_bytes()


def test_an_empty_line_is_no_damage(tmp_path: Path) -> None:
    """A reader passes over a line that holds nothing, and has nothing to warn of."""
    file = tmp_path / "predictions.jsonl"
    file.write_bytes(b"\n" + codec.to_line(events.comparison(step=1)) + b"\n")
    assert steps(file) == [1]


def test_a_new_file_begins_with_the_first_line_whatever_came_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folder was removed, and could not be made at once, the new file has the run's line all the same."""
    sink = JSONL(tmp_path / "run" / "predictions.jsonl")
    sink(None, "info", events.run())
    append(sink, 1)
    shutil.rmtree(sink.path.parent)
    sink.path.parent.write_text("in the way")
    with pytest.raises(OSError, match="exists"):
        append(sink, 2)
    sink.path.parent.unlink()
    append(sink, 3)
    sink.close()
    assert [one.event for one in read(sink.path)] == ["predlog.run", "predlog.comparison"]


def test_the_file_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the folder in which the sink was made, also when the file is opened anew elsewhere."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    sink = JSONL("predictions.jsonl")
    append(sink, 1)
    sink.close()
    monkeypatch.chdir(tmp_path / "there")
    append(sink, 2)
    sink.close()
    assert steps(tmp_path / "here" / "predictions.jsonl") == [1, 2]
    assert not list((tmp_path / "there").iterdir())


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """Whoever wrote to a pipe that nobody reads would never come back, so it is refused."""
    path = tmp_path / "predictions.jsonl"
    os.mkfifo(path)
    with pytest.raises(OSError, match="neither a file nor a device"):
        append(JSONL(path), 1)


def begun(folder: Path, recorder: str = "a") -> JSONL:
    """Return a sink that has written an attempt's first line and one comparison."""
    sink = JSONL(folder / "predictions.jsonl")
    sink(None, "info", events.run(recorder=recorder))
    append(sink, 1, seq=1, recorder=recorder)
    return sink


def test_a_rotated_file_has_a_successor(tmp_path: Path) -> None:
    """After rename and create the next line goes to the new file, after the first line; until then to the old one."""
    sink = begun(tmp_path)
    old = sink.path.rename(tmp_path / "predictions.jsonl.1")
    append(sink, 2, seq=2, recorder="a")
    sink.path.touch()
    append(sink, 3, 4, recorder="a")
    sink.close()
    assert steps(old) == [1, 2]
    assert [one.event for one in read(sink.path)] == ["predlog.run", *["predlog.comparison"] * 2]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells the name of an open file")
@pytest.mark.parametrize("name", [".nfs000000000a3b", ".fuse_hidden00000a"])
def test_a_file_that_a_network_file_system_hides_was_removed(tmp_path: Path, name: str) -> None:
    """An open file that is removed on NFS or FUSE is renamed, and removed later: the next line goes to a new file."""
    sink = begun(tmp_path)
    sink.path.rename(tmp_path / name)
    append(sink, 2, recorder="a")
    sink.close()
    assert [one.event for one in read(sink.path)] == ["predlog.run", "predlog.comparison"]


def test_each_recorder_begins_a_successor_with_its_first_line(tmp_path: Path) -> None:
    """Where two recorders write to a file that is rotated, both have their first line in the new one."""
    sinks = [begun(tmp_path, name) for name in "ab"]
    sinks[0].path.rename(tmp_path / "old")
    sinks[0].path.touch()
    for step in (2, 3):
        for name, sink in zip("ab", sinks, strict=True):
            append(sink, step, seq=step, recorder=name)
    for sink in sinks:
        sink.close()
    assert [(one.event.removeprefix("predlog."), one.recorder) for one in read(sinks[0].path, attempt="all")] == [
        ("run", "a"), ("comparison", "a"), ("run", "b"), *(("comparison", name) for name in "bab")
    ]  # fmt: skip


def test_a_rotated_file_is_synced_before_it_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that no flush has reached yet are made durable in the old file, too."""
    synced: list[int] = []
    sync = os.fdatasync

    def watched(file: int) -> None:
        synced.append(os.fstat(file).st_ino)
        sync(file)

    monkeypatch.setattr(os, "fdatasync", watched)
    sink = begun(tmp_path)
    old = sink.path.rename(tmp_path / "old")
    sink.path.touch()
    append(sink, 2)
    sink.flush()
    assert synced == [old.stat().st_ino, sink.path.stat().st_ino]
    sink.close()


def test_a_copy_that_takes_the_files_place_gets_the_next_line(tmp_path: Path) -> None:
    """An editor that writes a new file and renames it: nothing is lost, and the first line that comes again is none."""
    sink = begun(tmp_path)
    copy = shutil.copy(sink.path, tmp_path / "copy")
    Path(copy).rename(sink.path)
    append(sink, 2, seq=2, recorder="a")
    sink.close()
    found = read(sink.path)
    assert [one.event for one in found if isinstance(one, Comparison)] == ["predlog.comparison"] * 2
    assert not found.damage


@pytest.mark.parametrize("left", [0, 900])
def test_what_was_cut_off_is_reported(tmp_path: Path, left: int) -> None:
    """After a truncation, as by logrotate's copytruncate, the next line is whole, and readers see the damage."""
    sink = begun(tmp_path)
    append(sink, 2, seq=2, recorder="a")
    os.truncate(sink.path, left)
    with pytest.raises(TruncatedError, match=r"was cut off by another program: its last [\d,]+ bytes are gone"):
        append(sink, 3, seq=3, recorder="a")
    append(sink, 4, seq=4, recorder="a")
    sink.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read(sink.path)
        records = [*found]
    assert [one.step for one in records if isinstance(one, Comparison)][-2:] == [3, 4]
    assert records[0].event == "predlog.run"
    assert found.damage


def test_each_recorder_begins_anew_what_was_cut_off(tmp_path: Path) -> None:
    """Whichever of two recorders writes first after a truncation, both have their first line in the file again."""
    sinks = [begun(tmp_path, name) for name in "ab"]
    os.truncate(sinks[0].path, 0)
    for step in (2, 3):
        for name, sink in zip("ab", sinks, strict=True):
            with pytest.raises(TruncatedError) if step == 2 else nullcontext():
                append(sink, step, seq=step, recorder=name)
    for sink in sinks:
        sink.close()
    lines = [json.loads(line) for line in sinks[0].path.read_bytes().splitlines()]
    assert [(line["event"].removeprefix("predlog."), line["recorder"]) for line in lines] == [
        ("run", "a"), ("comparison", "a"), ("run", "b"), *(("comparison", name) for name in "bab")
    ]  # fmt: skip


def test_a_short_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `write` that takes a part of a line is followed by one of the rest: the line is there once, whole."""
    write, taken = os.write, iter([10, 1, 100])
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: next(taken, len(data))]))
    sink = JSONL(tmp_path / "predictions.jsonl")
    append(sink, 1, 2)
    sink.close()
    assert steps(sink.path) == [1, 2]


def failing(*_: object) -> None:
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def test_a_line_that_is_whole_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails after the `write` that took a whole line: the line is in the file, so it is not reported lost."""
    sink = JSONL(tmp_path / "predictions.jsonl")
    append(sink, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "lseek", failing)
        append(sink, 2)
    append(sink, 3)
    sink.close()
    assert steps(sink.path) == [1, 2, 3]


def test_a_part_of_a_line_is_removed_whatever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it can't be told what follows a part of a line, the part is removed, and the error is reported."""
    write, fstat, looks = os.write, os.fstat, iter(["before the write"])

    def stale(file: int) -> os.stat_result:
        if next(looks, None) is None:
            patched.undo()
            failing()
        return fstat(file)

    sink = JSONL(tmp_path / "predictions.jsonl")
    append(sink, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda file, data: write(file, data[:10]))
        patched.setattr(os, "fstat", stale)
        with pytest.raises(OSError, match="Stale"):
            append(sink, 2)
    append(sink, 3)
    sink.close()
    assert steps(sink.path) == [1, 3]


def test_a_short_write_and_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process writes after a part of a line, the line is written anew after that."""
    write, is_first = os.write, iter([True])

    def interrupted(file: int, data: bytes) -> int:
        if not next(is_first, False):
            return write(file, data)
        written = write(file, data[:10])
        with sink.path.open("ab") as other:
            other.write(codec.to_line(events.comparison(step=9)))
        return written

    sink = JSONL(tmp_path / "predictions.jsonl")
    monkeypatch.setattr(os, "write", interrupted)
    append(sink, 1, 2)
    sink.close()
    with pytest.warns(UserWarning, match="1 line is skipped"):
        assert steps(sink.path) == [1, 2]


@pytest.mark.parametrize("ends_whole", [True, False])
def test_a_long_last_line_does_not_reset_the_attempt(tmp_path: Path, ends_whole: bool) -> None:
    """However long the last line is, whole or torn, and whatever zeros a crash has left, attempts are counted on."""
    sink = JSONL(tmp_path / "predictions.jsonl")
    append(sink, 1, attempt=3)
    append(sink, 2, attempt=3, context={"text": "x" * (6 << 20)})
    sink.close()
    if not ends_whole:
        os.truncate(sink.path, sink.path.stat().st_size - 20)
        os.truncate(sink.path, sink.path.stat().st_size + (70 << 20))
    assert sink.last_attempt() == 3


def test_the_last_line_need_not_be_of_the_newest_attempt(tmp_path: Path) -> None:
    """Of recorders that write in turns, the next attempt is one more than the highest."""
    sink = JSONL(tmp_path / "predictions.jsonl")
    append(sink, 1, attempt=2)
    append(sink, 2, attempt=1)
    sink.close()
    assert sink.last_attempt() == 2


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.slow
def test_a_new_file_has_its_folders_synced_by_the_kernels_account(tmp_path: Path) -> None:
    """At the first flush the folder of a new file, and those in which folders were made, are synced, each once."""
    program = (
        "from tests import events; from predlog.sinks import JSONL; import sys\n"
        "sink = JSONL(sys.argv[1])\n"
        "for step in range(3): sink(None, 'info', events.comparison(step=step)); sink.flush()\n"
        "sink.close()\n"
    )
    log, file = tmp_path / "strace", tmp_path / "a" / "b" / "predictions.jsonl"
    strace: list[str | Path] = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", log]
    for is_new in (True, False):
        subprocess.run([*strace, sys.executable, "-c", program, file], check=True)
        synced = re.findall(r"(fsync|fdatasync)\(\d+<(.+)>\)", log.read_text())
        assert synced[0] == ("fdatasync", str(file))
        expected = [file.parent, file.parent.parent, tmp_path] if is_new else []
        assert sorted(path for call, path in synced if call == "fsync") == sorted(map(str, expected))
        assert [call for call, _ in synced].count("fdatasync") == 3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_network_file_systems_are_asked_for_nothing_that_they_lack(tmp_path: Path) -> None:
    """The file is neither locked nor renamed, by the kernel's account: locks hang, and a rename need not be atomic."""
    program = (
        "from tests import events; from predlog import Recorder; import sys\n"
        "with Recorder(sys.argv[1], every=1, console=False) as recorder:\n"
        "    for step in range(3): recorder.compare(*events.pair(), step)\n"
    )
    log = tmp_path / "strace"
    calls = "trace=write,fcntl,flock,rename,renameat,renameat2,link,linkat,unlink,unlinkat"
    subprocess.run(
        ["strace", "-f", "-y", "-e", calls, "-o", log, sys.executable, "-c", program, tmp_path / "run"], check=True
    )
    ours = [line for line in log.read_text(errors="replace").splitlines() if "predictions.jsonl" in line]
    assert {match[1] for line in ours if (match := re.match(r"\d+ +(\w+)\(", line))} == {"write"}


def test_a_folder_that_cannot_be_synced_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is written, and its name might not survive a power cut; a file system that has no such sync is fine."""

    def failing(_file: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    for number in (errno.EIO, errno.EINVAL):
        sink = JSONL(tmp_path / str(number) / "predictions.jsonl")
        append(sink, 1)
        with pytest.raises(NotDurableError) if number == errno.EIO else nullcontext():
            sink.flush()
        sink.flush()
        sink.close()
        assert steps(sink.path) == [1]


def test_a_terminal_is_a_device_like_any_other() -> None:
    """What can't be searched, such as a terminal, can be written to."""
    leader, follower = os.openpty()
    sink = JSONL(os.ttyname(follower))
    append(sink, 1, 2)
    sink.close()
    assert b"predlog.comparison" in os.read(leader, 1000)
    os.close(leader)
    os.close(follower)
