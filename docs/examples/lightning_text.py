from pydoc_data.topics import topics

import lightning
import torch
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from predlog.integrations.lightning import PredictionCallback

BYTES = torch.tensor(list("".join(topics.values()).encode()))
SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}


class Writer(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = LlamaForCausalLM(LlamaConfig(vocab_size=256, **SIZES))

    def training_step(self, batch, batch_idx):
        return self.model(input_ids=batch, labels=batch)

