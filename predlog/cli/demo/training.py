"""A real little training run, and how predlog is called in one.

A byte-level transformer learns to write the Python language reference, which every Python carries as
`pydoc_data.topics`. A topic's title is the prompt, which the loss does not see; its text is supervised.

Three lines of it are predlog's; they are marked.
"""

import copy
import shlex
import shutil
import sys
import textwrap
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import predlog._runtime.first_imports  # before rich is imported

# isort: split
import torch
from rich import get_console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch users know

import predlog
from predlog.cli.demo.mistakes import IGNORED, MISTAKES, NONE
from predlog.cli.demo.time_box import TimeBox, few_threads
from predlog.cli.options import DIRECTORY
from predlog.records.figures import Point, of_step
from predlog.records.text import nats

BEGIN, END, PAD = 256, 257, 258
VOCABULARY = 259
LENGTH, BATCH, WIDTH, HEADS, LAYERS, NEWEST = 96, 16, 128, 4, 2, 4
# How many steps are recorded: to see a model learn, a few; to judge what it does wrong, findings need more.
RECORDS, RECORDS_OF_MISTAKES = 10, 40


def decode(token: int) -> str:
    """Return the text of one id: what predlog needs to show text if there is no tokenizer."""
    if token >= BEGIN:
        return {BEGIN: "<begin>", END: "<end>", PAD: "<pad>"}[token]
    return chr(token) if token < 128 else f"<0x{token:02X}>"


