"""One look at a pair: what a recorder would write of it, all that its rules can say, and what they can't."""

import io
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import predlog
from predlog import Finding, Inspection, PredlogError, Projection, Recorder, Rows
from predlog.capture.ring import Ring
from predlog.errors import PairError, SettingError
from predlog.findings import catalog
from predlog.findings.needs import COMPARE_STEPS, MORE
from tests import ROOT, events, fresh
from tests.records.test_notebook import HOSTILE, Parsed

LOGITS, LABELS = events.pair()
IDS = LABELS.clamp(0)


def codes(seen: Inspection) -> list[str]:
    return [one.code for one in seen.findings]


def reduced() -> Rows:
    logprobs = LOGITS.log_softmax(-1)
    best, labels = logprobs.max(-1), IDS.unsqueeze(-1)
    ranks = 1 + (LOGITS.gather(-1, labels) < LOGITS).sum(-1)
    return Rows(best.indices, best.values, logprobs.gather(-1, labels).squeeze(-1), label_rank=ranks, vocabulary=50)


def kinds() -> dict[str, tuple[object, torch.Tensor, dict[str, Any]]]:
    generator = torch.Generator().manual_seed(1)
    codebooks = torch.randn(3, 20, 4 * 16, generator=generator)
    mask = (torch.rand(3, 20, generator=generator) > 0.5).float()
    hidden, weight = torch.randn(3, 20, 8, generator=generator), torch.randn(50, 8, generator=generator)
    return {
        "logits": (LOGITS, LABELS, {}),
        "shifted, with inputs": (LOGITS, LABELS, {"shift": 1, "inputs": IDS}),
        "masked": (LOGITS, LABELS, {"loss_mask": mask, "position_ids": torch.arange(20), "shift": 1}),
        "bfloat16": (LOGITS.bfloat16(), LABELS.int(), {"ignore_index": 7}),
        "codebooks": (
            codebooks, torch.randint(16, (3, 20, 4), generator=generator), {"layout": "b t (k v), b t k", "shift": 1},
        ),
        "chunks": ([*LOGITS.split(7, 1)], LABELS, {}),
        "projection": (Projection(hidden, weight), LABELS, {}),
        "rows": (reduced(), LABELS, {}),
        "one sample": (LOGITS[0], LABELS[0], {"inputs": IDS[0]}),
        "NumPy": (LOGITS.numpy(), LABELS, {}),
        "with a loss": (LOGITS, LABELS, {"reported_loss": functional.cross_entropy(LOGITS.mT, LABELS)}),
    }  # fmt: skip


