"""The mistakes that `predlog demo --mistake` makes on purpose: each is one that people were seen to make.

A mistake changes one thing of the training, and the finding that names it is named with it. Tensors are only called
by their methods here, so that the command line can list the mistakes without importing torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
IGNORED = -100


def _as_they_are(tensor: "Tensor") -> "Tensor":
    return tensor


@dataclass(frozen=True, slots=True)
class Mistake:
    """What a training does wrong: by default, nothing.

    `labels` and `both` change the batch's labels, or ids and labels alike; `shift` is that of the loss, `jump` what the
    learning rates are multiplied with from two fifths of the steps on, `epsilon` AdamW's; `reseeded` draws every batch
    from the same seed.
    """

    says: str
    code: str = ""
    shift: int = 1
    labels: "Callable[[Tensor], Tensor]" = _as_they_are
    both: "Callable[[Tensor], Tensor]" = _as_they_are
    jump: float = 1.0
    epsilon: float = 1e-8
    reseeded: bool = False


def _shifted(labels: "Tensor") -> "Tensor":
    shifted = labels.roll(-1, 1)
    shifted[:, -1] = IGNORED
    return shifted


def _masked(labels: "Tensor") -> "Tensor":
    return labels.new_full(labels.shape, IGNORED)


def _marked_otherwise(labels: "Tensor") -> "Tensor":
    return labels.masked_fill(labels == IGNORED, -1)


def _begun_twice(tensor: "Tensor") -> "Tensor":
    later = tensor.roll(1, 1)
    later[:, 0] = tensor[:, 0]
    return later


NONE = Mistake("nothing is done wrong")
MISTAKES = {
    "unshifted": Mistake(
        "the loss compares each prediction with the token that was just read, so the model learns to copy",
        "labels-are-inputs",
        shift=0,
    ),
    "shifted-twice": Mistake(
        "the collator shifts the labels, and the loss shifts them again", "labels-shifted-twice", labels=_shifted
    ),
    "all-masked": Mistake(
        "the answer is not found in the text, so every label is masked; the loss is 0.0", "nothing-supervised",
        labels=_masked,
    ),
    "wrong-ignore-index": Mistake(
        "the collator masks with -1, and the loss ignores -100", "label-out-of-range", labels=_marked_otherwise
    ),
    "collapsed": Mistake(
        "in the middle of the run the learning rate is multiplied by 60, and the model ends up predicting one byte",
        "collapsed",
        jump=60.0,
    ),
    "copied-batch": Mistake("the loader starts again with the same seed for every step", "same-batch", reseeded=True),
    "doubled-bos": Mistake(
        "the tokenizer adds a begin token, and the template has added one already", "bos-doubled", both=_begun_twice
    ),
    "nan": Mistake(
        "AdamW's epsilon is 0, so weights without a gradient become 0 / 0", "logits-not-finite", epsilon=0.0
    ),
}  # fmt: skip


def listing() -> str:
    """Return the names, each with its sentence and the finding that names it."""
    return "\n".join(f"{name}: {mistake.says} ({mistake.code})" for name, mistake in MISTAKES.items())
