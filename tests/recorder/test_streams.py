"""Many streams and codebooks in one run: each recorded, decoded, limited and judged by itself."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from torch import Tensor

import predlog
from predlog import Comparison, Finding, Recorder
from predlog.errors import SettingError
from predlog.findings import special_tokens as specials
from predlog.findings.special_tokens import SpecialTokens, per_stream, special_tokens
from tests import events
from tests.cases import material
from tests.events import told

CODEBOOKS, LENGTH, CODES = 8, 40, 64


def text() -> dict[str, Any]:
    ids = torch.randint(4, 300, (2, LENGTH))
    return {"logits": torch.randn(2, LENGTH, 300), "labels": ids, "inputs": ids, "shift": 1}


def audio(*, delayed: bool = False) -> dict[str, Any]:
    codes = torch.randint(CODES, (2, LENGTH, CODEBOOKS))
    labels = codes.clone()
    for codebook in range(CODEBOOKS * delayed):
        labels[:, :codebook, codebook] = -100
    return {
        "logits": torch.randn(2, LENGTH, CODEBOOKS * CODES),
        "labels": labels,
        "inputs": codes,
        "shift": 1,
        "stream": "audio",
        "layout": "b t (k v), b t k",
    }


def found(directory: Path, kind: type[Any]) -> list[Any]:
    return [record for record in predlog.read(directory) if isinstance(record, kind)]


def test_two_streams_in_one_step(tmp_path: Path) -> None:
    """Text and audio of eight codebooks are recorded at each due step, each once, whichever comes first."""
    with Recorder(tmp_path, every=2, console=False) as recorder:
        for step in range(5):
            for _ in range(2):  # as with gradient accumulation
                recorder.compare(step=step, **text())
                recorder.compare(step=step, **audio())
    comparisons = found(tmp_path, Comparison)
    assert [one.step for one in comparisons if one.stream == "text"] == [0, 0, 2, 2, 4, 4]
    assert [(one.sample, one.codebook) for one in comparisons if one.stream == "audio" and one.step == 2] == [
        (sample, codebook) for sample in range(2) for codebook in range(8)
    ]
    assert found(tmp_path, Finding) == []


def test_each_has_its_own_findings(tmp_path: Path) -> None:
    """A fault in the text is not said of the audio; one in all codebooks is one line."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(3):
            recorder.compare(step=step, **{**text(), "shift": 0})
            recorder.compare(step=step, **audio())
        recorder.flush()
        assert [(one.stream, one.code) for one in recorder.findings] == [("text", "labels-are-inputs")]
        for step in range(3, 6):
            recorder.compare(step=step, **text())
            recorder.compare(step=step, **{**audio(), "shift": 0})
        recorder.flush()
        assert [(one.stream, one.code, one.codebook) for one in recorder.findings] == [
            ("audio", "labels-are-inputs", None)
        ]
    first, gone, second = found(tmp_path, Finding)
    assert (first.step, first.stream) == (0, "text")
    assert (gone.step, gone.stream, gone.code, gone.level) == (3, "text", "labels-are-inputs", "info")
    assert gone.message == "text: gone; it was found at step 0."
    assert gone.evidence == {"since": 0}
    assert (second.step, second.evidence["codebooks"]) == (3, list(range(8)))
    assert second.message.startswith("audio codebooks 0 to 7: ")
    assert second.level == "error"


