"""Runs that are not spliced: a resume continues a run, what begins again is another, and the latest one is read."""

import gzip
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import predlog
from predlog.errors import NoRecordsError, SettingError
from predlog.reading import attempts
from predlog.reading.reader import Reading
from predlog.reading.words import left_out
from predlog.records import codec
from predlog.records.schema import Comparison, Finding, Run
from tests import events

Events = list[dict[str, Any]]
START = datetime(2026, 1, 2, tzinfo=timezone.utc)


def at(seconds: float) -> str:
    """Return the timestamp of so many seconds after the start of all tests."""
    return (START + timedelta(seconds=seconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def started(number: int, steps: Iterable[int], began: float | None = None, **fields: Any) -> Events:
    """Return the first line of an attempt and a comparison per step, a second apart if it is known when it began."""
    every, stream = fields.pop("every", 10), fields.pop("stream", "text")
    head = {"attempt": number, **fields}
    times = [{} if began is None else {"timestamp": at(began + second)} for second in range(10_000)]
    first = events.run(seq=0, settings={"every": every}, **head, **times[0])
    return [
        first,
        *(
            events.comparison(seq=seq, step=step, stream=stream, **head, **times[seq])
            for seq, step in enumerate(steps, 1)
        ),
    ]


def write(file: Path, *parts: Sequence[dict[str, Any]]) -> Path:
    """Write events to a file, packed as its name says."""
    lines = b"".join(codec.to_line(event) for part in parts for event in part)
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(file.suffix, bytes)
    file.write_bytes(pack(lines))
    return file


def read(path: Path, attempt: Any = None) -> tuple[list[int], str]:
    """Return the attempts of the comparisons that are read, and what is reported as left out."""
    reading = predlog.read(path, attempt=attempt)
    numbers = sorted({one.attempt for one in reading if isinstance(one, Comparison)})
    assert not reading.damage
    return numbers, left_out(reading.left_out)


# The first steps of attempts that follow one another, and which of them are the latest run.
STARTS = [
    ([0, 0], [2]),
    ([10, 10], [2]),
    ([10, 0], [2]),
    ([0, 10], [1, 2]),
    ([0, 500, 500], [1, 2, 3]),  # two resumes from one checkpoint
    ([0, 500, 300], [1, 2, 3]),
    ([0, 500, 0], [3]),
    ([100, 500, 100, 500], [3, 4]),
    ([0, 0, 0, 500], [3, 4]),
    ([500, 100, 300], [2, 3]),
]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize(("firsts", "wanted"), STARTS)
def test_which_attempts_are_one_run(tmp_path: Path, firsts: list[int], wanted: list[int], suffix: str) -> None:
    """An attempt begins another run where its first step is at or before that of the run, whatever is in between."""
    parts = [started(number, range(first, first + 100, 10)) for number, first in enumerate(firsts, 1)]
    file = write(tmp_path / f"predictions.jsonl{suffix}", *parts)
    reading = predlog.read(file)
    assert {one.attempt for one in reading if isinstance(one, Run)} == {*wanted}
    assert sorted(number for run in reading.left_out for number in run.attempts) == [
        number for number in range(1, len(firsts) + 1) if number not in wanted
    ]
    for number, first in enumerate(firsts, 1):
        found = [*predlog.read(file, attempt=number)]
        assert {one.attempt for one in found} == {number}
        assert [one.step for one in found if isinstance(one, Comparison)] == [*range(first, first + 100, 10)]
    assert read(file, "all") == ([*range(1, len(firsts) + 1)], "")


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=6), st.booleans())
def test_the_latest_run_whatever_the_steps(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[list[int]], has_names: bool
) -> None:
    """It is what remains where the first step of the run is kept, and everything before a lower one is forgotten."""
    run: list[int] = []
    first: int | None = None
    for number, steps in enumerate(drawn, 1):
        if steps and first is not None and min(steps) <= first:
            run, first = [], None
        run.append(number)
        first = first if first is not None or not steps else min(steps)
    parts = [
        started(number, steps, recorder=f"r{number}" if has_names else None) for number, steps in enumerate(drawn, 1)
    ]
    reading = Reading(write(tmp_path_factory.mktemp("run") / "x.jsonl", *parts))
    assert sorted(one.attempt for one in reading if isinstance(one, Run)) == run
    assert not reading.damage


