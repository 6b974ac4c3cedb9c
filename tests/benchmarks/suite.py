"""All benchmarks by name, in the order in which they run."""

from collections.abc import Callable, Iterator

from tests.benchmarks.capturing import capturing
from tests.benchmarks.commanding import commanding
from tests.benchmarks.cuda import cuda
from tests.benchmarks.drawing import drawing
from tests.benchmarks.gate import gate
from tests.benchmarks.harness import Row
from tests.benchmarks.importing import importing
from tests.benchmarks.instead import instead
from tests.benchmarks.internals import inputs_and_counts, rules
from tests.benchmarks.memory import memory
from tests.benchmarks.options import Options
from tests.benchmarks.reading import reading
from tests.benchmarks.scaling import scaling
from tests.benchmarks.scoring import scoring
from tests.benchmarks.sizing import sizing
from tests.benchmarks.slowdown import slowdown
from tests.benchmarks.steps import steps
from tests.benchmarks.threads import threads
from tests.benchmarks.watching import watching
from tests.benchmarks.writing import writing


def trainer(options: Options) -> Iterator[Row]:
    """Measure the callback of Hugging Face's Trainer."""
    from tests.benchmarks.trainer import trainer  # noqa: PLC0415 - importing transformers takes seconds

    yield from trainer(options)


# The memory comes first, while nothing has been made that a capture could find and use again.
BENCHMARKS: dict[str, Callable[[Options], Iterator[Row]]] = {
    "memory": memory,
    "capture": capturing,
    "score": scoring,
    "steps": steps,
    "instead": instead,
    "inputs_and_counts": inputs_and_counts,
    "rules": rules,
    "gate": gate,
    "watching": watching,
    "table": drawing,
    "writing": writing,
    "sizes": sizing,
    "scaling": scaling,
    "threads": threads,
    "import": importing,
    "command": commanding,
    "reading": reading,
    "trainer": trainer,
    "cuda": cuda,
    "slowdown": slowdown,
}

# These say something on a CUDA device alone.
CUDA_ONLY = frozenset({"cuda", "slowdown"})
