"""Labels on their way past the model: a trainer that keeps them gives the callback its batches."""

from typing import Any

from predlog.integrations.callback import CopiedCallback


class PredictionMixin:
    """Pass the labels to the callback, for a trainer that does not pass them to its model.

    Label smoothing and `compute_loss_func` have that effect: `class MyTrainer(PredictionMixin, Trainer): ...`.
    """

    callback_handler: Any

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
        """Return the trainer's own loss."""
        for callback in self.callback_handler.callbacks:
            # The Trainer's and Lightning's are told apart by what they take.
            if isinstance(callback, CopiedCallback) and hasattr(callback, "on_batch"):
                callback.on_batch(inputs)
        return super().compute_loss(model, inputs, *arguments, **named)  # type: ignore[misc]