@pytest.mark.parametrize("length", [3, 5, 8, 40])
def test_a_delay_pattern_is_no_fault(tmp_path: Path, length: int) -> None:
    """Codebook k masked for its first k steps leaves the last ones nothing in a short sample, and that is right."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(20):
            pair = audio(delayed=True)
            cut = {name: pair[name][:, :length] for name in ("logits", "labels", "inputs")}
            recorder.compare(step=step, **{**pair, **cut})
        recorder.flush()
        assert recorder.findings == ()
    shown = {one.codebook: one.supervised for one in found(tmp_path, Comparison)}
    assert shown == {codebook: min(length - 1, max(length - codebook, 0)) for codebook in range(8)}


def test_limits(tmp_path: Path) -> None:
    """`samples` and `codebooks` say how many of each are shown, from the first."""
    with Recorder(tmp_path, every=1, console=False, samples=1, codebooks=3) as recorder:
        recorder.compare(step=0, **audio())
        assert recorder.stats()["submitted"] == 3
    assert [(one.sample, one.codebook) for one in found(tmp_path, Comparison)] == [(0, 0), (0, 1), (0, 2)]


def texts(directory: Path, stream: str) -> set[bool]:
    return {
        token.label_text is not None and token.input_text is not None and token.prediction_text is not None
        for one in found(directory, Comparison)
        if one.stream == stream
        for token in one.tokens
    }


@pytest.mark.parametrize(
    ("decode", "decoded"),
    [
        (str, {"text": {True}, "audio": {False}, "eval/text": {True}}),
        ({"text": str}, {"text": {True}, "audio": {False}, "eval/text": {True}}),
        ({"audio": hex}, {"text": {False}, "audio": {True}, "eval/text": {False}}),
        ({"eval/text": str, "audio": str}, {"text": {False}, "audio": {True}, "eval/text": {True}}),
    ],
)
def test_a_decoder_belongs_to_its_stream(tmp_path: Path, decode: Any, decoded: dict[str, set[bool]]) -> None:
    """One decoder alone is for text; a mapping says whose it is, also for streams whose name ends like that."""
    with Recorder(tmp_path, every=1, console=False, decode=decode) as recorder:
        recorder.compare(step=0, **text())
        recorder.compare(step=0, **{**text(), "stream": "eval/text"})
        recorder.compare(step=0, **audio())
    assert {stream: texts(tmp_path, stream) for stream in decoded} == decoded


def test_a_tokenizer_says_nothing_of_other_ids(tmp_path: Path) -> None:
    """Where there are logits for less than half of a tokenizer's ids, they are not its ids: no text, no padding."""
    tokenizer = material.tokenizer()  # of 512 tokens, 0 pads
    labels = torch.zeros(1, 9, dtype=torch.long)
    with Recorder(tmp_path, every=1, console=False, decode=tokenizer) as recorder:
        recorder.compare(torch.randn(1, 9, 255), labels, 0, stream="tags")
        recorder.compare(torch.randn(1, 9, 256), labels, 0, stream="text")
    assert (texts(tmp_path, "tags"), texts(tmp_path, "text")) == ({False}, set() | {False})
    (finding,) = found(tmp_path, Finding)
    assert (finding.code, finding.stream) == ("pad-supervised", "text")


SPECIAL = {"pad": 0, "eos": 2, "bos": 1}


@pytest.mark.parametrize(
    ("given", "known"),
    [
        (SPECIAL, SpecialTokens((0,), (2,), (1,), frozenset({0, 1, 2}))),
        ({"eos": [2, 5]}, SpecialTokens(eos=(2, 5), every=frozenset({2, 5}))),
        ({"pad": None}, SpecialTokens()),
    ],
)
def test_special_tokens_are_read(given: Any, known: SpecialTokens) -> None:
    """A mapping from roles to an id or several."""
    assert special_tokens(given) == known


def test_tokenizers_tell_their_special_tokens() -> None:
    """A Hugging Face tokenizer knows the roles; a tokenizer of `tokenizers` only which tokens are special."""
    fast = material.tokenizer()
    known = special_tokens(fast)
    assert (known.pad, known.bos, known.eos, known.size) == ((0,), (1,), (2,), 512)
    assert known.every == frozenset({0, 1, 2, 3})
    assert special_tokens(fast.decode) == known
    plain = special_tokens(fast.backend_tokenizer)
    assert (plain.pad, plain.every, plain.size) == ((), frozenset({0, 1, 2, 3}), 512)
    assert specials.of_tokenizer(str) is None
    assert special_tokens(Tokenizer(models.BPE())).every == frozenset()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"pads": 3}, "no role 'pads'"),
        ({"pad": -1}, "pad=-1 must be a token id"),
        ({"pad": "x"}, "pad='x' must be a token id"),
        ({"pad": True}, "pad=True must be a token id"),
        (7, "must be a tokenizer, a mapping"),
        ({7: SPECIAL}, "7 must be the name of a stream"),
        ({"text": 7}, "no role 'text'"),
        ({"text": "gpt2"}, "must be a tokenizer"),
    ],
)
def test_special_tokens_that_are_none_are_refused(given: Any, says: str) -> None:
    """What can't be special tokens is an error when the recorder is made."""
    with pytest.raises(SettingError, match=says):
        Recorder(special_tokens=given)


def test_per_stream_looks_for_the_name_first() -> None:
    """The whole name, then its last part, then what was given alone, which codebooks don't get."""
    named = per_stream({"text": "a", "eval/text": "b"}, str)
    names = ("text", "eval/text", "test/text", "audio")
    assert [named.of(name, has_codebooks=False) for name in names] == ["a", "b", "a", None]
    alone = per_stream("c", str)
    assert (alone.of("text", has_codebooks=False), alone.of("audio", has_codebooks=True)) == ("c", None)
    assert per_stream(None, lambda one: one).of("text", has_codebooks=False) is None


def unshifted() -> dict[str, Any]:
    return {**text(), "shift": 0}


