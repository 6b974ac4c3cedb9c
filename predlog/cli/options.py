"""The options of each subcommand of `predlog`, and examples of it.

Nothing is imported here that takes time: a subcommand names the module that runs it.
"""

import argparse
from collections.abc import Callable
from typing import Any, Final

from predlog.cli.arguments import Choices, attempt, lines, number, port, positive, steps

DIRECTORY = "runs/demo"
_PATH = "a file (also .gz and .zst), the folder of a run, a quoted glob, or - for standard input"
_OBJECT = "print one JSON object per path, each in a line"
_CODES = Choices("predlog.findings.catalog", "CODES", listed="predlog explain")
_MISTAKES = Choices("predlog.cli.demo.mistakes", "MISTAKES", "list", listed="predlog demo --mistake list")

# Adds a subcommand: its name, what it does in a line and in more, and examples with what each is for.
_Add = Callable[..., argparse.ArgumentParser]


def _list(add: _Add) -> None:
    runs = add(
        "list",
        "list the runs in a folder, the newest first",
        "List the runs in a folder and below it, the newest first: last step, loss, accuracy, state, age of the last"
        " record, and open findings. A run is running if a process of this host has its file open, or if that grew"
        " within a minute. Of each file, only the beginning and the end are read.",
        ("predlog list", "the runs in runs/, or, if there is no such folder, below the current one"),
        ("predlog list /scratch/me/runs", "those in another folder"),
        ("predlog list --json | jq -r 'select(.findings != []).path'", "those with a finding, for another program"),
    )
    runs.add_argument("path", nargs="*", metavar="FOLDER", help="folders of runs (runs, else the current folder)")
    runs.add_argument("--json", action="store_true", help="print one JSON object per run, each in a line")


def _tail(add: _Add) -> None:
    tail = add(
        "tail",
        "show the last records of a run as tables, and follow it",
        "Show the last records of a run as the console shows them; with -f, also those written from then on.",
        ("predlog tail -f runs/exp1", "follow a run"),
        ("predlog tail -n 3 --stream audio --codebook 0 runs/exp1", "the last three records of a codebook"),
        ("predlog tail -f --only findings runs/exp1", "print nothing until something is wrong"),
        ("predlog tail -n all --json --step 1000:2000 runs/exp1 | jq .matched", "lines for another program"),
        ("ssh node7 tail -f runs/exp1/predictions.jsonl | predlog tail -", "a run on another machine"),
    )
    tail.add_argument("path", metavar="PATH", help=_PATH)
    tail.add_argument("-n", "--lines", type=lines, metavar="N", help="how many records, or `all` (10; all of a pipe)")
    tail.add_argument("-f", "--follow", action="store_true", help="wait for new records, until interrupted")
    tail.add_argument("--full", action="store_true", help="tables with positions, inputs, ranks and the text around")
    tail.add_argument("--json", action="store_true", help="print the lines as they are in the file, escaped if need be")
    tail.add_argument("--stream", action="append", metavar="NAME", help="only this stream; may be repeated")
    tail.add_argument("--codebook", action="append", type=number, metavar="K", help="only this codebook")
    tail.add_argument("--rank", action="append", type=number, metavar="R", help="only this global rank")
    tail.add_argument("--sample", action="append", type=number, metavar="I", help="only this sample of the batch")
    tail.add_argument("--sample-id", action="append", metavar="ID", help="only the sample with this id, at all steps")
    tail.add_argument(
        "--step", type=steps, metavar="A:B", help="steps from A to B, both included; either may be left out"
    )
    _attempts(tail, "all")
    tail.add_argument("--only", choices=("mistakes", "findings"), help="comparisons with a mistake, or findings")


def _summary(add: _Add) -> None:
    summary = add(
        "summary",
        "how a run went: one row per stream and codebook",
        "Show steps, records, supervised share, loss, accuracy and rank of the labels, first, last and"
        " best, of each stream and codebook; then findings, what is missing, and attempts.",
        ("predlog summary runs/exp1", "one run"),
        ("predlog summary runs/exp1 runs/exp2", "two runs, one after the other"),
        ("predlog summary 'runs/exp1/predictions-rank[0-7].jsonl'", "the first eight ranks of a run"),
        ("predlog summary --json runs/exp1 | jq '.streams[0].loss.last'", "one number, for another program"),
    )
    summary.add_argument("path", nargs="+", metavar="PATH", help=_PATH)
    summary.add_argument("--json", action="store_true", help=_OBJECT)
    _attempts(summary)


