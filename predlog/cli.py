"""The `predlog` command, which starts in a tenth of a second: each subcommand's module is imported when it runs."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from predlog import options
from predlog.errors import PredlogError, described

INTERRUPTED, BROKEN_PIPE = 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit status.

    0 done, 1 something is wrong with what was looked at, 2 it can't be done, 130 interrupted, 141 nobody reads the
    output any more; argparse exits with 2 by itself.
    """
    try:
        parsed = options.parser().parse_args(arguments)
        status: int = import_module(parsed.module).run(parsed)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go, and would be complained about at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except (PredlogError, OSError) as error:
        sys.stderr.write(f"predlog: {described(error)}\n")
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
