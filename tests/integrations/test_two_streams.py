"""docs/examples/two_streams.py, as whoever copies it runs it: text and eight codebooks on two processes."""

import os
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from predlog import Comparison, Finding, read
from tests import ROOT, reference
from tests.integrations.needed import needed

needed("peft")
needed("transformers.models.higgs_audio_v2")

EXAMPLE = ROOT / "docs" / "examples" / "two_streams.py"
PAGE = ROOT / "docs" / "start" / "pasted-helper.md"
STEPS, LOG_STEPS = 21, 10
LANES = [("text", None), *(("audio", codebook) for codebook in range(8))]

# The example with two functions of predlog's replaced: it trains without predlog, and keeps the pairs that are due.
WITHOUT_PREDLOG = f"""
import os, runpy, torch, predlog

kept = []

def keep(logits, labels, step, *, shift, inputs, stream="text", layout=None):
    if os.environ["RANK"] == "0" and step % {LOG_STEPS} == 0:
        kept.append((step, stream, shift, *(one[:2].detach().clone() for one in (logits, labels, inputs))))

predlog.configure, predlog.compare = lambda *_, **__: None, keep
runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
if os.environ["RANK"] == "0":
    torch.save(kept, "kept.pt")
"""


def run(folder: Path, *command: str, timeout: float = 300) -> tuple[int, str]:
    """Run Python in a folder, and give the exit status and all that was printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    printed = folder / "printed.txt"
    with (
        printed.open("w") as file,
        subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.terminate()  # upon which torchrun ends its processes
            process.wait(60)
            raise
        finally:
            process.kill()
    return process.returncode, printed.read_text()


def torchrun(folder: Path, script: Path, *arguments: str) -> str:
    """Start two processes, as the page says, on a port that is free, and give what they print."""
    folder.mkdir(exist_ok=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    status, printed = run(folder, *launcher, str(script), "--output_dir", "run", f"--log_steps={LOG_STEPS}", *arguments)
    assert status == 0, printed
    return printed


def losses(printed: str) -> dict[int, tuple[float, float]]:
    found = re.findall(r"^step (\d+): text loss ([\d.]+), audio loss ([\d.]+)$", printed, re.MULTILINE)
    return {int(step): (float(text), float(audio)) for step, text, audio in found}


def what_records_say(
    step: int, stream: str, _: int, logits: Tensor, labels: Tensor, inputs: Tensor
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Return step, lane and sample of each record of a pair, and what it must say."""
    for sample in range(2):
        if stream == "text":
            yield (step, "text", None, sample), one_record(logits[sample], labels[sample], inputs[sample])
            continue
        for codebook in range(8):
            rows = logits[sample, :, 66 * codebook : 66 * (codebook + 1)]
            record = one_record(rows, labels[sample, :, codebook], inputs[sample, :, codebook])
            yield (step, "audio", codebook, sample), record


def one_record(logits: Tensor, labels: Tensor, inputs: Tensor) -> dict[str, Any]:
    """Return what a record must say: logits [t, v], labels and inputs [t], sliced as a loss that shifts slices them."""
    told = reference.comparison(
        logits[:-1].tolist(), labels[1:].tolist(), shift=0, ignore_index=-100, inputs=inputs[:-1].tolist()
    )
    for token in told["tokens"]:
        token["position"] += 1
    del told["losses"], told["loss"], told["entropy"]
    return {**told, "length": len(labels)}


@pytest.mark.slow
def test_two_processes_train_and_record_both_streams(tmp_path: Path) -> None:
    """Both losses fall, nothing is found, each record is right, and the weights are those of a run without predlog."""
    printed = torchrun(tmp_path / "with", EXAMPLE, f"--steps={STEPS}")
    records = [one for one in read(tmp_path / "with" / "run") if isinstance(one, Comparison)]
    due = range(0, STEPS, LOG_STEPS)
    lanes = [(one.step, one.stream, one.codebook, one.sample) for one in records]
    assert sorted(lanes, key=str) == sorted(
        ((step, *lane, sample) for step in due for lane in LANES for sample in range(2)), key=str
    )
    assert [one for one in read(tmp_path / "with" / "run") if isinstance(one, Finding)] == []
    assert run(tmp_path, "-m", "predlog", "check", "--ended", "with/run")[0] == 0

    told = losses(printed)
    assert list(told) == list(due)
    (text, audio), (last_text, last_audio) = told[0], told[due[-1]]
    assert last_text < 0.7 * text
    assert last_audio < 0.3 * audio

    script = tmp_path / "without_predlog.py"
    script.write_text(WITHOUT_PREDLOG)
    assert losses(torchrun(tmp_path / "without", script, f"--steps={STEPS}")) == told
    assert not list((tmp_path / "without").rglob("*.jsonl"))
    with_predlog, without = (tmp_path / name / "run" / "adapter_model.safetensors" for name in ("with", "without"))
    assert with_predlog.read_bytes() == without.read_bytes()

    # The training was the same, so its logits were.
    pairs = torch.load(tmp_path / "without" / "kept.pt", weights_only=True)
    assert {(step, stream, shift) for step, stream, shift, *_ in pairs} == {
        (step, stream, 1) for step in due for stream in ("text", "audio")
    }
    found = {(one.step, one.stream, one.codebook, one.sample): one for one in records}
    expected = {key: wanted for pair in pairs for key, wanted in what_records_say(*pair)}
    assert found.keys() == expected.keys()
    for key, record in found.items():
        agree(record, expected[key])


