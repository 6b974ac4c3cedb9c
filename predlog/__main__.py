"""Run the `predlog` command as `python -m predlog`."""

import sys

from predlog.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
