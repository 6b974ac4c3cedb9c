"""`predlog completion`: a script that completes the command in a shell."""

import argparse
import sys
from collections.abc import Iterator
from typing import Final

from predlog.cli.parser import parser
from predlog.errors import required

# The names of the arguments that are runs, other files, and folders.
_RUNS, _FILES, _FOLDERS = {"PATH", "A", "B", "MORE"}, {"FILE"}, {"DIRECTORY", "FOLDER"}
# The shells' functions that complete a run: folders below what is typed that hold records, and files as ever. A folder
# that only leads to runs is left out, because these are offered. Without a slash, two levels are searched: whoever has
# typed nothing yet may be in a folder of anything. The word "file" in its name tells shtab that it completes paths.
_COMPLETE: Final = {"bash": "_predlog_run_files", "zsh": "_predlog_run_files", "tcsh": "f"}
_BASH: Final = r"""
_predlog_run_files() {
  local word=$1 home= path run
  local -A runs=() leads=()
  [[ $word == "~/"* ]] && home=$HOME && word=$HOME/${word#"~/"}
  shopt -s nullglob
  local -a found=("$word"*/predictions*.jsonl{,.gz,.zst} "$word"*/*/predictions*.jsonl{,.gz,.zst})
  [[ $word == */* ]] && found+=("$word"*/*/*/predictions*.jsonl{,.gz,.zst})
  for path in "${found[@]}"; do
    run=${path%/*}
    runs[$run]=1
    while [[ $run == */* ]]; do
      run=${run%/*}
      leads[$run/]=1
    done
  done
  for run in "${!runs[@]}"; do
    [[ -n $home ]] && run="~${run#"$home"}"
    echo "$run"
  done
  compgen -f -- "$1" | while IFS= read -r path; do
    run=$path
    [[ -n $home ]] && run=$HOME${path#"~"}
    [[ -n ${runs[$run]-}${leads[$run/]-} ]] || echo "$path"
  done
}
"""
_ZSH: Final = r"""
_predlog_run_files() {
  local word=${(Q)PREFIX} run ret=1
  local -a found leads
  found=(${word}*/predictions*.jsonl(|.gz|.zst)(N) ${word}*/*/predictions*.jsonl(|.gz|.zst)(N))
  [[ $word == */* ]] && found+=(${word}*/*/*/predictions*.jsonl(|.gz|.zst)(N))
  found=(${(u)found:h})
  (( $#found )) && compadd -f -a found && ret=0
  for run in $found; do
    leads+=($run)
    while [[ $run == */* ]]; do
      run=${run:h}
      leads+=($run)
    done
  done
  _files -F leads && ret=0
  return ret
}
"""


def run(arguments: argparse.Namespace) -> int:
    """Print the script, in which paths are completed, too: a shell that has it completes nothing else by itself."""
    with required("cli"):
        import shtab  # noqa: PLC0415 - it may not be installed
    whole = parser()
    completed = {**dict.fromkeys(_RUNS, _COMPLETE), **dict.fromkeys(_FILES, shtab.FILE)}
    completed |= dict.fromkeys(_FOLDERS, shtab.DIRECTORY)
    for action in _actions(whole):
        name = action.metavar or action.dest.upper()
        if name in completed:
            vars(action)["complete"] = completed[name]
    preamble = {"bash": _BASH, "zsh": _ZSH}.get(arguments.shell, "")
    sys.stdout.write(f"{shtab.complete(whole, arguments.shell, preamble=preamble)}\n")
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of all subcommands."""
    for action in parser._actions:  # noqa: SLF001 - as shtab does; argparse has no other way to ask
        yield action
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                yield from _actions(command)
