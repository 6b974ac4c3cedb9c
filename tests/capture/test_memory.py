"""The pass over all supervised rows holds one chunk of them: its memory doesn't grow with the number of rows.

Measured is every allocation that torch makes while a pair is captured, at the moment when most of it is held.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from predlog.capture import device, score, whole_loss
from predlog.capture.capture import capture
from predlog.capture.pair import Pair
from predlog.numbers.window import Window
from tests.benchmarks.memory import peak_of

CPU = torch.device("cpu")
V = 4096
# A smaller chunk than the real one, 128 rows of float32, so that a few hundred rows are several chunks.
CHUNK = 128 * V
# Bytes that each position needs beside its row: ids, masks, losses, entropies, ranks and the sorting of losses. 60 are
# measured. A row in bfloat16 has 8192, so whatever holds rows, in whichever type, is far above this.
A_POSITION = 100
# Copies of a chunk, in float32, that are held at once: 3 and 5 are measured.
ON_THE_CPU, ELSEWHERE = 4, 6
SHOWN = Window(score=False)
ASKED = {
    "score": Window(worst=0),
    "worst": Window(worst=5),
    "alternatives": Window(alternatives=3),
    "all tokens": Window(all_tokens=10_000),
    "everything": Window(worst=5, alternatives=3, all_tokens=10_000),
}
LAID_OUT: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda logits: logits,
    "every second row": lambda logits: torch.stack([logits, logits], 2).flatten(1, 2)[:, ::2],
    "time first": lambda logits: logits.transpose(0, 1).contiguous().transpose(0, 1),
    "vocabulary first": lambda logits: logits.transpose(1, 2).contiguous().transpose(1, 2),
    "padded vocabulary": lambda logits: torch.nn.functional.pad(logits, (0, 128))[..., :-128],
}
# The usual one in each run, the others with `-m slow`.
SOME_LAID_OUT = ["contiguous", *(pytest.param(one, marks=pytest.mark.slow) for one in [*LAID_OUT][1:])]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "_CHUNK", CHUNK)
    monkeypatch.setattr(score, "_CHUNK_ELSEWHERE", CHUNK)


def pair(length: int, dtype: torch.dtype, laid_out: str = "contiguous", mask: str = "") -> tuple[Tensor, Tensor]:
    """Return a pair of two samples whose rows are laid out so in memory; three of four labels may be masked."""
    generator = torch.Generator().manual_seed(length)
    logits = LAID_OUT[laid_out](torch.randn(2, length, V, generator=generator).to(dtype))
    labels = torch.randint(V, (2, length), generator=generator)
    if mask == "most":
        labels.view(2, -1, 4)[..., :3] = -100
    return logits, labels


def peak(record: Callable[[], Any]) -> int:
    record()  # what is made once, such as tables of torch's own
    return peak_of(record, CPU)


@pytest.mark.parametrize("mask", ["", pytest.param("most", marks=pytest.mark.slow)])
@pytest.mark.parametrize("laid_out", SOME_LAID_OUT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("asked", ["score", "everything"])
def test_the_pass_on_the_cpu_holds_a_chunk(asked: str, dtype: torch.dtype, laid_out: str, mask: str) -> None:
    """Two buffers, a product, and rows that are picked out: with twice as many rows, no more of them."""
    held = {}
    for length in (512, 1024):
        logits, labels = pair(length, dtype, laid_out, mask)
        held[length] = peak(lambda logits=logits, labels=labels: capture(logits, labels, window=ASKED[asked]))  # type: ignore[misc]
    assert held[512] <= ON_THE_CPU * 4 * CHUNK + 2 * 512 * A_POSITION
    assert held[1024] - held[512] <= 2 * 512 * A_POSITION


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.slow
def test_what_is_asked_for_needs_no_more(asked: str, dtype: torch.dtype) -> None:
    """The worst tokens, alternatives and all tokens take some numbers per position, never a copy of all rows."""
    held = {}
    for length in (512, 1024):
        logits, labels = pair(length, dtype)
        held[length] = peak(lambda logits=logits, labels=labels: capture(logits, labels, window=ASKED[asked]))  # type: ignore[misc]
    assert held[512] <= ON_THE_CPU * max(4, dtype.itemsize) * CHUNK + 2 * 512 * A_POSITION
    assert held[1024] - held[512] <= 2 * 512 * A_POSITION


@pytest.mark.parametrize("laid_out", SOME_LAID_OUT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("asked", ["score", "everything"])
def test_the_pass_on_a_device_holds_a_chunk(asked: str, dtype: torch.dtype, laid_out: str) -> None:
    """The operations for other devices, run here, hold some copies of a chunk, and of the rows shown."""
    held = {}
    for length in (512, 1024):
        logits, labels = pair(length, dtype, laid_out)
        held[length] = peak(lambda logits=logits, labels=labels: packed(logits, labels, ASKED[asked]))  # type: ignore[misc]
    shown = 2 * 15 * 4 * V
    assert held[512] <= ELSEWHERE * (4 * CHUNK + shown) + 2 * 512 * A_POSITION
    assert held[1024] - held[512] <= 2 * 512 * A_POSITION


def packed(logits: Tensor, labels: Tensor, window: Window) -> Tensor:
    """Run the operations that other devices run."""
    sizes = capture(logits, labels, window=SHOWN).sizes
    read = Pair(logits.unsqueeze(1), labels.unsqueeze(1), None, has_codebooks=False)
    return device.pack(read, device.packing(read, sizes, window), sizes, window)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_of_the_whole_pair_holds_a_chunk(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does the pass that the reported loss is checked with."""
    monkeypatch.setattr(whole_loss, "_CHUNK", CHUNK)
    held = {}
    for length in (512, 1024):
        logits, labels = pair(length, dtype)
        held[length] = peak(lambda logits=logits, labels=labels: capture(logits, labels, window=SHOWN, has_totals=True))  # type: ignore[misc]
    assert held[512] <= ON_THE_CPU * 4 * CHUNK + 2 * 512 * A_POSITION
    assert held[1024] - held[512] <= 2 * 512 * A_POSITION


@pytest.mark.parametrize("asked", ["score", "everything"])
@pytest.mark.parametrize("run", [lambda *pair: capture(*pair[:2], window=pair[2]), packed], ids=["cpu", "device"])
def test_that_the_tests_can_fail(run: Callable[..., Any], asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one chunk for all rows, the memory grows with them, and far beyond what is allowed."""
    monkeypatch.setattr(score, "_CHUNK", 1 << 40)
    monkeypatch.setattr(score, "_CHUNK_ELSEWHERE", 1 << 40)
    held = {}
    for length in (512, 1024):
        logits, labels = pair(length, torch.bfloat16)
        held[length] = peak(lambda logits=logits, labels=labels: run(logits, labels, ASKED[asked]))  # type: ignore[misc]
    assert held[1024] - held[512] > 20 * 512 * A_POSITION


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)])
def test_chunks_of_the_real_size(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the sizes that users have, the pass takes 8 MiB at most on the CPU beside logits of 62 or 125."""
    monkeypatch.undo()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 512, 32_000, generator=generator).to(dtype)
    labels = torch.randint(32_000, (2, 512), generator=generator)
    held = peak(lambda: capture(logits, labels, window=ASKED["everything"]))
    assert held < 8 << 20
