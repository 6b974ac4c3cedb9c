"""The recorder that the Trainer's callback makes for a training, with the trainer's tokenizer if that can be used."""

from collections.abc import Callable
from typing import Any

from predlog._runtime.failure import located, own_failure
from predlog.errors import PredlogError
from predlog.integrations._hf import hooks
from predlog.recorder.recorder import Recorder

# The value of `decode` that takes the trainer's tokenizer.
OF_TRAINER = "trainer"


def made(
    make: Callable[..., Recorder], decode: Any, processing: Any, report: Callable[[str], None],
    fail: Callable[[str, Exception], None],
) -> Recorder | None:  # fmt: skip
    """Return a recorder; it has no texts if the trainer's tokenizer, which nobody asked for, can't be used.

    `processing` is what the trainer processes texts with. None, which is reported, if no recorder can be made.
    """
    try:
        return make(decode=hooks.tokenizer(processing) if decode == OF_TRAINER else decode)
    except own_failure(Exception) as error:  # a foreign object's own code
        report(
            f"ids are shown without their texts, because the {type(processing).__name__} can't be used:"
            f" {located(error)}; pass decode=, such as a function from one id to its text"
        )
    try:
        return make(decode=None)
    except PredlogError as error:  # the arguments were checked: it is the trainer's folder
        fail("nothing", error)
        return None