class TestStreams:
    @pytest.mark.parametrize("name", ["eval", "eval/text", "valid", "probe", "held_out"])
    def test_an_evaluation_may_count_its_own_steps(self, tmp_path: Path, name: str) -> None:
        """A resume is one by the steps of what is trained, also if an evaluation counts from 0 in each process."""
        evaluated = [started(number, range(3), stream=name)[1:] for number in (1, 2)]
        write(tmp_path / "predictions.jsonl", started(1, [0, 10]), evaluated[0], started(2, [20, 30]), evaluated[1])
        assert read(tmp_path) == ([1, 2], "")

    def test_what_is_counted_anew_beside_a_training(self, tmp_path: Path) -> None:
        """Whatever its name is: that another stream continues shows that it is a resume."""
        beside = [started(number, range(3), stream="bleu")[1:] for number in (1, 2)]
        parts = [started(1, [0, 10]), beside[0], started(2, [20, 30]), beside[1]]
        assert read(write(tmp_path / "x.jsonl", *parts)) == ([1, 2], "")
        parts[2] = started(2, [0, 10])
        assert read(write(tmp_path / "x.jsonl", *parts))[0] == [2]

    def test_an_evaluation_of_a_new_run_may_begin_later(self, tmp_path: Path) -> None:
        """What is trained begins again, so it is another run."""
        evaluated = [started(number, [step], stream="eval")[1:] for number, step in ((1, 10), (2, 30))]
        parts = [started(1, [0, 10]), evaluated[0], started(2, [0, 10]), evaluated[1]]
        assert read(write(tmp_path / "x.jsonl", *parts))[0] == [2]

    def test_an_evaluation_alone_is_no_other_run(self, tmp_path: Path) -> None:
        """It is of what was trained before; of evaluations without a training, the one that begins again counts."""
        evaluated = [started(number, [0], stream="eval") for number in (1, 2, 3)]
        assert read(write(tmp_path / "x.jsonl", started(1, [0, 10]), *evaluated[1:])) == ([1, 3], "")
        assert read(write(tmp_path / "y.jsonl", *evaluated[:2]))[0] == [2]
        assert read(write(tmp_path / "z.jsonl", evaluated[0], started(2, [0]))) == ([1, 2], "")

    def test_a_stream_that_begins_in_the_middle(self, tmp_path: Path) -> None:
        """It begins anew after a resume, and the run does not."""
        late = [started(number, [100, 110], stream="audio")[1:] for number in (1, 2)]
        parts = [started(1, [0, 50, 110]), late[0], started(2, [50, 60]), late[1]]
        assert read(write(tmp_path / "x.jsonl", *parts)) == ([1, 2], "")

    def test_another_stream(self, tmp_path: Path) -> None:
        """A stream of another name that begins where the run did is that run again; later, it continues it."""
        parts = [started(1, [0, 10], stream="text"), started(2, [0], stream="answer")]
        assert read(write(tmp_path / "x.jsonl", *parts))[0] == [2]
        parts[1] = started(2, [20], stream="answer")
        assert read(write(tmp_path / "x.jsonl", *parts)) == ([1, 2], "")

    def test_fewer_steps_are_recorded(self, tmp_path: Path) -> None:
        """A trainer counts from 1, so with every=10 it begins at 10: no resume of a run that recorded each step."""
        again = started(2, [10, 20], every=10)
        assert read(write(tmp_path / "x.jsonl", started(1, range(1, 9), every=1), again))[0] == [2]
        assert read(write(tmp_path / "x.jsonl", started(1, range(1, 9), every=10), again)) == ([1, 2], "")
        assert read(write(tmp_path / "x.jsonl", started(1, range(1, 9), every=1), started(2, [20]))) == ([1, 2], "")


