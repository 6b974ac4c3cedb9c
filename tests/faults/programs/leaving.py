"""Leave while pairs are queued behind something that is slow, or never returns."""

import threading
import time
from typing import Any

from predlog.recorder.recorder import Recorder
from predlog.records.schema import Event
from tests import events
from tests.faults.programs.endings import leave
from tests.faults.telling import asked

PAIR = events.pair(samples=1, length=12, vocabulary=16)
# What a slow processor takes for each pair.
_SLOW = 0.02


class Obstacle:
    """A sink or a processor that holds up the pairs since one step: until the leaving and a while, or for ever."""

    def __init__(self, manner: str, since: int) -> None:
        self.leaving = threading.Event()
        self.begun = 0
        self._manner = manner
        self._since = since

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        if event["event"] == "predlog.comparison" and event["step"] >= self._since:
            self.begun += 1
            self._hold_up()
        return event

    def close(self) -> None:
        """Close, if this is a sink."""
        if self._manner == "never closes":
            threading.Event().wait()

    def _hold_up(self) -> None:
        match self._manner:
            case "slow":
                self.leaving.wait()
                time.sleep(_SLOW)
            case "never returns":
                threading.Event().wait()
            case "spins":
                while True:
                    pass


def main(how: str, directories: list[str], place: str, manner: str, before: int, queued: int) -> None:
    """Record some pairs, queue others, and leave; in every folder alike."""
    obstacles = [Obstacle(manner, before) for _ in directories]
    recorders = [
        Recorder(
            directory, every=1, samples=1, score=False, console=False,
            sinks=[obstacle] * (place == "sinks"), processors=[obstacle] * (place == "processors"),
        )
        for directory, obstacle in zip(directories, obstacles, strict=True)
    ]  # fmt: skip
    for recorder in recorders:
        for step in range(before):
            recorder.compare(*PAIR, step)
        recorder.flush(10)
        for step in range(before, before + queued):
            recorder.compare(*PAIR, step)

    def told() -> dict[str, Any]:
        return {"stats": recorders[0].stats(), "begun": obstacles[0].begun}

    def on_the_way() -> None:
        for obstacle in obstacles:
            obstacle.leaving.set()

    leave(how, told, on_the_way)


if __name__ == "__main__":
    main(**asked())
