"""One attempt, which is one start of a run: what its lines have in common, and its first and its last line."""

import os
import platform
import socket
from typing import Any

import predlog
from predlog._runtime import process
from predlog._runtime.torch_state import TORCH_VERSION
from predlog.records.codec import timestamp
from predlog.records.schema import SCHEMA, Event


class Attempt:
    """Make the events of one attempt.

    Args:
        settings: The recorder's settings as plain values.
        number: 1 for the first start on a file, then 2, …
    """

    def __init__(self, settings: dict[str, Any], number: int) -> None:
        directory = settings["directory"]
        self._settings = settings
        self._seq = 0
        self._common = {
            "schema": SCHEMA,
            "run": os.path.basename(os.path.abspath(directory)) if directory else None,  # noqa: PTH100, PTH119
            "recorder": os.urandom(4).hex(),  # not of `random`, whose numbers are the program's
            "attempt": number,
            "rank": process.rank(),
        }

    def event(self, name: str, level: str, at: float, fields: dict[str, Any]) -> dict[str, Any]:
        """Return an event of this attempt, made at `at` (seconds since 1970), with the fields of its kind."""
        return {
            "event": name,
            "level": level,
            "timestamp": timestamp(at),
            **self._common,
            "seq": self._seq,
            **fields,
        }

    def run_event(self, at: float, stats: dict[str, Any] | None) -> dict[str, Any]:
        """Return the attempt's first line, or, with the final counts, its last."""
        fields = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "world_size": process.world_size(),
            "versions": {
                "predlog": predlog.__version__,
                "torch": TORCH_VERSION,
                "python": platform.python_version(),
            },
            "settings": dict(self._settings),
            "stats": stats,
            "context": {},
        }
        return self.event("predlog.run", "info", at, fields)

    def number(self, event: Event) -> None:
        """Set the sequence number of an event that goes to the sinks."""
        event["seq"] = self._seq
        self._seq += 1
