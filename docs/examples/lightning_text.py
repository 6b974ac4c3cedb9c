"""Train a small causal model on text with Lightning: python lightning_text.py."""

from pydoc_data.topics import topics

import lightning
import torch
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from predlog.integrations.lightning import PredictionCallback

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}


class Writer(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = LlamaForCausalLM(LlamaConfig(vocab_size=256, **SIZES))

    def training_step(self, batch):
        return self.model(**batch)  # what it returns has the loss and the logits, and the batch has the labels

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


ids = torch.tensor(list("".join(topics.values()).encode()[: 64 * 160])).view(-1, 64)
loader = DataLoader([{"input_ids": one, "labels": one} for one in ids], batch_size=4, shuffle=True)
predictions = PredictionCallback("runs/lightning", every=5, shift=1, decode=chr)
lightning.Trainer(max_epochs=1, accumulate_grad_batches=2, callbacks=[predictions]).fit(Writer(), loader)