def _check(add: _Add) -> None:
    check = add(
        "check",
        "list what is wrong, and fail if anything is",
        "List the open findings and the damage in a run's files, and what could not be checked. Exit status: 0 no open"
        " finding and no damage, 1 something is wrong,"
        " 2 it can't be read; of several runs, the highest.",
        ("predlog check runs/exp1 && ./deploy", "only without open findings"),
        ("predlog check --ignore same-batch runs/overfit", "if that is intended"),
        ("predlog check --ended runs/exp1 && ./deploy", "only if the run has ended, too"),
        ("predlog check --json runs/* | jq -r 'select(.status != 0).path'", "which of many runs have something wrong"),
    )
    check.add_argument("path", nargs="+", metavar="PATH", help=_PATH)
    check.add_argument("--json", action="store_true", help=_OBJECT)
    _choice(check, "--ignore", _CODES, action="append", default=[], metavar="CODE", help="a finding to ignore")
    check.add_argument(
        "--ended",
        action="store_true",
        help="also fail if an attempt has no last line (killed, or still running), or an exception ended it",
    )
    _attempts(check)


def _diff(add: _Add) -> None:
    diff = add(
        "diff",
        "compare two runs or more at the same steps",
        "Show where two runs first differ, how their streams differ, and which tokens only one predicts correctly. More"
        " than two are a table: how each went, and where it first differs from the first one."
        " Exit status: 0 they are the same, 1 they differ, 2 they can't be compared.",
        ("predlog diff runs/exp1 runs/exp2", "two runs"),
        ("predlog diff runs/baseline runs/sweep/*", "each run of a sweep beside another one"),
        ("predlog diff --json runs/exp1 runs/exp2 | jq .first", "for another program"),
        ("predlog diff runs/exp1 runs/exp1 --attempt 1 --attempt 2", "two attempts in one folder"),
    )
    diff.add_argument("a", metavar="A", help=_PATH)
    diff.add_argument("b", metavar="B", help="the same, of another run")
    diff.add_argument("more", metavar="MORE", nargs="*", help="further runs: each is compared with A, in a table")
    diff.add_argument("--json", action="store_true", help="print one JSON object")
    diff.add_argument(
        "--attempt", type=attempt, action="append", metavar="N",
        help="only the attempt with this number, or `all` of them (the latest run); once for A and once for B",
    )  # fmt: skip
    diff.add_argument("--tokens", type=number, default=10, metavar="N", help="how many tokens to list per run (10)")


def _export(add: _Add) -> None:
    export = add(
        "export",
        "write one row per token, as Parquet, CSV or Arrow",
        "Write one row per token to a file for DuckDB, Polars, pandas and others. Needs the extra `export`.",
        ("predlog export runs/exp1 -o exp1.parquet", "small, and typed"),
        ("predlog export 'runs/exp1/*.jsonl' -o all.csv", "all ranks, as text"),
        ("predlog export --safe-csv runs/exp1 -o exp1.csv", "for a spreadsheet"),
    )
    export.add_argument("path", metavar="PATH", help=_PATH)
    export.add_argument("-o", "--output", required=True, metavar="FILE", help="a .parquet, .csv or .arrow file")
    safe = "put ' before texts that a spreadsheet would read as formulas (they are exact without it)"
    every = "the tokens that all_tokens= keeps, without texts, instead of those shown"
    export.add_argument("--all-tokens", action="store_true", help=every)
    export.add_argument("--safe-csv", action="store_true", help=safe)
    _force(export)
    export.add_argument("--json", action="store_true", help="print what was written as one JSON object")
    _attempts(export)


def _report(add: _Add) -> None:
    report = add(
        "report",
        "make one page about a run, or several, to send to people",
        "Make one self-contained HTML page: the film strip of all tokens, curves, findings, and the tokens that were"
        " never predicted correctly or were forgotten. Several runs are shown side by side. Needs the extra `report`.",
        ("predlog report runs/exp1 --open", "to report.html, and into the browser"),
        ("predlog report runs/exp1 -o exp1.html", "to another file"),
        ("predlog report runs/a runs/b -o both.html", "two runs on one page"),
    )
    report.add_argument("paths", metavar="PATH", nargs="+", help=_PATH)
    report.add_argument("-o", "--output", default="report.html", metavar="FILE", help="where to write it (report.html)")
    report.add_argument("--open", action="store_true", help="open the page in the browser ($BROWSER, or the system's)")
    report.add_argument(
        "--most",
        type=positive,
        default=20_000,
        metavar="N",
        help="most comparisons in the film strip, of all runs together (20000)",
    )
    _force(report)
    report.add_argument("--json", action="store_true", help="print what was written as one JSON object")
    _attempts(report)


