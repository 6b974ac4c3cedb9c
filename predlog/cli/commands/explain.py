"""`predlog explain`: what a finding means and how to fix it."""

import argparse
import sys

import predlog._runtime.first_imports  # noqa: F401 - before rich is imported

# isort: split
from rich.console import Console
from rich.markdown import Markdown

from predlog.cli import pager
from predlog.cli.text import objects
from predlog.findings.catalog import SENTENCES, page


def run(arguments: argparse.Namespace) -> int:
    """Print the page of a code, or one line per code."""
    if arguments.json:
        codes = SENTENCES if arguments.code is None else [arguments.code]
        sys.stdout.writelines(objects.dumped(objects.code(code, has_page=len(codes) == 1)) for code in codes)
        return 0
    if arguments.code is None:
        width = max(map(len, SENTENCES))
        pager.write("".join(f"{code:<{width}}  {says}\n" for code, says in SENTENCES.items()))
        return 0
    text = page(arguments.code)
    if sys.stdout.isatty():
        console = Console()
        with console.capture() as drawn:
            console.print(Markdown(text))
        pager.write(drawn.get())
    else:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    return 0
