"""Exporting: one row per token, in files that others read, of what is undamaged, and nothing half done."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predlog.cli.commands import export as exporting
from predlog.cli.commands.export import export
from predlog.cli.io import replacing
from predlog.cli.token_table import schema
from predlog.errors import ExportError
from predlog.records import codec, json_schema
from predlog.records import schema as records_schema
from tests import ROOT, events
from tests.records.test_records import HOSTILE, comparisons, ids, text
from tests.written import command, sealed, written

FORMATS = ["parquet", "csv", "arrow"]
Row = dict[str, Any]


def recorded(*shown: Row) -> list[records_schema.Record]:
    return [codec.from_line(codec.to_line(event)) for event in shown]


def rows(recorded: Iterable[records_schema.Record]) -> list[Row]:
    """Return the rows that are due, in plain Python."""
    return [_row(one, token) for one in recorded if isinstance(one, records_schema.Comparison) for token in one.tokens]


def _row(one: records_schema.Comparison, token: records_schema.Token) -> Row:
    row = {name: _whole(getattr(one, name)) for name in schema().names if hasattr(one, name)}
    row["timestamp"] = datetime.fromisoformat(one.timestamp.replace("Z", "+00:00"))
    return row | {
        name: _whole(getattr(token, name)) for name in records_schema.Token.__struct_fields__ if name != "alternatives"
    }


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return re.sub("[\ud800-\udfff]", "\ufffd", value) if isinstance(value, str) else value


def by_duckdb(file: Path) -> list[Row]:
    with duckdb.connect() as connection:
        if file.suffix == ".csv":
            types = {name: str(kind) for name, kind in zip(schema().names, _sql_types(), strict=True)}
            relation = connection.read_csv(str(file), header=True, dtype=types, allow_quoted_nulls=False)
        else:
            relation = connection.read_parquet(str(file))
        return [_read(dict(zip(relation.columns, row, strict=True))) for row in relation.fetchall()]


def _sql_types() -> list[Any]:
    with duckdb.connect() as connection:
        return list(connection.from_arrow(schema().empty_table()).types)


def by_pyarrow(file: Path) -> list[Row]:
    table = pa.ipc.open_file(file).read_all() if file.suffix == ".arrow" else pyarrow.parquet.read_table(file)
    assert table.schema.equals(schema())
    return [_read(row) for row in table.to_pylist()]


def by_polars(file: Path) -> list[Row]:
    frame = pl.read_ipc(file) if file.suffix == ".arrow" else pl.read_parquet(file)
    return [_read(row) for row in frame.to_dicts()]


def by_pandas(file: Path) -> list[Row]:
    # Its own types have no integers with nulls.
    frame = pd.read_parquet(file, dtype_backend="pyarrow")
    return [
        _read({name: None if value is pd.NA else value for name, value in row.items()})
        for row in frame.to_dict("records")
    ]


def _read(row: Row) -> Row:
    at = row["timestamp"]
    at = at.to_pydatetime() if isinstance(at, pd.Timestamp) else at
    return {**row, "context": json.loads(row["context"]), "timestamp": at.astimezone(timezone.utc)}


READERS = {
    "parquet": (by_duckdb, by_pyarrow, by_polars, by_pandas),
    "csv": (by_duckdb,),
    "arrow": (by_pyarrow, by_polars),
}


@st.composite
def any_comparison(draw: st.DrawFn) -> Row:
    event = draw(comparisons())
    optional = st.none() | st.integers(0, 2**63 - 1)
    more = st.fixed_dictionaries(
        {"label_rank": st.none() | st.just(1), "input": st.none() | ids, "input_text": st.none() | text}
    )
    tokens = [{**token, **draw(more)} for token in event["tokens"]]
    return {
        **event,
        "codebook": draw(optional),
        "matched": draw(optional),
        "run": draw(st.none() | text),
        "tokens": tokens,
    }


@settings(max_examples=12)
@given(shown=st.lists(any_comparison(), max_size=3))
def test_what_was_recorded_comes_back(tmp_path_factory: pytest.TempPathFactory, shown: list[Row]) -> None:
    """Whatever a record holds is in its rows, null apart from empty; of half a surrogate pair, U+FFFD is left."""
    folder = tmp_path_factory.mktemp("any")
    for ending in FORMATS:
        file = folder / f"out.{ending}"
        export(recorded(*shown), file)
        assert [read(file) for read in READERS[ending]] == [rows(recorded(*shown))] * len(READERS[ending])


def test_all_tokens_are_rows_of_their_own(tmp_path: Path) -> None:
    """With `is_all` the rows are those of the columns that were kept, without texts, and none of the tokens shown."""
    event = events.now(events.comparison())
    exported = export(recorded(event, events.comparison(step=130)), tmp_path / "all.parquet", is_all=True)
    assert (exported.rows, exported.without_tokens) == (2, 1)
    found = pyarrow.parquet.read_table(tmp_path / "all.parquet").to_pylist()
    names = ("step", "slot", "position", "label", "prediction", "match", "label_logprob", "label_rank", "label_text")
    assert [tuple(row[name] for name in names) for row in found] == [
        (120, None, 63, 3, 3, True, -0.25, 1, None),
        (120, None, 64, 4, None, False, None, None, None),
    ]
    assert [row["loss"] for row in found] == [2.3, 2.3]


def test_the_text_around_the_tokens_is_json(tmp_path: Path) -> None:
    """Each row has the window of its comparison, which DuckDB reads as JSON; null where there is none."""
    event = events.now(events.comparison())
    export(recorded(event, events.comparison(step=130)), tmp_path / "out.parquet")
    query = f"""
        SELECT DISTINCT step, "window"->>'$[0].read', "window"->>'$[0].asked', "window"->'$[1].left_out'
        FROM '{tmp_path / "out.parquet"}' ORDER BY step
    """
    with duckdb.connect() as connection:
        found = connection.execute(query).fetchall()
    assert found == [(120, " is one?\n", "A list", "300"), (130, None, None, None)]


def test_each_field_has_its_column() -> None:
    """The columns are all fields of Comparison and Token but seven, each once, typed as the records are."""
    columns = {field.name: str(field.type) for field in schema()}
    fields = {*records_schema.Comparison.__struct_fields__, *records_schema.Token.__struct_fields__}
    assert set(columns) == fields - {"level", "schema", "seq", "tokens", "worst", "all_tokens", "alternatives"}
    assert len(columns) == len(schema())
    typed: dict[str, str] = {}
    for kind in ("Comparison", "Token"):
        for name, said in json_schema()["$defs"][kind]["properties"].items():
            (plain,) = {one["type"] for one in said.get("anyOf", [said]) if "type" in one} - {"null"} or {"string"}
            typed[name] = {"integer": "int64", "number": "double", "boolean": "bool"}.get(plain, "string")
    typed["timestamp"] = "timestamp[us, tz=UTC]"
    assert columns == {name: typed[name] for name in columns}


@pytest.mark.parametrize("shown", [[], [events.run()], [events.comparison(tokens=[])], [events.comparison()]])
def test_types_are_the_same_whatever_there_is(tmp_path: Path, shown: list[Row]) -> None:
    """Without a row, and where all of a column is null, each column has its type all the same."""
    for ending in FORMATS:
        export(recorded(*shown), tmp_path / f"out.{ending}")
    assert pyarrow.parquet.read_schema(tmp_path / "out.parquet").equals(schema())
    assert pa.ipc.open_file(tmp_path / "out.arrow").schema.equals(schema())
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == ",".join(schema().names)


def test_parquet_is_packed(tmp_path: Path) -> None:
    """Each column of a Parquet file is packed with zstd."""
    export(recorded(events.comparison()), tmp_path / "out.parquet")
    group = pyarrow.parquet.read_metadata(tmp_path / "out.parquet").row_group(0)
    assert {group.column(number).compression for number in range(group.num_columns)} == {"ZSTD"}


def test_csv_is_utf_8_with_a_header(tmp_path: Path, elsewhere: None) -> None:
    """The CSV module of Python reads the texts as they are, whatever quotation marks and ends of lines are in them."""
    shown = [
        events.comparison(stream=odd, tokens=[events.token(1, label_text=odd)])
        for odd in HOSTILE
        if odd.isprintable() or odd == "\n"
    ]
    export(recorded(*shown), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [(row["stream"], row["label_text"]) for row in read] == [(one["stream"],) * 2 for one in shown]
    assert {row["timestamp"] for row in read} == {"2026-01-02T03:04:05.678901Z"}
    assert {row["match"] for row in read} == {"true"}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-01-02T03:04:05.678901Z", datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc)),
        ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=timezone.utc)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)),
        ("2026-01-02T03:04:05.6Z", datetime(2026, 1, 2, 3, 4, 5, 600000, timezone.utc)),
        ("yesterday", None),
    ],
)
def test_times(tmp_path: Path, elsewhere: None, written: str, read: datetime | None) -> None:
    """A time is one in UTC, whatever zone it was written in, or is read in; what is none is null."""
    export(recorded(events.comparison(timestamp=written)), tmp_path / "out.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet")["timestamp"].to_pylist() == [read] * 2


def test_an_id_that_no_column_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A number of more than 64 bits, which no tensor holds, damages its line alone: the others are exported."""
    ones = [events.comparison(tokens=[events.token(1, label=label)]) for label in (2**63 - 1, 2**63, -(2**63))]
    file = tmp_path / "predictions.jsonl"
    file.write_bytes(b"".join(sealed(json.dumps(one, separators=(",", ":")).encode()) for one in ones))
    assert command("export", str(file), "-o", str(tmp_path / "out.parquet")) == 0
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet")["label"].to_pylist() == [2**63 - 1, -(2**63)]
    assert "not exported: " in (said := events.said(capsys))
    assert "line 2: not a record of schema 1: Expected `int` <= 9223372036854775807" in said


