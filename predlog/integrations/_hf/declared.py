"""The options of a Trainer → what its run declares, for the rules that these options decide.

They are read by name, from `TrainingArguments` and their subclasses such as TRL's; what is of another kind is not used.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from predlog._runtime.failure import own_failure

# Options of the arguments with which several updates are made on one batch, if they are above 1.
_REPEATS = ("num_iterations", "num_ppo_epochs", "ppo_epochs")
# Options that only trainers have which learn from texts that they generate.
_GENERATES = ("num_generations", "num_ppo_epochs", "num_iterations")
# Columns that are the answers to a column of prompts.
_ANSWERS = frozenset({"completion", "completion_mask", "response", "answer", "output"})
_MASKED_STREAMS = ("train", "eval")


def declared(args: Any, trainer: Any) -> Mapping[str, frozenset[str]]:
    """Return what a run has declared: of the callback's own streams, and under "" of every stream."""
    try:
        of_run, of_pairs = frozenset(_of_run(args)), frozenset(_asked(args, trainer))
    except own_failure(Exception, args, trainer):  # a foreign object's own code
        return {}
    return {"": of_run, **dict.fromkeys(_MASKED_STREAMS, of_pairs)}


def _of_run(args: Any) -> Iterable[str]:
    for name in _REPEATS:
        value = getattr(args, name, None)
        if type(value) is int and value > 1:
            yield f"{name}={value}"
    if any(type(getattr(args, name, None)) is int for name in _GENERATES):
        yield "generated completions"


def _asked(args: Any, trainer: Any) -> Iterable[str]:
    """Yield what asks for a mask of the prompts."""
    if getattr(args, "assistant_only_loss", None) is True:
        yield "assistant_only_loss"
    # The trainer's own is what it has made of the arguments and of the data.
    chosen = [getattr(one, "completion_only_loss", None) for one in (trainer, args)]
    if True in chosen:
        yield "completion_only_loss"
    elif False not in chosen:
        columns = getattr(getattr(trainer, "train_dataset", None), "column_names", None)
        known = frozenset(columns) if isinstance(columns, list) else frozenset()
        if "prompt" in known and known & _ANSWERS:
            yield "prompt column"
