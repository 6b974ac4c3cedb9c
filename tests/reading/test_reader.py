"""Reading: any place, any packing, any number of attempts and ranks; damage skipped, counted and named."""

import gzip
import json
import os
import random
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import predlog
from predlog.errors import NoRecordsError, RecordError, SchemaError
from predlog.reading import room, tail
from predlog.reading.lines import Lines
from predlog.reading.writers import shared
from predlog.records import codec
from predlog.records.schema import Comparison, Finding, Gap, Record, Run
from tests import events


def attempt(number: int, steps: Iterable[int], rank: int = 0, **fields: Any) -> list[dict[str, Any]]:
    """Return the events of an attempt: its header and a comparison a step."""
    head = {"attempt": number, "rank": rank, **{name: fields[name] for name in ("recorder",) if name in fields}}
    compared = [events.comparison(seq=seq, step=step, **{**fields, **head}) for seq, step in enumerate(steps, 1)]
    return [events.run(seq=0, **head), *compared]


def write(file: Path, *parts: Sequence[dict[str, Any]]) -> Path:
    file.write_bytes(b"".join(codec.to_line(event) for part in parts for event in part))
    return file


def steps(found: Iterable[Record]) -> list[tuple[int, int]]:
    return [(one.attempt, one.step) for one in found if isinstance(one, Comparison)]


def latest(drawn: Sequence[Sequence[int]]) -> int:
    """Return the number of the attempt with which the latest run begins, of attempts by their steps."""
    begun = [(number, at[0]) for number, at in enumerate(drawn, 1) if at]
    return max(
        (number for place, (number, first) in enumerate(begun) if all(first <= one for _, one in begun[:place])),
        default=1,
    )


def peak(file: Path) -> int:
    """Read a file in a new process, and give how many MiB that has taken at most."""
    code = (
        "import predlog, sys, warnings; warnings.simplefilter('ignore');"
        "any(False for _ in predlog.read(sys.argv[1]));"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, check=True, text=True)
    return int(done.stdout) // 1024


