"""Print every ratio that the documentation states; exit with 1 where one misses its target by more than its spread."""

import argparse
import sys
from pathlib import Path

import torch

from tests.benchmarks import report
from tests.benchmarks.harness import Row
from tests.benchmarks.options import Options
from tests.benchmarks.suite import BENCHMARKS, CUDA_ONLY


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks asked for; give 0 where no target is missed, 1 where one is, or a benchmark can't run."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    options = Options(torch.device(asked.device), asked.threads, asked.plot)
    names = _names(parser, asked.only, options)
    torch.set_num_threads(options.threads)
    if not asked.json:
        print(report.header(options))
    rows: list[Row] = []
    unmeasured: dict[str, str] = {}
    for name in names:
        try:
            for row in BENCHMARKS[name](options):
                rows.append(row)
                if not asked.json:
                    print(report.line(row), flush=True)
        except ModuleNotFoundError as error:
            unmeasured[name] = f"{error}: pip install '.[benchmarks]'"
            print(f"{name} was not measured: {unmeasured[name]}", file=sys.stderr)
    if asked.json:
        sys.stdout.buffer.write(report.document(options, rows, unmeasured))
    return int(bool(unmeasured) or any(row.verdict == "MISSED" for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", metavar="NAME", nargs="+", action="extend", choices=list(BENCHMARKS),
        help=f"benchmarks to run instead of all: {', '.join(BENCHMARKS)}",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where tensors are (cpu)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="how many threads torch may use (1)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where to draw what `scaling` measures, as SVG")
    return parser


def _names(parser: argparse.ArgumentParser, only: list[str] | None, options: Options) -> list[str]:
    """Return the names to run, in the suite's order; leave with 2 where that can't be done."""
    if options.device.type == "cuda" and not torch.cuda.is_available():
        parser.exit(2, f"{parser.prog}: --device cuda: torch {torch.__version__} finds no CUDA device here\n")
    if options.threads < 1:
        parser.exit(2, f"{parser.prog}: --threads {options.threads}: at least one is needed\n")
    possible = [name for name in BENCHMARKS if options.device.type == "cuda" or name not in CUDA_ONLY]
    if impossible := set(only or ()) - set(possible):
        parser.exit(2, f"{parser.prog}: {', '.join(sorted(impossible))} needs --device cuda\n")
    names = [name for name in possible if only is None or name in only]
    if options.plot is not None and "scaling" not in names:
        parser.exit(2, f"{parser.prog}: --plot draws what scaling measures, which is not run\n")
    return names


if __name__ == "__main__":
    sys.exit(main())
