"""Run the experiments that docs/explanations/reliability.md tells of; exit with 1 where a figure does not hold."""

import argparse
import os
import sys
import time
import traceback

import torch

from tests.benchmarks.report import device_name, versions
from tests.faults.experiment import Figure, Size
from tests.faults.suite import EXPERIMENTS


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; give 0 where all figures hold, 1 where one does not, or an experiment fails."""
    asked = _parser().parse_args(arguments)
    size = Size(is_full=asked.full)
    print(_header(size))
    broken: list[str] = []
    for name in asked.only or EXPERIMENTS:
        start = time.monotonic()
        try:
            for figure in EXPERIMENTS[name](size):
                print(line := _line(name, figure), flush=True)
                if not figure.holds:
                    broken.append(line)
        except Exception as error:  # noqa: BLE001 - the others are still to be seen
            broken.append(f"{name:<10} could not be done: {type(error).__name__}: {error}")
            print(broken[-1], flush=True)
            traceback.print_exc()
        print(f"{name:<10} took {time.monotonic() - start:.0f} s\n", flush=True)
    print(f"{len(broken)} broken", *broken, sep="\n", flush=True)
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help="at the size that docs/explanations/reliability.md tells of"
    )
    parser.add_argument(
        "--only", metavar="NAME", nargs="+", action="extend", choices=list(EXPERIMENTS),
        help=f"experiments to do instead of all: {', '.join(EXPERIMENTS)}",
    )  # fmt: skip
    return parser


def _header(size: Size) -> str:
    known = ", ".join(f"{name} {number}" for name, number in versions().items() if number)
    cores = len(os.sched_getaffinity(0))
    return f"{'full' if size.is_full else 'reduced'} size; {device_name(torch.device('cpu'))}, {cores} cores; {known}\n"


def _line(name: str, figure: Figure) -> str:
    verdict = "" if not figure.bound else "ok" if figure.holds else "BROKEN"
    measured = f"{figure.measured:>12,.6g} {figure.unit}"
    return f"{name:<10} {figure.what:<72}{measured:<18}{figure.bound:<10}{verdict:<8}{figure.note}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
