"""The `predlog` command, which starts in a tenth of a second: each part imports what it needs."""

import argparse
import sys
from collections.abc import Sequence

import predlog


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit status: 0 done, 130 interrupted; argparse exits with 2 by itself."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="predlog", description="See what a token model predicts next to what it was asked to predict."
    )
    parser.add_argument("--version", action="version", version=f"predlog {predlog.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="train a small model on real text, with predlog on",
        description="Train a small byte-level transformer on the Python language reference, with predlog on.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument("--steps", type=_positive, default=400, help="training steps")
    demo.add_argument("--every", type=_positive, default=40, help="record each step that this divides")
    demo.add_argument("--directory", default="runs/demo", help="folder of the run")
    demo.add_argument("--seed", type=int, default=0, help="of weights and batches")
    demo.add_argument("--device", default="cpu", help="where to train: cpu, cuda, mps")
    demo.set_defaults(run=_demo)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, 1 or more")
    return int(text)


def _demo(arguments: argparse.Namespace) -> None:
    from predlog.demo import train  # noqa: PLC0415 - it imports torch

    train(arguments)


if __name__ == "__main__":
    sys.exit(main())
