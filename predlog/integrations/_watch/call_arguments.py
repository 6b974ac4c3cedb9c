"""The arguments that a watched module is called with → those that `compare` takes, too: inputs, masks and positions."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from predlog._runtime.failure import located, own_failure
from predlog.integrations.known_positions import begins_with_padding

# By the names of `compare`'s arguments, those that modules take them by; the first that is there is used.
_NAMES = {
    "loss_mask": ("loss_mask",),
    "attention_mask": ("attention_mask",),
    "position_ids": ("position_ids",),
    "document_ids": ("document_ids", "cu_seq_lens_q", "seq_idx"),
    "row_index": ("row_index",),
}
_OF_DECODERS = {"attention_mask": ("decoder_attention_mask",), "position_ids": ("decoder_position_ids",)}
Report = Callable[[str, str, Exception | None], None]


def known(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], inputs: str | None, report: Report,
    sample_ids: str | None = None,
) -> tuple[dict[str, Tensor], Any]:  # fmt: skip
    """Return what a call of a module shows of each position, by the names of `compare`'s arguments.

    After them comes what the call shows of the samples: their ids. `inputs` and `sample_ids` are the parameters that
    take the token ids and those of the samples; without `inputs`, that of Hugging Face's models is taken.
    """
    call = {**dict(zip(_parameters(module, report) if args else (), args, strict=False)), **kwargs}
    name = _usual_inputs(module) if inputs is None else inputs
    for argument, asked in (("inputs", inputs), ("sample_ids", sample_ids)):
        if asked is not None and asked not in call:
            what = f"{argument}={asked!r} is no argument of {type(module).__name__} as it is called: {', '.join(call)}"
            report(argument, what, None)
    names = _OF_DECODERS if _has_encoder(module, call) else _NAMES
    found = {key: next((call[one] for one in some if call.get(one) is not None), None) for key, some in names.items()}
    if names is _OF_DECODERS and begins_with_padding(_config(module)):
        del found["attention_mask"]
    kept = {
        key: one for key, one in found.items() if isinstance(one, Tensor) and (key.endswith("mask") or _is_ids(one))
    }
    ids = call.get(name) if name is not None else None
    if isinstance(ids, Tensor) and _is_ids(ids) and ids.ndim == 2:
        kept = {"inputs": ids, **kept}
    return kept, None if sample_ids is None else call.get(sample_ids)


def may_take_rows(module: nn.Module) -> bool:
    """Return whether a module may be called with a `row_index`: its rows are a part of those of whole samples."""
    named = _parameters(module, lambda *_: None)
    return "row_index" in named or "kwargs" in named


def _is_ids(value: Tensor) -> bool:
    return not value.is_floating_point() and not value.is_complex() and value.dtype.itemsize > 1


def _has_encoder(module: nn.Module, call: Mapping[str, Any]) -> bool:
    of_decoder = any(name.startswith("decoder_") for name in call)
    return of_decoder or getattr(_config(module), "is_encoder_decoder", False) is True


def _usual_inputs(module: nn.Module) -> str | None:
    """Return the parameter that takes the ids, if the model's own configuration shows it."""
    return "input_ids" if getattr(_config(module), "is_encoder_decoder", None) is False else None


def _config(module: nn.Module) -> Any:
    while isinstance(inner := getattr(module, "module", None), nn.Module):  # of a wrapper such as DDP
        module = inner
    return getattr(module, "config", None)


def _parameters(module: nn.Module, report: Report) -> list[str]:
    try:
        return list(inspect.signature(module.forward).parameters)
    except own_failure(Exception, module) as error:  # a foreign object's own code
        what = (
            f"the names of the parameters of {type(module).__name__}.forward can't be read, so inputs that are passed"
            f" without a name are not recorded: {located(error)}; pass them by name"
        )
        report("parameters", what, error)
        return []
