"""What `import predlog` adds to `import torch`."""

import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.harness import Row, Spread, duration
from tests.benchmarks.options import Options

_CODE = """
import time
start = time.perf_counter()
import torch
between = time.perf_counter()
import predlog
print(between - start, time.perf_counter() - between)
"""


def importing(_options: Options) -> Iterator[Row]:
    """Measure both in fresh processes."""
    torchs, ours = zip(*(_times() for _ in range(7)), strict=True)
    yield Row(
        name="import",
        title="import predlog after import torch / import torch",
        measured=Spread.of(own / of for of, own in zip(torchs, ours, strict=True)),
        at_most=0.03,
        note=duration(Spread.of(ours).median),
        seconds={"import torch": Spread.of(torchs), "import predlog": Spread.of(ours)},
    )


def _times() -> tuple[float, float]:
    printed = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, check=True).stdout
    torchs, ours = map(float, printed.split())
    return torchs, ours
