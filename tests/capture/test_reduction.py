"""Rows that were reduced elsewhere: the same records and findings as from their logits, and never a wrong number."""

import gc
import math
import re
import weakref
from collections import namedtuple
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import predlog
from predlog import Recorder, Rows, read
from predlog.records.schema import Comparison, Finding, Token
from tests import events
from tests.capture.test_projection import assert_same, bare, path, recorded

__all__ = ["path"]  # a fixture


def reduced(logits: Tensor, labels: Tensor, *, dim: int = -1, shift: int = 0, **more: Any) -> Rows:
    """Reduce logits that have the labels' axes in the labels' order, and the vocabulary at `dim`, as the docs say."""
    rows = logits.movedim(dim, -1).to(torch.float64)
    wanted = labels.narrow(-1, shift, labels.shape[-1] - shift)
    if shift:
        wanted = torch.cat([wanted, wanted[..., :1].expand(*wanted.shape[:-1], rows.shape[-2] - wanted.shape[-1])], -1)
    label = wanted.clamp(0, rows.shape[-1] - 1).unsqueeze(-1)
    logprobs = rows.log_softmax(-1)
    fields: dict[str, Any] = {
        "prediction": rows.argmax(-1),
        "prediction_logprob": logprobs.amax(-1),
        "label_logprob": logprobs.gather(-1, label).squeeze(-1),
        "label_rank": 1 + (rows > rows.gather(-1, label)).sum(-1),
        "vocabulary": rows.shape[-1],
        "entropy": torch.special.entr(logprobs.exp()).sum(-1),
    }
    return Rows(**{**fields, **more})


def changed(rows: Rows, **fields: Any) -> Rows:
    names = ("prediction", "prediction_logprob", "label_logprob", "label_rank", "vocabulary", "entropy")
    return Rows(**{**{name: getattr(rows, name) for name in names}, **fields})


def pair(samples: int = 2, length: int = 12, vocabulary: int = 50) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(samples + length)
    labels = torch.randint(vocabulary, (samples, length), generator=generator)
    return torch.randn(samples, length, vocabulary, generator=generator), labels


def refused(rows: object, labels: object, **how: Any) -> Finding:
    with Recorder(every=1, console=False) as recorder:
        recorder.compare(rows, labels, 3, **how)
        recorder.flush()
        (found,) = recorder.findings
    assert found.step == 3
    return found


# --- the same as from logits ---------------------------------------------------------------------------------------
LAYOUTS: dict[str | None, tuple[int, Any, Any, Any]] = {
    # How many codebooks, and what lays logits [b, k, t, v], rows and labels [b, k, t] out in that layout.
    None: (1, lambda x: x[:, 0], lambda x: x[:, 0], lambda x: x[:, 0]),
    "b t v, b t": (1, lambda x: x[:, 0], lambda x: x[:, 0], lambda x: x[:, 0]),
    "b v t, b t": (1, lambda x: x[:, 0].transpose(1, 2), lambda x: x[:, 0], lambda x: x[:, 0]),
    "t b v, b t": (1, lambda x: x[:, 0].transpose(0, 1), lambda x: x[:, 0].T, lambda x: x[:, 0]),
    "(b t) v, b t": (1, lambda x: x[:, 0].flatten(0, 1), lambda x: x[:, 0].flatten(), lambda x: x[:, 0]),
    "b t k v, b t k": (3, lambda x: x.transpose(1, 2), lambda x: x.transpose(1, 2), lambda x: x.transpose(1, 2)),
    "(b k) t v, b t k": (3, lambda x: x.flatten(0, 1), lambda x: x.flatten(0, 1), lambda x: x.transpose(1, 2)),
    "b t (k v), b t k": (
        3, lambda x: x.transpose(1, 2).flatten(2), lambda x: x.transpose(1, 2), lambda x: x.transpose(1, 2),
    ),
    "(b k) v t, b t k": (
        3, lambda x: x.flatten(0, 1).transpose(1, 2), lambda x: x.flatten(0, 1), lambda x: x.transpose(1, 2),
    ),
}  # fmt: skip


