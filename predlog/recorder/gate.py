"""Which steps, streams and ranks are recorded: the one answer for `compare`, `watch` and the callbacks."""

import numbers
from collections.abc import Callable, MutableMapping
from typing import Any, Literal, TypeVar

from predlog._runtime import process
from predlog._runtime.notices import Notices
from predlog.errors import PairError

# Names of streams that are remembered; older ones are forgotten, since some programs make a new name for each step.
MOST_NAMES = 1024
Outcome = TypeVar("Outcome")
Ranks = Literal["auto", 0, "local", "all"] | tuple[int, ...]
# Of a stream, the pairs in which it is looked at which axis is time.
_EARLY = 3
# Calls of `compare` of which none was due, after which that is reported.
PATIENCE = 100


class Gate:
    """Decide whether a step, a stream and this process are recorded.

    Args:
        every: Record the steps that this divides.
        streams: Names of the streams to record; None records all.
        ranks: Which processes record: "auto", "local", "all", 0 or a tuple of ranks, as in `Recorder`.
        is_off: Whether predlog is switched off by PREDLOG_DISABLE.
        is_mine: Returns whether this process made the recorder; a forked child did not, and records nothing.
        notices: Where it is reported that a closed recorder was called.
    """

    def __init__(
        self,
        *,
        every: int,
        streams: frozenset[str] | None,
        ranks: Ranks,
        is_off: bool,
        is_mine: Callable[[], bool],
        notices: Notices,
    ) -> None:
        self.every = every
        self.is_closed = False
        # Set where this recorder is to record nothing, as a copy: called to report it.
        self.silenced: Callable[[], None] | None = None
        # Whether a pair was offered at all, and whether none has been due so far.
        self.has_offers = False
        self.is_waiting = True
        self._not_due = 0
        self._first = 0
        self._streams = streams
        self._ranks = ranks
        self._is_off = is_off
        self._is_mine = is_mine
        self._notices = notices
        self._latest: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._claims: dict[tuple[str, int], object] = {}

    def takes(self, stream: str, step: int, every: int, *, is_part: bool = False) -> bool:
        """Return whether a pair that is offered is due, and its stream recorded; raise PairError if that is no name.

        With `is_part` it is a part of a pair, of which "auto" has more ranks record than one: `admits` says which.
        """
        self.has_offers = True
        if step % every:
            return False
        self.is_waiting = False
        return self.is_wanted(stream, is_part=is_part)

    def admits(self, is_first: bool | None, where: str) -> bool:
        """Return whether this process records its part of a pair.

        `is_first` is whether that is a part of the copy to be recorded, None if nobody can tell. What to pass then is
        reported once per node, with `where` the pair is.
        """
        if self._ranks != "auto" or is_first:
            return True
        if is_first is None and process.world_size() > 1 and process.local_rank() == 0:
            self._notices.report_once(
                "group",
                f"{where}: which ranks have a part of one copy of the logits is not known, so every rank that passes a"
                " part records it. Pass group= to compare, the process group of these ranks, or ranks= to the recorder,"
                " such as ranks=(0, 1)",
            )
        return is_first is None

    def skip(self, step: int) -> None:
        """Count a pair that is not due; after `PATIENCE` of them, of which none was due, report which steps are."""
        self.has_offers = True
        self._not_due += 1
        if self._not_due == 1:
            self._first = step
        if self._not_due < PATIENCE:
            return
        self.is_waiting = False
        if self.is_recording():
            ahead = [(step // self.every + count) * self.every for count in (1, 2, 3)]
            where = f"each time at step {step}" if step == self._first else f"at steps {self._first} to {step}"
            self._notices.report_once(
                "never due",
                f"compare was called {PATIENCE} times, {where}, and records nothing, since none is a multiple of"
                f" every={self.every}, as {', '.join(map(str, ahead))} are. Pass a step that counts by one, or another"
                " every",
            )

    def is_recording(self, *, is_part: bool = False) -> bool:
        """Return whether this process records at all, whatever the stream; report a call after `close`."""
        if self._is_off or not self._is_mine():
            return False
        if self.silenced is not None:
            self.silenced()
            return False
        if self.is_closed:
            self._notices.report(
                "closed",
                "compare was called after close and records nothing; call predlog.configure or make a new Recorder",
            )
            return False
        if self._ranks == "local":
            return process.local_rank() == 0
        if self._ranks == "all" or (self._ranks == "auto" and is_part):
            return True
        return process.rank() in (self._ranks if isinstance(self._ranks, tuple) else (0,))

    def is_wanted(self, stream: str, *, is_part: bool = False) -> bool:
        """Return whether this process records the stream; raise PairError if that is no name."""
        if not self.is_recording(is_part=is_part):
            return False
        check_stream(stream)
        return self._streams is None or stream in self._streams

    def once(self, stream: str, step: int, record: Callable[[], Outcome]) -> Outcome | None:
        """Return what `record` returns, or None: of several threads with one stream and step, one may record.

        A function that records the pair calls `recorded`. A refused pair loses its claim.
        """
        key, claim = (stream, step), object()
        claims, latest = self._claims, self._latest
        try:
            # `setdefault` is atomic: one step of the interpreter.
            if latest.get(stream) == step or claims.setdefault(key, claim) is not claim or latest.get(stream) == step:
                return None
            return record()
        finally:
            # Without a call, so that no signal's handler can come in between: a claim that was left would stay.
            if key in claims and claims[key] is claim:
                del claims[key]

    def is_early(self, stream: str) -> bool:
        """Return whether a stream has only a few recorded pairs: what is costly, and needs to be seen once, is done."""
        return self._counts.get(stream, 0) < _EARLY

    def is_recorded(self, stream: str, step: int) -> bool:
        """Return whether the pair recorded last of a stream is of this step."""
        return self._latest.get(stream) == step

    def newest(self) -> dict[str, int]:
        """Return the step of the pair recorded last, by stream, in the order in which the streams appeared."""
        return dict(self._latest)

    def state(self) -> str:
        """Return why nothing is recorded, as far as that is known without a pair; empty if something may be."""
        if self._is_off:
            return "off: PREDLOG_DISABLE is set"
        if self.silenced is not None:
            return "a copy, which records nothing"
        return "closed" if self.is_closed else "" if self._is_mine() else "of another process, and records nothing here"

    def latest(self, stream: str) -> int | None:
        """Return the step of the pair recorded last of a stream; None without any."""
        return self._latest.get(stream)

    def recorded(self, stream: str, step: int) -> None:
        """Remember that the first pair of a stream and step is recorded: the next ones are not."""
        self._latest[stream] = step
        self._counts[stream] = self._counts.get(stream, 0) + 1
        forget_oldest(self._latest)
        forget_oldest(self._counts)


def check_stream(stream: object) -> None:
    """Raise PairError if this is no name of a stream."""
    if type(stream) is not str:
        raise PairError(f"stream is a {type(stream).__name__}: pass a name, such as 'text'")
    if not stream.strip():
        raise PairError(f"stream={stream[:20]!r} is no name: pass one, such as 'text', or leave it out")


def whole_step(step: object) -> int:
    """Return a step as an int; raise PairError if it is none, or not from 0 to 2**63 - 1."""
    # A tensor is no Integral, so it is refused here without being read.
    if not isinstance(step, numbers.Integral) or isinstance(step, bool):
        raise PairError(f"step is a {type(step).__name__}: pass a Python int; reading a tensor waits for the device")
    number = int(step)
    if not 0 <= number < 2**63:
        raise PairError(f"step={number} must be from 0 to 2**63 - 1")
    return number


def forget_oldest(names: MutableMapping[str, Any]) -> None:
    """Remove the names that came first if there are far more than `MOST_NAMES`."""
    if len(names) > 2 * MOST_NAMES:
        for name in list(names)[:-MOST_NAMES]:
            names.pop(name, None)