def sample(generator: torch.Generator) -> tuple[list[int], list[int]]:
    """Return the ids of one topic, and its labels: the same ids, with the prompt and the padding ignored."""
    names = sorted(topics)
    name = names[int(torch.randint(len(names), (), generator=generator))]
    prompt = [BEGIN, *f"{name}: ".encode()]
    text = [*topics[name].encode(), END]
    room = LENGTH - len(prompt)
    start = int(torch.randint(max(len(text) - room // 2, 1), (), generator=generator))
    text = text[start : start + room]
    padding = room - len(text)
    return prompt + text + [PAD] * padding, [IGNORED] * len(prompt) + text + [IGNORED] * padding


def batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return ids and labels [b, t]. Labels are not shifted, as Hugging Face's causal models take them."""
    ids, labels = zip(*(sample(generator) for _ in range(BATCH)), strict=True)
    return torch.tensor(ids), torch.tensor(labels)


class Writer(nn.Module):
    """A small causal transformer over bytes: ids [b, t] → logits [b, t, v].

    Each position gets the four newest bytes at once, by a convolution: to learn that by attention takes longer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(LENGTH, WIDTH)
        self.newest = nn.Conv1d(WIDTH, WIDTH, NEWEST, padding=NEWEST - 1)
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
        hidden = hidden + self.newest(hidden.mT)[..., :LENGTH].mT
        causal = nn.Transformer.generate_square_subsequent_mask(LENGTH, device=ids.device)
        logits: Tensor = self.head(self.norm(self.layers(hidden, mask=causal, is_causal=True)))
        return logits


def loss_of(logits: Tensor, labels: Tensor, shift: int = 1) -> Tensor:
    """Return the mean loss of the labels that are not ignored; without any it is 0, as in trainers that count them.

    `shift` is 1, since the label of a position is to be predicted from the one before it.
    """
    rows, targets = logits[:, : labels.shape[1] - shift].flatten(0, 1), labels[:, shift:].flatten()
    loss = F.cross_entropy(rows, targets, ignore_index=IGNORED, reduction="sum")
    return loss / (targets != IGNORED).sum().clamp(min=1)


@few_threads()
@torch.random.fork_rng(devices=())  # whoever calls `main` as a function may have seeded a training
def train(arguments: Namespace) -> None:
    """Train for at most `arguments.steps` steps and `arguments.seconds` seconds, and say what came of it."""
    box = TimeBox(arguments.seconds, arguments.steps)
    try:
        torch.empty((), device=arguments.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        sys.exit(f"predlog demo: --device {arguments.device} can't be used: {str(error).splitlines()[0]}")
    torch.default_generator.manual_seed(arguments.seed)  # `torch.manual_seed` would seed the caller's GPUs too
    generator = torch.Generator().manual_seed(arguments.seed)
    mistake = MISTAKES.get(arguments.mistake, NONE)
    model = Writer().to(arguments.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.99), eps=mistake.epsilon)
    schedule = _schedule(optimizer, box, mistake.jump)
    many = RECORDS if mistake is NONE else RECORDS_OF_MISTAKES

    recorder = predlog.configure(  # 1: once, before the loop
        arguments.directory,
        every=arguments.every or box.every(_rehearsal(model, arguments.device), many),
        decode=decode,
        special_tokens={"bos": BEGIN, "eos": END, "pad": PAD},
    )

    with _progress() as progress:
        bar = progress.add_task("training", total=1.0, step=0, loss=float("nan"))
        for step in box.steps():
            if mistake.reseeded:
                generator.manual_seed(arguments.seed)
            ids, labels = (mistake.both(tensor).to(arguments.device) for tensor in batch(generator))
            labels = mistake.labels(labels)
            logits = model(ids)
            predlog.compare(logits, labels, step, shift=mistake.shift, inputs=ids)  # 2: each step, before the loss
            try:
                loss = loss_of(logits, labels, shift=mistake.shift)
            except IndexError as error:
                print(f"\nThe training ends here, as it would without predlog: IndexError: {error}")
                break
            predlog.report_loss(loss, step)  # 3: after the loss, to have it checked against the pair
            model.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 10 == 0:
                progress.update(bar, completed=box.done(step), step=step, loss=loss.item())
        else:
            progress.update(bar, completed=1.0, step=step)

    predlog.close()  # 4: at the end; at the latest it happens by itself when the program ends
    _tell(arguments, recorder)


def _rehearsal(model: nn.Module, device: str) -> Callable[[], float]:
    """Return a step of the same work, on a copy of the model and other batches: to see how long it takes."""
    copied, generator = copy.deepcopy(model), torch.Generator()
    optimizer = torch.optim.AdamW(copied.parameters())

    def step() -> float:
        ids, labels = (tensor.to(device) for tensor in batch(generator))
        loss = loss_of(copied(ids), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _schedule(optimizer: torch.optim.Optimizer, box: TimeBox, jump: float) -> torch.optim.lr_scheduler.LRScheduler:
    def factor(step: int) -> float:
        done = box.done(step)
        if jump > 1 and done > 0.4:
            return jump  # for good: as it decays, the model would recover a little
        return min(1.0, (step + 1) / 20, (1 - done) / 0.4)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("step {task.fields[step]}, loss {task.fields[loss]:.2f}"),
        TimeElapsedColumn(),
        disable=not get_console().is_terminal,  # in a pipe its last state would be a line among the records
    )


def _tell(arguments: Namespace, recorder: predlog.Recorder) -> None:
    """Say how it went and what to do next; what was recorded, and where, the recorder has said as its last line."""
    if not recorder.stats()["written"]:
        print("\nNothing was recorded. See the messages above. Is PREDLOG_DISABLE set? Is this a rank other than 0?")
        return
    file = f"{arguments.directory}/predictions.jsonl"
    every = [record for record in predlog.read(file) if isinstance(record, predlog.Comparison)]
    comparisons = [one for one in every if one.attempt == every[-1].attempt]
    first, last = (of_step([one for one in comparisons if one.step == comparisons[at].step]) for at in (0, -1))
    command, directory = _command(), shlex.quote(str(arguments.directory))
    _print(f"""
{_found(arguments.mistake, recorder)}\
At step {first.first_step} the loss of the supervised bytes shown was {nats(first.loss)}, and {_share(first)} were
predicted correctly; at step {last.first_step} it was {nats(last.loss)}, and {_share(last)}.

How predlog is called in a training loop:
    {__file__}
See every recorded token on one page:
    {command} report {directory} --open
See the newest records again:
    {command} tail {directory}
{_another(arguments, command, directory)}""")


def _print(text: str) -> None:
    """Print a text, on a terminal wrapped between words; commands, which are indented, stay whole."""
    console = get_console()
    for line in text.split("\n"):
        is_wrapped = console.is_terminal and not line.startswith(" ")
        print(textwrap.fill(line, console.width, break_on_hyphens=False) if is_wrapped else line)


def _another(arguments: Namespace, command: str, directory: str) -> str:
    """Return what else the demo shows: a mistake, or, after one, the others."""
    if arguments.mistake is not None:
        return f"See which mistakes it makes:\n    {command} demo --mistake list"
    more = "" if arguments.directory == DIRECTORY else f" --directory {directory}"
    return f"Make a common mistake, and see the finding that names it:\n    {command} demo --mistake unshifted{more}"


def _command() -> str:
    """Return how a shell calls this command: `predlog` if its PATH has that one, else as it was called."""
    ours, found = Path(sys.executable).with_name("predlog"), shutil.which("predlog")
    if found is not None and ours.exists() and ours.samefile(found):
        return "predlog"
    called = sys.argv[0]
    return shlex.quote(called) if Path(called).name == "predlog" else f"{shlex.quote(sys.executable)} -m predlog"


def _share(point: Point) -> str:
    return "none" if point.accuracy is None else f"{point.accuracy:.0%}"


def _found(mistake: str | None, recorder: predlog.Recorder) -> str:
    if mistake is None:
        return ""
    mistaken = f"The mistake: {MISTAKES[mistake].says}.\n"
    if not recorder.findings:
        return (
            f"{mistaken}There were too few records to find it: use more --steps or --seconds, or a smaller --every.\n"
        )
    return f"{mistaken}What was found, and how to fix it:\n    predlog explain {recorder.findings[0].code}\n"