class TestPlaces:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        """Return the folder of a run of twelve ranks."""
        folder = tmp_path / "exp"
        folder.mkdir()
        write(folder / "predictions.jsonl", attempt(1, [0, 10]))
        for rank in range(1, 12):
            write(folder / f"predictions-rank{rank}.jsonl", attempt(1, [0, 10], rank))
        (folder / "notes.jsonl").write_text("no record\n")
        return folder

    def test_a_folder_holds_the_files_of_all_ranks(self, run: Path) -> None:
        """Rank ten comes behind rank nine, and other files are left alone."""
        found = [one.rank for one in predlog.read(run) if isinstance(one, Comparison) and one.step == 0]
        assert found == list(range(12))

    def test_ranks_are_merged_by_step(self, run: Path) -> None:
        """All ranks' records of a step come together, and steps ascend."""
        assert [step for _, step in steps(predlog.read(run))] == [0] * 12 + [10] * 12

    def test_a_glob(self, run: Path) -> None:
        """What a shell would find is read, also through folders."""
        assert len(steps(predlog.read(f"{run}/predictions-rank1*.jsonl"))) == 2 * 3
        assert len(steps(predlog.read(f"{run.parent}/e*"))) == 2 * 12

    def test_what_is_not_there_is_reported_at_once(self, run: Path, tmp_path: Path) -> None:
        """A wrong path is an error of `read` itself, with what could be meant."""
        for path, words in (
            (tmp_path / "nowhere", "does not exist"),
            (tmp_path, f"there are some in {run}"),
            (tmp_path / "x*.jsonl", "no file matches"),
        ):
            with pytest.raises(NoRecordsError, match=words):
                predlog.read(path)
            with pytest.raises(FileNotFoundError):
                predlog.read(path)

    @pytest.mark.parametrize("suffix", [".gz", ".zst"])
    def test_packed_files(self, run: Path, suffix: str) -> None:
        """A packed file, several members and all, reads as the file does; beside its original it counts once."""
        plain = run / "predictions.jsonl"
        before = list(predlog.read(plain))
        pack = gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor().compress
        half = len(plain.read_bytes()) // 2
        packed = plain.with_name(plain.name + suffix)
        packed.write_bytes(pack(plain.read_bytes()[:half]) + pack(plain.read_bytes()[half:]))
        assert list(predlog.read(packed)) == before
        assert len(list(predlog.read(run))) == 3 * 12
        plain.unlink()
        assert len(list(predlog.read(run))) == 3 * 12

    def test_packed_beside_unpacked_counts_once(self, run: Path) -> None:
        """Also where a glob finds both, or a file in two packings."""
        plain = run / "predictions.jsonl"
        zipped, other = (plain.with_name(f"{plain.name}{suffix}") for suffix in (".gz", ".zst"))
        zipped.write_bytes(gzip.compress(plain.read_bytes()))
        other.write_bytes(zstandard.ZstdCompressor().compress(plain.read_bytes()))
        for file in (plain, zipped):
            assert predlog.read(f"{run}/predictions.*").files == [file]
            assert predlog.read(run).files[0] == file
            file.unlink()
        assert predlog.read(f"{run}/predictions.*").files == [other]

    def test_what_is_no_file(self, run: Path) -> None:
        """A pipe or a device can't be searched: the error names what to do instead; a glob skips it."""
        pipe = run / "predictions-x.jsonl"
        os.mkfifo(pipe)
        for path in (pipe, Path(os.devnull)):
            with pytest.raises(NoRecordsError, match="is no file: pipe it in and read -"):
                predlog.read(path)
        assert len(predlog.read(f"{run}/predictions*").files) == 12

    @pytest.mark.parametrize("kind", ["streams", "findings", "samples", "starts"])
    def test_a_packed_file_of_more_than_a_run_has(self, tmp_path: Path, kind: str, monkeypatch: Any) -> None:
        """What readers keep of it is bounded; where the bound is reached is damage, and unpacked it is read whole."""
        monkeypatch.setattr(room, "_MOST", 20_000)
        monkeypatch.setattr(predlog.reading.reader, "MOST_ATTEMPTS", 20)
        make: Callable[[int], dict[str, Any]] = {
            "streams": lambda seq: events.comparison(seq=seq, step=seq, stream=f"s{seq}"),
            "findings": lambda seq: events.finding(seq=seq, step=seq),
            "samples": lambda seq: events.comparison(seq=seq, sample=seq),
            "starts": lambda seq: events.run(attempt=seq + 1),
        }[kind]
        lines = b"".join(codec.to_line(make(seq)) for seq in range(200))
        packed, plain = tmp_path / "x.zst", tmp_path / "x.jsonl"
        packed.write_bytes(zstandard.ZstdCompressor().compress(lines))
        plain.write_bytes(lines)
        with pytest.warns(UserWarning, match="it unpacks to more streams, findings and starts than a run has"):
            assert 10 < len(list(predlog.read(packed))) < 200
        assert len(list(predlog.read(plain))) == 200

    def test_a_pipe_takes_the_place_of_a_file(self, run: Path) -> None:
        """It would never open, and is not waited for: reading, searching from the end and following raise OSError."""
        reader, file = predlog.read(run), run / "predictions.jsonl"
        file.unlink()
        os.mkfifo(file)
        for look in (
            partial(list, reader),
            partial(tail.last, file, 1, bool),
            lambda: list(tail.Follower(file).poll()),
        ):
            with pytest.raises(OSError, match="a pipe, a device or a folder has taken the place of the file"):
                look()

    def test_a_packed_file_that_is_cut_or_damaged(self, tmp_path: Path) -> None:
        """What could be unpacked is read; what is not packed is named, an end that is missing is not there yet."""
        letters = random.Random(0)
        many = attempt(1, range(0, 5000, 10), context={"noise": letters.randbytes(200).hex()})
        whole = gzip.compress(b"".join(map(codec.to_line, many)))
        file = tmp_path / "x.gz"
        file.write_bytes(whole[: len(whole) // 2])
        assert 0 < len(list(predlog.read(file))) < 501
        file.write_bytes(whole + b"what is no member")
        with pytest.warns(UserWarning, match="line 502: it can't be decompressed further"):
            assert len(list(predlog.read(file))) == 501

    @pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
    def test_packed_files_need_not_be_open_all_at_once(self, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
        """More ranks, packed, than a process may have files open are merged like any others."""
        suffix = "gz" if pack is gzip.compress else "zst"
        for rank in range(30):
            lines = b"".join(map(codec.to_line, attempt(1, [0, 10, 20], rank)))
            name = f"predictions{f'-rank{rank}' if rank else ''}.jsonl.{suffix}"
            (tmp_path / name).write_bytes(pack(lines[:1000]) + pack(lines[1000:]))
        code = (
            "import predlog, resource, sys, zstandard; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20));"
            "print(*[one.step for one in predlog.read(sys.argv[1]) if one.seq])"
        )
        done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, check=True, text=True)
        assert done.stdout.split() == ["0"] * 30 + ["10"] * 30 + ["20"] * 30

    def test_standard_input_that_was_torn(self) -> None:
        """Of what is piped in nothing more will come: a last line without its end is damage."""
        lines = b"".join(map(codec.to_line, attempt(1, [0, 10])))
        code = "import predlog; r = predlog.read('-'); print(len(list(r)), *r.damage)"
        done = subprocess.run([sys.executable, "-c", code], input=lines[:-9], capture_output=True, check=True)
        assert done.stdout == b"2 line 3: it is incomplete: its writer was killed\n"
        assert b"UserWarning: -: 1 line is skipped" in done.stderr

    def test_standard_input(self, run: Path) -> None:
        """`-` reads what is piped in, attempts distinguished; with all of them, as it comes."""
        piped = b"".join(codec.to_line(event) for event in attempt(1, [0, 10, 20]) + attempt(2, [10, 30]))
        for arguments, wanted in (("", [(1, 0), (2, 10), (2, 30)]), (", attempt='all'", None)):
            code = f"import predlog; print([(r.attempt, r.step) for r in predlog.read('-'{arguments}) if r.seq])"
            done = subprocess.run([sys.executable, "-c", code], input=piped, capture_output=True, check=True)
            assert eval(done.stdout) == (wanted or [(1, 0), (1, 10), (1, 20), (2, 10), (2, 30)])


class TestAttempts:
    def test_the_last_one_wins(self, tmp_path: Path) -> None:
        """Between its first and its last step an attempt replaces what the earlier ones have, findings and gaps too."""
        file = write(
            tmp_path / "x.jsonl",
            attempt(1, range(0, 100, 10)),
            [events.finding(seq=11, step=60), events.gap(seq=12, first_step=50, last_step=60)],
            [events.finding(seq=13, step=20)],
            attempt(2, range(50, 80, 10)),
            attempt(3, range(70, 120, 7)),
        )
        found = list(predlog.read(file))
        first = [(1, step) for step in range(0, 50, 10)]
        assert steps(found) == [*first, (2, 50), (2, 60), *((3, step) for step in range(70, 120, 7))]
        assert [one.step for one in found if isinstance(one, Finding)] == [20]
        assert not [one for one in found if isinstance(one, Gap)]
        assert [one.attempt for one in found if isinstance(one, Run)] == [1, 2, 3]

    def test_all_of_them(self, tmp_path: Path) -> None:
        """`attempt="all"` gives everything, in the order of the file."""
        file = write(tmp_path / "x.jsonl", attempt(1, [0, 10, 20]), attempt(2, [10, 20]))
        assert steps(predlog.read(file, attempt="all")) == [(1, 0), (1, 10), (1, 20), (2, 10), (2, 20)]

    @given(st.lists(st.lists(st.integers(0, 30), max_size=8).map(sorted), min_size=1, max_size=4), st.booleans())
    def test_nothing_is_lost_but_what_was_done_again(
        self, tmp_path_factory: pytest.TempPathFactory, drawn: list[list[int]], packed: bool
    ) -> None:
        """A comparison of the latest run is given, once, unless a later attempt has been at its step; by step."""
        folder = tmp_path_factory.mktemp("run")
        for rank in (0, 1):
            name = f"predictions{f'-rank{rank}' if rank else ''}.jsonl"
            file = write(folder / name, *[attempt(number, at, rank) for number, at in enumerate(drawn, 1)])
            if packed:
                file.with_name(f"{name}.gz").write_bytes(gzip.compress(file.read_bytes()))
                file.unlink()
        wanted = [
            (number, step)
            for number, at in enumerate(drawn, 1)
            for step in at
            if number >= latest(drawn) and not any(later and later[0] <= step <= later[-1] for later in drawn[number:])
        ]
        found = predlog.read(folder)
        shown = steps(found)
        assert sorted(shown) == sorted(wanted * 2)
        assert [step for _, step in shown] == sorted(step for _, step in shown)
        assert not found.damage
        assert len(steps(predlog.read(folder, attempt="all"))) == 2 * sum(map(len, drawn))

    def test_attempts_that_interleave(self, tmp_path: Path) -> None:
        """Two processes that write at once, as attempts of their own, are distinguished line by line."""
        one, two = attempt(1, range(0, 60, 10)), attempt(2, range(20, 50, 10))
        mixed = [*one[:4], two[0], one[4], two[1], one[5], *two[2:], one[6]]
        wanted = [(1, 0), (1, 10), (2, 20), (2, 30), (2, 40), (1, 50)]
        for more, also in ((attempt(3, [100]), [(3, 100)]), ([], [])):
            file = write(tmp_path / "x.jsonl", mixed, more)
            found = predlog.read(file)
            assert steps(found) == [*wanted, *also]
            assert not found.damage
            lines = file.read_bytes().splitlines(keepends=True)
            file.write_bytes(b"".join([*[b"junk\n"] * 10, *lines[:6], *[b"junk\n"] * 60, *lines[6:]]))
            with pytest.warns(UserWarning, match="70 lines are skipped"):
                assert len(steps(found)) == len([*wanted, *also])
            assert found.damage.total == 70

    @pytest.mark.parametrize("numbers", [(1, 2), (1, 1)])
    def test_recorders_that_interleave(self, tmp_path: Path, numbers: tuple[int, int]) -> None:
        """Recorders that wrote at the same time share the file, whatever their numbers; a later start replaces both."""
        one = attempt(numbers[0], range(0, 60, 10), recorder="a")
        two = attempt(numbers[1], range(20, 50, 10), recorder="b")
        mixed = [*one[:4], two[0], one[4], two[1], one[5], *two[2:], one[6]]
        both = sorted([*((numbers[0], step) for step in range(0, 60, 10)), *((numbers[1], at) for at in (20, 30, 40))])
        file = write(tmp_path / "x.jsonl", mixed)
        found = predlog.read(file)
        assert sorted(steps(found)) == both
        assert not found.damage
        assert [at for _, at in steps(found)] == sorted(at for _, at in both)
        (pair,) = shared(found.writers)
        assert ({pair.one.recorder, pair.other.recorder}, pair.one.rank) == ({"a", "b"}, 0)
        assert sorted(steps(predlog.read(file, attempt="all"))) == both
        later = write(tmp_path / "y.jsonl", mixed, attempt(3, range(20, 100, 10), recorder="c"))
        again = predlog.read(later)
        assert sorted(steps(again)) == [*((numbers[0], at) for at in (0, 10)), *((3, at) for at in range(20, 100, 10))]
        assert [{one.one.recorder, one.other.recorder} for one in shared(again.writers)] == [{"a", "b"}]

    def test_a_closing_line_shares_nothing(self, tmp_path: Path) -> None:
        """A recorder that is closed only after another one's comparisons has not written at the same time."""
        one, two = attempt(1, range(3), recorder="a"), attempt(2, range(3), recorder="b")
        end = events.run(seq=4, stats={}, recorder="a")
        file = write(tmp_path / "x.jsonl", one, two, [end])
        found = predlog.read(file)
        assert steps(found) == [(2, 0), (2, 1), (2, 2)]
        assert not shared(found.writers)
        assert not found.damage

    def test_few_lines_of_another_recorder(self, tmp_path: Path) -> None:
        """Whatever samples of a large file show, all records are read, and that two wrote is known."""
        one, two = attempt(1, range(5000), recorder="a"), attempt(2, range(2), recorder="b")
        file = write(tmp_path / "x.jsonl", one[:1003], two, one[1003:])
        found = predlog.read(file)
        assert len(steps(found)) == 5002
        assert len(shared(found.writers)) == 1
        assert not found.damage

    def test_recorders_of_several_ranks_in_one_file(self, tmp_path: Path) -> None:
        """Files of ranks that were joined hold no recorders that wrote at the same time."""
        parts = [attempt(number, range(3), rank, recorder=f"{number}{rank}") for rank in (0, 1) for number in (1, 2)]
        found = predlog.read(write(tmp_path / "x.jsonl", *parts))
        assert sorted(steps(found)) == sorted([(2, at) for at in range(3)] * 2)
        assert not shared(found.writers)

    @given(
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=12), st.sampled_from([(1, 1), (1, 2)])
    )
    def test_two_recorders_in_any_order(
        self, tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, int]], numbers: tuple[int, int]
    ) -> None:
        """What one wrote is replaced, or left out, only by what the other wrote after all of it."""
        number = dict(zip("ab", numbers, strict=True))
        made = {"a": 0, "b": 0}
        lines = []
        for name, step in drawn:
            lines.append(events.comparison(step=step, attempt=number[name], recorder=name, seq=made[name]))
            made[name] += 1
        turns = [name for name, _ in groupby(name for name, _ in drawn)]
        gone: set[int] = set()
        if len(turns) == 2:  # one after the other; of two numbers the higher counts
            kept = max(turns[::-1], key=number.__getitem__)
            at, others = ([step for name, step in drawn if (name == kept) == is_kept] for is_kept in (True, False))
            is_other_run = min(at) <= min(others)
            gone = {
                n for n, (name, step) in enumerate(drawn)
                if name != kept and (is_other_run or min(at) <= step <= max(at))
            }  # fmt: skip
        wanted = [(number[name], step) for n, (name, step) in enumerate(drawn) if n not in gone]
        found = predlog.read(write(tmp_path_factory.mktemp("run") / "x.jsonl", lines))
        assert sorted(steps(found)) == sorted(wanted)
        assert not found.damage

    def test_a_stream_that_counts_its_own_steps(self, tmp_path: Path) -> None:
        """Each stream is replaced where a later attempt has been at its own steps, and nowhere else."""

        def started(number: int, at: range) -> list[dict[str, Any]]:
            evaluated = [
                events.comparison(attempt=number, seq=1 + len(at) + step, step=step, stream="eval/\u202e")
                for step in range(3)
            ]
            gap = events.gap(attempt=number, seq=4 + len(at), first_step=at[0], last_step=at[-1])
            return [*attempt(number, at), *evaluated, gap]

        file = write(tmp_path / "x.jsonl", started(1, range(0, 1000, 100)), started(2, range(1000, 1500, 100)))
        found = list(predlog.read(file))
        compared = [(one.attempt, one.stream, one.step) for one in found if isinstance(one, Comparison)]
        assert [step for _, stream, step in compared if stream == "text"] == [*range(0, 1500, 100)]
        assert [(number, step) for number, stream, step in compared if stream != "text"] == [(2, 0), (2, 1), (2, 2)]
        assert [one.attempt for one in found if isinstance(one, Gap)] == [1, 2]

    def test_a_stream_that_counts_its_own_steps_on_several_ranks(self, tmp_path: Path) -> None:
        """What all ranks have of one step comes together, whatever steps the other streams are at."""
        for rank in range(3):
            train = attempt(1, range(0, 120, 10), rank)
            evaluated = [
                events.comparison(rank=rank, seq=50 + step, step=step, sample=sample, stream="eval")
                for step in range(4)
                for sample in range(2)
            ]
            name = f"predictions{f'-rank{rank}' if rank else ''}.jsonl"
            write(tmp_path / name, train[:-1], evaluated, train[-1:])
        found = [(one.stream, one.step) for one in predlog.read(tmp_path) if isinstance(one, Comparison)]
        train_first = [("text", step) for step in range(0, 110, 10) for _ in range(3)]
        assert found == [*train_first, *(("eval", step) for step in range(4) for _ in range(6)), *[("text", 110)] * 3]

    def test_many_attempts_take_no_more_memory(self, tmp_path: Path) -> None:
        """A run that was started a thousand times is read within the memory of one."""
        write(tmp_path / "one.jsonl", attempt(1, range(5000)))
        write(tmp_path / "many.jsonl", *(attempt(one, range(5 * one, 5 * one + 5)) for one in range(1, 1001)))
        assert peak(tmp_path / "many.jsonl") < peak(tmp_path / "one.jsonl") + 40


