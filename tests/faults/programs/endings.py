"""The ways in which a program ends; run by itself, how it ends in such a way without predlog."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from tests.faults.telling import asked, tell


def leave(how: str, told: Callable[[], dict[str, Any]], on_the_way: Callable[[], None]) -> None:
    """Tell that the leaving begins, and what `told` knows there; then leave, and call `on_the_way` when it has begun.

    What is named after a signal waits for the experiment to send it.
    """
    if how == "SIGTERM, handled":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    facts = told()
    try:
        tell("leaving", **facts)  # a signal may come before this has returned
        _leave(how)
    finally:
        on_the_way()


def _leave(how: str) -> None:
    match how:
        case "exception":
            raise RuntimeError("the training failed")
        case "sys.exit(3)":
            sys.exit(3)
        case "os._exit":
            os._exit(0)
        case "SIGINT" | "SIGTERM" | "SIGTERM, handled":
            while True:
                signal.pause()


if __name__ == "__main__":
    leave(asked()["how"], dict, lambda: None)