def _serve(add: _Add) -> None:
    serve = add(
        "serve",
        "show the runs of a folder in a browser, while they go on",
        "Serve a list of the runs in a folder, and of each the page that `report` makes, which is updated while the run"
        " goes on. The address that is printed contains a token: who has it can read these runs, and nothing else."
        " Needs the extra `serve`.",
        ("predlog serve runs", "on this machine; open the address that it prints"),
        ("ssh -L 8484:localhost:8484 node7 predlog serve runs", "runs of another machine, in the browser of this one"),
        ("predlog serve --port 0 runs", "on a free port"),
    )
    serve.add_argument("folder", metavar="FOLDER", help="the folder with the runs, or the folder of one run")
    serve.add_argument("--host", default="127.0.0.1", metavar="HOST", help="the address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=port, default=8484, metavar="PORT", help="the port, or 0 for a free one (8484)")
    serve.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name of the server in addresses, such as that of a proxy; may be repeated",
    )
    serve.add_argument(
        "--token-file",
        metavar="FILE",
        help="keep the token in FILE, so that open pages go on after a restart; made if there is none",
    )
    serve.add_argument(
        "--most", type=positive, default=5000, metavar="N", help="most comparisons in the film strip of a run (5000)"
    )


def _explain(add: _Add) -> None:
    explain = add(
        "explain",
        "print what a finding means and how to fix it",
        "Print what a finding means, how it looks and how to fix it; without a code, list all of them.",
        ("predlog explain", "all of them, one line each"),
        ("predlog explain labels-are-inputs", "one"),
    )
    explain.add_argument("--json", action="store_true", help="print one JSON object per finding, each in a line")
    _choice(explain, "code", _CODES, nargs="?", metavar="CODE", help="such as labels-are-inputs")


def _demo(add: _Add) -> None:
    demo = add(
        "demo",
        "train a small model on real text, with predlog on",
        "Train a small byte-level transformer on the Python language reference, with predlog on.",
        ("predlog demo", "less than a minute"),
        ("predlog demo --mistake unshifted", "the same with a mistake, which a finding names"),
    )
    demo.add_argument("--seconds", type=positive, default=40, help="train for at most so many seconds (40)")
    demo.add_argument("--steps", type=positive, default=400, help="train for at most so many steps (400)")
    every = "record the steps that are multiples of this number (left out, it is chosen: 10 records, with a mistake 40)"
    demo.add_argument("--every", type=positive, help=every)
    mistake = "make this mistake, and see the finding that names it; `list` lists them"
    _choice(demo, "--mistake", _MISTAKES, metavar="NAME", help=mistake)
    demo.add_argument("--directory", default=DIRECTORY, help=f"folder of the run ({DIRECTORY})")
    demo.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of weights and batches (0); runs that take all of their --steps are the same",
    )
    demo.add_argument("--device", default="cpu", help="where to train: cpu, cuda, mps (cpu)")


def _completion(add: _Add) -> None:
    completion = add(
        "completion",
        "print a completion script for your shell",
        "Print a script that completes subcommands, options, paths and the codes of findings. Needs the extra `cli`.",
        ("predlog completion bash > ~/.local/share/bash-completion/completions/predlog", "for bash"),
        ("predlog completion zsh > ~/.zfunc/_predlog", "for zsh, with ~/.zfunc in fpath"),
    )
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell")


def _force(command: argparse.ArgumentParser) -> None:
    command.add_argument("--force", action="store_true", help="replace FILE even if predlog did not make it")


def _attempts(command: argparse.ArgumentParser, says: str = "the latest run") -> None:
    command.add_argument(
        "--attempt", type=attempt, metavar="N", help=f"only the attempt with this number, or `all` of them ({says})"
    )


def _choice(command: argparse.ArgumentParser, name: str, choices: Choices, **more: Any) -> None:
    command.add_argument(name, type=choices, choices=choices, **more)


# In the order of the help.
SUBCOMMANDS: Final = (
    _list, _tail, _summary, _check, _diff, _export, _report, _serve, _explain, _demo, _completion,
)  # fmt: skip
