"""The `predlog` command, which starts in a tenth of a second: each subcommand's module is imported when it runs."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from predlog._runtime.failure import described, located, traceback_of
from predlog.cli import parser, say
from predlog.errors import PredlogError, required

INTERRUPTED, BROKEN_PIPE = 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    0 done, 1 something is wrong with what was looked at, 2 it can't be done, 130 interrupted, 141 nobody reads the
    output any more; argparse exits with 2 by itself.
    """
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except (PredlogError, OSError) as error:
        return _failed(error, described(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, a script must not read it as status 1
        return _failed(error, f"internal error: {located(error)}; PREDLOG_TRACEBACK=1 shows the traceback")


def _failed(error: Exception, what: str) -> int:
    for line in (what, *traceback_of(error).splitlines()):
        say(line)
    return 2


def _run(arguments: Sequence[str] | None) -> int:
    if sys.stdout is None:
        raise PredlogError("standard output is closed: redirect it, to /dev/null if need be")
    try:
        parsed = parser.parsed(arguments)
        with required():
            status: int = import_module(parsed.module).run(parsed)
    finally:
        _flush()  # also after --help, which ends in SystemExit
    return status


def _flush() -> None:
    """Write what is left of the output; if that fails, it is reported here, and not by Python at exit."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer has nowhere else to go
        if isinstance(error, BrokenPipeError):
            raise
        raise PredlogError(f"standard output can't be written to: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
