"""Print faults named / faults and false alarms / records, over all cases, and exit with 1 where one is missed.

Each case is run with each of what may be passed to a recorder: every step or every tenth, with and without inputs, with
and without masks, positions and the reported loss. `--every` and `--without` choose some of these. `--seeds N` (5) and
`--steps N` (200) say how many trainings there are and how long the healthy ones are, and `--only WORDS` which cases are
run, `--first-seed` which seeds. A fault counts where it can be named with what is passed.
"""

import argparse
import itertools
import sys
from collections import Counter, defaultdict

import torch

from tests.cases import faults, healthy, loops
from tests.cases.passed import ALL, Passed


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--without", choices=["nothing", "inputs", "positions", "both"], nargs="+")
    parser.add_argument("--only", default="", help="words in the name of a case or in its code")
    parser.add_argument("--kind", choices=["faults", "healthy", "trl"], nargs="+", default=["faults", "healthy", "trl"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    ways = [one for one in ALL if one.every in arguments.every and _is_wanted(one, arguments.without)]
    named, alarms = Tally(), Tally()
    if "faults" in arguments.kind:
        faults_named(ways, seeds, arguments.only, named)
    if "healthy" in arguments.kind:
        false_alarms(ways, seeds, arguments.steps, arguments.only, alarms)
    if "trl" in arguments.kind:
        alarms_of_trainers(ways, seeds, arguments.only, alarms)
    print(f"\n{'':<60}{'faults named':>16}{'false alarms':>24}")
    for way in ways:
        print(f"{way!s:<60}{named.of(way):>16}{alarms.of(way, 'records'):>24}")
    return 0 if named.is_full() and alarms.is_empty() else 1


class Tally:
    """How many of how many, of each way in which a recorder is passed what is known."""

    def __init__(self) -> None:
        self._count, self._total = Counter[Passed](), Counter[Passed]()

    def add(self, way: Passed, count: int, total: int) -> None:
        """Add some of some."""
        self._count[way] += count
        self._total[way] += total

    def of(self, way: Passed, what: str = "") -> str:
        """Return both numbers as a text."""
        return f"{self._count[way]} / {self._total[way]} {what}".rstrip()

    def is_full(self) -> bool:
        """Whether it is all of all."""
        return self._count == self._total

    def is_empty(self) -> bool:
        """Whether it is none."""
        return not self._count.total()


def _is_wanted(way: Passed, without: list[str] | None) -> bool:
    lacks = {(True, True): "nothing", (False, True): "inputs", (True, False): "positions", (False, False): "both"}
    return without is None or lacks[way.inputs, way.positions] in without


def faults_named(ways: list[Passed], seeds: range, only: str, tally: Tally) -> None:
    """Run each mistake in each model that can have it."""
    of_code = defaultdict(Tally)  # type: ignore[var-annotated]
    for fault in faults.FAULTS:
        if only not in fault.name and only != fault.code:
            continue
        able = [way for way in ways if fault.can_be_named(way)]
        for model, seed in itertools.product(fault.models if able else (), seeds):
            for way, (found, _) in faults.found_by_each(fault, model, able, seed).items():
                is_named = fault.is_named(found, way)
                tally.add(way, is_named, 1)
                of_code[fault.code].add(way, is_named, 1)
                if not is_named:
                    codes = [(one.code, one.step) for one in found] or "nothing"
                    where = f"{fault.name} ({model}, {way}, seed {seed})"
                    print(f"MISSED  {where}: {fault.code}, found {codes}", flush=True)
    for code, one in of_code.items():
        print(f"{code:<28}", *(f"{one.of(way):>12}" for way in ways))


def false_alarms(ways: list[Passed], seeds: range, steps: int, only: str, tally: Tally) -> None:
    """Run the healthy trainings, at the usual learning rate and at a tenth of it."""
    special = {"pad": loops.EOS, "eos": loops.EOS, "bos": loops.EOS}
    trainings: list[tuple[str, healthy.Make, dict[str, int] | None]] = [
        (name, make, None) for name, make in healthy.HEALTHY.items()
    ]
    trainings += [(name, make, special) for name, make in healthy.ENDS_PAD.items()]
    for name, make, tokens in trainings:
        if only not in name:
            continue
        here = Tally()
        for seed, rate in itertools.product(seeds, (1.0, 0.1)):
            by_each = healthy.found_by_each(make, ways, seed=seed, steps=steps, rate=rate, special_tokens=tokens)
            for way, (found, judged) in by_each.items():
                tally.add(way, len(found), judged)
                here.add(way, len(found), judged)
                for one in found:
                    where = f"{name}, seed {seed}, {way}, rate {rate}, step {one.step}"
                    print(f"ALARM   {where}: {one.message}", flush=True)
        print(f"{name:<48}", *(f"{here.of(way):>12}" for way in ways), flush=True)


def alarms_of_trainers(ways: list[Passed], seeds: range, only: str, tally: Tally) -> None:
    """Run TRL's trainers, whose callback passes what it knows."""
    from tests.cases import trl  # noqa: PLC0415 - takes long, and need not be installed

    names = [name for name in trl.TRAINERS if only in name]
    for name in names:
        here = Tally()
        for way, seed in itertools.product(ways, seeds):  # a model has one callback
            found, judged = trl.found(trl.TRAINERS[name], seed=seed, passed=way)
            tally.add(way, len(found), judged)
            here.add(way, len(found), judged)
            for one in found:
                print(f"ALARM   {name}, seed {seed}, {way}, step {one.step}: {one.message}", flush=True)
        print(f"{name:<48}", *(f"{here.of(way):>12}" for way in ways), flush=True)


if __name__ == "__main__":
    sys.exit(main())
