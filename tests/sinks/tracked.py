"""A run to show in trackers, and what they must show of it according to its file."""

import os
import re
from collections.abc import Iterator, Sequence
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import torch
from structlog.typing import Processor

from predlog import Comparison, Finding, Recorder, read
from predlog.records.text import harmless
from predlog.sinks.console import drawn
from tests import ROOT, fresh

# Token texts that would be links, tables, tags, lines and colours, or can't be encoded.
HOSTILE = ["<script>alert(1)</script>", "|", "**b**", "`x`", "a\nb", "\x1b[31m", "\ud800", "[a](javascript:b)", "&amp;"]
STEPS = (7, 8, 9)


def run(folder: Path, sink: Processor, **settings: Any) -> list[Comparison | Finding]:
    """Record a text stream and one of three codebooks, and return what is in the file.

    The text's labels equal its inputs, the codes are missing at the second step, and the text's logits are NaN at the
    third.
    """
    with Recorder(
        folder, every=1, console=False, strict=True, decode=lambda one: HOSTILE[one % len(HOSTILE)], sinks=[sink],
        **settings,
    ) as recorder:  # fmt: skip
        for step in STEPS:
            compare(recorder, step)
    return [one for one in read(folder) if isinstance(one, Comparison | Finding)]


def compare(recorder: Recorder, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(20, (3, 16), generator=generator)
    logits = 3 * torch.nn.functional.one_hot(labels, 20) + torch.randn(3, 16, 20, generator=generator)
    inputs = labels.clone()
    labels[:, :4] = -100
    recorder.compare(logits * (torch.nan if step == STEPS[2] else 1), labels, step, inputs=inputs)
    if step != STEPS[1]:
        codes = torch.randint(20, (3, 16, 3), generator=generator)
        scores = torch.randn(3, 16, 3, 20, generator=generator) + torch.nn.functional.one_hot(codes, 20)
        recorder.compare(scores, codes, step, stream="audio", layout="b t k v, b t k")


def curves(recorded: list[Comparison | Finding]) -> dict[tuple[str, int], float]:
    """Return each point by the name of its curve and its step, as the file has it."""
    points: dict[tuple[str, int], float] = {}
    comparisons = [one for one in recorded if isinstance(one, Comparison)]
    groups: dict[tuple[int, str, int | None], list[Comparison]] = {}
    for one in comparisons:
        for codebook in {None, one.codebook}:  # codebooks together, and each
            groups.setdefault((one.step, one.stream, codebook), []).append(one)
    for (step, stream, codebook), ones in groups.items():
        name = f"predlog/{stream}" if codebook is None else f"predlog/{stream}/codebook {codebook}"
        tokens = [token for one in ones for token in one.tokens]
        for figure in ("loss", "entropy"):
            values = [(value, one.supervised) for one in ones if (value := getattr(one, figure)) is not None]
            if values:
                points[f"{name}/{figure}", step] = sum(value * count for value, count in values) / sum(
                    count for _, count in values
                )
        correct = [bool(token.match) for token in tokens]
        if all(one.matched is not None for one in ones):
            matched = sum(one.matched for one in ones if one.matched is not None)
            points[f"{name}/accuracy", step] = matched / sum(one.supervised for one in ones)
        else:
            points[f"{name}/accuracy", step] = sum(correct) / len(correct)
        known = [token.label_logprob for token in tokens if token.label_logprob is not None]
        if known:
            points[f"{name}/logprob", step] = sum(known) / len(known)
        points[f"{name}/supervised", step] = sum(one.supervised for one in ones) / sum(one.length for one in ones)
    assert ("predlog/text/logprob", STEPS[2]) not in points
    assert len({step for name, step in points if "codebook 2" in name}) == 2
    return points


def rows(recorded: list[Comparison | Finding], stream: str | None = None) -> list[dict[str, Any]]:
    """Return each token under the names that columns have."""
    return [
        {
            "step": one.step,
            "stream": one.stream,
            "codebook": one.codebook,
            "sample": one.sample,
            "sample_id": one.sample_id,
        }
        | {
            name: harmless(value) if isinstance(value := getattr(token, name), str) else value
            for name in token.__struct_fields__
            if name not in {"slot", "alternatives"}
        }
        for one in recorded
        if isinstance(one, Comparison) and stream in {None, one.stream}
        for token in one.tokens
    ]


def on_console(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """Return the rows that a console of enough width draws of samples without codebooks, one after the other."""
    return [
        [cell for cell in line.split() if cell != "│"] for one in comparisons for line in _drawn(one).splitlines()[1:]
    ]


def headings(comparisons: Sequence[Comparison], errors: Sequence[str] = ()) -> list[str]:
    """Return the headings that it draws, with open errors after step, stream and sample."""
    found = [_drawn(one).splitlines()[0].split(" · ") for one in comparisons]
    return [" · ".join([*parts[:3], *(f"✗ {code}" for code in errors), *parts[3:]]) for parts in found]


def _drawn(one: Comparison) -> str:
    return drawn([msgspec.to_builtins(one)], (), width=4000, encoding="utf-8")


def of_step(recorded: Sequence[Comparison | Finding], stream: str, step: int) -> list[Comparison]:
    return [one for one in recorded if isinstance(one, Comparison) and (one.stream, one.step) == (stream, step)]


def assert_shown(recorded: Sequence[Comparison | Finding], pages: Sequence[str]) -> None:
    """Hold pages of HTML against what the console draws: each sample's heading and cells, once, and no other tag."""
    assert all(page.startswith("<!doctype html>") and "default-src 'none'" in page for page in pages)
    tags = {tag for page in pages for tag in re.findall(r"<(\w+)", page)}
    assert tags == {"meta", "style", "title", "div", "table", "tr", "th", "td", "span"}
    rows = [
        [
            unescape(re.sub("<.*?>", "", cell)).removeprefix("│ ").strip()
            for cell in re.findall("<t[hd].*?</t[hd]>", row)
        ]
        for page in pages
        for row in re.findall("<tr.*?</tr>", page)
    ]
    texts = [one for one in recorded if isinstance(one, Comparison) and one.codebook is None]
    wanted = on_console(texts)
    assert sorted(row for row in rows if row[0] in {"label", "pred", "p"}) == sorted(wanted)
    codes = [one for one in recorded if isinstance(one, Comparison) and one.codebook is not None]
    assert sum(len(row) > 1 for row in rows) == len(wanted) + len(codes)
    assert sum("✗ labels-are-inputs" in row[0] for row in rows) == len(texts)
    assert sum(cell.startswith("✓") for row in rows for cell in row) == sum(
        bool(token.match) for one in (*texts, *codes) for token in one.tokens
    )


def findings(recorded: list[Comparison | Finding]) -> Iterator[tuple[int, str, str, str]]:
    """Yield step, level, code and message of each."""
    for one in recorded:
        if isinstance(one, Finding):
            yield one.step, one.level, one.code, one.message


def documented(page_section: str, loader_length: int = 12) -> list[tuple[str, dict[str, Any]]]:
    """Return the examples in a section of docs/results/trackers.md, each with what a training has."""
    page = (ROOT / "docs" / "results" / "trackers.md").read_text()
    section = page.partition(f"\n## {page_section}\n")[2].partition("\n## ")[0]
    examples = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert examples
    ids = torch.randint(20, (2, 16), generator=torch.Generator().manual_seed(0))
    names = {"loader": [{"input_ids": ids, "labels": ids}] * loader_length, "model": Model()}
    return [(example, dict(names)) for example in examples]


class Model:
    def __call__(self, ids: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.nn.functional.one_hot(ids, 20).float())


def without(library: str, module: str) -> str:
    """Return the error of importing one of predlog's modules if a library is missing."""
    program = f"import sys; sys.modules[{library!r}] = None; import predlog.sinks.{module}"
    done = fresh.run(program, environment={name: os.environ[name] for name in os.environ if not name.startswith("COV")})
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]