@given(
    st.sampled_from(list(LAYOUTS)), st.integers(0, 2**32), st.integers(0, 2), st.integers(1, 3), st.integers(3, 9),
    st.sampled_from([2, 7, 60]), st.sampled_from([torch.float32, torch.bfloat16, torch.float64]), st.booleans(),
    st.booleans(), st.sampled_from(["plain", "tied", "masked", "nan", "out of range"]),
)  # fmt: skip
@settings(max_examples=150)
def test_rows_give_what_their_logits_give(
    layout: str | None, seed: int, shift: int, samples: int, length: int, vocabulary: int, dtype: torch.dtype,
    far: bool, has_inputs: bool, kind: str,
) -> None:  # fmt: skip
    """In any layout, at any shift, on either way, every field is that of the record of the logits."""
    codebooks, lay_logits, lay_rows, lay_labels = LAYOUTS[layout]
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(samples, codebooks, length, vocabulary, generator=generator)).to(dtype)
    labels = torch.randint(vocabulary, (samples, codebooks, length), generator=generator)
    if kind == "tied":
        logits = logits.round()
    if kind == "masked":  # as by a mask over the vocabulary, which leaves the first id
        logits[..., 1:].masked_fill_(torch.rand(logits[..., 1:].shape, generator=generator) < 0.3, -torch.inf)
    if kind == "nan":
        logits[:, :, ::2, 1] = torch.nan
    if kind == "out of range":
        labels[:, :, -1] = vocabulary + 3
        labels[:, :, 0] = -7
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = -100
    rows = reduced(logits, labels, shift=shift)
    laid = Rows(
        *(
            lay_rows(getattr(rows, name))
            for name in ("prediction", "prediction_logprob", "label_logprob", "label_rank")
        ),
        vocabulary=vocabulary,
        entropy=lay_rows(rows.entropy),
    )
    ids = lay_labels(labels)
    how: dict[str, Any] = {"layout": layout, "shift": shift, "score": True, "samples": 2}
    how["inputs"] = ids.clamp(0, vocabulary - 1).flip(-1) if has_inputs else None
    with pytest.MonkeyPatch.context() as patched:
        if far:
            patched.setattr("predlog.capture.capture._NEAR", frozenset())
        assert_same(recorded(laid, ids, **how), recorded(lay_logits(logits), ids, **how))


def test_a_mask_of_the_loss_weighs_rows_as_it_does_logits(path: str) -> None:
    """The loss of reduced rows is that of their logits, weighted."""
    logits, labels = pair()
    mask = torch.linspace(0, 2, labels.numel()).view(labels.shape)
    found = recorded(reduced(logits, labels), labels, loss_mask=mask, score=True)
    assert_same(found, recorded(logits, labels, loss_mask=mask, score=True))
    assert found[0].loss != pytest.approx(recorded(logits, labels, score=True)[0].loss)


def test_one_sequence_needs_no_layout(path: str) -> None:
    """Rows with one axis belong to labels with one, as logits with two do."""
    logits, labels = pair(1)
    rows = reduced(logits[0], labels[0])
    assert_same(recorded(rows, labels[0]), recorded(logits[0], labels[0]))


@pytest.mark.parametrize("shift", [1, 2])
def test_rows_may_end_where_the_labels_end(path: str, shift: int) -> None:
    """As logits, rows may be `shift` positions shorter than the labels."""
    logits, labels = pair()
    cut = logits[:, : labels.shape[1] - shift]
    assert_same(recorded(reduced(cut, labels, shift=shift), labels, shift=shift), recorded(cut, labels, shift=shift))


