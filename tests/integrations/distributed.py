"""Two processes train together, and each holds its own records against what its loss was given; a test starts this."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from transformers import Trainer, TrainingArguments
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from predlog.integrations.transformers import PredictionCallback
from tests.installed import release
from tests.integrations import test_sft, test_trainer, tiny
from tests.integrations.old_names import named
from tests.integrations.test_sft import PLAIN, texts
from tests.integrations.witness import Twice, Witness, check, codes

# Public since torch 2.5.
DTensor: Any = import_module(f"torch.distributed.{'tensor' if release('torch') >= (2, 5) else '_tensor'}").DTensor

WAYS: dict[str, dict[str, Any]] = {
    "ddp": {},
    "fsdp": {
        "fsdp": True,
        "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": "LlamaDecoderLayer"},
    },
}
STEPS = {"train": [0, 2, 4]}


class Witnessed(Witness, Trainer):  # type: ignore[misc]
    """A trainer that remembers what its loss was given."""


class Fused(Twice, SFTTrainer):  # type: ignore[misc]
    """The same of TRL."""


def sharded(args: Any) -> Any:
    """Have accelerate shard on CPUs: it offers to on accelerators alone, though torch's FSDP2 does on any device."""
    args.distributed_state.distributed_type = DistributedType.MULTI_GPU
    return args


def trained(way: str, kind: str, folder: Path, callbacks: list[Any], data: Any = None, **more: Any) -> Any:
    how: dict[str, Any] = {
        "max_steps": 5, "per_device_train_batch_size": 2, "logging_steps": 2, "report_to": [], "use_cpu": True,
        "disable_tqdm": True, "save_strategy": "no", "seed": 1, **WAYS[way], **more,
    }  # fmt: skip
    torch.manual_seed(0)
    args: Any = (
        TrainingArguments(str(folder), **how)
        if kind == "trainer"
        else SFTConfig(
            str(folder), **named(SFTConfig, bf16=False, max_length=48, activation_checkpointing=False, **how)
        )
    )
    trainer: Any = {"trainer": Witnessed, "sft": Fused}[kind](
        model=tiny.llama(),
        args=sharded(args) if way == "fsdp" else args,
        train_dataset=data or (tiny.samples() if kind == "trainer" else texts()),
        processing_class=tiny.tokenizer(),
        callbacks=callbacks,
        **(test_sft.collated() if kind == "sft" and "dataset_kwargs" in more else {}),
    )
    trainer.train()
    assert (way == "fsdp") == any(isinstance(one, DTensor) for one in trainer.model.parameters())
    return trainer


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    """Return what this process has of the weights."""
    given = trainer.model.state_dict()
    return {name: one.to_local() if isinstance(one, DTensor) else one for name, one in given.items()}


def main(way: str, folder: Path) -> None:
    # Under FSDP2 a fused head is read before it has returned anything, while its weights are whole.
    is_counted = test_sft.HAS_LOGITS if way == "fsdp" else test_sft.IS_COUNTED
    for kind in ("trainer", "sft"):
        directory = folder / kind
        trainer = trained(way, kind, folder, [PredictionCallback(directory, ranks="all", console=False)])
        rank = trainer.args.process_index
        name = "predictions.jsonl" if rank == 0 else f"predictions-rank{rank}.jsonl"
        check(directory / name, trainer.seen, STEPS, counted=kind == "trainer" or is_counted)
        ours, theirs = weights(trainer), weights(trained(way, kind, folder, []))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[one], theirs[one]) for one in ours)
        print(f"{kind} {rank}: as it should be", flush=True)
        for fault, code in test_trainer.FAULTS if kind == "trainer" else test_sft.FAULTS:
            directory = folder / f"{kind} {code}"
            callbacks = [PredictionCallback(directory, ranks="all", console=False)]
            data, more = (fault(tiny.samples()), {"max_steps": 1}) if kind == "trainer" else (fault(texts()), PLAIN)
            trained(way, kind, folder, callbacks, data, **more)
            assert codes(directory / name) == {("train", 0, code)}, codes(directory / name)
        print(f"{kind} {rank}: both faults are named", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
