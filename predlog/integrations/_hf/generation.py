"""At which tokens a model's generation stops."""

from contextlib import suppress
from typing import Any

from predlog.recorder.recorder import Recorder


def name_stop(recorder: Recorder | None, model: Any) -> None:
    """Add the tokens at which the model's generation stops to the special tokens of a recorder, if they are known."""
    ids = stop(model)
    if recorder is not None and ids:
        recorder.know_special_tokens(lambda known: known.stopping_at(ids))


def stop(model: Any) -> tuple[int, ...]:
    """Return the ids at which generation stops; () if they are not known, or nobody has chosen them."""
    generation: Any = getattr(model, "generation_config", None)
    config: Any = getattr(model, "config", None)
    stop = getattr(generation, "eos_token_id", None)
    if getattr(generation, "_from_model_config", False):
        with suppress(Exception):  # a foreign class's own code
            if type(config)().eos_token_id == stop:
                return ()  # of a configuration that was made without one
    listed = tuple(stop) if isinstance(stop, list | tuple) else (stop,)
    return listed if all(type(one) is int and one >= 0 for one in listed) else ()