@pytest.mark.parametrize("ending", FORMATS)
def test_an_error_on_the_way_leaves_nothing(tmp_path: Path, ending: str) -> None:
    """What goes wrong with the reading is raised as it was, and the file that stood there is untouched."""

    def endless() -> Iterator[records_schema.Record]:
        yield from recorded(*[events.comparison()] * 2000)
        raise OSError("the disk has gone")

    file = tmp_path / f"out.{ending}"
    export(recorded(events.comparison()), file)
    before = file.read_bytes()
    with pytest.raises(OSError, match=r"^the disk has gone$"):
        export(endless(), file)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "name",
    [
        'it\'s "q".parquet',
        "~/out.parquet",
        "a;b.parquet",
        "*.parquet",
        "a\nb.csv",
        "%s{x}.arrow",
        "表.CSV",
        "[0-9]?/a.csv",
    ],
)
def test_strange_names(tmp_path: Path, name: str) -> None:
    """Quotation marks, spaces, stars, tildes and ends of lines in names are names."""
    file = tmp_path / "it's a; folder" / name
    file.parent.mkdir(parents=True)
    assert export(recorded(events.comparison(stream=name)), file).rows == 2
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [file]


def test_the_file_is_as_others_make_it(tmp_path: Path) -> None:
    """It has the permissions that the umask leaves, and takes the place of an older one."""
    plain = tmp_path / "plain"
    plain.write_text("")
    for ending in FORMATS:
        file = tmp_path / f"out.{ending}"
        file.write_text("before")
        export(recorded(events.comparison()), file, is_forced=True)
        assert file.stat().st_mode == plain.stat().st_mode
        assert file.read_bytes() != b"before"


