"""The `predlog` command, which starts in a tenth of a second: each part imports what it needs."""

import argparse
import sys
from collections.abc import Sequence

import predlog
from predlog.findings import CODES, SENTENCES, page
from predlog.mistakes import MISTAKES, listing

EVERY = 40


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
    demo.add_argument(
        "--every",
        type=_positive,
        default=argparse.SUPPRESS,
        help=f"record each step that this divides (default: {EVERY}, with a mistake {EVERY // 4})",
    )
    demo.add_argument(
        "--mistake",
        choices=[*MISTAKES, "list"],
        metavar="NAME",
        help="make this mistake, and see the finding that names it; `list` lists them",
    )
    demo.add_argument("--directory", default="runs/demo", help="folder of the run")
    demo.add_argument("--seed", type=int, default=0, help="of weights and batches")
    demo.add_argument("--device", default="cpu", help="where to train: cpu, cuda, mps")
    demo.set_defaults(run=_demo)
    explain = commands.add_parser(
        "explain",
        help="print what a finding means and how to mend it",
        description="Print what a finding means, how it looks and how to mend it; without a code, list all of them.",
    )
    explain.add_argument("code", nargs="?", choices=CODES, metavar="CODE", help="such as labels-are-inputs")
    explain.set_defaults(run=_explain)
    return parser


def _explain(arguments: argparse.Namespace) -> None:
    if arguments.code is None:
        width = max(map(len, SENTENCES))
        sys.stdout.writelines(f"{code:<{width}}  {says}\n" for code, says in SENTENCES.items())
        return
    from rich.console import Console  # noqa: PLC0415 - the other commands start without it
    from rich.markdown import Markdown  # noqa: PLC0415 - as above

    text = page(arguments.code)
    if sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, 1 or more")
    return int(text)


def _demo(arguments: argparse.Namespace) -> None:
    if arguments.mistake == "list":
        sys.stdout.write(f"{listing()}\n")
        return
    if "every" not in arguments:
        arguments.every = EVERY // 4 if arguments.mistake else EVERY
    from predlog.demo import train  # noqa: PLC0415 - it imports torch

    train(arguments)


if __name__ == "__main__":
    sys.exit(main())