class TestWithoutComparisons:
    def test_what_compared_nothing_is_of_the_run_before(self, tmp_path: Path) -> None:
        """A process that ended before its first step is no other run; neither is the one that comes after it."""
        parts = [started(1, []), started(2, [0, 10]), started(3, []), started(4, [20])]
        reading = predlog.read(write(tmp_path / "x.jsonl", *parts))
        assert {one.attempt for one in reading if isinstance(one, Run)} == {1, 2, 3, 4}
        assert not reading.left_out

    def test_what_was_refused_everything(self, tmp_path: Path) -> None:
        """Its findings say at which step it began: they are left out with it, or are all that is shown."""
        refused = [[*started(number, []), events.finding(attempt=number, seq=1, step=0)] for number in (1, 2)]
        reading = predlog.read(write(tmp_path / "x.jsonl", refused[0], started(2, [0, 10])))
        assert not [one for one in reading if isinstance(one, Finding)]
        assert left_out(reading.left_out).startswith("an earlier run in this folder is left out: attempt 1, no compari")
        reading = predlog.read(write(tmp_path / "x.jsonl", started(1, [0, 10]), refused[1]))
        assert [one.attempt for one in reading if isinstance(one, Finding)] == [2]
        assert [run.steps for run in reading.left_out] == [(0, 10)]

    def test_the_first_pairs_were_refused(self, tmp_path: Path) -> None:
        """The run began with them, although its first comparison is later."""
        again = [*started(2, []), events.finding(attempt=2, seq=1, step=0), *started(2, [20, 30])[1:]]
        again[2:] = [{**one, "seq": seq} for seq, one in enumerate(again[2:], 2)]
        assert read(write(tmp_path / "x.jsonl", started(1, [0, 10]), again))[0] == [2]


class TestRecorders:
    def test_recorders_that_write_at_once(self, tmp_path: Path) -> None:
        """None is a later start of the other, wherever both begin; a later one is, and leaves both out."""
        one, two = started(1, range(0, 50, 10), recorder="a"), started(2, range(0, 50, 10), recorder="b")
        mixed = [*one[:3], *two[:3], *one[3:], *two[3:]]
        assert read(write(tmp_path / "x.jsonl", mixed)) == ([1, 2], "")
        numbers, said = read(write(tmp_path / "x.jsonl", mixed, started(3, [0], recorder="c")))
        assert numbers == [3]
        assert said.startswith(
            "an earlier run in this folder is left out: attempts 1 and 2, steps 0 to 40; --attempt 2"
        )

    def test_a_recorder_that_outlives_a_run(self, tmp_path: Path) -> None:
        """A process that evaluates two runs, one after the other, is part of the latest as of the first."""
        evaluated = started(2, range(8), recorder="e", stream="eval")
        first, again = (started(number, [0, 10], recorder=f"t{number}") for number in (1, 3))
        parts = [first[:2], evaluated[:3], first[2:], evaluated[3:5], again, evaluated[5:]]
        numbers, said = read(write(tmp_path / "x.jsonl", *parts))
        assert numbers == [2, 3]
        assert "attempt 1, steps 0 to 10; --attempt 1 shows it" in said

    def test_recorders_with_one_number(self, tmp_path: Path) -> None:
        """Files that were joined: what comes later is another run, and no number tells both apart."""
        parts = [started(1, [0, 10], recorder=name) for name in "ab"]
        reading = predlog.read(write(tmp_path / "x.jsonl", *parts))
        assert [one.recorder for one in reading] == ["b"] * 3
        assert left_out(reading.left_out).endswith("attempt 1, steps 0 to 10; --attempt all shows everything")

    def test_lines_that_alternate(self, tmp_path: Path) -> None:
        """Very many recorders side by side, and then a run that begins again: only that is read, without damage."""
        many = [started(number, range(4)) for number in range(1, 41)]
        mixed = [one for together in zip(*many, strict=True) for one in together]
        file = write(tmp_path / "x.jsonl", mixed, started(41, [0, 10]))
        assert attempts.is_costly(attempts.parts(file.read_bytes().splitlines()), is_packed=False)
        assert read(file)[0] == [41]
        assert read(file, 7)[0] == [7]

    def test_a_latest_run_whose_lines_alternate(self, tmp_path: Path) -> None:
        """It is read in the order of its lines, and the run before it is left out all the same."""
        many = [started(number, range(4), recorder=f"r{number}") for number in range(2, 42)]
        mixed = [one for together in zip(*many, strict=True) for one in together]
        file = write(tmp_path / "x.jsonl", started(1, [0, 10], recorder="r1"), mixed)
        found = attempts.parts(file.read_bytes().splitlines())
        assert attempts.is_costly(found[1:], is_packed=False)
        assert read(file)[0] == [*range(2, 42)]
        assert [one.attempt for one in predlog.read(file) if isinstance(one, Comparison)] == [*range(2, 42)] * 4


