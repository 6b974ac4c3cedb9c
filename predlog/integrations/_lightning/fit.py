"""A running fit of Lightning's: its folder, what it trains, and a step of it in evaluation mode."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from predlog.capture import dtensor
from predlog.integrations.probe import PART, Probe, why_sharded
from predlog.integrations.untouched import set_eval, untouched

_SHARDING = frozenset({"FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy"})
_NO_STEP = (
    "the probe is not recorded: it is looked at by validation_step, which the module does not have, and training_step"
    " may change weights where the optimization is manual. Define a validation_step, or use predlog.probe in a callback"
)

OF_LOGGERS = (
    "the rows of samples are split over processes, and the logger of each may name another folder, where nobody finds"
    " their parts: pass directory=, the same in all processes"
)


def folder(trainer: Any, module: Any, ranks: object) -> Path | None:
    """Return the default folder of a run's file; None if there is none, or if none is local.

    `trainer.log_dir` is not used: it waits for all processes. So if several processes record, as those with a part of a
    module's distributed weights, they use the folder that all of them know, since each logger would number its own.
    """
    is_alone = ranks == 0 or (ranks == "auto" and not any(map(dtensor.is_dtensor, module.parameters())))
    loggers = trainer.loggers[:1] if is_alone or trainer.world_size == 1 else []
    found = [getattr(one, name, None) for one in loggers for name in ("log_dir", "save_dir")]
    for one in (*found, trainer.default_root_dir):
        if isinstance(one, str | os.PathLike) and "://" not in str(one):
            return Path(one)
    return None


def is_fitting(trainer: Any) -> bool:
    """Return whether a trainer trains, and does not only validate or test."""
    return bool(trainer.state.fn == "fit")


def is_encoder_decoder(module: Any) -> bool:
    """Return whether it trains a Hugging Face model with an encoder, which reads the batch's `input_ids`."""
    configs = (getattr(one, "config", None) for one in module.modules())
    return any(getattr(config, "is_encoder_decoder", False) is True for config in configs)


@contextmanager
def evaluated(
    trainer: Any, module: Any, probe: Probe, base: type, report: Callable[[str, str], None]
) -> Iterator[Callable[[], tuple[Any, Any]] | None]:
    """Enter with what a step of the module gives for a probe batch, and leave the module as it was.

    That is a function that returns what the step returned, and the batch; None, which is reported, if there is none.
    `base` is Lightning's module, whose own steps do nothing.
    """
    has_step = type(module).validation_step is not base.validation_step  # type: ignore[attr-defined]
    step = module.validation_step if has_step else module.training_step if module.automatic_optimization else None
    why_not = PART if type(trainer.strategy).__name__ in _SHARDING else _NO_STEP if step is None else None
    why_not = why_not or why_sharded(module)
    if step is None or why_not is not None:
        report("probe", str(why_not))
        yield None
        return

    def call() -> tuple[Any, Any]:
        batch = trainer.precision_plugin.convert_input(probe.batch(module.device))
        with trainer.precision_plugin.val_step_context():
            return step(batch, 0), batch

    with untouched(module):
        set_eval(module)
        # The figures of a probe are none of the validation's, and other processes gather nothing now.
        module.log = module.log_dict = _ignored
        module.all_gather = _refused
        yield call


def _ignored(*_given: Any, **_named: Any) -> None:
    """Log nothing."""


def _refused(*_given: Any, **_named: Any) -> None:
    raise RuntimeError("all_gather is called, which waits for the other processes, and these have no probe")