def agree(record: Comparison, wanted: dict[str, Any]) -> None:
    for name in ("length", "supervised", "matched", "nonfinite"):
        assert getattr(record, name) == wanted[name]
    assert len(record.tokens) == len(wanted["tokens"]) == 10
    for token, fields in zip(record.tokens, wanted["tokens"], strict=True):
        for name, value in fields.items():
            told = getattr(token, name)
            assert told == (pytest.approx(value, abs=2e-5) if name.endswith("logprob") else value), name


@pytest.mark.slow
def test_the_mistake_is_named_on_the_first_record(tmp_path: Path) -> None:
    """Without the shift both losses fall all the same, but both streams are named at once, and `check` fails."""
    printed = torchrun(tmp_path, EXAMPLE, f"--steps={STEPS}", "--mistake", "unshifted")
    told = losses(printed)
    (text, audio), (last_text, last_audio) = told[0], told[STEPS - 1]
    assert last_text < 0.5 * text
    assert last_audio < 0.3 * audio

    records = list(read(tmp_path / "run"))
    found = [one for one in records if isinstance(one, Finding)]
    assert [(one.stream, one.code, one.step) for one in found] == [
        ("text", "labels-are-inputs", 0),
        ("audio", "labels-are-inputs", 0),
    ]
    assert found[1].evidence["codebooks"] == list(range(8))
    for finding in found:
        before = [one for one in records if isinstance(one, Comparison) and one.seq < finding.seq]
        assert {one.step for one in before} == {0}
        # How many there are depends on the topics, which each Python has its own of.
        assert without_numbers(f"labels-are-inputs, step 0: {finding.message}") in without_numbers(PAGE.read_text())
    status, checked = run(tmp_path, "-m", "predlog", "check", "run")
    assert status == 1
    assert "text: labels equal the inputs at the same position" in checked
    assert "audio codebooks 0 to 7: labels equal the inputs at the same position" in checked


def without_numbers(text: str) -> str:
    return re.sub(r"\d+ of \d+", "n of n", " ".join(text.split()))


def test_one_process_will_do(tmp_path: Path) -> None:
    """Started with python alone, it trains without a process group."""
    status, printed = run(tmp_path, str(EXAMPLE), "--steps", "2", "--log_steps", "1")
    assert status == 0, printed
    assert list(losses(printed)) == [0, 1]
    records = [one for one in read(tmp_path / "runs" / "two_streams") if isinstance(one, Comparison)]
    assert len(records) == 2 * 2 * len(LANES)


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE), run_name="two_streams")


def test_the_losses_are_those_of_the_model(example: dict[str, Any]) -> None:
    """Given the labels, the model itself computes the text's loss and the sum of eight codebooks', shifted inside."""
    torch.manual_seed(3)
    tokenizer = example["make_tokenizer"]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        model = example["make_model"](len(tokenizer)).get_base_model()
    batch = example["make_batch"](tokenizer, 4, Random(3))
    ids, codes = batch["ids"], batch["codes"]
    inputs = {
        "input_ids": ids, "attention_mask": (ids != example["PAD"]).long(),
        "audio_input_ids": codes, "audio_input_ids_mask": ids == example["AUDIO"],
    }  # fmt: skip
    text_logits, audio_logits = model(**inputs)
    text = example["loss_of"](text_logits, batch["labels"], 1)
    audio = example["audio_loss_of"](audio_logits, batch["code_labels"], 1)
    theirs = super(type(model), model).forward(**inputs, labels=batch["labels"], audio_labels=batch["code_labels"])
    assert torch.equal(theirs.logits, audio_logits)
    torch.testing.assert_close(text + 8 * audio, theirs.loss)


def test_the_speech_is_in_delay_pattern(example: dict[str, Any]) -> None:
    """The codes are delayed as transformers' processor delays them, and what is no code is not learnt."""
    processing = needed("transformers.models.higgs_audio_v2.processing_higgs_audio_v2")
    delayed = example["speak"](torch.arange(40, 60))
    rows = [delayed[k : k + 22, k] for k in range(8)]  # the codes with a begin and an end, not delayed
    ends = SimpleNamespace(audio_stream_bos_id=64, audio_stream_eos_id=65)
    again = processing.HiggsAudioV2Processor.build_delay_pattern(ends, torch.stack(rows)[None])
    assert torch.equal(again[0].T, delayed)
    batch = example["make_batch"](example["make_tokenizer"](), 4, Random(3))
    learnt = batch["code_labels"] != -100
    assert torch.equal(learnt, batch["codes"] < 64)
    assert torch.equal(batch["codes"][learnt], batch["code_labels"][learnt])
    assert bool((batch["ids"][learnt.any(-1)] == example["AUDIO"]).all())
