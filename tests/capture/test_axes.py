"""Which axis is time: told by ids where the inputs are known, at any layout, and never of a pair that is right."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import predlog
from predlog.capture.capture import capture
from predlog.numbers.window import Window

T, B, V = 35, 20, 50
IDS = torch.randint(V, (T + 2, B), generator=torch.Generator().manual_seed(1))
LOGITS = torch.randn(T * B, V, generator=torch.Generator().manual_seed(2))


def found(logits: Any, labels: Any, records: int = 2, **how: Any) -> list[tuple[str, str]]:
    with predlog.Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event]) as recorder:
        for step in range(records):
            recorder.compare(logits, labels, step, **how)
        recorder.flush()
        return [(one.code, one.message) for one in recorder.findings]


@pytest.mark.parametrize("ahead", [1, 2])
@pytest.mark.parametrize(
    ("logits", "labels", "how", "advice"),
    [
        (LOGITS.view(T, B, V), lambda ids: ids, {}, "Pass layout='t b v, t b'."),
        (LOGITS, lambda ids: ids, {"layout": "(b t) v, b t"}, "Pass layout='(t b) v, t b'."),
        (LOGITS, lambda ids: ids.flatten(), {}, "Pass labels.view(35, 20) and layout='(t b) v, t b'."),
        (LOGITS.view(T, B, V).mT, lambda ids: ids, {"layout": "b v t, b t"}, "Pass layout='t v b, t b'."),
        (
            predlog.Projection(torch.randn(T, B, 8), torch.randn(V, 8)), lambda ids: ids, {},
            "Pass layout='t b v, t b'.",
        ),
    ],
)  # fmt: skip
def test_a_time_major_pair_that_is_read_as_another_is_named(
    logits: Any, labels: Callable[[Tensor], Tensor], how: dict[str, Any], advice: str, ahead: int
) -> None:
    """Whether labels were shifted once or twice, the axis along which they follow the inputs is time."""
    ((code, message),) = found(logits, labels(IDS[ahead : T + ahead]), inputs=IDS[:T], **how)
    assert code == "axes-swapped"
    assert advice in message
    assert f"({(T - ahead) * B} of {(T - ahead) * B} supervised tokens)" in message


@pytest.mark.parametrize("ahead", [1, 2])
def test_two_samples_read_as_time_are_enough(ahead: int) -> None:
    """A batch of two, time first, has one next position per row read: those of all rows count, not of the two shown."""
    ids = torch.randint(V, (66 + ahead, 2), generator=torch.Generator().manual_seed(3))
    ((code, _),) = found(torch.randn(66, 2, V), ids[ahead:], inputs=ids[:66])
    assert code == "axes-swapped"
    assert found(torch.randn(2, 66, V), ids[1:67].t().contiguous(), inputs=ids[:66].t().contiguous()) == []


def test_with_the_layout_that_is_named_the_pair_is_right_or_shifted_twice() -> None:
    """The advice holds: a pair that was shifted once is silent, and one that was shifted twice is named as that."""
    for layout, logits in (("t b v, t b", LOGITS.view(T, B, V)), ("(t b) v, t b", LOGITS)):
        assert found(logits, IDS[1 : T + 1], inputs=IDS[:T], layout=layout) == []
        ((code, _),) = found(logits, IDS[2:], inputs=IDS[:T], layout=layout)
        assert code == "labels-shifted-twice"


def test_a_layout_is_offered_for_either_axis() -> None:
    """Of a flattened pair, the layouts that would fit include those whose first axis is time."""
    ((code, message),) = found(LOGITS, IDS[2:], inputs=IDS[:T])
    assert code == "layout-mismatch"
    assert "layout='(b t) v, b t' or '(t b) v, t b' or '(t b) v, b t' would fit" in message


def of_windows(step: int = 1) -> Tensor:
    """Return windows [b, t + 1] of one text, each beginning `step` tokens after the one before."""
    return torch.randint(V, (400,), generator=torch.Generator().manual_seed(3)).unfold(0, 31, step)


HEALTHY: dict[str, tuple[Tensor, Tensor, dict[str, Any]]] = {
    "batch-major": (IDS.t()[:, 1 : T + 1], IDS.t()[:, :T], {}),
    "raw": (IDS.t()[:, :T], IDS.t()[:, :T], {"shift": 1}),
    "raw, time-major, which no id tells": (IDS[:T], IDS[:T], {"shift": 1}),
    "windows that follow one another": (of_windows()[:, 1:], of_windows()[:, :-1], {}),
    "one token": (torch.full((8, 30), 4), torch.full((8, 30), 4), {"shift": 1}),
    "heads for the token after the next": (of_windows()[:, :-1], of_windows()[:, :-1], {"shift": 2}),
    "labels of another kind": (IDS[:T].flip(0), IDS[:T], {}),
    "few tokens": (IDS[1:4, :20], IDS[:3, :20], {}),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_said_where_labels_follow_the_inputs_along_time_or_nothing_tells(name: str) -> None:
    """The axis is named only where nearly all labels follow along the other, and few along the one called time."""
    labels, inputs, how = HEALTHY[name]
    logits = torch.randn(*labels.shape, V)
    assert "axes-swapped" not in [code for code, _ in found(logits, labels, records=1, inputs=inputs, **how)]


def test_only_the_first_records_are_looked_at_and_the_finding_stays() -> None:
    """The counts cost a look at all ids, so they are taken at three records; later ones end nothing."""
    how: dict[str, Any] = {"inputs": IDS[:T], "window": Window()}
    assert capture(LOGITS.view(T, B, V), IDS[1 : T + 1], **how).across is None
    assert capture(LOGITS.view(T, B, V), IDS[1 : T + 1], has_axes=True, **how).across is not None
    ((code, _),) = found(LOGITS.view(T, B, V), IDS[1 : T + 1], records=9, inputs=IDS[:T])
    assert code == "axes-swapped"


def test_masked_positions_and_codebooks() -> None:
    """What the mask leaves out is not counted, and codebooks share one line."""
    mask = torch.ones(T, B)
    mask[:, :5] = 0
    ((_, message),) = found(LOGITS.view(T, B, V), IDS[1 : T + 1], inputs=IDS[:T], loss_mask=mask)
    assert f"({(T - 1) * 15} of {(T - 1) * 15} supervised tokens)" in message
    codes = torch.randint(V, (T + 1, B, 3))
    logits = torch.randn(T, B, 3, V)
    ((code, message),) = found(logits, codes[1:], inputs=codes[:-1], layout="b t k v, b t k")
    assert code == "axes-swapped"
    assert message.startswith("text codebooks 0 to 2: ")
    assert "Pass layout='t b k v, t b k'." in message
