"""Query tokens: each block of docs/results/queries.md is run on real runs, and its result is that of plain Python."""

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import duckdb
import pytest
import torch
from torch import Tensor

import predlog
from predlog.cli import token_table
from predlog.reading.reader import Reading
from predlog.records.codec import to_line
from predlog.records.schema import Comparison, Token
from tests import ROOT, events
from tests.written import command

TEXTS = ["e", " a", "ing", "\n", '"', "表", "2024-01-01", "NA", " lan", "guage", "<0xE2>", "="]
KNOWN, FORGOTTEN, FORGOTTEN_AT, JUMP_AT = 2, 4, 120, 60


class Block(NamedTuple):
    section: str
    language: str
    code: str


def _blocks() -> list[Block]:
    page = (ROOT / "docs" / "results" / "queries.md").read_text()
    _, *parts = re.split(r"^#+ (.*)$", page, flags=re.MULTILINE)
    return [
        Block(section, language, code)
        for section, text in zip(parts[::2], parts[1::2], strict=True)
        for language, code in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    ]


BLOCKS = _blocks()
(BEGIN,) = (block.code for block in BLOCKS if block[:2] == ("Before you begin", "python"))
DISTRIBUTED = "When one machine is not enough"
SHARDS = "When the logits are in shards"


def logits_of(labels: Tensor, step: int, generator: torch.Generator, vocabulary: int) -> Tensor:
    """Return the logits of a model that learns, knows one token from the start, forgets another, and has a bad step."""
    strength = torch.full(labels.shape, 0.05 * step - (4 if step == JUMP_AT else 0))
    strength[..., 1, :] -= 1  # the second sample is the harder one
    strength[(labels == FORGOTTEN) & (step >= FORGOTTEN_AT)] = -9
    strength[labels == KNOWN] = 30
    noise = torch.randn(*labels.shape, vocabulary, generator=generator)
    return noise.scatter_add(-1, labels.unsqueeze(-1), strength.unsqueeze(-1))


def record(folder: Path, rank: int, seed: int) -> None:
    """Record the training of a rank: text with two samples, audio with two codebooks, no epoch in the first steps."""
    generator = torch.Generator().manual_seed(seed)
    with predlog.Recorder(folder, every=10, ranks="all", console=False, decode=lambda one: TEXTS[one]) as recorder:
        for step in range(0, 200, 10):
            context: dict[str, Any] = {"epoch": step // 50} if step >= 50 else {}
            for stream, shape, layout in (("text", (2, 30), None), ("audio", (2, 2, 20), "b k t v, b k t")):
                labels = torch.randint(len(TEXTS), shape, generator=generator)
                logits = logits_of(labels, step, generator, len(TEXTS))
                ignored = torch.rand(shape, generator=generator) < 0.3
                if stream == "text" and step == 30:
                    ignored[:] = True
                recorder.compare(
                    logits, labels.masked_fill(ignored, -100), step, stream=stream, layout=layout, **context
                )


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Yield a folder with two runs of two ranks, of which one file ends in a torn line and is old."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        for run in (1, 2):
            for rank in (0, 1):
                patched.setenv("RANK", str(rank))
                record(Path(name, f"runs/exp{run}"), rank, seed=10 * run + rank)
        torn = Path(name, "runs/exp1/predictions-rank1.jsonl")
        torn.write_bytes(torn.read_bytes() + to_line(events.comparison())[:200])
        os.utime(torn, (0, 0))
        yield Path(name)


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    for block in BLOCKS:
        if block.language == "bash" and block.section != DISTRIBUTED:
            bash(block.code, folder)
    return folder


def bash(code: str, folder: Path) -> None:
    program = folder / "bin" / "predlog"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m predlog "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-euo", "pipefail", "-c", code], cwd=folder, env=environment, check=True)


Shown = list[tuple[Comparison, Token]]
Table = list[tuple[Any, ...]]


def shown_in(folder: Path) -> Shown:
    return [(one, token) for one in Reading(folder, warns=False) if isinstance(one, Comparison) for token in one.tokens]


def grouped(shown: Shown, key: Callable[[Comparison, Token], Any]) -> dict[Any, Shown]:
    groups = defaultdict(list)
    for one, token in shown:
        groups[key(one, token)].append((one, token))
    return dict(sorted(groups.items(), key=lambda item: repr_key(item[0])))