@pytest.mark.parametrize("is_near", [True, False], ids=["CPU", "device"])
@pytest.mark.parametrize("kind", kinds())
def test_the_records_are_those_of_a_recorder(kind: str, is_near: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons of all samples and codebooks are what `compare` writes, but for when and by whom."""
    if not is_near:  # the way of all other devices, which the CPU can go, too
        monkeypatch.setattr("predlog.capture.capture._NEAR", frozenset())
    logits, labels, how = kinds()[kind]
    with Recorder(every=1, samples=99, codebooks=99, decode=hex, console=False, strict=True) as recorder:
        future = recorder.compare(logits, labels, 3, stream="eval/text", **how)
        assert future is not None
        written = future.result()
    seen = predlog.inspect(logits, labels, step=3, stream="eval/text", decode=hex, **how)
    assert len(seen.comparisons) == len(written) > 0

    def without_origin(one: predlog.Comparison) -> dict[str, Any]:
        names = set(one.__struct_fields__) - {"timestamp", "recorder", "seq"}
        return {name: getattr(one, name) for name in names}

    assert [*map(without_origin, seen.comparisons)] == [*map(without_origin, written)]
    assert [one.seq for one in seen.comparisons] == [*range(len(written))]


def test_every_sample_is_looked_at() -> None:
    """A mistake in the last of many samples is found, which a recorder of two samples never sees."""
    logits, labels = events.pair(samples=9)
    labels[8, 10] = 50
    assert codes(predlog.inspect(logits, labels)) == ["label-out-of-range"]
    assert codes(predlog.inspect(logits, labels, samples=8)) == []


def test_all_codebooks_are_looked_at() -> None:
    """Also those that a recorder leaves out; `codebooks=` limits them."""
    logits, labels = torch.randn(2, 20, 12 * 8), torch.randint(8, (2, 20, 12))
    labels[:, :, 11] = 8
    how: Any = {"layout": "b t (k v), b t k"}
    seen = predlog.inspect(logits, labels, **how)
    assert [(one.code, one.codebook) for one in seen.findings] == [("label-out-of-range", 11)]
    assert codes(predlog.inspect(logits, labels, codebooks=8, **how)) == []


def test_more_tokens_are_judged_than_shown() -> None:
    """Two samples of a model that predicts the label before its own are enough, though twenty tokens are shown."""
    labels = torch.randint(50, (2, 200))
    logits = functional.one_hot(labels.roll(-2, 1), 50) * 12.0 + torch.randn(2, 200, 50)
    seen = predlog.inspect(logits, labels)
    assert codes(seen) == ["prediction-misaligned"]
    assert [len(one.tokens) for one in seen.comparisons] == [10, 10]
    few = predlog.inspect(logits[:, :20], labels[:, :20])
    assert not few.findings
    assert few.undecided["text"]["prediction-misaligned"] == "this pair has too few supervised tokens to tell"


def test_nan_in_a_row_that_is_not_shown() -> None:
    """Its row is judged; the records count what is not finite among their own tokens."""
    logits = LOGITS.clone()
    logits[1, 12] = torch.nan
    seen = predlog.inspect(logits, LABELS)
    assert codes(seen) == ["logits-not-finite"]
    assert [one.nonfinite for one in seen.comparisons] == [0, 0, 0]


@pytest.mark.parametrize(
    ("logits", "labels", "how", "code"),
    [
        (LOGITS[:, :-1], LABELS, {}, "length-mismatch"),
        (LOGITS[None], LABELS, {}, "layout-mismatch"),
        (LOGITS[:0], LABELS[:0], {}, "empty-pair"),
        (LABELS, LOGITS, {}, "unreadable-pair"),
        (LOGITS, LABELS.float(), {}, "unreadable-pair"),
        (None, LABELS, {}, "unreadable-pair"),
        (LOGITS, LABELS, {"layout": "what?"}, "layout-mismatch"),
        (LOGITS, LABELS, {"shift": "1"}, "unreadable-pair"),
        (Rows(IDS, LOGITS[..., 0].abs() + 1, LOGITS[..., 0], vocabulary=50), LABELS, {}, "unreadable-pair"),
    ],
)
def test_a_pair_that_cant_be_read_is_a_finding(logits: object, labels: object, how: Any, code: str) -> None:
    """So one assertion covers it: also where `compare` says that there is nothing to compare."""
    seen = predlog.inspect(logits, labels, **how)
    assert codes(seen) == [code]
    assert seen.findings[0].level == "error"
    assert "The run goes on" not in seen.findings[0].message
    assert (seen.comparisons, seen.undecided) == ((), {})
    assert "no pair could be read" in repr(seen)


@pytest.mark.parametrize(
    ("how", "error", "why"),
    [
        ({"step": torch.tensor(1)}, PairError, "step is a Tensor"),
        ({"step": -1}, PairError, "step=-1"),
        ({"stream": 3}, PairError, "stream is a int"),
        ({"samples": 0}, SettingError, "samples=0"),
        ({"codebooks": True}, SettingError, "codebooks=True"),
        ({"first": -1}, SettingError, "first=-1"),
        ({"first": 0, "last": 0}, SettingError, "show no token"),
        ({"decode": 5}, SettingError, "neither a tokenizer nor a callable"),
        ({"special_tokens": {"padd": 1}}, SettingError, "no role 'padd'"),
        ({"ignore": ("colapsed",)}, SettingError, "was 'collapsed' meant?"),
        ({"shfit": 1}, TypeError, "shfit"),
    ],
)
def test_a_mistake_in_the_arguments_raises(how: Any, error: type[Exception], why: str) -> None:
    """What is no property of the pair is no finding."""
    with pytest.raises(error) as raised:
        predlog.inspect(LOGITS, LABELS, **how)
    assert why in str(raised.value)


def test_where_no_slot_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a recorder's pairs on their way take all slots, it raises, and does not return an empty result."""
    monkeypatch.setattr("predlog.capture.capture._NEAR", frozenset())
    monkeypatch.setattr("predlog.capture.device.ring_of", lambda _device: Ring(0, is_pinned=False))
    with pytest.raises(PredlogError, match="all slots for copies to the host are in use"):
        predlog.inspect(LOGITS, LABELS)


def test_where_nothing_can_be_read() -> None:
    """Inside of a transform there are no values: it raises, and does not return an empty result."""
    with pytest.raises(PredlogError, match=r"a torch\.func transform"):
        torch.func.vmap(lambda logits: predlog.inspect(logits, LABELS[0]).findings)(LOGITS)


def test_what_is_undecided() -> None:
    """Rules that lack an argument name it; those that compare steps can't decide; everything else is decided."""
    found = predlog.inspect(LOGITS, LABELS).undecided
    assert set(found) == {"text"}
    assert found["text"].keys() >= COMPARE_STEPS | {"labels-are-inputs", "loss-differs-from-pair"}
    assert "pass inputs=" in found["text"]["labels-are-inputs"]
    assert found["text"]["same-batch"] == "one step is not enough: record the training"
    ids = torch.randint(3, 50, (16, 20))
    known = predlog.inspect(
        torch.randn(16, 20, 50), ids, shift=1, inputs=ids, attention_mask=torch.ones(16, 20),
        special_tokens={"pad": 0, "bos": 1, "eos": 2}, reported_loss=torch.tensor(99.0),
        ignore=("loss-differs-from-pair",),
    )  # fmt: skip
    assert not known.findings
    assert set(known.undecided["text"]) == COMPARE_STEPS


def test_each_rule_has_a_reason() -> None:
    """Any rule can be undecided about one pair, so each has a text for that."""
    assert [*MORE] == [*(rule.code for rule in catalog.RULES), catalog.LOSS]


def test_too_few_samples() -> None:
    """A suspicion that needs more samples is undecided, and is no finding."""
    ids = torch.randint(3, 50, (2, 20))
    ids[:, 1] = ids[:, 0] = 2
    seen = predlog.inspect(torch.randn(2, 20, 50), ids, shift=1, inputs=ids, special_tokens={"pad": 0, "eos": 2})
    assert not seen.findings
    assert seen.undecided["text"]["bos-doubled"] == "this pair has too few samples to tell"


def test_the_reported_loss() -> None:
    """A loss that is that of the pair is decided; another is a finding; one that nothing explains is noted."""
    loss = functional.cross_entropy(LOGITS.mT, LABELS)
    fits = predlog.inspect(LOGITS, LABELS, reported_loss=loss)
    assert not fits.findings
    assert "loss-differs-from-pair" not in fits.undecided["text"]
    assert [one.reported_loss for one in fits.comparisons] == [pytest.approx(float(loss))] * 3
    total = float(loss * (LABELS >= 0).sum())
    assert codes(predlog.inspect(LOGITS, LABELS, reported_loss=total)) == ["loss-differs-from-pair"]
    other = predlog.inspect(LOGITS, LABELS, reported_loss=0.123456)
    assert not other.findings
    assert "loss-differs-from-pair" in other.undecided["text"]
    assert any("it has other terms" in note for note in other.notes)


def test_a_loss_that_one_pair_cant_tell() -> None:
    """Where another explanation is as near, the rule is undecided and says why."""
    logits = torch.full((2, 20, 50), 0.0)
    logits[0, 3] += torch.randn(50) * 1e-3
    loss = functional.cross_entropy(logits[:, :-2].flatten(0, 1), LABELS[:2, 2:].flatten())
    seen = predlog.inspect(logits, LABELS[:2], shift=1, reported_loss=loss + 2e-6)
    assert not seen.findings


def test_a_loss_without_logits() -> None:
    """A head that makes its rows on demand has no sum to hold the loss against; `undecided` tells so."""
    seen = predlog.inspect(Projection(torch.randn(3, 20, 8), torch.randn(50, 8)), LABELS, reported_loss=4.0)
    assert seen.undecided["text"]["loss-differs-from-pair"].startswith("the loss can be checked against whole logits")
    assert seen.comparisons[0].reported_loss == 4.0


def test_notes_are_what_a_recorder_says_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """A decoder that fails, a mask that is not used, labels of one axis: noted, and nothing is printed."""

    def fail(_token: int) -> str:
        raise KeyError("no text")

    seen = predlog.inspect(LOGITS, LABELS, decode=fail, attention_mask=torch.ones(3, 1, 20, 20))
    assert seen.comparisons[0].tokens[0].label_text is None
    assert any("decode(" in note and "KeyError" in note for note in seen.notes)
    assert any("attention_mask" in note for note in seen.notes)
    flat = predlog.inspect(LOGITS[0], LABELS[0])
    assert any("one axis" in note for note in flat.notes)
    assert capfd.readouterr() == ("", "")
    assert "note: " in str(flat)


def test_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No thread, file or output, also where recording is off; arguments, random state and gradients are untouched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREDLOG_DISABLE", "1")
    monkeypatch.setenv("PREDLOG_DIR", str(tmp_path / "run"))
    logits, labels = LOGITS.clone().requires_grad_(), LABELS.clone()
    threads, state = threading.enumerate(), torch.get_rng_state()
    seen = predlog.inspect(logits, labels, shift=1, inputs=IDS, decode=str)
    assert len(seen.comparisons) == 3
    assert threading.enumerate() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(logits, LOGITS)
    assert torch.equal(labels, LABELS)
    assert logits.grad is None
    assert [*tmp_path.iterdir()] == []
    assert capfd.readouterr() == ("", "")


def test_findings_are_ignored_and_sorted() -> None:
    """Errors come first; codes in `ignore`, for all streams or one, are left out."""
    labels = torch.randint(3, 50, (8, 20))
    labels[:, 15:] = 0
    labels[:, 4] = 60
    how: Any = {"shift": 1, "inputs": labels.clamp(max=49), "special_tokens": {"pad": 0, "eos": 2, "bos": 1}}
    logits = torch.randn(8, 20, 50)
    assert codes(predlog.inspect(logits, labels, **how)) == ["label-out-of-range", "pad-supervised"]
    assert codes(predlog.inspect(logits, labels, ignore="label-out-of-range", **how)) == ["pad-supervised"]
    by_stream = {"text": ("label-out-of-range",)}
    assert codes(predlog.inspect(logits, labels, stream="eval/text", ignore=by_stream, **how)) == ["pad-supervised"]


# --- how it shows itself ------------------------------------------------------------------------------------------
def copied(samples: int = 2) -> Inspection:
    logits, labels = events.pair(samples=samples)
    return predlog.inspect(logits, labels, inputs=labels.clamp(0))


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
@pytest.mark.parametrize("make", [copied, lambda: predlog.inspect(LOGITS[:, :-1], LABELS), lambda: copied(7)])
def test_print_shows_the_consoles_tables(
    columns: int, make: Callable[[], Inspection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables of four samples at most, then findings, then what is undecided; no line is wider than the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    seen = make()
    lines = str(seen).splitlines()
    assert max(map(len, lines)) <= columns
    headings = [line for line in lines if line.startswith("step 0 · text · sample ")]
    assert len(headings) == min(len(seen.comparisons), 4)
    assert all("✗ labels" in line for line in headings)
    assert ("… 3 more samples in .comparisons" in lines) == (len(seen.comparisons) == 7)
    (finding,) = (line for line in lines if line.startswith("✗ predlog "))
    assert lines.index(finding) > max((lines.index(line) for line in headings), default=0) - 1
    assert repr(seen).removeprefix("<Inspection: ").removesuffix(">").endswith(lines[-1].strip())


@pytest.mark.parametrize("variable", [("TERM", "dumb"), ("NO_COLOR", "1"), ("FORCE_COLOR", "1")])
def test_the_environment_changes_nothing(variable: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A text has no colours and is a table, whatever the terminal is."""
    before = str(copied())
    monkeypatch.setenv(*variable)
    assert str(copied()) == before
    assert "\x1b" not in before


def test_a_stream_that_lacks_the_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed to ASCII, every mark has a plain form."""
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    print(copied(7), flush=True)
    assert b"x predlog labels-are-inputs" in printed.getvalue()


@settings(max_examples=25)
@given(hostile=st.text(max_size=40) | st.just(HOSTILE))
def test_no_text_does_anything(hostile: str) -> None:
    """Whatever a stream or a token is called, it is shown escaped."""
    seen = predlog.inspect(LOGITS, LABELS, stream=hostile.strip() or "text", inputs=IDS, decode=lambda _token: hostile)
    assert not set(str(seen)) & set("\x00\x1b\u202e\u2028\ufeff\x85\r")
    assert Parsed(seen._repr_html_()).tags <= {"div", "b", "table", "tr", "th", "td", "span", "code"}


def test_a_failing_assertion_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pytest, codes and messages of the findings are in the line of the failing assertion, as its message all."""
    (tmp_path / "test_pair.py").write_text(
        "import predlog\nfrom tests import events\nlogits, labels = events.pair()\n"
        "def test_it():\n    assert not predlog.inspect(logits, labels, inputs=labels.clamp(0)).findings\n"
        "def test_all():\n    seen = predlog.inspect(logits, labels, inputs=labels.clamp(0))\n"
        "    assert not seen.findings, str(seen)\n"
    )
    monkeypatch.setenv("COLUMNS", "120")
    arguments = ["-p", "no:cacheprovider", "-q", "-n0", str(tmp_path)]
    done = fresh.run(f"import os, pytest; os.chdir({str(tmp_path)!r}); pytest.main({arguments!r})")
    assert "2 failed" in done.stdout
    short, whole = done.stdout.split("test_all", 1)
    assert "assert not <labels-are-inputs: text: labels equal the inputs at the same position (48 of 48" in short
    assert "does not fix the training.>" in short
    assert "<Inspection: 1 finding (labels-are-inputs) in 3 samples, " in short
    assert "More: predlog explain" in whole


def test_findings_are_a_tuple() -> None:
    """Typed records, which can be compared with an empty tuple, sliced and pickled."""
    findings = copied().findings
    assert isinstance(findings[0], Finding)
    assert findings != ()
    assert predlog.inspect(LOGITS, LABELS).findings == ()
    assert repr(predlog.inspect(LOGITS, LABELS).findings) == "<no findings>"


@pytest.mark.slow
def test_a_real_kernel() -> None:
    """In a notebook the cell's output is HTML, the finding before the tables; as text it is what `print` shows."""
    cells = [
        "from tests.recorder.test_inspect import copied; copied(5)",
        "print(copied())",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(ROOT)}}
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3", resources=resources).execute()
    (shown,), (printed,) = (cell["outputs"] for cell in notebook.cells)
    page = Parsed(shown["data"]["text/html"]).text
    assert page.startswith("1 finding (labels-are-inputs) in 5 samples")
    assert page.index("labels equal the inputs") < page.index("step 0 · text · sample 0")
    assert "… 1 more sample in .comparisons" in page
    assert shown["data"]["text/plain"].splitlines()[0].startswith("step 0 · text · sample 0")
    assert "✗ predlog labels-are-inputs" in printed["text"]