@pytest.mark.parametrize("ignore", ["labels-are-inputs", ("labels-are-inputs",), ["labels-are-inputs", "same-batch"]])
def test_what_is_ignored_is_not_found(tmp_path: Path, ignore: Any) -> None:
    """`ignore` silences codes, in any collection, and the run's first and last line name them."""
    with Recorder(tmp_path, every=1, console=False, ignore=ignore) as recorder:
        recorder.compare(step=0, **unshifted())
        recorder.flush()
        assert recorder.findings == ()
    assert found(tmp_path, Finding) == []
    runs = found(tmp_path, predlog.records.Run)
    assert ["labels-are-inputs" in run.settings["ignore"] for run in runs] == [True, True]


def test_what_is_ignored_in_one_stream_is_found_in_others(tmp_path: Path) -> None:
    """A mapping from streams to codes; the run's first and last line hold it."""
    ignore = {"audio": "labels-are-inputs", "text": ["same-batch"]}
    with Recorder(tmp_path, every=1, console=False, ignore=ignore) as recorder:
        for stream in ("text", "audio", "eval/audio"):
            recorder.compare(step=0, **{**unshifted(), "stream": stream})
        recorder.flush()
    assert [one.stream for one in found(tmp_path, Finding)] == ["text"]
    runs = found(tmp_path, predlog.records.Run)
    expected = {"audio": ["labels-are-inputs"], "text": ["same-batch"]}
    assert [run.settings["ignore"] for run in runs] == [expected, expected]


def test_streams_to_ignore_codes_in_are_named() -> None:
    """Anything else is refused when the recorder is made."""
    with pytest.raises(SettingError, match="3 must be the name of a stream"):
        Recorder(ignore={3: ("same-batch",)})  # type: ignore[dict-item]


@pytest.mark.parametrize("ignore", [("labels-are-input",), "collapse", 7, [None], {"text": ["collapse"]}])
def test_an_unknown_code_is_an_error_that_lists_the_known(ignore: Any) -> None:
    """A misspelt code would silence nothing, so it is refused."""
    with pytest.raises(
        SettingError, match=r"is no finding's code.*; there are empty-pair, .*labels-are-inputs, .*same-batch"
    ):
        Recorder(ignore=ignore)


