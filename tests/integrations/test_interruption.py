"""A signal's handler that raises while a callback of predlog's is at work ends the training, as it does elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.needed import needed
from tests.interruption import handled, interruptions, points_of

needed("transformers")
needed("accelerate")
needed("lightning")

from predlog.integrations import lightning as with_lightning  # noqa: E402
from predlog.integrations import transformers as with_transformers  # noqa: E402
from tests.integrations import tiny, writers  # noqa: E402
from tests.integrations.test_trainer import trained  # noqa: E402

pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in writers.MESSAGES]


def with_trainer(folder: Path) -> None:
    trained(
        folder, [with_transformers.PredictionCallback(folder, every=1, console=False)], max_steps=1,
        eval_strategy="steps", eval_steps=1, samples=tiny.samples()[:8],
    )  # fmt: skip


def with_fit(folder: Path) -> None:
    callback = with_lightning.PredictionCallback(folder, every=1, shift=1, console=False)
    loader = writers.loader(writers.IDS[:4])
    writers.trainer(callback, max_steps=1, num_sanity_val_steps=0).fit(writers.Writer(), loader, loader)


WAYS: dict[str, Callable[[Path], Any]] = {"transformers": with_trainer, "lightning": with_fit}


@pytest.mark.parametrize("way", WAYS)
def test_it_ends_the_training(tmp_path: Path, way: str) -> None:
    """Wherever in predlog's code it comes, it is what the training raises, though torch raises this class, too."""
    train = WAYS[way]
    points = points_of(lambda: train(tmp_path / "counted"), within="predlog")
    with handled(RuntimeError):
        for point, error in interruptions(lambda point: train(tmp_path / str(point)), points // 8, within="predlog"):
            assert repr(error).startswith("RuntimeError('signal "), (point, points, error)
