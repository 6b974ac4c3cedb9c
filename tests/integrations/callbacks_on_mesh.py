"""What `test_callbacks_on_mesh` does in four processes: two replicas of a model whose logits two ranks share.

The Trainer and Lightning know nothing of the mesh: the model itself is parallel, as torch makes it.
"""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, loss_parallel, parallelize_module
from transformers import Trainer, TrainingArguments

import predlog
from predlog.integrations.lightning import PredictionCallback as OfLightning
from predlog.integrations.transformers import PredictionCallback as OfTrainer
from tests.integrations.on_mesh_of_ranks import RANKS, Counter, launch

STEPS, BATCH, LENGTH, VOCABULARY = 3, 2, 12, 41


def batches(replica: int) -> list[dict[str, Tensor]]:
    """Return the batches of a replica: the labels are the next inputs."""
    generator = torch.Generator().manual_seed(replica)
    ids = torch.randint(VOCABULARY, (STEPS, BATCH, LENGTH + 1), generator=generator)
    return [{"input_ids": one[:, :-1], "labels": one[:, 1:]} for one in ids]


class Model(nn.Module):
    """A head on embeddings; its loss is computed of logits that may be DTensors."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.head = nn.Linear(16, VOCABULARY, bias=False)
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.head(self.embedding(input_ids))
        loss = self.criterion(logits.flatten(0, 1), labels.flatten())
        # The Trainer adds losses to a plain tensor.
        return {"loss": loss.to_local() if isinstance(loss, DTensor) else loss, "logits": logits}


class Module(pl.LightningModule):
    """The same for Lightning, which returns the pair from its step."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.model(**batch)
        return found

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trained_by_trainer(model: Model, data: list[dict[str, Tensor]], folder: Path, *, is_recorded: bool) -> None:
    samples: Any = [{name: one[at] for name, one in batch.items()} for batch in data for at in range(BATCH)]
    arguments = TrainingArguments(
        str(folder / "hf"), max_steps=STEPS, per_device_train_batch_size=BATCH, report_to=[], use_cpu=True,
        disable_tqdm=True, save_strategy="no", max_grad_norm=0, optim="sgd", learning_rate=0.1,
        lr_scheduler_type="constant", train_sampling_strategy="sequential", logging_strategy="no",
    )  # fmt: skip
    callback = OfTrainer(folder / "trainer", every=1, shift=0, console=False)
    trainer = Trainer(model=model, args=arguments, train_dataset=samples, callbacks=[callback] if is_recorded else [])
    trainer.train()


def trained_by_lightning(model: Model, data: list[dict[str, Tensor]], folder: Path, *, is_recorded: bool) -> None:
    callback = OfLightning(folder / "lightning", every=1, console=False)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, barebones=not is_recorded,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback] if is_recorded else None,
    )  # fmt: skip
    trainer.fit(Module(model), torch.utils.data.DataLoader(data, batch_size=None))  # type: ignore[arg-type] # a dataset


def trained_in_a_loop(model: Model, data: list[dict[str, Tensor]], folder: Path, *, is_recorded: bool) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ExitStack() as stack:
        if is_recorded:
            recorder = stack.enter_context(predlog.Recorder(folder / "watch", every=1, console=False))
            stack.enter_context(predlog.watch(model, recorder=recorder))
        for batch in data:
            model(**batch)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()


WAYS = {"trainer": trained_by_trainer, "lightning": trained_by_lightning, "watch": trained_in_a_loop}


def main(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=RANKS)
    mesh = device_mesh.init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    plan: Any = {"head": ColwiseParallel(output_layouts=Shard(-1), use_local_output=False)}
    seen = {}
    for way, train in WAYS.items():
        weights, sent = [], []
        for is_recorded in (True, False):
            model = Model()
            parallelize_module(model, mesh["tp"], plan)
            before = Counter._numbers()
            with loss_parallel():
                train(model, batches(rank // 2), folder, is_recorded=is_recorded)
            sent.append(Counter._numbers() - before)
            weights.append([one.full_tensor() if hasattr(one, "full_tensor") else one for one in model.parameters()])
        seen[way] = [sent, all(map(torch.equal, *weights))]
    (folder / f"seen{rank}.json").write_text(json.dumps(seen))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    launch(main, Path(sys.argv[1]), 300)
