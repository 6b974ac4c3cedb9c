"""Print faults named / faults and false alarms / records, over all cases, and exit with 1 where one is missed.

`--seeds N` (3) and `--steps N` (200) say how many healthy trainings there are and how long they are.
"""

import argparse
import itertools
import sys
from collections import Counter

import torch

from tests.cases import faults, healthy, loops


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    named = faults_named()
    quiet = alarms(arguments.seeds, arguments.steps)
    return 0 if named and quiet else 1


def faults_named() -> bool:
    """Run each mistake in each model that can have it."""
    right, total = Counter[str](), Counter[str]()
    for fault in faults.FAULTS:
        for model in fault.models:
            found, _ = faults.found(fault, model)
            codes = {one.code for one in found}
            total[fault.code] += 1
            right[fault.code] += codes == {fault.code}
            if codes != {fault.code}:
                print(f"MISSED  {fault.name} ({model}): {fault.code}, found {sorted(codes) or 'nothing'}", flush=True)
    for code, count in total.items():
        print(f"{code:<24}{right[code]:>4} of {count} named, and no other code")
    print(f"faults named: {right.total()} of {total.total()}\n", flush=True)
    return right == total


def alarms(seeds: int, steps: int) -> bool:
    """Run the healthy trainings, with and without inputs, at the usual learning rate and at a tenth of it."""
    false, records = 0, 0
    special = {"pad": loops.EOS, "eos": loops.EOS, "bos": loops.EOS}
    trainings: list[tuple[str, healthy.Make, dict[str, int] | None]] = [
        (name, make, None) for name, make in healthy.HEALTHY.items()
    ]
    trainings += [(name, make, special) for name, make in healthy.ENDS_PAD.items()]
    for name, make, tokens in trainings:
        here, before = 0, records
        for seed, inputs, rate in itertools.product(range(seeds), (True, False), (1.0, 0.1)):
            found, judged = healthy.found(make, seed=seed, steps=steps, inputs=inputs, rate=rate, special_tokens=tokens)
            records += judged
            here += len(found)
            for one in found:
                print(f"ALARM   {name}, seed {seed}, inputs {inputs}, rate {rate}, step {one.step}: {one.message}")
        false += here
        print(f"{name:<32}{here:>4} false alarms in {records - before} records", flush=True)
    print(f"false alarms: {false} in {records} records")
    return not false


if __name__ == "__main__":
    sys.exit(main())