def repr_key(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sort numbers in their order, and None after them."""
    return tuple((part is None, part if part is not None else 0) for part in key)


def accuracy(shown: Shown) -> float:
    return fmean(bool(token.match) for _, token in shown)


def logprob(shown: Shown) -> float:
    return fmean(token.label_logprob for _, token in shown if token.label_logprob is not None)


def a_token(one: Comparison, token: Token) -> tuple[Any, ...]:
    return one.stream, one.codebook, token.label


def learnt(shown: Shown) -> Table:
    table = []
    for key, group in grouped(shown, a_token).items():
        wrong = max((one.step for one, token in group if not token.match), default=-1)
        if after := [one.step for one, _ in group if one.step > wrong]:
            table.append((*key, min(after)))
    return table


def losses(shown: Shown) -> Table:
    table = []
    for key, group in grouped(shown, lambda one, _: (one.step, one.stream)).items():
        once = {(one.rank, one.codebook, one.sample): one for one, _ in group}.values()
        assert all(one.loss is not None for one in once)
        table.append(
            (*key, sum((one.loss or 0) * one.supervised for one in once) / sum(one.supervised for one in once))
        )
    return table


def accuracies(shown: Shown) -> Table:
    table = []
    for key, group in grouped(shown, lambda one, _: (one.step, one.stream)).items():
        once = {(one.rank, one.codebook, one.sample): one for one, _ in group}.values()
        table.append((*key, sum(one.matched or 0 for one in once) / sum(one.supervised for one in once)))
    return table


def worst(shown: Shown) -> Table:
    table = [
        (*key, group[0][1].label_text, logprob(group), len(group)) for key, group in grouped(shown, a_token).items()
    ]
    return sorted((row for row in table if row[-1] >= 20), key=lambda row: row[-2])[:10]


def instead(shown: Shown) -> Table:
    times = Counter(token.prediction for _, token in shown if token.label_text == "e" and not token.match)
    return [(one, TEXTS[one or 0], count) for one, count in sorted(times.items(), key=lambda item: (-item[1], item[0]))]


def ranks(shown: Shown) -> Table:
    groups = grouped(shown, lambda one, _: (one.step, one.stream)).items()
    known = [(key, [token.label_rank or 0 for _, token in group]) for key, group in groups]
    return [(*key, fmean(these), float(median(these))) for key, these in known]


def ends(shown: Shown) -> Table:
    groups = grouped(shown, lambda one, token: (one.stream, token.slot))
    return [(*key, accuracy(group), logprob(group)) for key, group in groups.items()]


def lanes(shown: Shown) -> Table:
    groups = grouped(shown, lambda one, _: (one.stream, one.codebook, one.rank))
    return [(*key, accuracy(group), logprob(group)) for key, group in groups.items()]


def jumps(shown: Shown) -> Table:
    groups = grouped(shown, lambda one, _: (one.stream, one.step))
    losses = [(*key, -logprob(group)) for key, group in groups.items()]
    both = [(*after, after[2] - before[2]) for before, after in pairwise(losses) if before[0] == after[0]]
    return [row for row in both if row[-1] > 0.5]


def forgotten(shown: Shown) -> Table:
    table = []
    for key, group in grouped(shown, a_token).items():
        right = min((one.step for one, token in group if token.match), default=None)
        wrong = max((one.step for one, token in group if not token.match), default=None)
        if right is not None and wrong is not None and right < wrong:
            table.append((*key, right, wrong))
    return table


def by_epoch(shown: Shown) -> Table:
    groups = grouped(shown, lambda one, _: (one.context.get("epoch"), one.stream))
    return [(*key, accuracy(group)) for key, group in groups.items()]


def two_runs(shown: Shown) -> Table:
    groups = grouped(shown, lambda one, _: (one.step, one.stream))
    runs = [[pair for pair in shown if pair[0].run == run] for run in ("exp1", "exp2")]
    tables = [grouped(one, lambda one, _: (one.step, one.stream)) for one in runs]
    return [(*key, *(accuracy(table[key]) for table in tables)) for key in groups]


ANSWERS: dict[str, Callable[[Shown], Table]] = {
    "When was a token learnt?": learnt,
    "How did the loss develop, by step and stream?": losses,
    "How did the accuracy develop, by step and stream?": accuracies,
    "Which tokens are the worst?": worst,
    "What is predicted instead?": instead,
    "How did the rank of the labels develop?": ranks,
    "Are the first tokens of a sample harder than the last?": ends,
    "Do ranks or codebooks differ?": lanes,
    "At which steps does the loss jump?": jumps,
    "Which tokens were correct once, and wrong later?": forgotten,
    "How does the accuracy depend on the context?": by_epoch,
    "How do two runs compare?": two_runs,
}


def answer(section: str, folder: Path) -> Table:
    runs = ("exp1", "exp2") if section == "How do two runs compare?" else ("exp1",)
    return ANSWERS[section]([pair for run in runs for pair in shown_in(folder / "runs" / run)])


def last_value(code: str, names: dict[str, Any]) -> Any:
    """Run a block, and return what a notebook would show of it."""
    *before, last = ast.parse(code).body
    exec(compile(ast.Module(before, []), "a block", "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "a block", "eval"), names)
    exec(compile(ast.Module([last], []), "a block", "exec"), names)
    return None


def table(value: Any) -> Table:
    """Return the rows of a frame of Polars or pandas."""
    rows = value.iter_rows() if hasattr(value, "iter_rows") else value.itertuples(index=False, name=None)
    return [tuple(None if str(cell) in {"<NA>", "nan"} else cell for cell in row) for row in rows]


def assert_same(found: Iterable[Any], due: Table) -> None:
    found = list(found)
    assert len(found) == len(due) > 0
    for one, other in zip(found, due, strict=True):
        assert list(one) == [pytest.approx(cell, rel=1e-9) if isinstance(cell, float) else cell for cell in other]
        assert not any(isinstance(cell, float) for cell, known in zip(one, other, strict=True) if type(known) is int)


def macro() -> str:
    (block,) = (block for block in BLOCKS if block.code.startswith("create macro"))
    return block.code


def test_each_block_is_run() -> None:
    """Each block of the page belongs to a question below, or to the sections before and after the questions."""
    asked = Counter((block.section, block.language) for block in BLOCKS)
    others = {("Query tokens", "bash"): 1, ("Before you begin", "python"): 1, ("Before you begin", "sql"): 1}
    distributed = {(DISTRIBUTED, "python"): 2, (DISTRIBUTED, "bash"): 1, (SHARDS, "python"): 1}
    questions = {(section, language): many for section in ANSWERS for language, many in (("sql", 1), ("python", 2))}
    assert asked == {**others, **distributed, **questions}


@pytest.mark.parametrize("section", ANSWERS)
def test_duckdb(exported: Path, monkeypatch: pytest.MonkeyPatch, section: str) -> None:
    """DuckDB answers from the export and, torn line and all, from the lines."""
    monkeypatch.chdir(exported)
    (query,) = (block.code for block in BLOCKS if block[:2] == (section, "sql"))
    due = answer(section, exported)
    with duckdb.connect() as connection:
        assert_same(connection.sql(query).fetchall(), due)
        connection.execute(macro())
        if "read_parquet" not in query:
            assert "'exp1.parquet'" in query
            lines = query.replace("'exp1.parquet'", "predlog('runs/exp1/*.jsonl')")
            assert_same(connection.sql(lines).fetchall(), due)


@pytest.mark.parametrize("section", ANSWERS)
def test_polars_and_pandas(exported: Path, monkeypatch: pytest.MonkeyPatch, section: str) -> None:
    """Polars and pandas answer the same from the export."""
    monkeypatch.chdir(exported)
    names: dict[str, Any] = {}
    last_value(BEGIN, names)
    found = [last_value(block.code, names) for block in BLOCKS if block[:2] == (section, "python")]
    assert [type(one).__module__.partition(".")[0] for one in found] == ["polars", "pandas"]
    for one in found:
        assert_same(table(one), answer(section, exported))


def answers(section: str, names: dict[str, Any]) -> Iterator[Table]:
    """Return the answer of each block of a section, run in the folder of its files, as a reader would run it."""
    with duckdb.connect() as connection:
        for block in BLOCKS:
            if block.section == section and block.language == "sql":
                yield connection.sql(block.code).fetchall()
            elif block.section == section:
                yield table(last_value(block.code, names))


def test_runs_of_one_name_are_compared(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs whose folders have one name, such as a/exp and b/exp, are still two."""
    monkeypatch.chdir(tmp_path)
    for name in ("exp1", "exp2"):
        duckdb.sql(f"copy (select * replace ('exp' as run) from '{exported}/{name}.parquet') to '{name}.parquet'")
    names: dict[str, Any] = {}
    last_value(BEGIN, names)
    due = answer("How do two runs compare?", exported)
    for found in answers("How do two runs compare?", names):
        assert_same(found, due)


def test_the_demo_has_the_token_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied unchanged, the question for one token has an answer on a run of the demo."""
    monkeypatch.chdir(tmp_path)
    assert command("demo", "--steps", "12", "--every", "2") == 0
    assert command("export", "runs/demo", "-o", "exp1.parquet") == 0
    names: dict[str, Any] = {}
    last_value(BEGIN, names)
    found = [*answers("What is predicted instead?", names)]
    assert len(found) == 3
    assert all(found)


def test_the_answers_are_no_accident(folder: Path) -> None:
    """The tokens that the model knows and forgets are among those in the answer, and the bad step among the jumps."""
    assert ("text", None, FORGOTTEN) in [
        row[:3] for row in answer("Which tokens were correct once, and wrong later?", folder)
    ]
    assert ("text", None, KNOWN, 0) in answer("When was a token learnt?", folder)
    assert ("text", None, FORGOTTEN) not in [row[:3] for row in answer("When was a token learnt?", folder)]
    assert ("text", JUMP_AT) in [row[:2] for row in answer("At which steps does the loss jump?", folder)]


def test_the_macro_has_all_columns(exported: Path) -> None:
    """The lines, read by the macro, have the columns and types of the export."""
    with duckdb.connect() as connection:
        connection.execute(macro())
        lines = connection.sql(f"from predlog('{exported}/runs/exp1/*.jsonl')")
        rows = connection.read_parquet(str(exported / "exp1.parquet"))
        assert dict(zip(lines.columns, map(str, lines.types), strict=True)) == {
            **dict(zip(rows.columns, map(str, rows.types), strict=True)),
            "context": "JSON",
            "window": "JSON",
        }
        assert sorted(rows.columns) == sorted(token_table.schema().names)


def test_guessed_columns_lose_texts(tmp_path: Path) -> None:
    """Why the macro writes the columns out: with guessed ones, texts after the first lines become null."""
    dates = [events.comparison(step=step, tokens=[events.token(1, label_text="2024-01-01")]) for step in range(21000)]
    others = [events.comparison(step=21000, tokens=[events.token(1, label_text=" the")])]
    (tmp_path / "in.jsonl").write_bytes(b"".join(map(to_line, dates + others)))
    guess = re.sub(r", columns = struct_pack\(.*\)\)", ")", macro(), flags=re.DOTALL)
    assert guess != macro()
    for one, found in ((guess, None), (macro(), " the")):
        with duckdb.connect() as connection:
            connection.execute(one)
            query = f"select label_text from predlog('{tmp_path}/in.jsonl') where step = 21000"
            assert connection.sql(query).fetchall() == [(found,)]


@pytest.mark.slow
def test_the_ranks_files_by_a_distributed_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Daft answers from eight ranks' files as DuckDB does; it refuses torn files, and reads their exports."""
    monkeypatch.setenv("DAFT_ANALYTICS_ENABLED", "0")
    pytest.importorskip("daft")
    for rank in range(8):
        monkeypatch.setenv("RANK", str(rank))
        record(tmp_path / "runs/exp1", rank, seed=rank)
    monkeypatch.chdir(tmp_path)
    lines, exports = (block.code for block in BLOCKS if block[:2] == (DISTRIBUTED, "python"))
    (export,) = (block.code for block in BLOCKS if block[:2] == (DISTRIBUTED, "bash"))
    with duckdb.connect() as connection:
        connection.execute(macro())
        lines_of = connection.sql("from predlog('runs/exp1/*.jsonl')")
        due = lines_of.aggregate("stream, rank, avg(match::int), avg(label_logprob)").order("all").fetchall()
    names: dict[str, Any] = {}
    assert_same(zip(*last_value(lines, names).values(), strict=True), due)
    file = tmp_path / "runs/exp1/predictions-rank3.jsonl"
    file.write_bytes(file.read_bytes() + to_line(events.comparison())[:200])
    os.utime(file, (0, 0))
    with pytest.raises(Exception, match="JSON"):
        last_value(lines, names)
    bash(export, tmp_path)
    assert len(due) == 16
    assert_same(zip(*last_value(exports, names).values(), strict=True), due)


def test_daft_joins_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Daft computes from the parts in the folders of ranks what `predlog.read` joins."""
    pytest.importorskip("daft")
    cuts = (0, 3, 4, 12)
    for rank, (start, stop) in enumerate(pairwise(cuts)):
        monkeypatch.setenv("RANK", str(rank))
        generator = torch.Generator().manual_seed(7)
        with predlog.Recorder(
            tmp_path / "runs/exp1", every=1, ranks="all", console=False, rank_folders=True
        ) as recorder:
            for step in range(6):
                labels = torch.randint(12, (2, 9), generator=generator)
                logits = logits_of(labels, 20 * step, generator, 12)[..., start:stop]
                recorder.compare(logits, labels, step, shard=predlog.Shard(start, of=12))
    monkeypatch.chdir(tmp_path)
    (block,) = (block.code for block in BLOCKS if block[:2] == (SHARDS, "python"))
    found = last_value(block, {})
    due = [one for one in Reading(tmp_path / "runs/exp1") if isinstance(one, Comparison)]
    assert [one.missing_ids for one in due] == [0] * 12
    expected = [(one.step, one.stream, one.sample, one.supervised, one.matched, one.loss) for one in due]
    # A record has the loss to six places.
    rounded = [(*rest, round(loss, 6)) for *rest, loss in zip(*found.values(), strict=True)]
    assert_same(rounded, expected)
