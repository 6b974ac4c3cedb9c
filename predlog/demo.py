"""A real little training run, and how predlog is called in one.

A byte-level transformer learns to write the Python language reference, which every Python carries as
`pydoc_data.topics`. A topic's title is the prompt, which the loss does not see; its text is supervised.

Three lines of it are predlog's; they are marked.
"""

import sys
from argparse import Namespace
from pydoc_data.topics import topics

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch users know

import predlog

END, PAD = 256, 257
VOCABULARY = 258
LENGTH, BATCH, WIDTH, HEADS, LAYERS = 96, 16, 128, 4, 2
IGNORED = -100


def decode(token: int) -> str:
    """Give the text of one id: what predlog needs to show text where there is no tokenizer."""
    if token >= END:
        return {END: "<end>", PAD: "<pad>"}[token]
    return chr(token) if token < 128 else f"<0x{token:02X}>"


def sample(generator: torch.Generator) -> tuple[list[int], list[int]]:
    """Give the ids of one topic, and its labels: the same ids, with the prompt and the padding ignored."""
    names = sorted(topics)
    name = names[int(torch.randint(len(names), (), generator=generator))]
    prompt = list(f"{name}: ".encode())
    text = [*topics[name].encode(), END]
    room = LENGTH - len(prompt)
    start = int(torch.randint(max(len(text) - room // 2, 1), (), generator=generator))
    text = text[start : start + room]
    padding = room - len(text)
    return prompt + text + [PAD] * padding, [IGNORED] * len(prompt) + text + [IGNORED] * padding


def batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Give ids and labels [b, t]. Labels are not shifted, as Hugging Face's causal models take them."""
    ids, labels = zip(*(sample(generator) for _ in range(BATCH)), strict=True)
    return torch.tensor(ids), torch.tensor(labels)


class Writer(nn.Module):
    """A small causal transformer over bytes: ids [b, t] → logits [b, t, v]."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        for outer in (self.bytes, self.places, self.head):
            nn.init.normal_(outer.weight, std=0.05)

    def forward(self, ids: Tensor) -> Tensor:
        """Predict the byte after each position."""
        hidden = self.bytes(ids) + self.places.weight
        causal = nn.Transformer.generate_square_subsequent_mask(LENGTH, device=ids.device)
        logits: Tensor = self.head(self.norm(self.layers(hidden, mask=causal, is_causal=True)))
        return logits


def train(arguments: Namespace) -> None:
    """Train for `arguments.steps` steps and say what came of it."""
    try:
        torch.empty((), device=arguments.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        sys.exit(f"predlog demo: --device {arguments.device} can't be used: {str(error).splitlines()[0]}")
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    model = Writer().to(arguments.device)
    optimizers = _optimizers(model)
    schedules = [_schedule(optimizer, arguments.steps) for optimizer in optimizers]

    recorder = predlog.configure(arguments.directory, every=arguments.every, decode=decode)  # 1: once, before the loop

    with _progress() as progress:
        bar = progress.add_task("training", total=arguments.steps, loss=float("nan"))
        for step in range(arguments.steps):
            ids, labels = (tensor.to(arguments.device) for tensor in batch(generator))
            logits = model(ids)
            predlog.compare(logits, labels, step, shift=1, inputs=ids)  # 2: each step, before the loss
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
            model.zero_grad()
            loss.backward()
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
            if step % 10 == 0:
                progress.update(bar, completed=step, loss=loss.item())
        progress.update(bar, completed=arguments.steps)

    predlog.close()  # 3: at the end; at the latest it happens by itself when the program ends
    _tell(arguments, recorder.stats()["written"])


def _optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    hidden = [weight for name, weight in model.named_parameters() if "layers" in name and weight.ndim == 2]
    others = [weight for name, weight in model.named_parameters() if "layers" not in name or weight.ndim != 2]
    return [torch.optim.Muon(hidden, lr=0.02, weight_decay=0.0), torch.optim.AdamW(others, lr=3e-3)]


def _schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    def factor(step: int) -> float:
        return min(1.0, (step + 1) / 20, (steps - step) / (0.4 * steps))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.2f}"),
        TimeElapsedColumn(),
    )


def _tell(arguments: Namespace, written: int) -> None:
    if not written:
        print("\nNothing was recorded: see above, or is PREDLOG_DISABLE set, or this a rank other than 0?")
        return
    file = f"{arguments.directory}/predictions.jsonl"
    *_, newest = predlog.read(file)
    comparisons = [
        record
        for record in predlog.read(file)
        if isinstance(record, predlog.Comparison) and record.attempt == newest.attempt
    ]
    first, last = comparisons[0].step, comparisons[-1].step
    print(f"""
{len(comparisons)} comparisons were added to {file}, one JSON object a line.
Right among the supervised bytes of the samples shown: {_accuracy(comparisons, first):.0%} at step {first}, \
{_accuracy(comparisons, last):.0%} at step {last}.

Look at the newest record:
    tail -n 1 {file} | {sys.executable} -m json.tool
Read them all, typed:
    {sys.executable} -c "import predlog; [print(record) for record in predlog.read('{arguments.directory}')]"
See how it is called in a training loop:
    {__file__}""")


def _accuracy(comparisons: list[predlog.Comparison], step: int) -> float:
    shown = [comparison for comparison in comparisons if comparison.step == step]
    return sum(one.matched or 0 for one in shown) / max(sum(one.supervised for one in shown), 1)
