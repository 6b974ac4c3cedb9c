"""Which ranks hold one copy of sharded logits together, and whether that copy is the one that is recorded.

There may be a copy for each replica of a data-parallel run, and one suffices: that of the lowest ranks that are offered
logits. Each rank decides from what it knows of its mesh or its group, so nothing is communicated.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, Final

from torch import Tensor

from predlog._runtime import process
from predlog._runtime.torch_state import alone, root_mesh
from predlog.capture.dtensor import dimensions, is_dtensor
from predlog.capture.local import axes_of
from predlog.capture.projection import Projection
from predlog.errors import PairError

# Names of a mesh's dimension along which the stages of a pipeline lie: the last one alone is offered logits.
_PIPELINE: Final = re.compile(r"pp|pipe|pipeline(_?parallel)?|stages?", re.IGNORECASE)


def is_part(logits: object, *said: object) -> bool:
    """Return whether this process may have a part of the logits only: if anything `said` so, or they are a DTensor."""
    return any(one is not None for one in said) or any(map(is_dtensor, _tensors(logits)))


def is_recorded(logits: object, labels: object, layout: object, group: object) -> bool | None:
    """Return whether the copy that this process has a part of is the one to record; None if nobody can tell.

    `group` are the ranks that hold one copy together: a process group, a mesh of devices, or ranks. Without it, the
    mesh of the DTensors tells. Raises PairError if `group` is none of these.
    """
    value = next(filter(is_dtensor, _tensors(logits)), None)
    enter, leave = alone()  # meshes are tensors, and nobody's modes are to see them read
    try:
        enter()
        if group is not None:
            return _is_first_of_group(group)
        return None if value is None else _is_first_of_mesh(value.device_mesh, _inner(value, logits, labels, layout))
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


def _is_first_of_group(group: Any) -> bool:
    distributed = sys.modules.get("torch.distributed")
    if hasattr(group, "get_coordinate") and hasattr(group, "mesh"):
        return _is_first_of_mesh(group, tuple(range(group.ndim)))
    if distributed is not None and distributed.is_available():
        if group is distributed.GroupMember.NON_GROUP_MEMBER:
            return False
        if isinstance(group, distributed.ProcessGroup):
            return 0 in distributed.get_process_group_ranks(group)
    if isinstance(group, Iterable) and not isinstance(group, str | bytes | Tensor):
        ranks = list(group)
        if ranks and all(isinstance(one, Integral) and not isinstance(one, bool) for one in ranks):
            return 0 in ranks and process.rank() in ranks
    raise PairError(
        f"group is of type {type(group).__name__}: pass the ranks that have one copy of the logits together, as a"
        " process group, a DeviceMesh, or a list of global ranks"
    )


def _is_first_of_mesh(mesh: Any, inner: Sequence[int]) -> bool:
    """Return whether a mesh's dimensions `inner`, at this rank's place, span the copy with the lowest ranks.

    That is the one at 0 of all other dimensions, also of the mesh that it is a part of, but for a pipeline's, of which
    one stage alone is offered logits. A mesh that lacks rank 0 has another one's replicas, or another stage.
    """
    place = mesh.get_coordinate()
    if place is None:
        return False
    copy = mesh.mesh[tuple(slice(None) if one in inner else where for one, where in enumerate(place))]
    root = root_mesh(mesh)
    ranks: list[int] = copy.flatten().tolist()
    coordinates = [(root.mesh == rank).nonzero()[0].tolist() for rank in ranks]
    names = root.mesh_dim_names or ("",) * root.ndim
    return 0 in root.mesh and all(
        at == {0} or len(at) > 1 or _PIPELINE.fullmatch(name) is not None
        for name, *where in zip(names, *coordinates, strict=True)
        if (at := set(where))
    )