def test_findings_are_summed_up_at_close(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line on stderr for what is open and what is gone, once; none for a run without findings."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        recorder.compare(step=0, **unshifted())
        recorder.compare(step=0, **{**unshifted(), "stream": "eval/text"})
        recorder.compare(step=1, **text())
        assert recorder.close()
        assert recorder.close()
    assert events.said(capfd) == (
        f"predlog: 6 comparisons in {tmp_path}/predictions.jsonl; "
        "1 open finding: labels-are-inputs (eval/text, since step 0); "
        f"found earlier and gone: labels-are-inputs (text); next: predlog report {tmp_path}\n"
    )
    with Recorder(tmp_path, every=1, console=False) as recorder:
        recorder.compare(step=0, **text())
    assert not told(capfd)


def test_a_refused_pair_is_a_finding_and_leaves_its_step_free(tmp_path: Path) -> None:
    """Lengths that don't fit are found, the shift that would is named, and following it records the same step."""
    logits, labels = torch.randn(2, 19, 30), torch.randint(30, (2, 20))
    with Recorder(tmp_path, every=1, console=False) as recorder:
        assert recorder.compare(logits, labels, 0) is None
        recorder.flush()
        (finding,) = recorder.findings
        assert (finding.code, finding.level, finding.step) == ("length-mismatch", "error", 0)
        assert "pass shift=1" in finding.message
        assert finding.evidence == {"logits": [2, 19, 30], "labels": [2, 20], "shift": 0}
        assert recorder.compare(logits, labels, 0, shift=1) is not None
        recorder.flush()
        assert recorder.findings == ()
        assert recorder.stats()["written"] == 2
    assert [one.level for one in found(tmp_path, Finding)] == ["error", "info"]


def test_a_finding_that_a_processor_stops_comes_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What could not be told is reported with the next record, and one that fails does not take the others with it."""
    failures = iter([True, True, False, False, False, False])

    def moody(_logger: Any, _name: str, event: Any) -> Any:
        if event["event"] == "predlog.finding" and next(failures):
            raise RuntimeError("not now")
        return event

    ids = torch.randint(4, 300, (2, LENGTH))
    ids[:, :2] = 1
    pair: dict[str, Any] = {"logits": torch.randn(2, LENGTH, 300), "labels": ids, "inputs": ids}
    with Recorder(tmp_path, every=1, console=False, processors=[moody], special_tokens=SPECIAL) as recorder:
        for step in range(3):
            recorder.compare(step=step, **pair)
    assert sorted(one.code for one in found(tmp_path, Finding)) == ["bos-doubled", "labels-are-inputs"]
    assert events.said(capfd).count("not now") == 1


def test_a_finding_that_the_file_did_not_take_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the file takes lines again, what it lacks of the findings is written."""
    write, is_full = os.write, [True]

    def full(descriptor: int, data: bytes) -> int:
        if is_full[0] and b"predlog.finding" in data:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    with Recorder(tmp_path, every=1, console=False) as recorder, monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        recorder.compare(step=0, **unshifted())
        recorder.flush()
        is_full[0] = False
        recorder.compare(step=1, **unshifted())
        recorder.flush()
    assert [(one.code, one.step) for one in found(tmp_path, Finding)] == [("labels-are-inputs", 0)]


def test_more_codebooks_than_are_remembered(tmp_path: Path) -> None:
    """However many lanes one pair has, its findings are reported."""
    labels = torch.randint(30, (1, 12, 1100))
    logits = torch.randn(1, 12, 1100, 30)
    with Recorder(tmp_path, every=1, console=False, codebooks=2000, score=False) as recorder:
        recorder.compare(logits, labels, 0, inputs=labels, layout="b t k v, b t k")
    assert "labels-are-inputs" in {one.code for one in found(tmp_path, Finding)}


def test_a_fault_that_can_no_longer_be_seen_is_gone(tmp_path: Path) -> None:
    """Without inputs nobody can say that labels equal them."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        recorder.compare(step=0, **unshifted())
        recorder.compare(step=1, **{**text(), "inputs": None})
        recorder.flush()
        assert recorder.findings == ()


def test_labels_before_the_shift_are_not_called_ignored(tmp_path: Path) -> None:
    """Labels that have no row are not supervised, and the message does not say that they are masked."""
    labels = torch.full((2, LENGTH), -100)
    labels[:, 0] = 5
    with Recorder(tmp_path, every=1, console=False) as recorder:
        recorder.compare(torch.randn(2, LENGTH, 30), labels, 0, shift=1)
    (finding,) = found(tmp_path, Finding)
    assert "every label of all 2 samples shown is -100 from position 1 on" in finding.message


def test_strict_recorders_raise_refusals_and_not_findings(tmp_path: Path) -> None:
    """`strict` raises what is wrong with a call; what is wrong with the training is still a finding."""
    with Recorder(tmp_path, every=1, console=False, strict=True) as recorder:
        with pytest.raises(predlog.PredlogError, match="19 rows of logits for 20 labels"):
            recorder.compare(torch.randn(2, 19, 30), torch.randint(30, (2, 20)), 0)
        recorder.compare(step=1, **unshifted())
        assert recorder.flush()
        assert [one.code for one in recorder.findings] == ["labels-are-inputs"]


def test_processors_see_findings(tmp_path: Path) -> None:
    """A finding is an event like any other: a processor may add to it or drop it; it is open all the same."""

    def local(_logger: Any, _name: str, event: Any) -> Any:
        if event["event"] == "predlog.finding":
            event["team"] = "north"
        return event

    with Recorder(tmp_path, every=1, console=False, processors=[local]) as recorder:
        recorder.compare(step=0, **unshifted())
    (finding,) = found(tmp_path, Finding)
    assert finding.context == {"team": "north"}

    def silent(_logger: Any, _name: str, event: Any) -> Any:
        if event["event"] == "predlog.finding":
            raise RuntimeError("no findings, please")
        return event

    with Recorder(tmp_path / "other", every=1, console=False, processors=[silent]) as recorder:
        recorder.compare(step=0, **unshifted())
        recorder.flush()
        assert [one.code for one in recorder.findings] == ["labels-are-inputs"]
        assert recorder.stats()["written"] == 2
    assert found(tmp_path / "other", Finding) == []


def test_a_rule_that_fails_costs_its_finding_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An error in the judging is reported, and every comparison is written."""

    def broken(*_arguments: Any, **_how: Any) -> Any:
        raise ZeroDivisionError("a rule")

    monkeypatch.setattr("predlog.findings.judge.Judge.judge", broken)
    with Recorder(tmp_path, every=1, console=False) as recorder:
        recorder.compare(step=0, **text())
        assert recorder.flush()
        assert recorder.stats()["written"] == 2
    assert "not checked for findings: ZeroDivisionError: a rule" in events.said(capfd)


def test_nothing_of_the_pair_is_kept_by_findings(tmp_path: Path) -> None:
    """What the rules remember are numbers: no tensor."""
    with Recorder(tmp_path, every=1, console=False) as recorder:
        for step in range(10):
            recorder.compare(step=step, **unshifted())
        recorder.flush()
        lanes = recorder._judge._lanes.values()
        kept = [one for lane in lanes for opinion in lane.opinions.values() for one in opinion.pool]
        assert kept
        assert not any(isinstance(value, Tensor) for one in kept for facts in one.samples for value in _fields(facts))


def _fields(facts: Any) -> list[Any]:
    return [getattr(facts, name) for name in facts.__slots__]
