"""How a program of an experiment tells what it sees: lines of JSON on a pipe of its own, whatever stdout has become."""

import faulthandler
import json
import os
import signal
import sys
import time
from typing import Any

# Whoever hangs is asked where, by a signal that needs no Python to answer.
faulthandler.register(signal.SIGUSR1)


def asked() -> dict[str, Any]:
    """Return the arguments that the experiment passed."""
    arguments: dict[str, Any] = json.loads(sys.argv[1])
    return arguments


def tell(what: str, **facts: Any) -> None:
    """Tell the experiment that this point was reached, when, and what is known there."""
    line = json.dumps({"what": what, "at": time.monotonic(), **facts})
    # Unbuffered, so that it is told even where the process is killed next, and never twice after a fork.
    os.write(int(sys.argv[2]), line.encode() + b"\n")


def wait_for_word() -> None:
    """Wait until the experiment says to go on."""
    os.read(0, 1)
