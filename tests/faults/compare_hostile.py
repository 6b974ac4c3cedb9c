"""Compares hostile texts, as a process of its own whose standard output is somebody's: `FOLDER COUNT TERMINAL|SINKS`.

To SINKS it draws in both forms for terminals of 80 and of 200 columns, and for a log, into files, and codebooks too; it
prints by how many bytes its memory has grown.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console as RichConsole

from predlog import Recorder
from predlog.sinks import Console
from tests.faults import hostile
from tests.faults.resident import resident_bytes

TOKENS = 10
WIDTHS = (80, 200)


def ids_of(step: int, count: int) -> tuple[list[int], list[int], list[int]]:
    """Return the labels, predictions and inputs of a step: every fourth position is right, so some carry a tick."""
    labels = [(2 * TOKENS * step + at) % count for at in range(TOKENS)]
    predictions = [
        label if at % 4 == 1 else (2 * TOKENS * step + TOKENS + at) % count for at, label in enumerate(labels)
    ]
    return labels, predictions, labels[1:] + labels[:1]


def stream_of(step: int) -> str:
    """Return the name of a step's stream: now and then a hostile one."""
    return hostile.name_of(step) if step % 10 == 5 else "text"


def main() -> None:
    """Compare as many steps as show every text once."""
    folder, count, where = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    steps = count // (2 * TOKENS)
    if where == "TERMINAL":
        with Recorder(folder, every=1, decode=hostile.text_of, console="full") as recorder:
            _compare(recorder, range(steps), count)
        return
    folder.mkdir()
    consoles = [_drawn(folder / f"{width}.txt", width, "full") for width in WIDTHS]
    consoles += [_drawn(folder / f"compact-{width}.txt", width) for width in WIDTHS]
    consoles.append(_drawn(folder / "log.txt", None))
    with Recorder(folder, every=1, decode=hostile.text_of, console=False, sinks=consoles) as recorder:
        _compare(recorder, range(5), count)
        before = resident_bytes()
        _compare(recorder, range(5, steps), count)
        print(resident_bytes() - before)
    narrow = [_drawn(folder / f"codebooks-{width}.txt", width) for width in WIDTHS]
    with Recorder(every=1, decode={"codes": hostile.text_of}, console=False, sinks=narrow) as recorder:
        _compare_codebooks(recorder, steps // 10, count)


def _drawn(path: Path, width: int | None, form: Literal["compact", "full"] = "compact") -> Console:
    file = path.open("w", encoding="utf-8", errors="surrogatepass")
    colours: Literal["256"] | None = "256" if width else None
    return Console(
        RichConsole(file=file, force_terminal=width is not None, width=width or 80, color_system=colours), form=form
    )


def _compare(recorder: Recorder, steps: Sequence[int], count: int) -> None:
    for step in steps:
        labels, predictions, inputs = ids_of(step, count)
        logits = _logits(predictions, count)
        text = hostile.name_of(step + 1)
        future = recorder.compare(
            logits, torch.tensor([labels]), step, stream=stream_of(step), inputs=torch.tensor([inputs]),
            note=text, nested=[text, {text: text}],
        )  # fmt: skip
        # Refused: the finding names a stream, and its message and evidence are made of what was handed.
        recorder.compare(logits, torch.tensor([labels]), step, stream=hostile.name_of(step % 50), layout=text)
        if future is not None:
            future.exception()


def _compare_codebooks(recorder: Recorder, steps: int, count: int) -> None:
    for step in range(steps):
        rows = [ids_of(step + number, count) for number in range(3)]
        logits = torch.stack([_logits(predictions, count) for _, predictions, _ in rows], 2)
        labels = torch.tensor([[row[0] for row in rows]]).transpose(1, 2)
        recorder.compare(logits, labels, step, stream="codes", layout="b t k v, b t k")
        recorder.flush()


def _logits(predictions: list[int], count: int) -> torch.Tensor:
    logits = torch.zeros(1, TOKENS, count)
    logits[0, range(TOKENS), predictions] = 9.0
    return logits


if __name__ == "__main__":
    main()
