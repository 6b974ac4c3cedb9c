"""What torch's distributed tensors are of on this process: which part of the whole, and on which mesh.

Nothing here communicates: a DTensor knows its local tensor, its placements and its mesh. They are recognized by their
names, since importing them would make every program pay for what few of them use.
"""

import sys
from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

from torch import Tensor

from predlog.errors import PairError

# Where torch has DTensor; the second is that of 2.4.
_HOMES: Final = frozenset({"torch.distributed.tensor", "torch.distributed._tensor"})


class Span(NamedTuple):
    """Which part of one axis a process has: so many from `start` on, of the `whole`."""

    start: int
    length: int
    whole: int

    @property
    def stop(self) -> int:
        """Where the part ends."""
        return self.start + self.length


def is_subclass(value: object) -> bool:
    """Return whether a value is a tensor that answers for itself what an operation does, as a DTensor is."""
    return isinstance(value, Tensor) and type(value).__torch_dispatch__ is not Tensor.__torch_dispatch__


def may_exist() -> bool:
    """Return whether this process has loaded what makes DTensors."""
    return not sys.modules.keys().isdisjoint(_HOMES)


def is_dtensor(value: object) -> bool:
    """Return whether a value is a DTensor."""
    return _is_named(value, "DTensor")


def _is_named(value: object, name: str) -> bool:
    return isinstance(value, Tensor) and any(
        one.__name__ == name and one.__module__.startswith("torch.distributed") for one in type(value).__mro__
    )


def settled(value: Any) -> Any:
    """Return the result of a collective that the program has started, as its next operation gets it; others as is.

    On an accelerator the stream waits for it, not this thread.
    """
    return value.trigger_wait() if _is_named(value, "AsyncCollectiveTensor") else value


def whole(name: str, value: Tensor) -> Tensor:
    """Return the tensor of a DTensor that is the same on all ranks, and anything else as it is.

    Raises PairError for a DTensor of which a process has a part.
    """
    if not is_dtensor(value):
        return settled(value)  # type: ignore[no-any-return] # it is a tensor
    if of := spans(name, value):
        axes = " and ".join(f"{axis} ({one.length} of {one.whole})" for axis, one in of.items())
        raise PairError(
            f"{name} {list(value.shape)} {_is(name)} a DTensor, sharded over axis {axes}, where predlog reads what is"
            " whole: pass .to_local() with the other parts of the pair cut likewise"
        )
    return local(value)


def local(value: Any) -> Tensor:
    """Return what this process has of a DTensor. Gradients must be off: then it is no operation of autograd's."""
    found: Tensor = settled(value.to_local())
    return found


def spans(name: str, value: Any) -> dict[int, Span]:
    """Return which part of each axis this process has of a DTensor; an axis that is whole is left out.

    The parts are those of `torch.chunk`, by one dimension of the mesh after the other, as torch places them. Raises
    PairError for sums that are not yet added up, for parts that are not contiguous, and for local tensors that are not
    of the size that their placements say.
    """
    mesh, found = value.device_mesh, dict[int, Span]()
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        return {0: Span(0, 0, value.shape[0])}
    for size, place, (number, placement) in zip(mesh.shape, coordinate, _placements(name, value), strict=True):
        if size == 1 or placement.is_replicate():
            continue
        axis = placement.dim
        start, length, entire = found.get(axis, Span(0, value.shape[axis], value.shape[axis]))
        if hasattr(placement, "split_factor"):
            raise PairError(
                f"{name} {list(value.shape)} {_is(name)} a DTensor whose placement {placement} on mesh dimension"
                f" {number} interleaves its parts: redistribute it to Shard, or pass .to_local()"
            )
        many = -(-length // size)
        begin = min(place * many, length)
        found[axis] = Span(start + begin, min(begin + many, length) - begin, entire)
    shape = [found[axis].length if axis in found else size for axis, size in enumerate(value.shape)]
    if list(value.to_local().shape) != shape:
        raise PairError(
            f"{name} {list(value.shape)} {_is(name)} a DTensor whose local tensor is {list(value.to_local().shape)},"
            f" and its placements {_listed(value)} make that {shape}: pass shape= and stride= to DTensor.from_local, or"
            " the local tensor with shard=predlog.Shard(start, of=…)"
        )
    return found


def _placements(name: str, value: Any) -> Iterator[tuple[int, Any]]:
    for number, placement in enumerate(value.placements):
        if placement.is_partial():
            raise PairError(
                f"{name} {list(value.shape)} {_is(name)} a DTensor of placements {_listed(value)}: on mesh dimension"
                f" {number} each rank has a term of the sum alone, and adding them up is a collective, which predlog"
                " never issues. Redistribute it before, to Replicate or Shard"
            )
        if not (placement.is_replicate() or hasattr(placement, "dim")):
            raise PairError(
                f"{name} {list(value.shape)} {_is(name)} a DTensor of placements {_listed(value)}, which predlog does"
                " not know: pass .to_local()"
            )
        yield number, placement


def _listed(value: Any) -> str:
    return f"({', '.join(map(str, value.placements))})"


def _is(name: str) -> str:
    return "is" if name.startswith("the head's") or name.endswith(("_mask", "_loss")) else "are"


def dimensions(value: Any, axes: Collection[int]) -> tuple[int, ...]:
    """Return over which dimensions of its mesh these axes of a DTensor are sharded."""
    return tuple(number for number, one in enumerate(value.placements) if getattr(one, "dim", None) in axes)
