"""Packed captures on their way from a device to the host, without waiting in the training thread.

Each is copied asynchronously into a slot of pinned memory. A second, tiny copy after it, in the same stream, sets a
flag that says that the first is done. The reader looks at that flag in host memory and calls nothing of the device's:
an event queried from another thread breaks a CUDA graph's capture
(https://github.com/pytorch/pytorch/issues/104487).
"""

import time
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from predlog._runtime.torch_state import without_inference

# Values of the flag. It is a copy of the last word sent, so anything but 0 says that all words have arrived.
_UNDER_WAY, _ARRIVED = 0, 1
# A cache line, so that the flag shares none with the words after it.
_HEAD = 8
_SHORTEST_PAUSE, _LONGEST_PAUSE = 20e-6, 2e-3
# Seconds; longer than any step takes. Whatever follows one that never arrives waits for it.
_PATIENCE = 60.0
# All slots together take no more than 256 MiB, however large what they hold.
_MOST_WORDS = 1 << 25


class Slot:
    """Host memory for one packed tensor, and the flag that says whether it has arrived.

    Memory is allocated when it is first needed, and again, in powers of two, when something larger comes. That happens
    in the thread that sends, because freeing pinned memory calls the device.
    """

    def __init__(self, *, is_pinned: bool) -> None:
        self._is_pinned = is_pinned
        self._memory = self._allocated(0)

    def fill(self, packed: Tensor) -> None:
        """Enqueue the two copies into the current stream, and return at once."""
        words = packed.numel()
        if self.lacks(words):
            self._memory = self._allocated(words)
        flat = packed.view(-1)
        self._memory[0] = _UNDER_WAY
        try:
            self._memory[_HEAD : _HEAD + words].copy_(flat, non_blocking=True)
            self._memory[:1].copy_(flat[-1:], non_blocking=True)
        except BaseException:
            # Its flag may never be set, and a copy into it may still be running: the next one needs other memory.
            self._memory = self._allocated(0)
            raise

    def lacks(self, words: int) -> int:
        """Return how many words would have to be allocated to hold so many; 0 if there is room."""
        return _HEAD + _room(words) if _HEAD + words > len(self._memory) else 0

    @property
    def words(self) -> int:
        """The number of words allocated."""
        return len(self._memory)

    def has_arrived(self) -> bool:
        """Return whether the flag is set."""
        return int(self._memory[0]) != _UNDER_WAY

    def taken(self, shape: torch.Size) -> Tensor:
        """Return a copy of what has arrived."""
        return self._memory[_HEAD : _HEAD + shape.numel()].clone().view(shape)

    def _allocated(self, words: int) -> Tensor:
        enter, leave = without_inference()  # an inference tensor can't be written to outside of that mode
        try:
            enter()
            memory = torch.empty(
                _HEAD + _room(words),
                dtype=torch.int64, device="cpu", pin_memory=self._is_pinned and words > 0,
            )  # fmt: skip
            memory[0] = _ARRIVED
            return memory
        finally:
            leave()


def _room(words: int) -> int:
    return 1 << (words - 1).bit_length() if words else 0


class Arrival:
    """A packed tensor on its way into a slot, which returns to its ring when it was read, or when this is deleted."""

    slot: Slot | None = None  # of the class, too: a signal's handler may raise before `__init__` has begun

    def __init__(self, give_back: Callable[[Slot], None]) -> None:
        self._shape = torch.Size()
        self._give_back = give_back

    def send(self, packed: Tensor) -> None:
        """Start to copy packed [s, k, words], whose last word is not 0, and return at once."""
        if self.slot is not None:
            self._shape = packed.shape
            self.slot.fill(packed)

    def read(self, patience: float = _PATIENCE) -> Tensor:
        """Wait until it has arrived, and return it. It can be read once.

        Raises TimeoutError if it has not arrived within `patience` seconds.
        """
        if self.slot is None:
            raise RuntimeError("an arrival is read once")
        deadline, pause = time.monotonic() + patience, _SHORTEST_PAUSE
        while not self.slot.has_arrived():
            if time.monotonic() > deadline:
                self._release()
                raise TimeoutError(f"nothing came from the device within {patience:g} s: it hangs, or has failed")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        packed = self.slot.taken(self._shape)
        self._release()
        return packed

    def _release(self) -> None:
        slot, self.slot = self.slot, None
        if slot is not None:
            self._give_back(slot)

    def __del__(self) -> None:
        self._release()


class Ring:
    """A fixed number of slots, and which of them are free. Threads and signal handlers may call it at the same time."""

    def __init__(self, slots: int, *, is_pinned: bool) -> None:
        # The slot returned last is used first, so that only as many allocate memory as are in use at once.
        self._slots = tuple(Slot(is_pinned=is_pinned) for _ in range(slots))
        self._free = list(self._slots)

    def arrival(self, words: int = 0) -> Arrival | None:
        """Return a place to send `words` words to; None if no slot is free, or all together would be too large."""
        free = self._free
        for _ in range(len(free)):
            arrival = Arrival(free.append)
            if not free:
                return None
            # Without a call, so that neither a signal's handler nor another thread comes in between.
            slot = arrival.slot = free[-1]
            del free[-1]
            if slot.has_arrived() and self._affords(slot.lacks(words)):
                return arrival
            # The arrival was deleted before it was read, and the copy is still running.
            free[:0] = [slot]
            arrival.slot = None
        return None

    def _affords(self, words: int) -> bool:
        # If it is the only one in use it may be of any size: a very large pair should be shown, too.
        is_alone = len(self._free) == len(self._slots) - 1
        return not words or is_alone or words + sum(slot.words for slot in self._slots) <= _MOST_WORDS


# Captures that may be on their way from one device at once: as many as the default queue holds. A training loop runs a
# step or two ahead of its device, so that only a handful is in use and takes memory.
_SLOTS = 256


@lru_cache
def ring_of(device: torch.device) -> Ring:
    """Return the ring of a device, which is made on first use."""
    return Ring(_SLOTS, is_pinned=device.type == "cuda")