FORMULAS = ["=1+1", "+1", "-1", "@a", " =1", "\t=1", "\tx", "\r=1", "\n", "\uff1d1"]
HARMLESS = ["", "a=1", "1-1", "'=1", "#", "\u202d=", '"=', "a; b", "a;1", "a;;"]


def test_a_spreadsheet_sees_no_formula(tmp_path: Path) -> None:
    """Cells are exact; with --safe-csv, an apostrophe precedes each text that a spreadsheet would evaluate."""
    texts = [*FORMULAS, *HARMLESS]
    tokens = [events.token(place, label_text=text, input_text=None) for place, text in enumerate(texts)]
    source = written(tmp_path / "exp1", events.comparison(stream="=audio", tokens=tokens, context={"a": "=1"}))

    def cells(*more: str) -> list[dict[str, str]]:
        assert command("export", source, "-o", str(tmp_path / "out.csv"), *more) == 0
        with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    exact, safe = cells(), cells("--safe-csv")
    assert [row["label_text"] for row in exact] == texts
    safe_texts = [f"'{text}".replace("\t=", "\t'=").replace("\r=", "\r'=") for text in FORMULAS]
    assert [row["label_text"] for row in safe] == [*safe_texts, *HARMLESS]
    assert {row["stream"] for row in exact} == {"=audio"}
    assert {row["stream"] for row in safe} == {"'=audio"}
    changed = {"label_text", "stream"}
    assert [{**row, **dict.fromkeys(changed)} for row in exact] == [{**row, **dict.fromkeys(changed)} for row in safe]
    assert {row["label_logprob"] for row in safe} == {"-0.25"}