class TestRanks:
    def test_a_rank_that_has_only_the_earlier_run(self, tmp_path: Path) -> None:
        """It is left out with that run, though it has only one attempt: the latest run recorded fewer ranks."""
        for rank in range(2):
            name = f"predictions{f'-rank{rank}' if rank else ''}.jsonl"
            again = [started(2, [0, 10], 1000)] if not rank else []
            write(tmp_path / name, started(1, range(0, 100, 10), rank=rank, began=rank), *again)
        reading = predlog.read(tmp_path)
        assert {(one.rank, one.attempt) for one in reading} == {(0, 2)}
        assert [(run.attempts, run.steps) for run in reading.left_out] == [((1,), (0, 90))]
        assert read(tmp_path, 1)[0] == [1]

    def test_ranks_with_other_numbers(self, tmp_path: Path) -> None:
        """A rank that recorded the second start only counts that as its first: when it was tells which start it is."""
        first, again = started(1, [0, 10], 0), started(2, [0, 10], 1000)
        write(tmp_path / "predictions.jsonl", first, again, started(3, [20], 2000))
        write(
            tmp_path / "predictions-rank1.jsonl",
            started(1, [0, 10], 1000.4, rank=1), started(2, [20], 1999.8, rank=1),
        )  # fmt: skip
        reading = predlog.read(tmp_path)
        found = [(one.rank, one.attempt) for one in reading if isinstance(one, Run)]
        assert sorted(found) == [(0, 2), (0, 3), (1, 1), (1, 2)]
        assert [run.attempts for run in reading.left_out] == [(1,)]

    def test_a_rank_that_missed_the_beginning(self, tmp_path: Path) -> None:
        """A start begins where the first of its ranks does: a rank that lost its first steps begins no other run."""
        write(tmp_path / "predictions.jsonl", started(1, [0, 10, 520], 0), started(2, [500], 1000))
        write(
            tmp_path / "predictions-rank1.jsonl",
            started(1, [510, 520], 1, rank=1), started(2, [500], 1001, rank=1),
        )  # fmt: skip
        assert read(tmp_path) == ([1, 2], "")

    def test_clocks_that_differ(self, tmp_path: Path) -> None:
        """Where two ranks agree in their numbers, and neither clock says otherwise, the numbers count."""
        for rank, slow in enumerate((0, 3600)):
            name = f"predictions{f'-rank{rank}' if rank else ''}.jsonl"
            parts = [started(number, [0, 10], 100 * number - slow, rank=rank) for number in (1, 2)]
            write(tmp_path / name, *parts)
        reading = predlog.read(tmp_path)
        assert {(one.rank, one.attempt) for one in reading} == {(0, 2), (1, 2)}

    def test_each_folder_has_its_latest_run(self, tmp_path: Path) -> None:
        """What a glob finds are runs side by side: none begins another again, and the line names the folders."""
        for name, numbers in (("a", (1, 2)), ("b", (1,)), ("c", (1, 2, 3))):
            (tmp_path / name).mkdir()
            write(tmp_path / name / "predictions.jsonl", *(started(number, [0, 10]) for number in numbers))
        reading = predlog.read(f"{tmp_path}/*")
        assert sorted(one.attempt for one in reading if isinstance(one, Run)) == [1, 2, 3]
        assert left_out(reading.left_out).startswith(
            "3 earlier runs in 2 folders are left out: attempt 1 of a, steps 0 to 10; attempt 1 of c, steps 0 to 10; "
        )
        assert [one.attempt for one in predlog.read(f"{tmp_path}/*", attempt=3)] == [3, 3, 3]


