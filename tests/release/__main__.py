"""Check whether predlog can be released: one line for each thing that is missing.

python -m tests.release                        everything, in a minute
python -m tests.release --only metadata        URLs, date, version and tree, at once
python -m tests.release --only distributions   build, contents, and clean environments
"""

import argparse
import sys

from tests import ROOT
from tests.release import distributions, metadata, tree

_PARTS = {"metadata": metadata.problems, "distributions": distributions.problems}


def main() -> int:
    """Print what is missing, and return 1 if anything is."""
    parser = argparse.ArgumentParser("python -m tests.release", description="Check whether predlog can be released.")
    parser.add_argument("--only", choices=_PARTS, help="check one part")
    only = parser.parse_args().only
    found = 0
    for name in [only] if only else _PARTS:
        for problem in _PARTS[name](ROOT):
            print(problem, flush=True)
            found += 1
    print(f"predlog {tree.version(ROOT)}: " + (f"{found} things are missing" if found else "nothing is missing"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
