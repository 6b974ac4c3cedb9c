"""Which ranks have one copy of sharded logits together, and whether that copy is the one that is recorded.

There may be a copy for each replica of a data-parallel run, and one suffices: that of the lowest ranks that are offered
logits. Each rank decides from what it knows of its mesh or its group, so nothing is communicated.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from predlog._runtime import process
from predlog._runtime.torch_state import alone, root_mesh
from predlog.capture.dtensor import dimensions, is_dtensor
from predlog.capture.local import axes_of
from predlog.capture.projection import Projection
from predlog.errors import PairError

# Names of a mesh's dimension along which the stages of a pipeline lie: the last one alone is offered logits.
_PIPELINE: Final = re.compile(r"pp|pipe|pipeline(_?parallel)?|stages?", re.IGNORECASE)
# And of one along which the rows of a sample are split, where the program has split them by itself.
_ROWS: Final = re.compile(r"[cs]p|(context|sequence|seq)(_?parallel)?|ulysses|ring", re.IGNORECASE)


class Copy(NamedTuple):
    """The ranks that have one copy of the logits together, and whether that is the copy to record.

    There are none if this process has no part of it.
    """

    ranks: tuple[int, ...]
    is_first: bool


def is_part(logits: object, *said: object) -> bool:
    """Return whether this process may have a part of the logits only: if anything `said` so, or they are a DTensor."""
    return any(one is not None for one in said) or any(map(is_dtensor, _tensors(logits)))


def copy_here(logits: object, labels: object, layout: object, group: object, row_index: object = None) -> Copy | None:
    """Return the copy of which this process has a part; None if nobody can tell which ranks have the others.

    `group` are the ranks that hold one copy together: a process group, a mesh of devices, or ranks. Without it, the
    mesh of the DTensors tells; with a `row_index`, rows are split along a dimension that is named for that. Raises
    PairError if `group` is none of these.
    """
    values = [*filter(is_dtensor, _tensors(logits))]
    enter, leave = alone()  # meshes are tensors, and nobody's modes are to see them read
    try:
        enter()
        if group is not None:
            return _of_group(group)
        shared = [(one.device_mesh, _inner(one, logits, labels, layout)) for one in values]
        is_split = row_index is not None and not any(_has_rows(one, labels, layout) for one in values)
        return _of_meshes(shared, is_split=is_split) if shared else None
    finally:
        leave()


def _tensors(logits: object) -> Iterator[Any]:
    """Yield what may be sharded, what says most first."""
    if isinstance(logits, Projection):
        yield from (logits.weight, logits.hidden)
    elif isinstance(logits, list | tuple) and logits:
        yield logits[0]
    else:
        yield logits


def _inner(value: Any, logits: object, labels: object, layout: object) -> tuple[int, ...]:
    """Return the dimensions of a DTensor's mesh over which one copy is sharded: not over samples, which differ."""
    if isinstance(logits, Projection) and value is logits.weight:
        return dimensions(value, {0})
    names = axes_of(value, labels, layout)
    return dimensions(value, [axis for axis in range(value.ndim) if not names or names[axis] != "b"])


def _has_rows(value: Any, labels: object, layout: object) -> bool:
    """Return whether a DTensor is sharded over the rows of samples, so that its own mesh says who has the others."""
    names = axes_of(value, labels, layout)
    return "t" in names and bool(dimensions(value, {names.index("t")}))


def _of_group(group: Any) -> Copy | None:
    distributed = sys.modules.get("torch.distributed")
    if hasattr(group, "get_coordinate") and hasattr(group, "mesh"):
        return _of_meshes([(group, tuple(range(group.ndim)))])
    if distributed is not None and distributed.is_available():
        if group is distributed.GroupMember.NON_GROUP_MEMBER:
            return Copy((), is_first=False)
        if isinstance(group, distributed.ProcessGroup):
            ranks = distributed.get_process_group_ranks(group)
            return Copy(tuple(sorted(ranks)), 0 in ranks)
    if isinstance(group, Iterable) and not isinstance(group, str | bytes | Tensor):
        ranks = list(group)
        if ranks and all(isinstance(one, Integral) and not isinstance(one, bool) for one in ranks):
            is_here = process.rank() in ranks
            return Copy(tuple(sorted(map(int, ranks))) if is_here else (), is_here and 0 in ranks)
    raise PairError(
        f"group is of type {type(group).__name__}: pass the ranks that have one copy of the logits together, as a"
        " process group, a DeviceMesh, or a list of global ranks"
    )


def _of_meshes(shared: Sequence[tuple[Any, Sequence[int]]], *, is_split: bool = False) -> Copy | None:
    """Return the copy that dimensions of meshes span together at this rank's place: those that tensors are shared over.

    The first is that at 0 of all other dimensions, also of the mesh that they are a part of, but for a pipeline's, of
    which one stage alone is offered logits. A mesh that lacks rank 0 has another one's replicas, or another stage. If
    the rows of a sample are split beside, the copy spans the dimension of these, too, which must have such a name.
    """
    root = root_mesh(shared[0][0])
    names = root.mesh_dim_names or ("",) * root.ndim
    spanned: list[set[int]] = [set() for _ in names]
    for mesh, inner in shared:
        place = mesh.get_coordinate()
        if place is None:
            return Copy((), is_first=False)
        ranks = mesh.mesh[tuple(slice(None) if one in inner else where for one, where in enumerate(place))]
        coordinates = [(root.mesh == rank).nonzero()[0].tolist() for rank in ranks.flatten().tolist()]
        spanned = [known.union(where) for known, where in zip(spanned, zip(*coordinates, strict=True), strict=True)]
    if is_split:
        of_rows = [one for one, name in enumerate(names) if _ROWS.fullmatch(name) is not None]
        if not of_rows:
            return None
        for one in of_rows:
            spanned[one] = {*range(root.shape[one])}
    ranks = root.mesh
    for one, where in enumerate(spanned):
        ranks = ranks.index_select(one, torch.tensor(sorted(where)))
    is_first = 0 in root.mesh and all(
        where == {0} or len(where) > 1 or _PIPELINE.fullmatch(name) is not None
        for name, where in zip(names, spanned, strict=True)
    )
    return Copy(tuple(sorted(ranks.flatten().tolist())), is_first)
