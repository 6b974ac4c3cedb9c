"""Two versions of a plain value → what has changed, in little if most of it has grown at its ends.

A patch is `{"set": value}`, `{"of": {key: patch}}` for an object whose keys stay, or `{"keep": n, "add": [...]}` for a
list whose first n values stay. `live.js` applies it.
"""

from typing import Any


def patch(old: Any, new: Any) -> dict[str, Any] | None:
    """Return what makes `new` of `old`; None if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        of = {key: one for key in new if (one := patch(old[key], new[key])) is not None}
        return {"of": of} if of else None
    if isinstance(old, list) and isinstance(new, list):
        return _of_list(old, new)
    return None if old == new and type(old) is type(new) else {"set": new}


def _of_list(old: list[Any], new: list[Any]) -> dict[str, Any] | None:
    if old and len(old) == len(new) and all(isinstance(one, dict) for one in (*old, *new)):
        of = {str(place): one for place, pair in enumerate(zip(old, new, strict=True)) if (one := patch(*pair))}
        return {"of": of} if of else None
    kept = shared(old, new)
    if kept == len(old) == len(new):
        return None
    return {"keep": kept, "add": new[kept:]}


def shared(old: list[Any], new: list[Any]) -> int:
    """Return how many values at the beginning of two lists are equal."""
    low, high = 0, min(len(old), len(new))
    if old[:high] == new[:high]:
        return high
    while low < high:  # slices are compared far faster than values one by one
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