class TestDamage:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """Return a file of two attempts with a flipped bit, a foreign line and an empty one between."""
        first = [codec.to_line(event) for event in attempt(1, range(0, 50, 10))]
        first[2] = first[2].replace(b'"step":10', b'"step":11')
        second = [codec.to_line(event) for event in attempt(2, range(50, 80, 10))]
        file = tmp_path / "x.jsonl"
        file.write_bytes(b"".join([*first, b"Traceback (most recent call last):\n", b"\n", *second]))
        return file

    def test_it_is_passed_over_counted_and_named(self, file: Path) -> None:
        """Every damaged line is named with its number, also where a file is read in parts; an empty one is none."""
        found = predlog.read(file)
        with pytest.warns(UserWarning, match=r"2 lines are skipped: line 3: .* line 7: ") as caught:
            assert len(list(found)) == 1 + 4 + 1 + 3
        assert len(caught) == 1
        assert [(one.file, one.line) for one in found.damage] == [(file, 3), (file, 7)]
        assert found.damage.total == 2

    def test_beyond_a_thousand_it_is_still_counted(self, tmp_path: Path) -> None:
        """What is remembered is bounded, the count is not."""
        file = tmp_path / "x.jsonl"
        file.write_bytes(b"damaged\n" * 1500)
        found = predlog.read(file)
        with pytest.warns(UserWarning, match=r"1500 lines are skipped: line 1: .* \(and 1497 more\)"):
            assert list(found) == []
        assert (len(found.damage), found.damage.total, found.damage.passed[file]) == (1000, 1500, 1500)

    def test_strict_raises(self, file: Path) -> None:
        """With `strict`, the first damage is an error that names file and line."""
        with pytest.raises(RecordError, match=r"x\.jsonl line 3: the checksum"):
            list(predlog.read(file, strict=True))

    def test_it_can_be_read_again(self, file: Path) -> None:
        """What `read` gives is read anew each time, and counts anew."""
        found = predlog.read(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert list(found) == list(found)
        assert len(found.damage) == 2

    def test_a_last_line_without_its_end(self, tmp_path: Path) -> None:
        """It is still being written, also for `strict`; if nobody writes to the file any more, it is damaged."""
        file = write(tmp_path / "x.jsonl", attempt(1, [0, 10]))
        file.write_bytes(file.read_bytes()[:-40])
        fresh = predlog.read(file, strict=True)
        assert steps(fresh) == [(1, 0)]
        assert not fresh.damage
        os.utime(file, (0, 0))
        for strict in (False, True):
            with pytest.warns(UserWarning, match="line 3: it is incomplete: its writer was killed"):
                assert steps(predlog.read(file, strict=strict)) == [(1, 0)]

    def test_holes(self, tmp_path: Path) -> None:
        """Lines that are missing by their `seq` are reported as holes, unless damaged ones explain them."""
        lines = [codec.to_line(event) for event in attempt(1, range(0, 100, 10))]
        file = tmp_path / "x.jsonl"
        file.write_bytes(b"".join([*lines[:3], b"damaged\n", *lines[4:6], *lines[8:]]))
        found = predlog.read(file)
        with pytest.warns(UserWarning, match="1 line is skipped"):
            list(found)
        assert [(one.line, one.hole) for one in found.damage] == [(4, False), (7, True)]
        assert "2 lines are missing before it" in found.damage[1].reason

    def test_ranks_in_one_file_are_no_holes(self, tmp_path: Path) -> None:
        """Files of several ranks that somebody has joined, in whatever order, count each for itself."""
        zero, one = attempt(1, range(0, 50, 10)), attempt(1, range(0, 50, 10), rank=1)
        mixed = [event for pair in zip(zero, one, strict=True) for event in pair]
        found = predlog.read(write(tmp_path / "x.jsonl", mixed))
        assert len(list(found)) == 12
        assert not found.damage

    def test_a_line_that_never_ends(self, tmp_path: Path) -> None:
        """A file without newlines, however large, takes no more memory than a block, and is one damage at most."""
        file = tmp_path / "x.jsonl"
        with file.open("wb") as opened:
            opened.truncate(1 << 30)
            opened.seek(0, os.SEEK_END)
            opened.write(b"\n" + codec.to_line(events.run()))
        found = predlog.read(file)
        with pytest.warns(UserWarning, match="1 line is skipped: line 1:"):
            assert len(list(found)) == 1
        assert peak(file) < 120


class TestPacked:
    """What is packed may be a bomb: a few bytes that unpack to gigabytes."""

    @pytest.mark.parametrize("packing", ["gz", "zst"])
    def test_few_bytes_are_not_unpacked_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str
    ) -> None:
        """No block is larger than 256 KiB, and what unpacks to far more than its size is left at a bound, as damage."""
        monkeypatch.setattr("predlog.reading.lines._RATIO", 2)
        head = codec.to_line(events.run())
        pack = gzip.compress if packing == "gz" else zstandard.compress
        file = tmp_path / f"predictions.jsonl.{packing}"
        file.write_bytes(pack(head + bytes(1 << 26)))
        blocks = [len(block) for block in Lines(file)._blocks()]
        assert max(blocks) <= 1 << 18
        assert 1 << 23 < sum(blocks) <= (1 << 24) + 2 * file.stat().st_size
        found = predlog.read(file)
        with pytest.warns(UserWarning, match="it unpacks to more than 2 times its size: unpack it yourself"):
            assert len(list(found)) == 1

    @pytest.mark.parametrize("packing", ["gz", "zst"])
    def test_what_a_run_packs_to_is_read(self, tmp_path: Path, packing: str) -> None:
        """Lines as alike as a run's can be are read to their end, in members and frames as `cat` joins them."""
        lines = [codec.to_line(events.comparison(step=step, seq=step)) for step in range(20_000)]
        pack = gzip.compress if packing == "gz" else zstandard.compress
        file = tmp_path / f"predictions.jsonl.{packing}"
        file.write_bytes(pack(b"".join(lines[:19_000])) + pack(b"") + pack(b"".join(lines[19_000:])))
        assert [one.seq for one in predlog.read(file)] == [*range(20_000)]


