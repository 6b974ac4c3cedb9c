"""Which samples a recorder shows: by their place, by their ids, from the environment, and what it says of the rest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import predlog
from predlog import Comparison, Recorder, read
from predlog._runtime.notices import Notices
from predlog.errors import SettingError
from predlog.processors import Redact
from tests import events

LOGITS, LABELS = torch.randn(6, 8, 20), torch.randint(20, (6, 8))
IDS = [f"doc-{one}" for one in range(6)]


def shown(folder: Path) -> list[tuple[int, int, str | None]]:
    return [(one.step, one.sample, one.sample_id) for one in read(folder) if isinstance(one, Comparison)]


@pytest.mark.parametrize(
    ("samples", "places"),
    [
        (1, [0]),
        ((0, -1), [0, 5]),
        ([3], [3]),
        (range(1, 6, 2), [1, 3, 5]),
        ((np.int64(2), -6), [0, 2]),
        ((4, 4, -2), [4]),
    ],
)
def test_places_in_the_batch(tmp_path: Path, samples: Any, places: list[int]) -> None:
    """A number takes the first ones; a sequence takes these places, each once, in the order of the batch."""
    with Recorder(tmp_path, every=1, console=False, strict=True, samples=samples) as recorder:
        recorder.compare(LOGITS, LABELS, 0)
    assert [place for _, place, _ in shown(tmp_path)] == places
    (start, _) = [one for one in read(tmp_path) if isinstance(one, predlog.Run)]
    assert start.settings["samples"] == (samples if isinstance(samples, int) else [int(one) for one in samples])
    assert start.settings["follow"] == []


@pytest.mark.parametrize(
    "samples", [0, -1, True, 1.5, "2", (), (1.5,), ("0",), (True,), None, {0, 1}, torch.tensor([0])]
)
def test_what_is_no_place_is_refused(samples: Any) -> None:
    """A setting that is neither a number nor places is an error that has it."""
    with pytest.raises(SettingError, match="samples="):
        Recorder(samples=samples)


@pytest.mark.parametrize("follow", ["doc-1", b"doc", 3, (1.5,), (None,), [["a"]]])
def test_what_is_no_collection_of_ids_is_refused(follow: Any) -> None:
    """A lone id would be taken for its letters, so it is refused, with what to write."""
    with pytest.raises(SettingError, match="follow="):
        Recorder(follow=follow)


def test_followed_samples_are_shown_whenever_they_come(tmp_path: Path) -> None:
    """At due steps, wherever in the batch they are; the usual ones fill up; ids may be numbers on either side."""
    with Recorder(tmp_path, every=2, console=False, strict=True, follow=("doc-4", 7)) as recorder:
        recorder.compare(LOGITS, LABELS, 0, sample_ids=IDS)
        recorder.compare(LOGITS, LABELS, 1, sample_ids=IDS)
        recorder.compare(LOGITS.flip(0), LABELS.flip(0), 2, sample_ids=IDS[::-1])
        recorder.compare(LOGITS, LABELS, 4, sample_ids=["7", *IDS[1:]])
        recorder.compare(LOGITS, LABELS, 6, sample_ids=torch.tensor([1, 2, 3, 4, 7, 7]))
        recorder.compare(LOGITS, LABELS, 8, sample_ids=["x"] * 6)
    by_step: dict[int, Any] = {}
    for step, *rest in shown(tmp_path):
        by_step.setdefault(step, []).append(tuple(rest))
    assert by_step == {
        0: [(0, "doc-0"), (4, "doc-4")],
        2: [(0, "doc-5"), (1, "doc-4")],
        4: [(0, "7"), (4, "doc-4")],
        6: [(4, "7"), (5, "7")],
        8: [(0, "x"), (1, "x")],
    }
    of_document = [one for one in read(tmp_path) if isinstance(one, Comparison) and one.sample_id == "doc-4"]
    assert {tuple(token.label for token in one.tokens) for one in of_document[:2]} == {
        tuple(token.label for token in of_document[0].tokens)
    }


def test_ids_that_do_not_fit_are_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The step, the values and what to do are in one line, however often it happens; each pair is recorded."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(3):
            recorder.compare(LOGITS, LABELS, step, sample_ids=["a", "b"])
    assert shown(tmp_path) == [(step, place, None) for step in range(3) for place in (0, 1)]
    (line,) = [line for line in events.told(capfd) if "sample_ids" in line]
    for words in ("step 0", "2: 'a', 'b'", "the batch has 6", "one id per sample"):
        assert words in line


def test_a_place_that_a_batch_lacks_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is left out, also where none is left, and also if the recorder is strict; nothing stops."""
    for strict in (False, True):
        with Recorder(tmp_path / str(strict), every=1, console=False, samples=(5, 7), strict=strict) as recorder:
            for step, many in enumerate((6, 6, 3, 2, 6)):
                recorder.compare(LOGITS[:many], LABELS[:many], step)
        assert shown(tmp_path / str(strict)) == [(0, 5, None), (1, 5, None), (4, 5, None)]
        lines = [line for line in events.told(capfd) if "samples=" in line]
        # One of batches that lack a place, one of those that lack all; a strict recorder writes no lines.
        assert len(lines) == (0 if strict else 2)
        assert strict or "places [7] that this batch of 6" in lines[0]
        assert recorder.stats()["refused"] == 2


