"""Any layout of a pair → views with the axes [sample, codebook, time(, vocabulary)].

Splitting and permuting axes never copies, so a canonical view costs nothing and reads nothing, whatever the size of the
batch. The rearranging is done by einops: https://einops.rocks
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import einops
import torch
from torch import Tensor

from predlog.errors import PairError

INFERRED = {(3, 2): "b t v, b t", (2, 1): "t v, t"}
_EXAMPLES = '"b t v, b t", "b v t, b t", "t k v, k t", "(b k) t v, b t k" or "b t (k v), b t k"'
# The layouts tried, in this order, if the layout of a pair does not fit.
_COMMON = (
    "b t v, b t", "t v, t", "b v t, b t", "(b t) v, b t", "(t b) v, t b", "(t b) v, b t", "t b v, t b", "t b v, b t",
    "b t k v, b t k", "b k t v, b k t",
    "(b k) t v, b t k", "(b k) t v, b k t", "b t (k v), b t k", "b t (k v), b k t", "b t k v, b k t", "b k t v, b t k",
    "b t v k, b t k", "(b k) v t, b t k", "b (k v) t, b t k", "t k v, k t", "t k v, t k", "k t v, k t",
    "t (k v), t k", "t (k v), k t",
)  # fmt: skip
# A larger difference of lengths has another reason than a shift.
_LARGEST_SHIFT = 8
# einops imports parts of torch when it first gets a tensor, up to torch 2.7 the compiler too. It gets one here, because
# inside of `alone` that import would fail half-way, and the caller could no longer compile anything.
einops.parse_shape(torch.frombuffer(bytearray(1), dtype=torch.uint8), "_")
_CTC = "frames against characters, as for a CTC loss, are no pair, because no row belongs to one label"


@dataclass(frozen=True, slots=True)
class Views:
    """Views of logits [b, k, t, v] and of the labels and, if given, the inputs [b, k, t] that belong to them."""

    logits: Tensor
    labels: Tensor
    inputs: Tensor | None
    has_codebooks: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    """The patterns of logits and labels, and what the labels' axes become: b, k and t, with 1 for a missing one.

    `last` is what the logits have after these axes: v, or 1 for rows that were reduced, whose pattern has no v.
    """

    logits: str
    labels: str
    axes: str
    last: str = "v"

    def reduced(self) -> "_Layout":
        """Return the layout of rows that were reduced from logits of this layout: their pattern has no v."""
        without = re.sub(r"\(\s*(\w?)\s*\)", r"\1", self.logits.replace("v", ""))  # of (k v), k remains
        return replace(self, logits=" ".join(without.split()), last="1")


def canonical(
    logits: Tensor, labels: Tensor, inputs: Tensor | None, layout: str | None, shift: int = 0, *,
    is_reduced: bool = False,
) -> Views:  # fmt: skip
    """Return a pair in canonical form, as views.

    With `is_reduced`, the logits have no axis v, since their rows were reduced; the view has one of length 1.

    `layout` is a pair of einops patterns over b (sample), t (time), k (codebook) and v (vocabulary), such as
    "b t v, b t"; None infers it from 3 and 2 axes or 2 and 1 axes. `inputs` are laid out as the labels are.
    Raises PairError with both shapes if the pair does not fit.
    """
    shapes = f"{'Rows' if is_reduced else 'logits'} {list(logits.shape)} and labels {list(labels.shape)}"
    evidence = {"rows" if is_reduced else "logits": list(logits.shape), "labels": list(labels.shape)}
    if type(shift) is not int:
        raise PairError(f"shift is of type {type(shift).__name__}: pass a Python int")
    if not logits.numel() or not labels.numel():
        raise PairError(
            f"{shapes} hold nothing to compare: is a sample truncated to no tokens, or a batch empty?",
            "empty-pair",
            **evidence,
        )

    def no_layout(problem: str) -> PairError:
        return _no_layout(problem, logits.shape, labels.shape, shift, evidence, is_reduced=is_reduced)

    layout = INFERRED.get((logits.ndim + is_reduced, labels.ndim)) if layout is None else layout
    if layout is None:
        raise no_layout(f"{shapes} need a layout, because none can be inferred")
    parsed = _parse(layout).reduced() if is_reduced else _parse(layout)
    try:
        viewed_labels, viewed_logits = _view_labels(labels, parsed), _view_logits(logits, labels, parsed)
    except einops.EinopsError as error:
        raise no_layout(f"{shapes} do not fit layout {layout!r} ({_reason(error)})") from None
    if viewed_logits.shape[:2] != viewed_labels.shape[:2]:
        sizes = (
            f"logits have {viewed_logits.shape[0]} samples × {viewed_logits.shape[1]} codebooks, "
            f"labels {viewed_labels.shape[0]} × {viewed_labels.shape[1]}"
        )
        raise no_layout(f"{shapes} differ under layout {layout!r}: {sizes}")
    rows, length = viewed_logits.shape[2], viewed_labels.shape[2]
    if not _is_fitting(rows, length, shift):
        if rows != length and fitting_layouts(logits.shape, labels.shape, shift, is_reduced=is_reduced):
            raise no_layout(f"{shapes} do not fit layout {layout!r}")
        raise _wrong_lengths(rows, length, shift, shapes, evidence)
    viewed_inputs = None if inputs is None else _view_inputs(inputs, labels, parsed)
    return Views(viewed_logits, viewed_labels, viewed_inputs, "k" in parsed.axes)


def viewed(logits: Tensor, labels: Tensor, layout: str | None) -> Tensor:
    """Return one chunk, along time, of the logits of a pair that `canonical` accepted, in canonical form."""
    return _view_logits(logits, labels, _parse(INFERRED[logits.ndim, labels.ndim] if layout is None else layout))


def viewed_rows(column: Tensor, labels: Tensor, layout: str | None) -> Tensor:
    """Return one column of the reduced rows of a pair that `canonical` accepted, as a view [b, k, t]."""
    parsed = _parse(INFERRED[column.ndim + 1, labels.ndim] if layout is None else layout).reduced()
    return _view_logits(column, labels, parsed).squeeze(-1)


def beside(value: Tensor, labels: Tensor, layout: str | None, size: tuple[int, int, int]) -> Tensor | None:
    """Return what belongs to the positions of labels, canonically [b, k, t] of this size, as a view; None if it can't.

    It has the labels' axes, or these with one codebook or none, or is [b, t], [1, t] or [t]; either may be flattened.
    """
    samples, _, length = size
    parsed = _parse(INFERRED[labels.ndim + 1, labels.ndim] if layout is None else layout)
    shapes = dict(zip(parsed.labels.split(), labels.shape, strict=True))
    if 1 in {value.ndim, labels.ndim} and value.numel() == labels.numel():
        value = value.reshape(labels.shape)
    if list(value.shape) in (list(labels.shape), [1 if axis == "k" else n for axis, n in shapes.items()]):
        return _view_labels(value.expand(labels.shape), parsed)
    without = [axis for axis in shapes if axis != "k"]
    if [shapes[axis] for axis in without] == list(value.shape):
        axes = parsed.axes.replace("k", "1")
        return einops.rearrange(value, f"{' '.join(without)} -> {axes}").expand(size)
    if list(value.shape) in ([samples, length], [1, length], [length]):
        return value.view(-1, 1, length).expand(size)
    return None


def time_axis(axes: int, layout: str | None) -> int:
    """Return along which axis chunks of logits with so many axes follow one another: that of the time.

    Raises PairError if the layout folds it into another.
    """
    if layout is None:
        return axes - 2
    names = _parse(layout).logits.split()
    if "t" not in names or any("(" in name for name in names[: names.index("t")]):
        raise PairError(f"chunks of logits can't be read with layout {layout!r}: concatenate them", "layout-mismatch")
    return names.index("t")


def _view_inputs(inputs: Tensor, labels: Tensor, layout: _Layout) -> Tensor:
    if inputs.shape != labels.shape:
        raise PairError(
            f"inputs {list(inputs.shape)} and labels {list(labels.shape)} differ: pass the ids that were read at the "
            "labels' positions (of an encoder-decoder model, what its decoder read), or no inputs",
            "layout-mismatch",
            inputs=list(inputs.shape),
            labels=list(labels.shape),
        )
    return _view_labels(inputs, layout)


def _is_fitting(rows: int, labels: int, shift: int) -> bool:
    # Logits may end where the labels, shifted, end.
    return 0 <= shift < labels and rows in {labels, labels - shift}


def _wrong_lengths(rows: int, labels: int, shift: int, shapes: str, evidence: dict[str, list[int]]) -> PairError:
    """Return an error that tells what is wrong with the lengths, and what to do."""
    if shift < 0:
        found, fix = f"{shapes}: shift={shift}", "pass by how many positions the labels lead the logits, 0 or more"
    elif rows == labels:
        found = f"{shapes}: at shift={shift} no row has a label"
        fix = f"rows of more than {_many(shift, 'position')} are needed, or a smaller shift"
    else:
        found, fix = _lengths(rows, labels, shift)
        found = f"{shapes}: {found}"
    return PairError(f"{found}; {fix}", "length-mismatch", **evidence, shift=shift)


def _lengths(rows: int, labels: int, shift: int) -> tuple[str, str]:
    found = f"{_many(rows, 'row')} of logits for {_many(labels, 'label')} at shift={shift}"
    missing = labels - rows
    rest = "row" if abs(missing) == 1 else f"{abs(missing)} rows"
    if missing > 0:
        of_the_last = f"pass the labels of the last {_many(rows, 'position')}"
        if shift or missing > _LARGEST_SHIFT:
            return found, f"if the model returned its last rows only, {of_the_last}; else pass as many rows as labels"
        return found, f"if the last {rest} were cut off, pass shift={missing}; if the first {rest} were, {of_the_last}"
    prefix = (
        "if placeholders inside the row were expanded (image, audio), pass labels that are expanded likewise and"
        f" ignored there, as the model's loss sees them; if a soft prompt comes before the row, pad the labels in front"
        f" with {_many(-missing, 'ignored one')}"
    )
    if -missing <= _LARGEST_SHIFT:
        return found, f"if the labels were shifted, cut the last {rest} off the logits; {prefix}"
    return found, f"{_CTC}; {prefix}" if rows >= 2 * labels else f"{prefix}; {_CTC}"


def _many(count: int, one: str) -> str:
    return f"{count} {one}{'s' * (count != 1)}"


def _no_layout(
    problem: str, logits: torch.Size, ids: torch.Size, shift: int, shapes: dict[str, list[int]], *, is_reduced: bool
) -> PairError:
    fitting = fitting_layouts(logits, ids, shift, is_reduced=is_reduced)
    evidence: dict[str, Any] = {**shapes}
    rows = logits if is_reduced else logits[:-1]
    if not fitting and len(rows) == len(ids) == 2 and rows[1] == ids[0]:
        return PairError(f"{problem}; {_CTC}", "length-mismatch", **evidence, shift=shift)
    if not fitting and len(rows) == len(ids) == 2 and rows[1] == ids[1]:
        fix = f"they are not of the same samples: {rows[0]} against {ids[0]}"
    elif len(rows) == 2 and len(ids) == 1 and ids[0] == rows[0] * rows[1]:
        fix = f"the labels are flattened: pass labels.view({rows[0]}, {rows[1]})"
    else:
        fix = f"layout={' or '.join(map(repr, fitting))} would fit" if fitting else f"write one like {_EXAMPLES}"
        evidence["fitting"] = list(fitting)
    return PairError(f"{problem}; {fix}", "layout-mismatch", **evidence)


@lru_cache(maxsize=64)
def fitting_layouts(
    logits: tuple[int, ...], labels: tuple[int, ...], shift: int, *, is_reduced: bool = False
) -> tuple[str, ...]:
    """Return at most three common layouts that fit pairs of these shapes, the most usual first."""
    empty_logits, empty_labels = torch.empty(logits, device="meta"), torch.empty(labels, device="meta")
    fitting: list[str] = []
    tried: set[_Layout] = set()
    for layout in _COMMON:
        parsed = _parse(layout).reduced() if is_reduced else _parse(layout)
        if parsed in tried:
            continue  # without v it is the same as another one
        tried.add(parsed)
        try:
            rows, ids = _view_logits(empty_logits, empty_labels, parsed), _view_labels(empty_labels, parsed)
        except einops.EinopsError:
            continue
        same = rows.shape[:2] == ids.shape[:2] and _is_fitting(rows.shape[2], ids.shape[2], shift)
        if same and (is_reduced or rows.shape[3] > 1):
            fitting.append(layout)
    # Samples are more usual than codebooks, and almost any axis could be one of codebooks.
    return tuple([layout for layout in fitting if "k" not in layout] or fitting)[:3]


def _view_logits(logits: Tensor, labels: Tensor, layout: _Layout) -> Tensor:
    # Folded axes are split by the labels' sizes, except the time, whose length may differ: it follows from the others.
    sizes = dict(zip(layout.labels.split(), labels.shape, strict=False))
    sizes.pop("t", None)
    return einops.rearrange(logits, f"{layout.logits} -> {layout.axes} {layout.last}", **sizes)


def _view_labels(labels: Tensor, layout: _Layout) -> Tensor:
    return einops.rearrange(labels, f"{layout.labels} -> {layout.axes}")


def _parse(layout: object) -> _Layout:
    if type(layout) is not str:
        kind = type(layout).__name__
        raise PairError(
            f"layout is of type {kind}, not a pair of patterns: write one like {_EXAMPLES}", "layout-mismatch"
        )
    return _parsed(layout)


@lru_cache(maxsize=64)
def _parsed(layout: str) -> _Layout:
    sides = [side.strip() for side in layout.split(",")]
    if len(sides) != 2:
        raise PairError(f"layout {layout!r} is not a pair of patterns: write one like {_EXAMPLES}", "layout-mismatch")
    named = [re.findall(r"[a-z]+", side) for side in sides]
    for side, axes in zip(sides, named, strict=True):
        if not re.fullmatch(r"[btkv() ]+", side) or len(set(axes)) < len(axes):
            raise PairError(
                f"layout {layout!r}: {side!r} may hold each of the axes b (sample), t (time), k (codebook), "
                f"v (vocabulary) once, separated by spaces, as in {_EXAMPLES}",
                "layout-mismatch",
            )
    logits_axes, labels_axes = set(named[0]), set(named[1])
    if "t" not in labels_axes or logits_axes != labels_axes | {"v"} or "v" in labels_axes:
        raise PairError(
            f"layout {layout!r}: the logits need the labels' axes and v, and the labels need t: "
            f"logits have {sorted(logits_axes)}, labels {sorted(labels_axes)}",
            "layout-mismatch",
        )
    if "(" in sides[1]:
        raise PairError(f"layout {layout!r}: the labels' axes must be written without parentheses", "layout-mismatch")
    return _Layout(sides[0], sides[1], " ".join(axis if axis in labels_axes else "1" for axis in "bkt"))


def _reason(error: Exception) -> str:
    # The last line of einops's messages names what does not fit.
    return str(error).strip().splitlines()[-1].strip()
