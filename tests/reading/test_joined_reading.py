"""What reads a run in shards shows whole records, also while the run goes on, and says what is missing."""

import json
import re
import shutil
import subprocess
import sys
from io import StringIO
from itertools import chain
from pathlib import Path

import pytest
import torch
from pyarrow import parquet
from rich.console import Console

import predlog
from predlog import Comparison, Recorder, Shard
from predlog.cli.commands.export import export
from predlog.reading.diff import Difference
from predlog.reading.filters import Selection
from predlog.reading.forgetting import Learning
from predlog.reading.listing import listed
from predlog.reading.part_groups import size
from predlog.reading.reader import Reading
from predlog.reading.shards import STEPS, Joiner
from predlog.reading.summary import Summary
from predlog.records.codec import from_line, to_event
from predlog.records.schema import Part, Record
from predlog.report import sections
from predlog.report.contents import Contents
from predlog.serve.live_run import LiveRun
from predlog.sinks.cells import samples
from predlog.sinks.terminal.compact import compact
from predlog.sinks.terminal.drawn import Drawn
from predlog.sinks.terminal.tables import full
from predlog.sinks.tracker import Step
from tests.reading.test_shards import CUTS, VOCABULARY, pairs, record, whole
from tests.written import command

MADE = pairs(12)
COPIES = [*pairs(6), *pairs(8, copies=True)]
RANKS = range(len(CUTS) - 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run in four shards."""
    with pytest.MonkeyPatch.context() as patch:
        return record(patch, tmp_path_factory.mktemp("runs") / "exp1", MADE, RANKS)


def lines(run: Path) -> dict[int, list[bytes]]:
    """Return the lines of each rank."""
    found = {rank: run / f"predictions{f'-rank{rank}' if rank else ''}.jsonl" for rank in RANKS}
    return {rank: file.read_bytes().splitlines(keepends=True) for rank, file in found.items()}


def written(folder: Path, content: dict[int, list[bytes]]) -> Path:
    folder.mkdir(parents=True)
    for rank, ones in content.items():
        (folder / f"predictions{f'-rank{rank}' if rank else ''}.jsonl").write_bytes(b"".join(ones))
    return folder


def comparisons(records: object) -> list[Comparison]:
    return [one for one in records if isinstance(one, Comparison)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("many", [1, 3, 7, 24, 50])
def test_tail_prints_the_last_whole_comparisons(run: Path, many: int, capsys: pytest.CaptureFixture[str]) -> None:
    """They are those that `predlog.read` has last, as lines from which the same records are read."""
    assert command("tail", str(run), "-n", str(many), "--json", "--stream", "text") == 0
    out = capsys.readouterr().out.encode().splitlines()
    assert comparisons(map(from_line, out)) == comparisons(Reading(run))[-many:]
    assert "predlog.part" not in str(out)


@pytest.mark.parametrize("behind", [1, 6])
def test_tail_reads_further_back_where_a_rank_is_behind(
    run: Path, tmp_path: Path, behind: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """If one file ends steps before the others, as many whole comparisons are found, and no part is left out."""
    content = lines(run)
    content[2] = content[2][: -2 * behind - 1]
    folder = written(tmp_path / "behind", content)
    assert command("tail", str(folder), "-n", "6", "--json", "--stream", "text") == 0
    found = comparisons(map(from_line, capsys.readouterr().out.encode().splitlines()))
    assert found == comparisons(Reading(folder))[-6:]
    assert [one.missing_ids for one in found][-1] == CUTS[3] - CUTS[2]


def test_follow_joins_what_comes_in_any_order(run: Path, tmp_path: Path) -> None:
    """`tail -f` prints each comparison when its last part is there, in the order of steps, however files grow."""
    content = lines(run)
    folder = written(tmp_path / "live", {0: content[0], 1: content[1][:9], 2: content[2][:3], 3: []})
    arguments = [sys.executable, "-m", "predlog", "tail", "-f", str(folder), "-n", "all", "--json", "--stream", "text"]
    tail = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    try:
        assert tail.stdout is not None
        for rank, ones in ((3, content[3]), (1, content[1][9:]), (2, content[2][3:])):
            with (folder / f"predictions-rank{rank}.jsonl").open("ab") as file:
                file.writelines(ones)
        expected = comparisons(Reading(run))
        found: list[Record] = []
        while len(found) < len(expected):
            one = from_line(tail.stdout.readline())
            found += [one] if isinstance(one, Comparison) else []
        assert found == expected
    finally:
        tail.terminate()
        tail.communicate()


def test_list_has_the_figures_of_the_summary(run: Path) -> None:
    """Step, loss, accuracy and findings are those of the joined records, from heads and tails."""
    (one,) = listed(run.parent)
    curve = Summary.of(Reading(run)).curves["text", None]
    assert curve.loss is not None
    assert curve.accuracy is not None
    assert (one.step, one.loss, one.accuracy) == (curve.last_step, curve.loss.last.value, curve.accuracy.last.value)
    assert [finding.code for finding in one.findings] == []
    assert one.is_ended


def test_list_has_findings_that_only_whole_rows_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a run's files are short, the findings of joined records are among them."""
    record(monkeypatch, tmp_path / "exp1", COPIES, RANKS, text=False, worst=0)
    (one,) = listed(tmp_path)
    assert one.is_complete
    assert "copying-inputs" in [finding.code for finding in one.findings]


def test_check_fails_by_findings_of_joined_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is found in whole rows alone makes the status 1, as in a run of one process."""
    statuses = [
        command("check", str(record(monkeypatch, tmp_path / "parts", COPIES, RANKS))),
        command("check", str(whole(tmp_path / "whole", COPIES))),
    ]
    assert statuses == [1, 1]
    assert capsys.readouterr().out.count("finding copying-inputs is open") == 2


def test_check_names_the_ranks_whose_parts_are_missing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Partial comparisons are counted with the ranks that had a part of other ones, or else with the ids."""
    content = lines(run)
    content[2], content[3] = content[2][:-3], content[3][:-3]
    folder = written(tmp_path / "short", content)
    assert command("check", str(folder)) == 0
    assert "2 comparisons lack parts of ranks 2, 3 (step 11)" in " ".join(capsys.readouterr().out.split())
    assert command("summary", "--json", str(folder)) == 0
    expected = {
        "comparisons": 2, "ranks": [2, 3], "ids": [[CUTS[2], 499]], "positions": [], "first_step": 11, "last_step": 11,
    }  # fmt: skip
    assert json.loads(capsys.readouterr().out)["partial"] == [expected]
    (folder / "predictions-rank1.jsonl").unlink()
    assert command("check", str(folder)) == 0
    assert "no file has those of the ids 120 to 120" in " ".join(capsys.readouterr().out.split())


def test_a_page_names_the_ranks_whose_parts_are_missing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A note at the top of the page has the words of the summary."""
    content = lines(run)
    content[2], content[3] = content[2][:-3], content[3][:-3]
    folder = written(tmp_path / "short", content)
    contents = Contents.of(Reading(folder), "short")
    notes = [note for note in sections.notes(contents.summary, 0) if note.text.startswith("Partial: ")]
    assert notes == [("warn", "Partial: 2 comparisons lack parts of ranks 2, 3 (step 11).", "", "")]
    assert command("summary", str(folder)) == 0
    assert notes[0].text[len("Partial: ") : -1] in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["predictions.jsonl", "predictions-rank2.jsonl"])
def test_damage_of_one_file_costs_its_parts_alone(run: Path, tmp_path: Path, name: str) -> None:
    """A damaged line is named with its file, and one comparison is partial; all others are as they were."""
    folder = Path(shutil.copytree(run, tmp_path / "damaged"))
    content = (folder / name).read_bytes().splitlines(keepends=True)
    content[8] = content[8].replace(b'"step":3', b'"step":4')
    (folder / name).write_bytes(b"".join(content))
    reading = Reading(folder, warns=False)
    found, expected = comparisons(reading), comparisons(Reading(run))
    differ = [(one, other) for one, other in zip(found, expected, strict=True) if one != other]
    assert [(one.step, one.sample) for one, _ in differ] == [(3, 1)]
    assert [(one.position, one.label, None) for one in differ[0][1].tokens] == [
        (one.position, one.label, one.match) for one in differ[0][0].tokens
    ]
    assert [(one.file.name, one.line) for one in reading.damage if not one.hole] == [(name, 9)]
    assert [lack.ranks for lack in reading.lacks] == [(0 if name == "predictions.jsonl" else 2,)]


def test_a_page_that_is_served_shows_joined_records_as_they_come(run: Path, tmp_path: Path) -> None:
    """Files that grow one after the other end as the same summary as all of them read at once."""
    content = lines(run)
    folder = written(tmp_path / "live", {rank: ones[:9] for rank, ones in content.items()})
    live = LiveRun(tmp_path, folder, 1000)
    live.read()
    assert live.contents.summary.comparisons == 8
    for rank in (3, 1, 0, 2):
        with (folder / f"predictions{f'-rank{rank}' if rank else ''}.jsonl").open("ab") as file:
            file.writelines(content[rank][9:])
    while live.contents.summary.comparisons < len(MADE) * 2:
        live.look()
    live.close()
    assert live.contents.summary.curves == Summary.of(Reading(run)).curves
    assert not live.contents.summary.lacks


def test_a_notebook_shows_whole_comparisons(run: Path) -> None:
    """The last records of a run in parts are drawn as comparisons."""
    shown = Reading(run)._repr_html_()
    assert shown.count("<table") == 3
    assert "step 11" in shown


def test_a_comparison_is_joined_when_its_last_part_is_there(run: Path) -> None:
    """It does not wait for a later step; a part of a replica that comes later makes no second comparison."""
    parts = [[one for line in ones if isinstance(one := from_line(line), Part)] for ones in lines(run).values()]
    joiner = Joiner()
    for rank, ones in enumerate(parts):
        found = list(chain.from_iterable(map(joiner.add, ones[:2])))
        assert len(comparisons(found)) == (2 if rank == 3 else 0)
    assert list(chain.from_iterable(map(joiner.add, parts[1][:2]))) == []
    assert comparisons(joiner.end()) == []


def test_parts_of_one_rank_after_the_other_wait_for_all(run: Path) -> None:
    """As `cat` makes them, all of a rank come before those of the next: so many bytes of them wait, of any steps."""
    records = [from_line(line) for ones in lines(run).values() for line in ones]
    joiner = Joiner(sys.maxsize, 1 << 23)
    found = list(chain(chain.from_iterable(map(joiner.add, records)), joiner.end()))
    assert comparisons(found) == comparisons(Reading(run))
    assert (len(joiner.lacks), joiner.late) == (0, 0)


def test_parts_that_come_too_late_are_counted(run: Path) -> None:
    """If there is no more room, the first steps make partial comparisons, once each; the last ones are whole."""
    parts = [one for ones in lines(run).values() for line in ones if isinstance(one := from_line(line), Part)]
    room = sum(map(size, parts[:12]))
    joiner = Joiner(sys.maxsize, room)
    found = comparisons(chain(chain.from_iterable(map(joiner.add, parts)), joiner.end()))
    assert sorted((one.step, one.sample) for one in found) == [
        (step, sample) for step in range(12) for sample in (0, 1)
    ]
    partial = {one.step for one in found if one.missing_ids}
    assert partial == {*range(len(partial))}
    assert 0 < len(partial) < 12
    assert joiner.late > 0


def test_all_attempts_of_files_that_were_put_together(run: Path, tmp_path: Path) -> None:
    """One file with the lines of all ranks, one after the other or in turn, has the same whole comparisons."""
    content = lines(run)
    after, turns = tmp_path / "after.jsonl", tmp_path / "turns.jsonl"
    after.write_bytes(b"".join(chain.from_iterable(content.values())))
    turns.write_bytes(b"".join(chain.from_iterable(zip(*content.values(), strict=True))))
    expected = comparisons(Reading(run))
    for file in (after, turns):
        reading = Reading(file, attempt="all")
        assert comparisons(reading) == expected
        assert (len(reading.damage), len(reading.lacks)) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["summary", "check", "summary --attempt all", "tail --json -n 9 --stream text", "tail --json"]
)
def test_standard_input_is_joined(run: Path, name: str) -> None:
    """What `cat` makes of the files of all ranks is shown as their folder is."""
    call = [sys.executable, "-m", "predlog", *name.split()]
    piped = subprocess.run([*call, "-"], input=b"".join(chain(*lines(run).values())), capture_output=True, check=False)
    shown = subprocess.run(
        [*call, *(["-n", "all"] if name == "tail --json" else []), str(run)], capture_output=True, check=False
    )
    assert (piped.returncode, piped.stderr) == (shown.returncode, shown.stderr)
    if name.startswith("tail"):
        ours, theirs = ([*map(from_line, one.stdout.splitlines())] for one in (piped, shown))
        assert comparisons(ours) == comparisons(theirs)
        assert comparisons(ours)
    else:
        assert piped.stdout.replace(b"-:", b"") == shown.stdout.replace(f"{run}:".encode(), b"")


@pytest.mark.slow
def test_tail_says_what_came_too_late(run: Path) -> None:
    """Where the parts of standard input that wait take too much memory, one line says how many came too late."""
    code = (
        "import sys; from predlog.cli.commands import tail; from predlog.cli.main import main; tail.ROOM = 1 << 17;"
        " sys.exit(main(['tail', '-']))"
    )
    piped = b"".join(chain(*lines(run).values()))
    done = subprocess.run([sys.executable, "-c", code], input=piped, capture_output=True, check=True)
    assert re.fullmatch(
        rb"predlog: \d+ parts came after more than 0 MiB of others: their comparisons were shown without them;"
        rb" `predlog tail FOLDER` joins them\n",
        done.stderr,
    )


def test_few_steps_wait_at_once(run: Path) -> None:
    """Without a rank, parts wait for at most so many steps of a stream, and then make partial comparisons."""
    first = [one for line in lines(run)[0] if isinstance(one := from_line(line), Part)]
    joiner, waiting = Joiner(STEPS), 0
    for step in range(5 * STEPS):
        event = {**to_event(first[0]), "step": step}
        waiting += 1 - len(comparisons(joiner.add(predlog.records.codec.from_event(event))))
        assert waiting <= STEPS


def test_data_parallel_groups_with_other_labels_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups that record the same step and sample make two comparisons, and one that lacks a part costs itself."""
    groups = [pairs(3), [(logits, labels.roll(1, -1), inputs) for logits, labels, inputs in pairs(3)]]
    for rank in range(2 * len(RANKS)):
        group, at = divmod(rank, len(RANKS))
        monkeypatch.setenv("RANK", str(rank))
        with Recorder(tmp_path, every=1, console=False, ranks="all", rank_folders=True) as recorder:
            for step, (logits, labels, _) in enumerate(groups[group]):
                part = logits[..., CUTS[at] : CUTS[at + 1]]
                if (rank, step) != (6, 2):
                    recorder.compare(part, labels, step, shard=Shard(CUTS[at], of=VOCABULARY))
    reading = Reading(tmp_path)
    found = comparisons(reading)
    assert sorted((one.step, one.sample, one.rank, one.missing_ids) for one in found) == [
        (step, sample, rank, 279 if (step, rank) == (2, 4) else 0)
        for step in range(3)
        for sample in range(2)
        for rank in (0, 4)
    ]
    assert [(lack.many, lack.ranks) for lack in reading.lacks] == [(2, (6,))]


def test_folders_of_ranks_are_read_as_one_run(run: Path, tmp_path: Path) -> None:
    """Files under `rank=…/` are found by a run's folder, in the order of ranks, and listed as one run."""
    for rank in RANKS:
        name = f"predictions{f'-rank{rank}' if rank else ''}.jsonl"
        (tmp_path / "exp1" / f"rank={rank}").mkdir(parents=True)
        shutil.copy(run / name, tmp_path / "exp1" / f"rank={rank}" / name)
    assert list(Reading(tmp_path / "exp1")) == list(Reading(run))
    assert [one.name for one in listed(tmp_path)] == ["exp1"]


@pytest.fixture(scope="module")
def lacking(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the run without the file of a rank, and with all of its parts in the last steps alone."""
    content = lines(run)
    content[2] = content[2][:1] + content[2][-5:]
    return written(tmp_path_factory.mktemp("runs") / "lacking", content)


def test_what_is_not_known_counts_neither_as_correct_nor_as_wrong(lacking: Path, tmp_path: Path) -> None:
    """Curves, tokens that are forgotten and a comparison of runs have the whole comparisons alone, and no other."""
    found = comparisons(Reading(lacking))
    unknown, known = found[:20], found[20:]
    assert {token.match for one in unknown for token in one.tokens} == {None}
    curve = Summary.of(Reading(lacking)).curves["text", None]
    assert curve.accuracy is not None
    assert curve.logprob is not None
    assert (curve.steps, curve.accuracy.first.step, curve.logprob.first.step) == (12, 10, 10)
    assert (curve.counted, [point.of for point in curve.points[:10]]) == ("supervised", [0] * 10)
    learning = Learning()
    for one in unknown:
        learning.add(one)
    assert learning.stubborn() == {}
    assert not any(Selection(only="mistakes")(one) for one in unknown)
    difference = Difference(Reading(lacking), Reading(whole(tmp_path / "whole", MADE)))
    row = difference.rows["text", None]
    assert (row.records, row.differing, row.score.tokens) == (24, {}, sum(len(one.tokens) for one in known))
    assert row.a.of == row.b.of == sum(one.supervised for one in known)


def test_what_is_not_known_is_shown_as_that(lacking: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines, tables, a notebook, cells of trackers and files of tokens have labels, and `?` or null as predictions."""
    unknown = comparisons(Reading(lacking))[:20]
    assert command("tail", str(lacking), "-n", "all", "--json") == 0
    assert capsys.readouterr().out.count('"match":null') == 200
    assert command("tail", str(lacking), "-n", "all") == 0
    out = capsys.readouterr().out
    assert (out.count("missing_ids=279"), out.count("→? ")) == (20, 200)
    for draw in (full, compact):
        drawn = StringIO()
        console = Console(width=200, file=drawn, color_system="truecolor", force_terminal=True)
        console.print(Drawn(draw, [to_event(unknown[0])]))
        assert "partial: no parts of 279 ids" in drawn.getvalue()
        assert drawn.getvalue().count("?") == 10
        assert "\x1b[31m" not in drawn.getvalue()
    assert unknown[0]._repr_html_().count("?") == 10
    assert [sum("?" in cell for cell in row) for row in next(samples(unknown[:1], [])).rows] == [0, 10, 0]
    curves = Step(0, "text", tuple(unknown[:2])).curves()
    assert {curves.pop("predlog/text/supervised"), *curves.values()} == {33 / 40, None}
    assert "predlog/text/loss" in curves
    for name in ("tokens.parquet", "tokens.csv"):
        assert export(Reading(lacking), tmp_path / name).rows == 240
    matches = parquet.read_table(tmp_path / "tokens.parquet").column("match")
    assert matches.null_count == 200
    assert command("report", str(lacking), "-o", str(tmp_path / "page.html")) == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    strip = json.loads(page.split('id="strip-data">')[1].split("</script>")[0])
    assert strip["tokens"]["match"].count("?") == 200
    assert strip["rows"]["lacking"].count("partial: no parts of 279 ids") == 20


@pytest.mark.parametrize(("width", "cell"), [(80, "?"), (200, "→? ")])
def test_a_codebook_whose_predictions_are_not_known_is_not_shown_as_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, cell: str
) -> None:
    """The heading says what is missing, and each token has a mark of its own, also where there is room for no more."""
    labels = torch.arange(30).expand(1, 2, 30)
    with Recorder(tmp_path, every=1, console=False) as recorder:
        shard = Shard(0, of=64)
        recorder.compare(torch.randn(1, 2, 30, 32), labels, 0, layout="b k t v, b k t", stream="audio", shard=shard)
    found = comparisons(Reading(tmp_path))
    for draw in (full, compact):
        drawn = StringIO()
        Console(width=width, file=drawn).print(Drawn(draw, [to_event(one) for one in found]))
        heading, names, *rows = drawn.getvalue().splitlines()
        assert "partial: no parts of 32 ids" in heading
        assert ("? if not known" in names) == (width == 80)
        assert [row.split()[:3] for row in rows] == [["0", "?", "30"], ["1", "?", "30"]]
        assert [row[13:].count(cell.strip()) for row in rows] == [10, 10]
    (shown,) = samples(found, [])
    assert shown.figures.startswith("sample 0 · partial: no parts of 32 ids")
    assert [row[0] for row in shown.rows] == ["codebook 0 · ? of 30", "codebook 1 · ? of 30"]
    assert found[0]._repr_html_().count("?") >= 10


def test_the_supervised_share_is_that_of_the_positions_that_are_known(tmp_path: Path) -> None:
    """Without the rows of another process, their positions count neither as supervised nor as not."""
    labels = torch.arange(20)[None]
    with Recorder(tmp_path, every=1, console=False, ranks="all") as recorder:
        recorder.compare(torch.randn(1, 20, 9), labels % 9, 0, row_index=torch.arange(20), row_count=40)
    (found,) = comparisons(Reading(tmp_path))
    assert (found.missing_rows, found.supervised, found.length) == (20, 20, 40)
    assert Summary.of(Reading(tmp_path)).curves["text", None].share == 1
    drawn = StringIO()
    Console(width=80, file=drawn).print(Drawn(compact, [to_event(found)]))
    assert "partial: no parts of 20 positions" in drawn.getvalue()
    assert "20 of 20 supervised" in found._repr_html_()
