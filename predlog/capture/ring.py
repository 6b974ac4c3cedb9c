"""Packed captures on their way from a device to the host: nobody waits for them until they have arrived.

Each goes by one asynchronous copy into a slot of pinned memory, and a second tiny copy behind it, in the same stream,
says that the first is done. Whoever reads it looks at that word in host memory and calls nothing of the device's: an
event queried from another thread breaks a CUDA graph's capture (https://github.com/pytorch/pytorch/issues/104487).
"""

import time
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

# What the flag holds. It is a copy of the last word sent, so any other number says that the words have arrived.
_UNDER_WAY, _ARRIVED = 0, 1
# A cache line, so that the flag shares none with the words behind it.
_HEAD = 8
_SHORTEST_PAUSE, _LONGEST_PAUSE = 20e-6, 2e-3
# Longer than any step takes; whatever stands behind one that never arrives waits for it.
_PATIENCE = 60.0
# All slots together take no more than 256 MiB, however large what they hold.
_MOST_WORDS = 1 << 25


class Slot:
    """Host memory for one packed tensor, and the flag that says whether it has arrived.

    It takes memory when it is first needed, and more when something larger comes, each time by a factor, always in
    the thread that sends: to free pinned memory is a call of the device's.
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
            # Its flag may stay down for ever, and a copy may still be under way into it: others need another memory.
            self._memory = self._allocated(0)
            raise

    def lacks(self, words: int) -> int:
        """Say how many words it would have to take for so many; 0 where it has them."""
        return _HEAD + _room(words) if _HEAD + words > len(self._memory) else 0

    @property
    def words(self) -> int:
        """The words that it has taken."""
        return len(self._memory)

    def has_arrived(self) -> bool:
        """Look at the flag."""
        return int(self._memory[0]) != _UNDER_WAY

    def taken(self, shape: torch.Size) -> Tensor:
        """Copy what has arrived into memory of its own."""
        return self._memory[_HEAD : _HEAD + shape.numel()].clone().view(shape)

    def _allocated(self, words: int) -> Tensor:
        with torch.inference_mode(mode=False):  # what is made inside can't be written to outside
            memory = torch.empty(
                _HEAD + _room(words),
                dtype=torch.int64, device="cpu", pin_memory=self._is_pinned and words > 0,
            )  # fmt: skip
            memory[0] = _ARRIVED
            return memory


def _room(words: int) -> int:
    return 1 << (words - 1).bit_length() if words else 0


class Arrival:
    """A packed tensor on its way into a slot, which goes back to its ring when this was read, or nobody holds it."""

    def __init__(self, slot: Slot, give_back: Callable[[Slot], None]) -> None:
        self._slot: Slot | None = slot
        self._shape = torch.Size()
        self._give_back = give_back

    def send(self, packed: Tensor) -> None:
        """Start the way of packed [s, k, words], whose last word is not 0; returns at once."""
        if self._slot is not None:
            self._shape = packed.shape
            self._slot.fill(packed)

    def read(self, patience: float = _PATIENCE) -> Tensor:
        """Wait until it has arrived, and take it; once.

        Raises TimeoutError where it has not arrived within so many seconds.
        """
        if self._slot is None:
            raise RuntimeError("an arrival is read once")
        deadline, pause = time.monotonic() + patience, _SHORTEST_PAUSE
        while not self._slot.has_arrived():
            if time.monotonic() > deadline:
                self._release()
                raise TimeoutError(f"nothing came from the device within {patience:g} s: it hangs, or has failed")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        packed = self._slot.taken(self._shape)
        self._release()
        return packed

    def _release(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            self._give_back(slot)

    def __del__(self) -> None:
        self._release()


class Ring:
    """A fixed number of slots, and which of them are free; threads and signal handlers may ask at once."""

    def __init__(self, slots: int, *, is_pinned: bool) -> None:
        # The latest one back goes out first, so that only as many take memory as are on their way at once.
        self._slots = tuple(Slot(is_pinned=is_pinned) for _ in range(slots))
        self._free = list(self._slots)

    def arrival(self, words: int = 0) -> Arrival | None:
        """Give a place to send so many words to, or None where no slot is free, or there is no memory for it."""
        for _ in range(len(self._free)):
            try:
                slot = self._free.pop()
            except IndexError:
                return None
            if slot.has_arrived() and self._affords(slot.lacks(words)):
                return Arrival(slot, self._free.append)
            # What was forgotten before it had arrived is still on its way there.
            self._free.insert(0, slot)
        return None

    def _affords(self, words: int) -> bool:
        # One alone may take what it needs: a pair that is larger than all should be shown, too.
        is_alone = len(self._free) == len(self._slots) - 1
        return not words or is_alone or words + sum(slot.words for slot in self._slots) <= _MOST_WORDS


# Captures that may be on their way from one device at once, as many as may wait in a queue by default. A training loop
# runs a step or two ahead of its device, so a handful is in use, and takes memory.
_SLOTS = 256


@lru_cache
def ring_of(device: torch.device) -> Ring:
    """Return the ring of a device, made on first use."""
    return Ring(_SLOTS, is_pinned=device.type == "cuda")
