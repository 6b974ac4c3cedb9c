"""What people do instead of capturing with predlog.

Each does what such code commonly does, and no more: where it was open, the cheaper way was taken.
"""

import io
import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Of how many samples, and of how many tokens at each end, they log.
_SAMPLES = 2
_ENDS = 5


def argmax_of_everything(logits: Tensor) -> list[Any]:
    """Take the prediction of every token to the host: what the pasted helper does before it logs."""
    return logits.argmax(-1).tolist()


@contextmanager
def pasted_helper(directory: Path) -> Iterator[Callable[[Tensor, Tensor, int], None]]:
    """Return the helper that people paste into their trainers: it logs to a file and to a stream."""
    logger = logging.getLogger("tests.benchmarks.pasted_helper")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [
        logging.FileHandler(directory / "helper.log"),
        logging.StreamHandler(io.StringIO()),
    ]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)

    def log(logits: Tensor, labels: Tensor, step: int) -> None:
        predictions, wanted = argmax_of_everything(logits), labels.tolist()
        for sample in range(min(_SAMPLES, len(wanted))):
            logger.info("step %d sample %d first labels %s", step, sample, wanted[sample][:_ENDS])
            logger.info("step %d sample %d first predictions %s", step, sample, predictions[sample][:_ENDS])
            logger.info("step %d sample %d last labels %s", step, sample, wanted[sample][-_ENDS:])
            logger.info("step %d sample %d last predictions %s", step, sample, predictions[sample][-_ENDS:])

    try:
        yield log
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def naive_way(logits: Tensor, labels: Tensor) -> list[list[dict[str, Any]]]:
    """Return what a comparison's tokens hold, computed for every token and picked in Python afterwards."""
    logprobs = logits.float().log_softmax(-1)
    predictions = logits.argmax(-1)
    wanted = labels.clamp(min=0).unsqueeze(-1)
    columns = (
        labels,
        predictions,
        logprobs.gather(-1, wanted).squeeze(-1),
        logprobs.gather(-1, predictions.unsqueeze(-1)).squeeze(-1),
        1 + (logits > logits.gather(-1, wanted)).sum(-1),
    )
    samples = zip(*(column.tolist() for column in columns), strict=True)
    return [_picked(list(zip(*sample, strict=True))) for sample in itertools.islice(samples, _SAMPLES)]


def _picked(tokens: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    supervised = [position for position, (label, *_) in enumerate(tokens) if label != -100]
    names = ("label", "prediction", "label_logprob", "prediction_logprob", "label_rank")
    return [
        {"position": position, **dict(zip(names, tokens[position], strict=True))}
        for position in supervised[:_ENDS] + supervised[-_ENDS:]
    ]


def torchmetrics_accuracy(vocabulary: int) -> Callable[[Tensor, Tensor], float]:
    """Return torchmetrics' token accuracy, brought to the host to be logged."""
    from torchmetrics.functional.classification import multiclass_accuracy  # noqa: PLC0415 - for whoever asks for it

    def accuracy(logits: Tensor, labels: Tensor) -> float:
        return multiclass_accuracy(
            logits.flatten(0, 1), labels.flatten(),
            num_classes=vocabulary, top_k=1, average="micro", ignore_index=-100,
        ).item()  # fmt: skip

    return accuracy


def transformers_copy(logits: Tensor, labels: Tensor) -> float:
    """Copy the logits as transformers' evaluation does for `compute_metrics`, and take the accuracy there."""
    # NumPy has no bfloat16, and the evaluation gathers batches in arrays of its own: a copy on the CPU, too.
    if logits.dtype == torch.bfloat16:
        logits = logits.float()
    copied, wanted = logits.detach().cpu().numpy().copy(), labels.detach().cpu().numpy()
    supervised = wanted != -100
    return float((copied.argmax(-1) == wanted)[supervised].mean())