INNER = (
    "a;=cmd",
    "a;+1",
    "a; \t=1",
    "a\t@x",
    "a\n=1",
    "a\r\n-1",
    'a;"=1',
    'a;" "=1',
    ";=;=",
    "a;;=1",
    "a;\uff1d1",
    "=1;=2",
)


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("text", INNER)
def test_no_separator_begins_a_formula(tmp_path: Path, text: str, separator: str) -> None:
    """With --safe-csv, a spreadsheet that splits lines at semicolons or tabs sees no formula either."""
    token = events.token(0, label_text=text, label_logprob=None, prediction_logprob=None)
    source = written(tmp_path / "exp1", events.comparison(stream=text, tokens=[token], context={"a": text}))
    assert command("export", source, "-o", str(tmp_path / "out.csv"), "--safe-csv") == 0
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell.lstrip(" \t\r\n\0") for row in csv.reader(file, delimiter=separator) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\uff1d"))]
    assert any("'" in cell for cell in cells)


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_only_spreadsheets_have_formulas(tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    """--safe-csv for another format is a mistake, and nothing is written."""
    source = written(tmp_path / "exp1", events.comparison())
    assert command("export", source, "--safe-csv", "-o", str(tmp_path / f"out.{ending}")) == 2
    assert events.said(capsys).startswith(f"predlog: out.{ending} is no .csv: --safe-csv ")
    assert [one.name for one in tmp_path.iterdir()] == ["exp1"]


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("out.txt", r"^out\.txt must end in \.parquet, \.csv or \.arrow"),
        ("out", r"^out must end in \.parquet, \.csv or \.arrow"),
        ("nowhere/out.csv", r"nowhere is no folder"),
        ("folder.csv", r"folder\.csv is a folder"),
        ("pipe.csv", r"pipe\.csv is a pipe or a device"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, output: str, says: str) -> None:
    """An unknown ending, a folder that is not there or is in the way: refused before anything is read."""

    def unread() -> Iterator[records_schema.Record]:
        raise AssertionError
        yield

    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ExportError, match=says):
        export(unread(), tmp_path / output)
    assert {one.name for one in tmp_path.iterdir()} == {"folder.csv", "pipe.csv"}
    assert (tmp_path / "pipe.csv").is_fifo()


