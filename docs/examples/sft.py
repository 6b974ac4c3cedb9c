"""Train a small Llama on Python's language reference with LoRA in TRL's SFTTrainer, which makes no logits."""

from pydoc_data.topics import topics

from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from predlog.integrations.transformers import PredictionCallback

bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
bpe.train_from_iterator(topics.values(), trainers.BpeTrainer(vocab_size=1000, special_tokens=["<pad>", "<end>"]))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<end>")
pairs = [{"prompt": f"{name}: ", "completion": text[:150]} for name, text in topics.items()]
small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}

trainer = SFTTrainer(
    model=LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **small)),
    args=SFTConfig("runs/sft", max_steps=40, learning_rate=3e-3, logging_steps=10, save_strategy="no", bf16=False),
    train_dataset=Dataset.from_list(pairs),
    processing_class=tokenizer,
    peft_config=LoraConfig(r=8, target_modules="all-linear", modules_to_save=["embed_tokens", "lm_head"]),
    callbacks=[PredictionCallback()],
)
trainer.train()
