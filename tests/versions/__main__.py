"""Make an environment for each row of the matrix, run the tests that fit it there, and print the matrix.

python -m tests.versions                 all rows: some 20 GB and an hour
python -m tests.versions 2.6 newest      these rows
python -m tests.versions --quick         the oldest row that can be made here, torch-facing tests and one Trainer

An environment stays in build/versions for the next time, unless --quick made it.

Exit status: 1 if a test failed, if what predlog needs could not be installed, or if this machine has the Python and the
torch of no row.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree as ET

from tests import ROOT
from tests.versions.environments import SMALL, NotHereError, NotMadeError, lower_bounds, make, versions
from tests.versions.rows import ROWS, SUITES, Row, quick

_HEADINGS = (
    "row", "Python", "torch", "NumPy", "einops", "transformers", "tests", "passed", "skipped", "failed",
    "pip would change", "minutes",
)  # fmt: skip
_SHOWN = ("python", "torch", "numpy", "einops", "transformers")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one row; `why` it was not run, if it was not."""

    row: Row
    installed: dict[str, str]
    passed: int = 0
    skipped: int = 0
    failed: int = 0
    changed: str = ""
    seconds: float = 0.0
    why: str = ""

    @property
    def was_made(self) -> bool:
        """Whether the machine has what the environment begins with."""
        return self.failed > 0 or not self.why

    @property
    def is_well(self) -> bool:
        """Whether nothing failed, and predlog changes nothing that is beside it."""
        return not self.failed and self.changed in {"", "nothing else"}

    def cells(self) -> Iterator[str]:
        """Yield the cells of its line in the matrix."""
        yield self.row.name
        if self.why:
            verdict = "not made" if self.failed else "not run"
            yield from (self.row.python, self.row.torch or "newest", "", "", "", f"{verdict}: {self.why}", *[""] * 5)
            return
        yield from (self.installed.get(name, "-") for name in _SHOWN)
        yield self.row.suite
        yield from map(str, (self.passed, self.skipped, self.failed))
        yield self.changed
        yield f"{self.seconds / 60:.1f}"


def run(row: Row, folder: Path) -> Outcome:
    """Make the environment of a row, and run its tests there."""
    began = time.monotonic()
    try:
        python, changed = make(row, folder)
    except NotMadeError as error:
        print(f"{row.name}: not made: {error}", file=sys.stderr)
        return Outcome(row, {}, failed=int(not isinstance(error, NotHereError)), why=str(error).splitlines()[-1])
    needed = ",".join(lower_bounds(row.extras))
    report = folder / "tests.xml"
    report.unlink(missing_ok=True)
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", *SUITES[row.suite]],
        cwd=ROOT, check=False, stdout=sys.stderr,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PREDLOG_TESTS_NEED_FRAMEWORKS": needed},
    )  # fmt: skip
    if not report.exists():
        return Outcome(row, versions(python), failed=1, changed="", seconds=time.monotonic() - began)
    suite = ET.parse(report).getroot()[0]
    count = {name: int(suite.attrib[name]) for name in ("tests", "skipped", "failures", "errors")}
    # pytest fails too where it ran no test at all, and counts no failure then.
    failed = max(count["failures"] + count["errors"], int(done.returncode != 0))
    return Outcome(
        row, versions(python), max(0, count["tests"] - count["skipped"] - failed), count["skipped"], failed,
        ", ".join(sorted(changed - SMALL)) or "nothing else", time.monotonic() - began,
    )  # fmt: skip


def table(outcomes: list[Outcome]) -> str:
    """Return the matrix in Markdown."""
    lines = [_HEADINGS, ["---"] * len(_HEADINGS), *(list(one.cells()) for one in outcomes)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Run the rows, and print the matrix."""
    parser = argparse.ArgumentParser("python -m tests.versions", description="Run predlog's tests with other versions.")
    parser.add_argument("rows", nargs="*", metavar="row", help="names of rows; all if there are none")
    parser.add_argument("--quick", action="store_true", help="the oldest row that can be made, and few tests")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "versions", help="where environments are made")
    asked = parser.parse_args()
    names = [row.name for row in ROWS]
    if unknown := {*asked.rows} - {*names}:
        parser.error(f"no row {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    outcomes = []
    for row in quick() if asked.quick else ROWS:
        if asked.rows and row.name not in asked.rows:
            continue
        folder = asked.folder / ("quick" if asked.quick else row.name.replace(" ", "-").replace(",", ""))
        outcomes.append(run(row, folder))
        print(table(outcomes), file=sys.stderr)
        if asked.quick:
            shutil.rmtree(folder, ignore_errors=True)
            if outcomes[-1].was_made:
                break
    print(f"{datetime.now(timezone.utc):%Y-%m-%d}\n\n{table(outcomes)}")
    was_any_made = any(one.was_made for one in outcomes)
    return 0 if was_any_made and all(one.is_well for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
