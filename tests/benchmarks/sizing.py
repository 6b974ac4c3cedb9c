"""How many bytes a sample takes in the file, by setting: the table in docs/explanations/records.md.

One sample of 512 tokens, of a vocabulary of 32,000 and with token texts of five characters; with codebooks, 8 of 512
codes of a vocabulary of 1024. `python -m tests.benchmarks --only sizes` prints the figures.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from predlog import Recorder
from tests.benchmarks.harness import Row, Spread
from tests.benchmarks.options import Options

_LENGTH, _VOCABULARY, _CODES = 512, 32_000, 1024
# What is passed to the recorder, by the words of the table.
SETTINGS: Mapping[str, dict[str, Any]] = {
    "default": {},
    "text=False": {"text": False},
    "text_window=0": {"text_window": 0},
    "score=False": {"score": False},
    "worst=0": {"worst": 0},
    "worst=20": {"worst": 20},
    "first=2, last=2": {"first": 2, "last": 2},
    "first=20, last=20": {"first": 20, "last": 20},
    "alternatives=3": {"alternatives": 3},
    "all_tokens=True": {"all_tokens": True},
    "8 codebooks": {},
    "8 codebooks, first=1, last=1, worst=0": {"first": 1, "last": 1, "worst": 0},
}


def sizing(_options: Options) -> Iterator[Row]:
    """Count the bytes of the lines of one sample."""
    for words, settings in SETTINGS.items():
        many = size(words, settings)
        title = f"bytes of one sample in the file, {words}"
        yield Row(name=f"size {words}", title=title, measured=Spread.exact(many), unit="B", note=f"{many:,} bytes")


def size(words: str, settings: Mapping[str, Any]) -> int:
    """Record one sample, and return the bytes of its lines."""
    generator = torch.Generator().manual_seed(0)
    has_codebooks = words.startswith("8 codebooks")
    shape = (1, 8, _LENGTH) if has_codebooks else (1, _LENGTH)
    vocabulary = _CODES if has_codebooks else _VOCABULARY
    logits = 3 * torch.randn(*shape, vocabulary, generator=generator)
    labels, inputs = (torch.randint(vocabulary, shape, generator=generator) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "exp1"
        with Recorder(run, every=1, console=False, decode=_text, special_tokens={}, **settings) as recorder:
            recorder.compare(
                logits,
                labels,
                1200,
                inputs=inputs,
                layout="b k t v, b k t" if has_codebooks else None,
                lr=2e-4,
                epoch=3,
            )
        lines = (run / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    return sum(len(line) for line in lines if b'"event":"predlog.comparison"' in line)


def _text(token: int) -> str:
    return f" {token % 0x10000:04x}"