class TestTruncation:
    """A file that is emptied while it is read, as logrotate's copytruncate does."""

    @pytest.mark.parametrize("attempts", [1, 3])
    @pytest.mark.parametrize("then", ["empty", "shorter", "as long", "longer"])
    def test_what_is_lost_is_damage(self, tmp_path: Path, attempts: int, then: str) -> None:
        """A reader that has lost lines says so, once, whatever has been written to the file since."""
        noise = {"noise": "x" * 3000}
        runs = [attempt(one, range(200 * one, 200 * one + 200), context=noise) for one in range(1, attempts + 1)]
        file = write(tmp_path / "predictions.jsonl", *runs)
        size = file.stat().st_size
        records = predlog.read(file)
        reading = iter(records)
        next(reading)
        more = b"".join(codec.to_line(events.comparison(step=step, seq=step)) for step in range(10))
        times = {"empty": 0, "shorter": 1, "as long": size // len(more), "longer": 2 * size // len(more)}[then]
        file.write_bytes(more * times)
        with pytest.warns(UserWarning, match="it was truncated while it was read: what had not been read is lost"):
            rest = list(reading)
        assert len(rest) < 200 * attempts
        assert [one.reason for one in records.damage if "truncated" in one.reason] == [
            "it was truncated while it was read: what had not been read is lost"
        ]

    def test_strict(self, tmp_path: Path) -> None:
        """With strict=True it is an error."""
        file = write(tmp_path / "predictions.jsonl", attempt(1, range(200), context={"noise": "x" * 3000}))
        reading = iter(predlog.read(file, strict=True))
        next(reading)
        file.write_bytes(b"")
        with pytest.raises(RecordError, match="truncated while it was read"):
            list(reading)


class TestVersions:
    def test_a_newer_schema_names_the_predlog_that_reads_it(self, tmp_path: Path) -> None:
        """It is an error, strict or not, with file, line and what to install."""
        body = codec._dump({**events.run(versions={"predlog": "9.1.0"}), "schema": 2})[:-1]
        file = tmp_path / "x.jsonl"
        file.write_bytes(b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body)))
        with pytest.raises(SchemaError, match=r"x\.jsonl line 1: .*schema 2 by predlog 9\.1\.0.*'predlog>=9\.1\.0'"):
            list(predlog.read(file))

    def test_unknown_keys_are_kept(self, tmp_path: Path) -> None:
        """What a later predlog adds to a known schema is in the context, that of tokens too; unknown kinds pass."""
        event = events.comparison(seq=1)
        event["tokens"][1]["surprise"] = 1.5
        lines = [codec.to_line(events.run())]
        for added in ({**event, "temperature": 0.7}, {**events.gap(seq=2), "event": "predlog.news"}):
            body = json.dumps(added, separators=(",", ":")).encode()[:-1]
            lines.append(b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body)))
        lines.append(codec.to_line(events.gap(seq=3)))
        file = tmp_path / "x.jsonl"
        file.write_bytes(b"".join(lines))
        found = predlog.read(file, strict=True)
        _, kept, gap = found
        assert isinstance(kept, Comparison)
        assert kept.context == {"epoch": 3, "temperature": 0.7, "tokens": [{}, {"surprise": 1.5}]}
        assert len(kept.tokens) == 2
        assert isinstance(gap, Gap)
        assert not found.damage