def predlog(*arguments: str | Path, first: str = "", then: str = "", **options: Any) -> Any:
    """Run the command in a process of its own, with a line of Python before it and one behind it."""
    program = f"{first}\nimport sys\nfrom predlog.cli.main import main\nstatus = main()\n{then}\nsys.exit(status)"
    environment = {"PYTHONPATH": str(ROOT), **options.pop("env", os.environ)}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, check=False, env=environment, **options,
    )  # fmt: skip


def write_lines(file: Path, *shown: Row) -> Path:
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_bytes(b"".join(map(codec.to_line, shown)))
    return file


@pytest.mark.parametrize("ending", FORMATS)
def test_a_folder_whose_path_is_no_text(tmp_path: Path, ending: str) -> None:
    """The names of the file and of its folder may be any bytes."""
    source = write_lines(tmp_path / "in.jsonl", events.comparison())
    folder = tmp_path / os.fsdecode(b"\xfe")
    folder.mkdir()
    assert predlog("export", source, "-o", f"out.{ending}", cwd=folder).returncode == 0
    assert export(recorded(events.comparison()), folder / f"again.{ending}").rows == 2
    assert {one.name for one in folder.iterdir()} == {f"out.{ending}", f"again.{ending}"}
    assert (folder / f"again.{ending}").stat().st_size == (folder / f"out.{ending}").stat().st_size > 0
    name = os.fsdecode(b"\xff.") + ending
    assert predlog("export", source, "-o", name, cwd=tmp_path).returncode == 0
    assert (tmp_path / name).stat().st_size


@pytest.mark.parametrize("ending", FORMATS)
def test_a_full_disk(tmp_path: Path, ending: str) -> None:
    """Where the file can't be written on, one line says so, and nothing is left."""
    source = write_lines(tmp_path / "in.jsonl", *[events.comparison(step=step) for step in range(2000)])
    (tmp_path / "to").mkdir()
    # Half of a module, compiled, would break every later import of it.
    limits = "import resource, sys; sys.dont_write_bytecode = True"
    limits += "; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    done = predlog("export", source, "-o", tmp_path / f"to/out.{ending}", first=limits)
    assert done.returncode == 2
    assert re.fullmatch(r"predlog: .*/to can't be written to: .*[Ff]ile too large.*\n", done.stderr)
    assert not list((tmp_path / "to").iterdir())


