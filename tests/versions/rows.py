"""The rows of the matrix, the oldest first: what is installed for each, and which tests run."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

# What meets torch: capture, torch's modes and transforms, hostile arguments, the watched loss, the stored pairs.
TORCH: Final = (
    "tests/_runtime", "tests/capture", "tests/recorder/test_never_breaks.py", "tests/integrations/test_watch.py",
    "tests/versions",
)  # fmt: skip
FRAMEWORKS: Final = ("tests/integrations", "tests/sinks")
SUITES: Final[dict[str, tuple[str, ...]]] = {
    "core": ("tests",),  # everything, as far as the frameworks that it needs are installed
    "torch": TORCH,
    "frameworks": FRAMEWORKS,
    "trackio": ("tests/sinks/test_trackio.py",),
    "one trainer": (*TORCH, "tests/integrations/test_trainer.py::test_records_are_what_the_loss_was_given[plain]"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One environment. An empty version is the newest one.

    `lowest` installs the lower bound of every requirement in pyproject.toml; `pins` are further requirements, and win.
    """

    name: str
    python: str
    torch: str
    suite: str
    extras: tuple[str, ...] = ("test",)
    pins: tuple[str, ...] = ()
    lowest: bool = False


# The extras whose lower bounds go together. That of trackio needs a newer huggingface_hub than transformers 4.46 takes.
_TOGETHER: Final = ("test", "hf", "lightning", "tensorboard", "wandb", "mlflow", "otel")
ROWS: Final = (
    Row("oldest", "3.10", "2.4.1", "core", _TOGETHER, ("trl==0.12", "peft==0.13"), lowest=True),
    Row("oldest, trackio", "3.10", "2.4.1", "trackio", ("test", "trackio"), ("huggingface_hub==1.10.1",), lowest=True),
    Row("2.4", "3.11", "2.4.1", "torch", pins=("transformers==4.57.*",)),  # transformers 5 wants torch 2.6
    Row("2.6, Python 3.10", "3.10", "2.6.0", "torch", pins=("einops==0.8.1",)),
    Row("2.6", "3.11", "2.6.0", "torch", pins=("numpy<2", "pyarrow<20")),
    Row("2.8", "3.11", "2.8.0", "torch", pins=("einops==0.8.0",)),
    Row("transformers 4.57", "3.11", "2.8.0", "frameworks", _TOGETHER,
        ("transformers==4.57.*", "trl==0.24.*", "peft==0.17.*", "accelerate==1.10.*")),
    Row("2.9", "3.11", "2.9.1", "torch"),
    Row("2.9, Python 3.12", "3.12", "2.9.1", "torch"),
    Row("2.11", "3.11", "2.11.0", "torch"),
    Row("2.11, Python 3.13", "3.13", "2.11.0", "torch"),
    Row("2.13", "3.11", "2.13.0", "torch"),
    Row("newest", "3.11", "", "core", ("frameworks",)),
    Row("Python 3.14", "3.14", "", "torch"),
)  # fmt: skip


def quick() -> Iterator[Row]:
    """Yield the rows that have a torch of their own, with the torch-facing tests and one Trainer for each."""
    for row in ROWS:
        if row.suite in {"core", "torch"}:
            yield replace(row, suite="one trainer", extras=tuple(dict.fromkeys((*row.extras, "hf"))))
