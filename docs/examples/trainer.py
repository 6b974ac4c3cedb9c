"""Train a small Llama on Python's language reference with Hugging Face's Trainer, and see what it predicts."""

from pydoc_data.topics import topics

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments

from predlog.integrations.transformers import PredictionCallback

bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
bpe.train_from_iterator(topics.values(), trainers.BpeTrainer(vocab_size=1000, special_tokens=["<pad>", "<end>"]))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<end>")
texts = [tokenizer(text[:150] + "<end>") for text in topics.values()]
small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}

trainer = Trainer(
    model=LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **small)),
    args=TrainingArguments("runs/trainer", max_steps=40, learning_rate=3e-3, logging_steps=10, save_strategy="no"),
    train_dataset=texts,
    data_collator=transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False),
    processing_class=tokenizer,
    callbacks=[PredictionCallback()],
)
trainer.train()