class TestCommand:
    def test_it_says_what_it_wrote(self, tmp_path: Path) -> None:
        """One line on stdout has the file, its rows and its size; nothing is reported on stderr."""
        source = write_lines(
            tmp_path / "in.jsonl", events.run(), *[events.comparison(step=step) for step in range(700)]
        )
        done = predlog("export", source, "-o", "out.parquet", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(r"out\.parquet: 1,400 rows, \d+\.\d kB\n", done.stdout)
        assert by_duckdb(tmp_path / "out.parquet") == rows(map(codec.from_line, source.read_bytes().splitlines()))

    def test_damage_is_said_and_left_out(self, tmp_path: Path) -> None:
        """Flipped and torn lines give no row, and stderr has their numbers, and how many comparisons show no token."""
        lines = [
            codec.to_line(events.comparison(step=step, tokens=[events.token(step)] if step else []))
            for step in range(9)
        ]
        lines[3] = lines[3].replace(b'"position":3', b'"position":7')
        lines[5] = lines[5][:100] + b"\n"
        source = tmp_path / "in.jsonl"
        source.write_bytes(b"".join(lines))
        done = predlog("export", source, "-o", tmp_path / "out.csv")
        assert done.returncode == 0
        assert [row["position"] for row in by_duckdb(tmp_path / "out.csv")] == [1, 2, 4, 6, 7, 8]
        assert re.findall(r"^predlog: not exported: .*in\.jsonl line (\d+): \w", done.stderr, re.MULTILINE) == [
            "4",
            "6",
        ]
        assert "predlog: no token is shown in 1 comparison: they have no row\n" in done.stderr

    def test_much_damage_is_said_in_few_lines(self, tmp_path: Path) -> None:
        """Of more than ten damaged lines, ten are named and the others counted."""
        source = tmp_path / "in.jsonl"
        source.write_bytes(codec.to_line(events.comparison()) + b"torn\n" * 2000)
        said = predlog("export", source, "-o", tmp_path / "out.csv").stderr.splitlines()
        assert len(said) == 11
        assert said[-1] == "predlog: not exported: 1,990 damaged places more"

    def test_what_is_no_run_is_no_empty_table(self, tmp_path: Path) -> None:
        """Without one record nothing is written, the status is 2, and what an earlier export has made stays."""
        source = tmp_path / "in.jsonl"
        for content, why in ((b"torn\n", "in.jsonl, line 1: "), (b"", "it is empty")):
            source.write_bytes(content)
            done = predlog("export", source, "-o", "out.csv", cwd=tmp_path)
            assert done.returncode == 2
            assert why in done.stderr
            assert len(done.stderr.splitlines()) == 1
            assert [*tmp_path.iterdir()] == [source]
        source.write_bytes(codec.to_line(events.run()))
        assert predlog("export", source, "-o", "out.csv", cwd=tmp_path).returncode == 0  # a run that has just begun

    def test_ranks_and_attempts(self, tmp_path: Path) -> None:
        """A folder gives the rows of all ranks; what a later attempt has done again gives none, unless asked for."""
        for rank in range(3):
            name = f"predictions-rank{rank}.jsonl" if rank else "predictions.jsonl"
            attempts = [(1, step) for step in range(4)] + [(2, step) for step in range(2, 5)]
            shown = [
                events.comparison(rank=rank, attempt=attempt, step=step, seq=seq)
                for seq, (attempt, step) in enumerate(attempts)
            ]
            write_lines(tmp_path / "run" / name, *shown)
        for more, per_rank in ([], [(1, 0), (1, 1), (2, 2), (2, 3), (2, 4)]), (["--attempt", "all"], attempts):
            assert predlog("export", tmp_path / "run", "-o", tmp_path / "out.arrow", *more).returncode == 0
            read = {(row["rank"], row["attempt"], row["step"]) for row in by_pyarrow(tmp_path / "out.arrow")}
            assert read == {(rank, *one) for rank in range(3) for one in per_rank}

    def test_without_the_extra(self, tmp_path: Path) -> None:
        """Where pyarrow is missing, one line says so, and how to get it; nothing else is needed."""
        source = write_lines(tmp_path / "in.jsonl", events.comparison())
        how = "pip install 'predlog[export]', or in a clone of predlog pip install '.[export]'"
        for missing, status, said in (
            ("duckdb", 0, ""),
            ("pyarrow", 2, f"predlog: this needs pyarrow, which is not installed: {how}\n"),
        ):
            done = predlog(
                "export", source, "-o", tmp_path / "out.csv", first=f"import sys; sys.modules[{missing!r}] = None"
            )
            assert (done.returncode, done.stderr) == (status, said)

    def test_it_needs_nothing_else(self, tmp_path: Path) -> None:
        """It works in an empty folder with an empty home, leaves both as they are, and doesn't load torch."""
        source = write_lines(tmp_path / "in" / "in.jsonl", *[events.comparison(step=step) for step in range(100)])
        home, here, to = (tmp_path / name for name in ("home", "here", "to"))
        for folder in (home, here, to):
            folder.mkdir()
        alone = {"HOME": str(home), "PATH": os.environ["PATH"]}
        for ending in FORMATS:
            done = predlog(
                "export",
                source,
                "-o",
                to / f"out.{ending}",
                then="assert 'torch' not in sys.modules",
                cwd=here,
                env=alone,
            )
            assert (done.returncode, done.stderr) == (0, "")
        assert not [*home.iterdir(), *here.iterdir()]

    @pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
    def test_it_asks_no_network(self, tmp_path: Path) -> None:
        """No socket is made but of the machine itself."""
        source = write_lines(tmp_path / "in.jsonl", *[events.comparison(step=step) for step in range(100)])
        calls = tmp_path / "calls"
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "predlog",
            "export",
            source,
            "-o",
            tmp_path / "out.parquet",
        ]
        subprocess.run(["strace", "-f", "-o", calls, "-e", "trace=socket,execve", *command], check=True)
        assert "execve(" in calls.read_text()
        assert "AF_INET" not in calls.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("ending", FORMATS)
