"""TRL's own trainers, with tiny random models and nothing wrong, recorded by predlog's callback."""

import tempfile
from collections.abc import Callable
from typing import Any

import torch

from predlog.integrations.transformers import PredictionCallback
from predlog.records.schema import Finding
from tests.cases.passed import EVERYTHING, Passed, Witness
from tests.installed import release
from tests.integrations import tiny
from tests.integrations.needed import needed
from tests.integrations.old_names import named

datasets = needed("datasets")
trl = needed("trl")
peft = needed("peft")

# The first versions of TRL compute these losses from logits alone.
HAS_POLICIES = hasattr(trl, "GRPOTrainer") and release("transformers") >= (5,)


def _texts() -> list[tuple[str, str]]:
    return [(f"{title}:", text) for title, text in tiny.texts() if len(text) > 40]


def texts() -> Any:
    return datasets.Dataset.from_dict({"text": [f"{title} {text}" for title, text in _texts()]})


def answers() -> Any:
    titles, completions = zip(*_texts(), strict=True)
    return datasets.Dataset.from_dict({"prompt": list(titles), "completion": list(completions)})


def chats() -> Any:
    said = [[("user", title), ("assistant", text)] for title, text in _texts()]
    return datasets.Dataset.from_dict(
        {"messages": [[{"role": role, "content": text} for role, text in one] for one in said]}
    )


def preferences() -> Any:
    titles, chosen = zip(*_texts(), strict=True)
    return datasets.Dataset.from_dict(
        {"prompt": list(titles), "chosen": list(chosen), "rejected": [one[::-1] for one in chosen]}
    )


def judgements() -> Any:
    titles, completions = zip(*_texts(), strict=True)
    rated = [at % 2 == 0 for at in range(len(titles))]
    return datasets.Dataset.from_dict({"prompt": list(titles), "completion": list(completions), "label": rated})


def prompts() -> Any:
    return preferences().select_columns(["prompt"])


def rewards(completions: Any, **_: Any) -> list[float]:
    return [float(one.count("e")) for one in completions]


def _trainer(kind: str, data: Callable[[], Any], steps: int = 24, how: Any = dict, **more: Any) -> Any:
    """Return what makes a trainer of TRL's in a folder, with a callback."""

    def make(folder: str, callback: PredictionCallback, seed: int) -> Any:
        config = getattr(trl, kind.replace("Trainer", "Config"))
        known = named(
            config,
            **{
                "max_steps": steps,
                "per_device_train_batch_size": 4,
                "logging_steps": 1,
                "report_to": [],
                "bf16": False,
                "use_cpu": True,
                "disable_tqdm": True,
                "save_strategy": "no",
                "seed": seed,
                "learning_rate": 1e-3,
                "activation_checkpointing": False,
                "gradient_checkpointing": False,
                **more,
            },
        )
        unknown = {*known} - {*config.__dataclass_fields__}
        return getattr(trl, kind)(
            model=tiny.llama(), args=config(folder, **{name: known[name] for name in {*known} - unknown}),
            train_dataset=data(), processing_class=tiny.tokenizer(), callbacks=[callback], **how(),
        )  # fmt: skip

    return make


def _reference() -> dict[str, Any]:
    return {"ref_model": tiny.llama()}


def _adapter() -> dict[str, Any]:
    return {"peft_config": peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"])}


TRAINERS: dict[str, Callable[[str, PredictionCallback, int], Any]] = {
    "SFT": _trainer("SFTTrainer", texts, max_length=48),
    "SFT, prompts and completions": _trainer("SFTTrainer", answers, max_length=64),
    "SFT, chats, everything supervised": _trainer("SFTTrainer", chats, max_length=96),
    "SFT, chats, answers alone": _trainer("SFTTrainer", chats, max_length=96, assistant_only_loss=True),
    "SFT, packed": _trainer("SFTTrainer", texts, max_length=96, packing=True),
    "SFT, packed and cut": _trainer("SFTTrainer", texts, max_length=96, packing=True, packing_strategy="wrapped"),
    "SFT, flattened": _trainer("SFTTrainer", texts, max_length=None, padding_free=True),
    "SFT, accumulated": _trainer("SFTTrainer", answers, max_length=64, gradient_accumulation_steps=4),
    "SFT, an adapter": _trainer("SFTTrainer", texts, max_length=48, how=_adapter),
}
POLICIES: dict[str, Callable[[str, PredictionCallback, int], Any]] = {
    "DPO": _trainer("DPOTrainer", preferences, how=_reference, max_length=64),
    "KTO": _trainer("KTOTrainer", judgements, how=_reference, max_length=64),
    "GRPO": _trainer("GRPOTrainer", prompts, 12, lambda: {"reward_funcs": rewards}, num_generations=2,
                     max_completion_length=8),
    "GRPO, inner iterations": _trainer("GRPOTrainer", prompts, 16, lambda: {"reward_funcs": rewards},
                                       num_generations=2, max_completion_length=8, num_iterations=8),
}  # fmt: skip
if HAS_POLICIES:
    TRAINERS |= POLICIES


def found(
    make: Callable[[str, PredictionCallback, int], Any], *, seed: int, passed: Passed = EVERYTHING
) -> tuple[list[Finding], int]:
    """Train, and return whatever was found, and the number of records judged."""
    torch.manual_seed(seed)
    recorder = Witness(passed, decode=tiny.tokenizer())
    with tempfile.TemporaryDirectory() as folder:
        make(folder, PredictionCallback(recorder=recorder, every=passed.every), seed).train()
    recorder.close()
    return recorder.found, recorder.stats()["written"]