class TestWhatIsAskedFor:
    def test_an_attempt_that_is_not_there(self, tmp_path: Path) -> None:
        """The error names those that are, also where the file has one attempt, which is not looked for."""
        file = write(tmp_path / "predictions.jsonl", started(1, [0]))
        with pytest.raises(NoRecordsError, match=r"has no attempt 2: it has attempt 1$"):
            list(predlog.read(tmp_path, attempt=2))
        write(file, *(started(number, [number]) for number in (1, 2, 3)))
        with pytest.raises(FileNotFoundError, match=r"has no attempt 4: it has attempts 1 to 3$"):
            list(predlog.read(tmp_path, attempt=4))

    @pytest.mark.parametrize("attempt", [0, -1, True, 1.0, "1", "latest", (1,)])
    def test_what_is_no_attempt(self, tmp_path: Path, attempt: Any) -> None:
        """It is an error at once, which names what may be passed."""
        write(tmp_path / "predictions.jsonl", started(1, [0]))
        with pytest.raises(SettingError, match="must be the number of an attempt, from 1, or 'all', or None"):
            predlog.read(tmp_path, attempt=attempt)

    def test_standard_input(self) -> None:
        """What is piped in is read as a file is."""
        piped = b"".join(codec.to_line(event) for event in started(1, [0, 10, 20]) + started(2, [0, 10]))
        for which, wanted in (("None", [2, 2]), ("1", [1, 1, 1]), ("'all'", [1, 1, 1, 2, 2])):
            code = (
                f"import predlog; from predlog.reading.words import left_out; r = predlog.read('-', attempt={which});"
                "print([one.attempt for one in r if one.seq], left_out(r.left_out))"
            )
            done = subprocess.run([sys.executable, "-c", code], input=piped, capture_output=True, check=True)
            said = done.stdout.decode().strip()
            assert said.startswith(str(wanted))
            assert ("an earlier run is left out: attempt 1, steps 0 to 20; " in said) == (which == "None")

    def test_one_attempt_is_read_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of files with one attempt no line is looked at before it is read."""
        for rank in range(2):
            name = f"predictions{f'-rank{rank}' if rank else ''}.jsonl"
            write(tmp_path / name, started(1, [0, 10], rank=rank))
        monkeypatch.setattr(attempts, "parts", lambda *_: pytest.fail("the lines were looked at"))
        for attempt in (None, 1, "all"):
            assert len([*Reading(tmp_path, attempt=attempt)]) == 6

    def test_damage_of_what_is_left_out(self, tmp_path: Path) -> None:
        """It is not read, so its damage is none of the run that is; with all attempts, it is reported."""
        file = write(tmp_path / "predictions.jsonl", started(1, [0, 10]))
        file.write_bytes(file.read_bytes() + b'{"event":"torn\n' + write(tmp_path / "y", started(2, [0])).read_bytes())
        assert read(file)[0] == [2]
        with pytest.warns(UserWarning, match="1 line is skipped: line 4"):
            list(predlog.read(file, attempt="all"))

    def test_many_runs_are_counted(self, tmp_path: Path) -> None:
        """Only the last few are named, however often a run was begun again."""
        file = write(tmp_path / "predictions.jsonl", *(started(number, [0]) for number in range(1, 301)))
        numbers, said = read(file)
        assert numbers == [300]
        assert said == (
            "299 earlier runs in this folder are left out: 295 more; attempt 296, step 0; attempt 297, step 0;"
            " attempt 298, step 0; attempt 299, step 0; --attempt 299 shows the last of these attempts,"
            " --attempt all everything"
        )