def test_ids_are_no_context_any_more(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A name that is nearly the argument's is kept as context, and the line asks whether that was meant."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        recorder.compare(LOGITS, LABELS, 0, sample_id=["a"])
    (one, _) = [one for one in read(tmp_path) if isinstance(one, Comparison)]
    assert one.context == {"sample_id": ["a"]}
    assert "was sample_ids= meant?" in events.said(capfd)


def test_hostile_ids_are_harmless(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever an id holds, the file, the console and a notebook show it without its effect, and it is read back."""
    hostile = "\x1b[2J\u202e</td><script>\ud800\n"
    with Recorder(tmp_path, every=1) as recorder:
        recorder.compare(LOGITS, LABELS, 0, sample_ids=[hostile] * 6)
        recorder.flush()
    (one, _) = [one for one in read(tmp_path) if isinstance(one, Comparison)]
    assert one.sample_id == hostile
    printed = capfd.readouterr().out
    assert "sample_id=" in printed
    for text in (printed, one._repr_html_(), (tmp_path / "predictions.jsonl").read_text()):
        assert not {"\x1b", "\u202e"} & {*text}
    assert "<script>" not in one._repr_html_()


def test_a_redaction_sees_ids(tmp_path: Path) -> None:
    """What must not be seen is replaced in ids as in texts."""
    with Recorder(tmp_path, every=1, console=False, strict=True, processors=[Redact("doc")]) as recorder:
        recorder.compare(LOGITS, LABELS, 0, sample_ids=IDS)
    assert [one for *_, one in shown(tmp_path)] == ["[redacted]-0", "[redacted]-1"]


@pytest.mark.parametrize(
    ("variables", "places"),
    [
        ({"PREDLOG_SAMPLES": "3"}, [0, 1, 2]),
        ({"PREDLOG_SAMPLES": "0,-1"}, [0, 5]),
        ({"PREDLOG_SAMPLES": " 4, "}, [4]),
        ({"PREDLOG_FOLLOW": "doc-3, doc-4"}, [3, 4]),
        ({"PREDLOG_SAMPLES": "3", "PREDLOG_FOLLOW": "doc-3"}, [0, 1, 3]),
        ({"PREDLOG_SAMPLES": "two"}, [0, 1]),
        ({"PREDLOG_SAMPLES": "0"}, [0, 1]),
        ({"PREDLOG_SAMPLES": ","}, [0, 1]),
        ({"PREDLOG_SAMPLES": ""}, [0, 1]),
    ],
)
def test_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], variables: dict[str, str],
    places: list[int],
) -> None:  # fmt: skip
    """The default recorder takes samples and ids from the environment; what makes no sense is ignored, with a line."""
    for name, value in {"PREDLOG_DIR": str(tmp_path), "PREDLOG_CONSOLE": "0", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("predlog.recorder.default._default", None)
    monkeypatch.setattr("predlog.recorder.default._every", 1)
    monkeypatch.setattr("predlog.recorder.environment._notices", Notices())
    predlog.compare(LOGITS, LABELS, 0, sample_ids=IDS)
    assert predlog.close()
    assert [place for _, place, _ in shown(tmp_path)] == places
    is_wrong = variables.get("PREDLOG_SAMPLES") in {"two", "0", ","}
    assert ("must be a number, at least 1, or places in a batch" in capfd.readouterr().err) == is_wrong


def test_inspect_takes_ids() -> None:
    """One look has them, too."""
    seen = predlog.inspect(LOGITS, LABELS, sample_ids=IDS)
    assert [one.sample_id for one in seen.comparisons] == IDS
    assert "sample 5 (doc-5)" in str(seen) or len(seen.comparisons) > 3
