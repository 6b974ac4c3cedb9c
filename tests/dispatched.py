"""What torch is asked to do, and how large it is."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

VIEWS = {"slice", "expand", "view", "_unsafe_view", "select", "unsqueeze", "squeeze", "detach", "alias", "unfold"}


class Dispatched(TorchDispatchMode):
    """Lists every operation that makes something, with the number of elements that it makes; views make nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        made = result if isinstance(result, tuple | list) else [result]
        name = func.overloadpacket.__name__
        if name not in VIEWS:
            self.operations.append((name, max(one.numel() for one in made if isinstance(one, Tensor))))
        return result