INTEGERS = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_predictions_and_ranks_are_integers_of_any_width(path: str, dtype: torch.dtype) -> None:
    """So are they in NumPy: what a compiled function returns is not always 64 bits wide."""
    logits, labels = pair()
    rows = reduced(logits, labels)
    narrow = changed(rows, prediction=rows.prediction.to(dtype), label_rank=rows.label_rank.to(dtype))  # type: ignore[attr-defined]
    assert_same(recorded(narrow, labels), recorded(logits, labels))
    arrays = {name: getattr(narrow, name).numpy() for name in ("prediction", "prediction_logprob", "label_logprob")}
    assert_same(
        recorded(Rows(**arrays, label_rank=np.asarray(narrow.label_rank), vocabulary=50), labels.numpy()),  # type: ignore[arg-type]
        recorded(logits, labels),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_log_probabilities_are_floats_of_any_width(path: str, dtype: torch.dtype) -> None:
    """Those of half precision are taken as they are, though they may contradict each other by their rounding."""
    logits, labels = pair(2, 40)
    labels[0] = logits[0].argmax(-1)
    rows = reduced(logits, labels)
    narrow = changed(rows, label_logprob=rows.label_logprob.to(dtype))  # type: ignore[attr-defined]
    found, wanted = recorded(narrow, labels), recorded(logits, labels)
    assert [bare(one) for one in found] == [bare(one) for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        for token, expected in zip(one.tokens, other.tokens, strict=True):
            assert token.label_logprob == pytest.approx(expected.label_logprob, rel=0.005, abs=0.005)


# --- what is not known ---------------------------------------------------------------------------------------------
def test_without_ranks_they_are_null(path: str) -> None:
    """All else is as with them."""
    logits, labels = pair()
    found = recorded(reduced(logits, labels, label_rank=None), labels)
    assert {token.label_rank for one in found for token in one.tokens} == {None}
    wanted = recorded(logits, labels)
    assert_same(found, tuple(msgspec.structs.replace(one, tokens=unranked(one)) for one in wanted))


def unranked(one: Comparison) -> tuple[Token, ...]:
    return tuple(msgspec.structs.replace(token, label_rank=None) for token in one.tokens)


def test_without_a_vocabulary_it_is_null(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is null in the record and in the file; all else is the same, texts and drawings included."""
    logits, labels = pair(vocabulary=70)
    rows = reduced(logits, labels, vocabulary=None)
    (found, _), (wanted, _) = recorded(rows, labels), recorded(logits, labels)
    assert found.vocabulary is None
    assert bare(found) == msgspec.structs.replace(bare(wanted), vocabulary=None)
    codes = changed(rows, **{name: getattr(rows, name)[..., None] for name in (
        "prediction", "prediction_logprob", "label_logprob", "label_rank", "entropy",
    )})  # fmt: skip
    with Recorder(tmp_path, every=1, strict=True, decode=lambda token: chr(40 + token)) as recorder:
        recorder.compare(rows, labels, 0)
        recorder.compare(codes, labels[..., None], 0, stream="codes", layout="b t k v, b t k")
    (one, *_) = (record for record in read(tmp_path) if isinstance(record, Comparison))
    assert one.vocabulary is None
    assert one.tokens[0].label_text == chr(40 + one.tokens[0].label)
    assert "codes" in capsys.readouterr().out
    assert "<table" in one._repr_html_()


def test_of_labels_that_are_not_known_nothing_is_shown(path: str) -> None:
    """A label log-probability that is NaN in a row that is finite was not known: it is no fault of the logits."""
    logits, labels = pair()
    rows = reduced(logits, labels)
    rows.label_logprob[:, 0] = torch.nan  # type: ignore[index]
    found = recorded(rows, labels)
    assert [one.nonfinite for one in found] == [0, 0]
    for one in found:
        assert (one.tokens[0].label_logprob, one.tokens[0].label_rank) == (None, None)
        assert None not in (one.tokens[0].prediction_logprob, one.tokens[1].label_logprob, one.tokens[1].label_rank)


def test_of_a_row_that_is_not_finite_nothing_is_shown(path: str) -> None:
    """Rows can't tell NaN from infinity, so neither a prediction nor a rank is shown; the finding counts the rows."""
    logits, labels = pair()
    logits[:, 3, 7] = torch.inf
    with Recorder(every=1, console=False) as recorder:
        future = recorder.compare(reduced(logits, labels), labels, 0)
        assert future is not None
        for one in future.result(10):
            token = one.tokens[3]
            assert (token.prediction, token.label_logprob, token.prediction_logprob, token.label_rank) == (None,) * 4
            assert one.nonfinite == 2
        recorder.flush()
        (found,) = recorder.findings
    assert found.code == "logits-not-finite"
    assert found.evidence == {"tokens": 20, "rows_not_finite": 2, "labels_without_probability": 2}


def test_tokens_without_a_row_are_not_shown(path: str) -> None:
    """The first and last tokens that have a row are shown; accuracy and loss are null, as they would not be of all."""
    logits, labels = pair(3, 30)
    labels[:, :2] = -100
    rows = reduced(logits, labels)
    chosen = torch.zeros(3, 30, dtype=torch.bool)
    chosen[0, 4:24:2] = True  # ten of 28
    chosen[1] = True
    for name, mark in (("prediction", -1), ("prediction_logprob", 99.0), ("label_logprob", 99.0), ("label_rank", -5)):
        getattr(rows, name)[~chosen] = mark  # what is not read may be anything
    found, wanted = recorded(rows, labels, score=True), recorded(logits, labels, score=True)
    assert [token.position for token in found[0].tokens] == [*range(4, 24, 2)]
    assert (found[0].matched, found[0].supervised) == (None, 28)
    assert_same(found[1:], wanted[1:])
    full = recorded(logits, torch.where(chosen, labels, -100), score=True)[0]
    assert_same(
        (msgspec.structs.replace(found[0], matched=0, supervised=0),),
        (msgspec.structs.replace(full, matched=0, supervised=0, loss=None, entropy=None),),
    )


def test_a_label_of_minus_one_is_no_match(path: str) -> None:
    """Where no row was reduced the prediction is -1, which equals a label of -1 and matches nothing."""
    logits, labels = pair()
    labels[:, 5] = -1
    rows = reduced(logits, labels)
    rows.prediction[:, 5] = -1  # type: ignore[index]
    found = recorded(rows, labels, score=True)
    assert {one.matched for one in found} == {None}
    assert not any(token.label == -1 for one in found for token in one.tokens)


# --- what can't be -------------------------------------------------------------------------------------------------
def best(rows: Any, labels: Tensor) -> Any:
    rows.prediction[0, 1] = labels[0, 1]
    return rows


CONTRADICTIONS: dict[str, tuple[Any, str]] = {
    "a loss for a log-probability": (
        lambda rows, _: changed(rows, label_logprob=-rows.label_logprob), "at most 0, .*: pass not losses, as these"
    ),
    "probabilities": (
        lambda rows, _: changed(rows, prediction_logprob=rows.prediction_logprob.exp()), "at most 0, .*: pass neither"
    ),
    "infinite": (
        lambda rows, _: changed(rows, prediction_logprob=rows.prediction_logprob + math.inf), "up to inf: pass neither"
    ),
    "improbable": (
        lambda rows, _: changed(
            rows, prediction_logprob=rows.prediction_logprob - 9, label_logprob=rows.label_logprob - 9
        ),
        "less probable than one over the vocabulary's size, 50: pass",
    ),
    "more than 1": (
        lambda rows, _: changed(
            rows, prediction_logprob=0 * rows.prediction_logprob - 0.1, label_logprob=0 * rows.label_logprob - 0.1,
            label_rank=None,
        ),
        "add up to more than 1",
    ),
    "too good for its rank": (
        lambda rows, _: changed(
            rows, prediction_logprob=0 * rows.prediction_logprob - 0.9, label_logprob=0 * rows.label_logprob - 0.9,
            label_rank=0 * rows.label_rank + 40,
        ),
        "of at most 1/r",
    ),
    "swapped": (
        lambda rows, _: changed(rows, prediction_logprob=rows.label_logprob, label_logprob=rows.prediction_logprob),
        "the label is more probable than the prediction",
    ),
    "ranks from 0": (lambda rows, _: changed(rows, label_rank=0 * rows.label_rank), "ranks count from 1"),
    "a large rank": (lambda rows, _: changed(rows, label_rank=90 + rows.label_rank), "to the vocabulary's size, 50;"),
    "a large prediction": (
        lambda rows, _: changed(rows, prediction=50 + rows.prediction), "ids from 0 to 49, or -1 .* and 24 are not;"
    ),
    "a negative one": (
        lambda rows, _: changed(rows, prediction=-2 - rows.prediction), "and 24 are not; at sample 0, position 0: pred"
    ),
    "other labels": (best, r"of different labels, .* at sample 0, position 1: prediction=\d+, prediction_logprob=-"),
    "no rows": (lambda rows, _: changed(rows, prediction=0 * rows.prediction - 1), "-1 at all 24 of the first 2"),
}  # fmt: skip


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_what_no_logits_can_give_is_refused(path: str, what: str) -> None:
    """The finding says what is wrong and where, with the numbers; a wrong number is never shown."""
    logits, labels = pair()
    change, says = CONTRADICTIONS[what]
    found = refused(change(reduced(logits, labels), labels), labels)
    assert found.code == "unreadable-pair"
    assert re.search(says, found.message), found.message


def test_what_is_refused_late_is_refused(tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers of a device are first read in predlog's thread; counts and stderr are as if they had been read here."""
    logits, labels = pair()
    with Recorder(tmp_path, every=1, console=False) as recorder:
        future = recorder.compare(reduced(logits, labels, label_rank=torch.zeros(2, 12).long()), labels, 0)
        assert (future is None) is (path == "cpu")
        assert future is None or future.result(10) == ()
        recorder.compare(reduced(logits, labels), labels, 1)
        recorder.flush()
        stats = recorder.stats()
    assert {name: count for name, count in stats.items() if count and name != "sinks"} == {
        "submitted": 2, "written": 2, "refused": 1
    }  # fmt: skip
    records = list(read(tmp_path))
    assert not [one for one in records if isinstance(one, predlog.Gap)]
    assert [one.step for one in records if isinstance(one, Finding)] == [0, 1]  # it is there, and gone
    assert "refused: 1" in events.said(capsys)


def test_what_is_refused_late_is_raised_if_strict(path: str) -> None:
    """A strict recorder raises it at the latest when it is flushed."""
    logits, labels = pair()
    recorder = Recorder(every=1, console=False, strict=True)
    with pytest.raises(predlog.PredlogError, match="Rows can't be of logits: ranks count from 1"):  # noqa: PT012
        recorder.compare(reduced(logits, labels, label_rank=torch.zeros(2, 12).long()), labels, 0)
        recorder.flush()
    recorder.close()


NAMES = ("prediction", "prediction_logprob", "label_logprob", "label_rank")


def columns(rows: Any) -> tuple[Any, ...]:
    return tuple(getattr(rows, name) for name in NAMES)


MISFITS: dict[str, tuple[Any, str]] = {
    "shapes": (
        lambda rows: changed(rows, label_rank=rows.label_rank[:, :5]),
        r"layout-mismatch .*differ in their shapes: prediction \[2, 12\], .* label_rank \[2, 5\]",
    ),
    "length": (
        lambda rows: Rows(rows.prediction[:, :5], rows.prediction_logprob[:, :5], rows.label_logprob[:, :5]),
        r"length-mismatch .*Rows \[2, 5\] and labels \[2, 12\]: 5 rows of logits for 12 labels",
    ),
    "transposed": (
        lambda rows: Rows(rows.prediction.T, rows.prediction_logprob.T, rows.label_logprob.T),
        r"layout-mismatch .*Rows \[12, 2\] and labels \[2, 12\].*layout='t b v, b t' would fit",
    ),
    "axes": (
        lambda rows: Rows(rows.prediction[0], rows.prediction_logprob[0], rows.label_logprob[0]),
        r"layout-mismatch .*Rows \[12\] and labels \[2, 12\] need a layout",
    ),
    "empty": (
        lambda rows: Rows(rows.prediction[:0], rows.prediction_logprob[:0], rows.label_logprob[:0]),
        r"empty-pair .*Rows \[0, 12\] and labels \[2, 12\] hold nothing",
    ),
    "floats": (lambda rows: changed(rows, prediction=rows.label_logprob), "predictions of Rows .* token ids must be"),
    "integers": (
        lambda rows: changed(rows, label_logprob=rows.label_rank), "log-probabilities of Rows' labels .* floating point"
    ),
    "a list": (lambda rows: changed(rows, prediction=[[1]]), "predictions of Rows are a list: pass a torch tensor"),
    "vocabulary": (lambda rows: changed(rows, vocabulary=torch.tensor(50)), "vocabulary of Rows is of type Tensor"),
    "no vocabulary": (lambda rows: changed(rows, vocabulary=0), "vocabulary of Rows is 0: pass an int above 0"),
    "chunks": (lambda rows: [rows, rows], "logits are a list of Rows: concatenate their arrays along time"),
    "float ranks": (
        lambda rows: changed(rows, label_rank=rows.label_rank.float()), "label ranks of Rows .* ranks must be integers"
    ),
    "float8": (
        lambda rows: changed(rows, label_logprob=rows.label_logprob.to(torch.float8_e5m2)),
        r"log-probabilities of Rows' labels \[2, 12\] are torch.float8_e5m2, which is too coarse .*: pass float32",
    ),
    "a bool": (lambda rows: changed(rows, vocabulary=True), "vocabulary of Rows is of type bool: pass an int"),
    "a float": (lambda rows: changed(rows, vocabulary=50.0), "vocabulary of Rows is of type float: pass an int"),
    "a dict": (
        lambda rows: dict(zip(NAMES, columns(rows), strict=True)),
        r"a dict with prediction, .*, label_rank: pass predlog.Rows\(\*\*rows, vocabulary=…\)",
    ),
    "a named tuple": (
        lambda rows: namedtuple("Reduced", NAMES)(*columns(rows)),  # noqa: PYI024
        r"a Reduced with prediction, .*: pass predlog.Rows\(\*\*rows._asdict\(\), vocabulary=…\)",
    ),
    "a tuple": (
        columns, r"logits are a tuple of arrays of integers and floats, .*: pass predlog.Rows\(\*rows, vocabulary=…\)"
    ),
    "NumPy arrays": (
        lambda rows: [one.numpy() for one in columns(rows)[:3]], r"a list of arrays of .*: pass predlog.Rows\(\*rows,"
    ),
    "meta": (lambda rows: changed(rows, label_rank=rows.label_rank.to("meta")), "label ranks of Rows are on the meta"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISFITS)
def test_what_does_not_fit_is_said(what: str) -> None:
    """Arrays that don't fit are a finding with their shapes, and no exception."""
    logits, labels = pair()
    change, says = MISFITS[what]
    found = refused(change(reduced(logits, labels)), labels)
    assert re.search(says, f"{found.code} {found.message}"), found.message


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16])
def test_the_vocabulary_is_an_integer_of_any_kind(path: str, kind: Any) -> None:
    """A size that was read from a NumPy array is one."""
    logits, labels = pair()
    (found, _) = recorded(reduced(logits, labels, vocabulary=kind(50)), labels)
    assert found.vocabulary == 50
    assert type(found.vocabulary) is int


def test_the_layout_is_that_of_the_logits() -> None:
    """It is written with v; one without is explained."""
    logits, labels = pair()
    found = refused(reduced(logits, labels), labels, layout="b t, b t")
    assert "the logits need the labels' axes and v" in found.message


# --- findings ------------------------------------------------------------------------------------------------------
def cases() -> dict[str, tuple[Any, dict[str, Any]]]:
    def random(step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(step)
        return torch.randn(2, 64, 30, generator=generator), torch.randint(30, (2, 64), generator=generator)

    def sure(step: int, to: Any) -> tuple[Tensor, Tensor]:
        logits, labels = random(step)
        return logits.scatter_add_(-1, to(labels).unsqueeze(-1), torch.full((2, 64, 1), 12.0)), labels

    def unsupervised(step: int) -> tuple[Tensor, Tensor]:
        return random(step)[0], torch.full((2, 64), -100)

    def outside(step: int) -> tuple[Tensor, Tensor]:
        logits, labels = random(step)
        labels[0, 0], labels[1, 5] = -1, 31
        return logits, labels

    def broken(step: int) -> tuple[Tensor, Tensor]:
        logits, labels = random(step)
        logits[0, 0, 0] = torch.nan
        return logits, labels

    def guessing(step: int) -> tuple[Tensor, Tensor]:
        return sure(
            step, lambda labels: torch.randint(30, labels.shape, generator=torch.Generator().manual_seed(-step))
        )

    return {
        "prediction-misaligned": (lambda step: sure(step, lambda labels: labels.roll(-1, -1)), {}),
        "collapsed": (lambda step: sure(step, lambda labels: 0 * labels), {}),
        "at-chance": (guessing, {}),
        "nothing-supervised": (unsupervised, {}),
        "label-out-of-range": (outside, {}),
        "logits-not-finite": (broken, {}),
        "labels-are-inputs": (random, {"inputs": lambda labels: labels}),
        "same-batch": (lambda _: random(7), {}),
    }


@pytest.mark.parametrize("code", cases())
def test_findings_are_those_of_the_logits(path: str, code: str) -> None:
    """Each rule finds in rows what it finds in their logits, with the same numbers."""
    make, how = cases()[code]
    found: list[list[tuple[str, int, dict[str, Any]]]] = []
    for reduce in (lambda logits, _: logits, reduced):
        with Recorder(every=1, console=False) as recorder:
            for step in range(24):
                logits, labels = make(step)
                more = {name: value(labels) for name, value in how.items()}
                recorder.compare(reduce(logits.requires_grad_(), labels), labels, step, **more)
            recorder.flush()
            found.append([(one.code, one.step, rounded(one.evidence)) for one in recorder.findings])
    assert found[0] == found[1]
    assert code in [one for one, *_ in found[0]]


def rounded(evidence: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in evidence.items()}


@pytest.mark.parametrize("code", ["at-chance", "label-out-of-range", "collapsed", "prediction-misaligned"])
def test_without_a_vocabulary_a_rule_that_needs_it_is_silent(code: str) -> None:
    """Guessing can't be told without it; of labels out of range, those below 0 are counted."""
    make, _ = cases()[code]
    with Recorder(every=1, console=False) as recorder:
        for step in range(24):
            logits, labels = make(step)
            recorder.compare(reduced(logits, labels, vocabulary=None), labels, step)
        recorder.flush()
        found = {one.code: one for one in recorder.findings}
    if code == "label-out-of-range":
        assert "1 of 128 supervised labels are below 0 (lowest -1)" in found[code].message
        assert found[code].evidence["vocabulary"] is None
    else:
        assert (code in found) is (code != "at-chance")


# --- what is around it ---------------------------------------------------------------------------------------------
def test_nothing_is_kept_or_changed(path: str) -> None:
    """The arrays can be freed and overwritten as soon as `compare` returns, and get no gradient."""
    logits, labels = pair()
    wanted = recorded(logits, labels)
    rows = reduced(logits.clone().requires_grad_(), labels)
    arrays = [rows.prediction, rows.prediction_logprob, rows.label_logprob, rows.label_rank]
    with Recorder(every=1, console=False, strict=True, score=False) as recorder:
        future = recorder.compare(rows, labels, 0)
        assert future is not None
        with torch.no_grad():
            for array in arrays:
                array.fill_(-7)  # type: ignore[attr-defined]
        gone = [weakref.ref(array) for array in arrays]
        del rows, arrays, array
        gc.collect()
        assert [one() for one in gone] == [None] * 4
        found = tuple(msgspec.structs.replace(one, recorder=None, timestamp="", seq=0) for one in future.result(10))
    assert_same(found, wanted)
    assert logits.grad is None


def test_inside_of_a_compiled_or_transformed_function_nothing_is_recorded() -> None:
    """As with logits: a compiler sees nothing of it, and under `vmap` and `grad` that is reported once."""
    logits, labels = pair()
    with Recorder(every=1, console=False) as recorder:

        def step(rows: Tensor) -> Tensor:
            recorder.compare(Rows(rows.argmax(-1), rows.amax(-1), rows.amin(-1)), labels, 0)
            return rows.sum()

        torch.compile(step, backend="eager", fullgraph=True)(logits)
        torch.func.grad(step)(logits)
        recorder.flush()
        assert recorder.stats()["submitted"] == 0
        assert recorder.findings == ()


def test_it_is_a_public_name() -> None:
    """`predlog.Rows` is where people look for it, and `predlog.compare` takes it."""
    assert predlog.Rows is Rows
    logits, labels = pair()
    predlog.configure(every=1, console=False, strict=True)
    future = predlog.compare(predlog.Rows(*(getattr(reduced(logits, labels), name) for name in (
        "prediction", "prediction_logprob", "label_logprob", "label_rank",
    ))), labels, 0)  # fmt: skip
    assert future is not None
    assert len(future.result(10)) == 2
    predlog.close()