def test_memory_is_bounded(tmp_path: Path, ending: str) -> None:
    """Of 60 MB, no more is held than of 30: a group of a Parquet file has 61,440 rows, and either has more."""
    tokens = [events.token(position, label_text=" lan", prediction_text="guage") for position in range(15)]
    line = codec.to_line(events.comparison(tokens=tokens))
    peaks = []
    for size in (30_000_000, 60_000_000):
        source = tmp_path / "in.jsonl"
        source.write_bytes(line * (size // len(line)))
        # Of this process alone; what getrusage says begins with its parent's.
        peak = "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
        done = predlog("export", source, "-o", tmp_path / f"out.{ending}", then=peak)
        assert done.returncode == 0
        peaks.append(int(done.stdout.split()[-1]) // 1024)
    assert peaks[1] < 400
    assert peaks[1] - peaks[0] < 20


@contextlib.contextmanager
def fed(target: Path) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
    """Start an export of standard input; give the process, where its lines go in, and what it says."""
    command = [sys.executable, "-m", "predlog", "export", "-", "-o", str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        yield process, process.stdin, process.stderr


class TestInterrupt:
    @pytest.mark.parametrize("ending", FORMATS)
    def test_while_it_waits_for_lines(self, tmp_path: Path, ending: str) -> None:
        """A Ctrl-C while it has written much and waits for more ends it at once, quietly, and nothing is left."""
        line = codec.to_line(events.comparison())
        with fed(tmp_path / f"out.{ending}") as (process, lines, said):
            lines.write(line * 5000)  # more than a pipe holds: when it has taken them, it is at work
            lines.flush()
            assert [one.name[:20] for one in tmp_path.iterdir()] == [".predlog-unfinished-"]
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert said.read() == b""
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(("ending", "taken"), [("parquet", 1), ("csv", 3000)])
    def test_while_it_works(self, tmp_path: Path, ending: str, taken: int) -> None:
        """A Ctrl-C while lines come as fast as they are read, the same."""
        line = codec.to_line(events.comparison())
        with fed(tmp_path / f"out.{ending}") as (process, lines, said):
            lines.write(line * (200 + taken))
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(BrokenPipeError):
                for _ in range(10_000):  # a million lines, should it go on in spite of it
                    if process.poll() is not None:
                        break
                    lines.write(line * 100)
            assert process.wait(20) == 130
            assert said.read() == b""
            with contextlib.suppress(BrokenPipeError):
                lines.close()
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("ending", FORMATS)
    def test_while_pyarrow_writes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
        """A Ctrl-C inside of pyarrow is one, and no error of pyarrow's; nothing is left."""

        @contextlib.contextmanager
        def interrupted(file: Path, records: Any) -> Iterator[Any]:
            with replacing(file, records) as opened:
                yield Interrupted(opened)

        monkeypatch.setattr(exporting, "replacing", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export(recorded(*[events.comparison()] * 3000), tmp_path / f"out.{ending}")
        assert not list(tmp_path.iterdir())


class Interrupted:
    """A file that is being written to when a Ctrl-C comes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        if self._file.tell() > 1000:
            signal.raise_signal(signal.SIGINT)
        return self._file.write(data)
