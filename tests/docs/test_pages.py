"""What the documentation shows, runs."""

import ast
import io
import math
import re
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from types import SimpleNamespace
from typing import Any

import nbclient
import nbformat
import pytest
import rich
import structlog
import torch
from rich.console import Console as RichConsole
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

import predlog
from predlog.findings import catalog
from tests import ROOT, events
from tests.benchmarks.sizing import SETTINGS, size


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    predlog.close()
    structlog.reset_defaults()


@pytest.mark.parametrize("block", blocks("docs/results/structlog.md"))
def test_structlog_pages_examples(own_folder: Path, block: str) -> None:
    """Each example of docs/results/structlog.md configures a recorder that records to runs/exp1."""
    exec(block, {})
    predlog.compare(*events.pair(), 0)
    assert predlog.close()
    kinds = [one.event for one in predlog.read("runs/exp1")]
    assert kinds[0] == "predlog.run"
    assert "predlog.comparison" in kinds


def test_records_pages_examples(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reading a run, and checking a line without predlog, work as docs/explanations/records.md shows them."""
    with predlog.Recorder("runs/exp1", every=1, console=False) as recorder:
        recorder.compare(*events.pair(), 7)
    reading, checking = blocks("docs/explanations/records.md")
    exec(reading, {})
    assert capsys.readouterr().out.splitlines() == ["7 text 1 16", "7 text 0 16"]
    for line in (own_folder / "runs/exp1/predictions.jsonl").read_bytes().splitlines(keepends=True):
        exec(checking, {"line": line})
        with pytest.raises(AssertionError):
            exec(checking, {"line": line.replace(b"predlog", b"predlag", 1)})


def test_the_sizes_of_records() -> None:
    """The table in records.md has the settings that are measured, and their sizes within three percent.

    Timestamps and checksums always have the same length. The digits of some fifty rounded numbers in each token's
    columns may differ by one with another release of torch, which is well below one percent; another key in each token
    is at least four.
    """
    page = (ROOT / "docs/explanations/records.md").read_text()
    _, table = page.split("| setting | bytes of one sample |")
    rows = re.findall(r"^\| (.*?) \| ([\d,]+) \|$", table.partition("\n\n")[0], re.MULTILINE)
    stated = {name.replace("`", ""): int(number.replace(",", "")) for name, number in rows}
    assert list(stated) == list(SETTINGS)
    assert stated == {name: pytest.approx(size(name, how), rel=0.03) for name, how in SETTINGS.items()}


def test_the_notebook_example(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The example for notebooks and tests in docs/frameworks/plain-loop.md prints one line per sample."""
    (block,) = (block for block in blocks("docs/frameworks/plain-loop.md") if "result()" in block)
    logits, labels = events.pair()
    exec(block, {"predlog": predlog, "logits": logits, "labels": labels})
    assert sum(line.startswith("16 [") for line in capsys.readouterr().out.splitlines()) == 2


@pytest.mark.slow
def test_the_fine_tuning_page(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page's labels are right and train without a finding; its mistakes look as it shows them."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    bpe.train_from_iterator([*topics.values()][:20], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>", pad_token="<end>")
    # Each answer is the last line of a topic.
    pairs = [(f"What is {name}? Answer: ", text.split("\n")[-2].strip()) for name, text in [*topics.items()][:16]]
    table = torch.nn.Embedding(len(tokenizer), len(tokenizer))
    names: dict[str, Any] = {
        "torch": torch, "tokenizer": tokenizer, "pairs": pairs,
        "model": lambda ids, attention_mask: SimpleNamespace(logits=table(ids)),
        "optimizer": torch.optim.SGD(table.parameters(), 0.1),
    }  # fmt: skip
    encode, collate, look, alone, proof, train = blocks("docs/start/fine-tuning.md")
    shown, missing = re.findall(r"```text\n(.*?)```", (ROOT / "docs/start/fine-tuning.md").read_text(), re.DOTALL)
    for block in (encode, collate, look):
        exec(block, names)
    assert capsys.readouterr().out == shown

    exec(alone, names)
    exec(proof, names)
    assert names["wrong"] != names["labels"]
    assert names["wrong"].count(-100) == names["labels"].count(-100) + 1
    assert not names["fits"]
    both = [(one.rstrip(), f" {other}") for one, other in pairs]
    for names["pairs"] in ([both[0]], [pairs[0]]):  # a blank belongs to the answer, or it does not
        exec(proof, names)
        assert names["fits"] == (names["pairs"] == [both[0]])

    def by_count(prompt: str, answer: str) -> tuple[list[int], list[int]]:
        exec(alone, names | (own := {"encode": encoded, "pairs": [(prompt, answer)]}), own)
        return own["ids"], own["wrong"]

    encoded, names["pairs"] = names["encode"], pairs
    names["encode"] = by_count
    exec(look, names)
    assert capsys.readouterr().out == f"{missing}<no findings>\n"

    def without_end(prompt: str, answer: str) -> tuple[list[int], list[int]]:
        ids, labels = encoded(prompt, answer)
        return ids, [-100 if one == tokenizer.pad_token_id else one for one in labels]

    names["encode"] = without_end
    exec(look, names)
    assert [one.code for one in names["seen"].findings] == ["eos-never-supervised"]
    assert "<end>" not in capsys.readouterr().out.splitlines()[0]

    names["encode"] = encoded
    exec(train, names)
    assert predlog.close()
    assert [one for one in predlog.read("runs/sft") if isinstance(one, predlog.Finding)] == []


@pytest.mark.parametrize("block", blocks("docs/start/check-a-batch.md"))
def test_the_inspect_pages_examples(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The look prints its tables; the assertions hold for a sound pair, and fail for labels that are shifted twice."""
    logits, ids = torch.randn(3, 20, 50), torch.randint(3, 50, (3, 20))
    for labels in (ids, ids.roll(-1, 1)):
        names: dict[str, Any] = {
            "predlog": predlog, "logits": logits, "labels": labels, "input_ids": ids, "tokenizer": str,
            "first_batch": partial(tuple, (logits, labels, ids)),
        }  # fmt: skip
        with nullcontext() if labels is ids or "assert" not in block else pytest.raises(AssertionError):
            exec(block, names)
            names.get("test_the_pair_is_sound", lambda: None)()
    assert ("step 0 · text · sample 2" in capsys.readouterr().out) == ("print" in block)


def test_the_notebooks_page(tmp_path: Path) -> None:
    """Each block of notebooks.md is a cell: the loop shows one table, the recorder its line, and text is text."""
    setup = """
import torch, types
from tests import events
logits, labels = events.pair()
model = lambda ids: types.SimpleNamespace(logits=logits)
loader = [{"input_ids": labels.clamp(0), "labels": labels}] * 11
tokenizer = str
"""
    cells = [setup, *blocks("docs/results/notebooks.md"), "predlog.compare(logits, labels, 0); predlog.close()"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])  # type: ignore[no-untyped-call]
    nbclient.NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    _, _, loop, (*early, recorder), _, text = (one["outputs"] for one in notebook.cells)
    # The table may come when the next cell runs already.
    told = [one["data"]["text/plain"] for one in (*loop, *early) if one["output_type"] == "display_data"]
    page = (ROOT / "docs/results/notebooks.md").read_text()
    assert told[0].splitlines()[0] in page
    assert "".join(told).count("step 10 · text · sample 1") == 1
    assert recorder["data"]["text/plain"] in page
    printed = "".join(one.get("text", "") for one in text)
    assert "step 0 · text · sample 0" in re.sub("\x1b\\[[0-9;]*m", "", printed)


def test_the_readmes_loop(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The loop at the start of README.md and docs/index.md records its due steps."""
    logits, labels = events.pair()

    class Model:
        def __call__(self, _ids: Any) -> Any:
            return type("Output", (), {"logits": logits})

    loader = [{"input_ids": labels.clamp(0), "labels": labels}] * 11
    assert blocks("README.md")[0] == blocks("docs/index.md")[0]
    names = {"model": Model(), "loader": loader, "tokenizer": str, "loss_function": lambda *_: 2.0}
    exec(blocks("README.md")[0], names)
    assert predlog.close()
    assert {one.step for one in predlog.read("runs/exp1") if isinstance(one, predlog.Comparison)} == {0, 10}


def test_the_pasted_helpers_page(
    own_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On pasted-helper.md the helper, with a mask and without, and the three lines print what the page shows."""
    page = (ROOT / "docs/start/pasted-helper.md").read_text()
    masked, unmasked, ours, *_ = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    helper, batch, three_lines, _ = blocks("docs/start/pasted-helper.md")
    names: dict[str, Any] = {}
    exec(helper + batch, names)
    assert capsys.readouterr().out == masked
    (again,) = re.findall(r"`(log_predictions\(logits, ids, .*?\))`", page)
    exec(again, names)
    assert capsys.readouterr().out == unmasked

    screen = io.StringIO()
    console = RichConsole(file=screen, force_terminal=True, color_system=None, width=100, _environ={})
    monkeypatch.setattr(rich, "_console", console)
    exec(three_lines, names)
    assert predlog.close()
    assert len([line for line in three_lines.splitlines() if line]) == 3
    assert [line.rstrip() for line in screen.getvalue().splitlines()[1:]] == ours.splitlines()


def test_the_example_of_two_streams_is_quoted() -> None:
    """The calls on docs/start/pasted-helper.md are those of docs/examples/two_streams.py."""
    *_, calls = blocks("docs/start/pasted-helper.md")
    example = ast.unparse(ast.parse((ROOT / "docs/examples/two_streams.py").read_text()))
    assert len(ast.parse(calls).body) == 2
    for call in ast.parse(calls).body:
        assert ast.unparse(call) in example


@pytest.mark.parametrize("block", blocks("docs/frameworks/watch.md"))
def test_the_watch_pages_examples(own_folder: Path, block: str) -> None:
    """Each loop of watch.md trains what it is given and records its first step: all losses, with samples."""
    module = torch.nn.Embedding(30, 30)
    ids = torch.randint(30, (2, 12))

    def loss_of(input_ids: Tensor, *_targets: Tensor) -> Any:
        logits = module(input_ids)
        if "criterion" in block:
            return logits
        losses = [functional.cross_entropy(logits.flatten(0, 1), input_ids.flatten()) for _ in range(3)]
        return SimpleNamespace(loss=sum(losses)) if "**batch" in block else sum(losses)

    def forward_of_idx(idx: Tensor, targets: Tensor) -> Any:
        return loss_of(idx, targets)

    model = torch.nn.Module()
    model.embedding = module
    model.forward = forward_of_idx if "idx" in block else loss_of
    loader: Any = [{"input_ids": ids}] if "**batch" in block else [(ids, ids)]
    optimizer = torch.optim.SGD(model.parameters())
    names = {"model": model, "loader": loader, "optimizer": optimizer, "tokenizer": str, "torch": torch}
    exec(block, names)
    assert predlog.close()
    found = [one for one in predlog.read("runs/exp1") if isinstance(one, predlog.Comparison)]
    streams = ["text"] if "criterion" in block else ["text", "loss 1", "loss 2"]
    assert [*dict.fromkeys(one.stream for one in found)] == (
        ["text", "audio 0", "audio 1"] if "audio" in block else streams
    )
    assert {(one.step, one.length) for one in found} == {(0, 12)}
    assert (found[0].tokens[0].input is not None) == ("idx" in block)


@pytest.mark.parametrize("code", catalog.CODES)
def test_each_finding_has_a_page_in_the_list(code: str) -> None:
    """Each code has a page, and a row with its level, its kind and its sentence in the overview."""
    overview = (ROOT / "docs" / "findings" / "index.md").read_text()
    rule = next((rule for rule in (*catalog.RULES, catalog.LOSS_RULE, catalog.CAUSAL_RULE) if rule.code == code), None)
    level = "error" if rule is None else rule.level
    kind = "refused" if rule is None else "certain" if rule.is_certain else "statistical"
    assert f"| [{code}]({code}.md) | {level} | {kind} | {catalog.SENTENCES[code]} |" in overview
    assert f"\n{code}\n" in overview


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "findings").glob("*.md")), ids=lambda page: page.stem)
def test_the_pages_examples_are_python(page: Path) -> None:
    """Each example on the pages about findings can at least be parsed."""
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        ast.parse(block)


PROGRAMS = sorted((ROOT / "docs" / "examples").glob("*.py"))
# Half of the program for JAX is the reduction, which is to be copied; the others shard a model first.
_LONGER = {
    "jax_rows": 90, "tensor_parallel": 36, "fsdp2_tensor_parallel": 42, "megatron_loss": 38, "plain_shards": 58,
    "context_parallel": 66,
}  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.stem)
def test_a_frameworks_program_is_short_and_shown(program: Path) -> None:
    """With few exceptions, a program has at most 30 lines and is shown on one page; a test runs each."""
    shown = f"literalinclude}} ../examples/{program.name}"
    pages = [page for page in (ROOT / "docs").rglob("*.md") if shown in page.read_text()]
    if program.stem != "two_streams":  # a whole trainer, of which docs/start/pasted-helper.md quotes parts
        assert len(program.read_text().splitlines()) <= _LONGER.get(program.stem, 30)
        assert len(pages) == 1
    assert any(program.stem in test.read_text() for test in (ROOT / "tests" / "integrations").glob("test_*.py"))


def test_the_pairs_pages_masks_and_losses(own_folder: Path) -> None:
    """What docs/explanations/pairs.md passes beside a pair reaches the record, with the loss after the pair as well."""
    whole, afterwards = (
        block for block in blocks("docs/explanations/pairs.md") if "reported_loss" in block or "report_loss" in block
    )
    logits, labels = events.pair()
    mask, ones = torch.ones(3, 20), torch.ones(3, 20, dtype=torch.long)
    mask[:, 10:] = 0
    weighed = labels.masked_fill(mask == 0, -100)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), weighed[:, 1:].flatten())
    names = {
        "predlog": predlog, "logits": logits, "labels": labels, "input_ids": labels.clamp(0), "loss_mask": mask,
        "position_ids": torch.arange(20), "attention_mask": ones, "loss": loss,
        "loss_in_place": lambda logits, labels: loss,
    }  # fmt: skip
    with predlog.configure("runs/exp1", every=1, console=False, strict=True) as recorder:
        exec(whole, {**names, "step": 0})
        exec(afterwards, {**names, "step": 1})
        recorder.flush()
        assert "loss-differs-from-pair" not in recorder.undecided["text"]
    found = [one for one in predlog.read("runs/exp1") if isinstance(one, predlog.Comparison)]
    assert [one.supervised for one in found] == [6, 6, 16, 16]
    assert [one.reported_loss for one in found] == [pytest.approx(float(loss))] * 2 + [None] * 2
    assert [token.document_position for token in found[0].tokens] == [token.position for token in found[0].tokens]


def test_the_samples_page(own_folder: Path) -> None:
    """On samples.md the loop records a followed document whenever it comes, and the probe every 100th step."""
    by_ids, probing, callback = blocks("docs/explanations/samples.md")
    model = torch.nn.Sequential(torch.nn.Embedding(30, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 30))
    ids = torch.randint(30, (8, 12))
    loader = [
        {
            "input_ids": ids.roll(step, 0),
            "labels": ids.roll(step, 0),
            "id": [f"doc-{(n - step) % 8 + 11}" for n in range(8)],
        }
        for step in range(201)
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    names: dict[str, Any] = {
        "model": model, "loader": loader, "probe_ids": ids[:3], "optimizer": optimizer,
        "loss_of": lambda logits, labels: functional.cross_entropy(logits[:, :-1].mT, labels[:, 1:]),
    }  # fmt: skip
    exec(by_ids, names)
    assert predlog.close()
    found = [one for one in predlog.read("runs/exp1") if isinstance(one, predlog.Comparison)]
    followed = [one for one in found if one.sample_id == "doc-17"]
    assert [one.step for one in followed] == [*range(0, 201, 10)]
    assert len({one.sample for one in followed}) > 1
    assert len({tuple(token.label for token in one.tokens) for one in followed}) == 1
    exec(probing, names)
    assert predlog.close()
    found = [one for one in predlog.read("runs/exp1") if isinstance(one, predlog.Comparison)]
    assert [(one.step, one.sample_id) for one in found if one.stream == "probe"] == [
        (step, name) for step in (0, 100, 200) for name in ("cat", "sum", "code")
    ]
    assert model[1].training
    ast.parse(callback)


def test_the_pairs_pages_fused_head(own_folder: Path) -> None:
    """What a fused head returned, passed as pairs.md shows, gives the loss and matches of the whole logits."""
    (block,) = (block for block in blocks("docs/explanations/pairs.md") if "output.log_probs" in block)
    labels = torch.randint(50, (2, 12))
    hidden, weight = torch.randn(2, 12, 8), torch.randn(50, 8)
    logits = hidden @ weight.T
    logs = logits[:, :-1].log_softmax(-1)
    output = SimpleNamespace(
        log_probs=logs.gather(-1, labels[:, 1:, None]).squeeze(-1),
        entropy=-(logs.exp() * logs).sum(-1),
        is_top1=logs.argmax(-1) == labels[:, 1:],
    )
    with predlog.configure("runs/exp1", every=1, console=False, strict=True) as recorder:
        exec(
            block,
            {"predlog": predlog, "step": 0, "hidden": hidden, "weight": weight, "labels": labels, "output": output},
        )
        recorder.compare(logits, labels, 1, shift=1)
    found = [one for one in predlog.read("runs/exp1") if isinstance(one, predlog.Comparison)]
    for one, other in zip(found[:2], found[2:], strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-4)
        assert one.entropy == pytest.approx(other.entropy, abs=1e-4)
        assert one.matched == other.matched


def test_the_pairs_pages_rows(own_folder: Path) -> None:
    """Rows that are reduced as docs/explanations/pairs.md shows give the record of the whole logits."""
    (block,) = (block for block in blocks("docs/explanations/pairs.md") if "predlog.Rows(" in block)
    logits, labels = events.pair()
    with predlog.configure("runs/exp1", every=1, console=False, strict=True) as recorder:
        exec(block, {"predlog": predlog, "logits": logits, "labels": labels, "step": 0})
        recorder.compare(logits, labels, 1, shift=1)
    found = [one for one in predlog.read("runs/exp1") if isinstance(one, predlog.Comparison)]
    first, second = ([one for one in found if one.step == step] for step in (0, 1))
    for one, other in zip(first, second, strict=True):
        assert (one.matched, one.vocabulary, one.supervised) == (other.matched, other.vocabulary, other.supervised)
        for token, wanted in zip(one.tokens, other.tokens, strict=True):
            assert (token.prediction, token.label_rank) == (wanted.prediction, wanted.label_rank)
            assert token.label_logprob == pytest.approx(wanted.label_logprob, abs=1e-5)


def test_the_consoles_page_shows_what_is_drawn() -> None:
    """The samples on docs/results/console.md are what both forms and the log print of these tokens."""
    page = (ROOT / "docs/results/console.md").read_text()
    first, second = _samples()
    compact, full, *_ = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert _printed(first, second, width=80, form="compact") == compact
    assert _printed(first, width=90, form="full") == full
    (log,) = (block for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) if block.startswith("predlog step="))
    lines = _printed(first, second, width=80, form="compact", terminal=False).splitlines()
    assert [line.removesuffix(" …") for line in log.splitlines()] == [
        printed[: len(line) - 2] for printed, line in zip(lines, log.splitlines(), strict=True)
    ]


def _samples() -> tuple[dict[str, Any], dict[str, Any]]:
    prompt = "The reference manual of Python: what is it for, and which part\nof the language does it describe?"
    prose = " the, lan,guage, ref,erence, de,scribes, the, syntax,.".split(",")
    code = ["<s>", "def", " main", "(", "):", "\n", " " * 8, "return", " ", "<0xF0><0x9F>"]
    return (
        _sample(
            prose, " a, lan,s, ref,s, de,scribes, a, syntax,.".split(","),
            [0.083, 0.9, 0.031, 0.91, 0.2, 0.98, 0.93, 0.21, 0.6, 0.0012], [5, 1, 2, 1, 2, 1, 1, 2, 1, 1], loss=2.31,
            window=[{"left_out": 40, "read": prompt, "asked": " the language reference describes the"}],
        ),
        _sample(
            code, ["<s>", "class", " main", "(", ")", "\n", " " * 8, "print", " ", "<0x98>"],
            [1, 0.11, 0.62, 0.97, 0.043, 0.99, 0.95, 0.0047, 0.77, 0.11], [1] * 10,
            loss=0.87, sample=1, supervised=501, matched=411,
        ),
    )  # fmt: skip


def _sample(
    labels: list[str], predictions: list[str], probabilities: list[float], ranks: list[int], **fields: Any
) -> dict[str, Any]:
    read = [" of", *labels[:4], " and", *labels[5:9]]
    tokens = [
        events.token(
            place + (60 if place < 5 else 500), label=label != predictions[place], prediction=0,
            slot="first" if place < 5 else "last", input=1, input_text=read[place], label_text=label,
            prediction_text=predictions[place], label_logprob=math.log(probabilities[place]), label_rank=ranks[place],
        )
        for place, label in enumerate(labels)
    ]  # fmt: skip
    return events.comparison(tokens=tokens, **fields)


def _printed(*pair: dict[str, Any], width: int, form: Any, terminal: bool = True) -> str:
    screen = io.StringIO()
    console = RichConsole(file=screen, force_terminal=terminal, color_system=None, width=width, _environ={})
    sink = predlog.sinks.Console(console, form=form)
    sink.expect(pair)
    for one in pair:
        sink(None, "info", one)
    return "".join(f"{line.rstrip()}\n" for line in screen.getvalue().splitlines())
