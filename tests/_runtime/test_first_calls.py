"""The first call in a process: what it imports, and that a seeded training goes on as if it had not been made."""

import shutil
from pathlib import Path

import pytest

from tests import fresh
from tests.entry_points import AUDIT, AUDITED, COMPILE, GIVEN, PROGRAMS, READERS, RUNS, STATES
from tests.sizes import sizes

# --- random states ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", sizes(core=range(1), slow=range(1, 2), full=range(2, 40)))
@pytest.mark.parametrize("way", PROGRAMS)
def test_random_states_and_torch_stay_as_they_are(tmp_path: Path, way: str, seeds: range) -> None:
    """Neither the first imports nor the first calls move the random state of Python, NumPy or torch.

    And nothing is imported where torch functions are off or a mode is pushed: some imports would fail half-way there.
    """
    for seed in seeds:
        done = fresh.run(GIVEN + AUDIT + STATES % PROGRAMS[way] + AUDITED, tmp_path / f"{seed}", f"{seed}")
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make runs of one comparison, plain and packed."""
    folder = tmp_path_factory.mktemp("runs")
    done = fresh.run(GIVEN + RUNS, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("way", "seeds"),
    [
        *((way, range(1)) for way in [*READERS][:3]),
        *(pytest.param(way, range(1), marks=pytest.mark.slow) for way in [*READERS][3:]),
        *(pytest.param(way, range(4, 40), marks=pytest.mark.full) for way in READERS),
    ],
)
def test_readers_leave_random_states_as_they_are(tmp_path: Path, runs: Path, way: str, seeds: range) -> None:
    """Reading, and each command called as a function, move no random state of a process that has recorded nothing."""
    for seed in seeds:
        folder = shutil.copytree(runs, tmp_path / f"{seed}")
        done = fresh.run(GIVEN + STATES % READERS[way], folder, f"{seed}")
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("draw", "moved"),
    [("random.random()", "random"), ("numpy.random.rand()", "numpy"), ("torch.rand(())", "torch")],
)
def test_that_test_can_fail(tmp_path: Path, draw: str, moved: str) -> None:
    """A number that is drawn is seen, of each of the three."""
    assert f"AssertionError: {{'{moved}'}}" in fresh.run(GIVEN + STATES % draw, tmp_path, "0").stderr


_BESIDE = """
import threading
from predlog.cli.main import main
main(["summary", folder])  # the first one imports rich
seen, is_over = [], threading.Event()
def train():
    while not is_over.is_set():
        seen.append(random.random())
random.seed(5)
thread = threading.Thread(target=train)
thread.start()
for _ in range(3):
    main(["summary", folder])
is_over.set()
thread.join()
random.seed(5)
assert seen and seen == [random.random() for _ in seen]
"""


def test_a_command_beside_a_training_rewinds_nothing(runs: Path) -> None:
    """A command called in a notebook while a thread trains leaves each number to be drawn once."""
    done = fresh.run(GIVEN + _BESIDE, runs)
    assert done.returncode == 0, done.stderr[-2000:]


_TRAINING = """
import random, sys, torch
random.seed(7)
torch.manual_seed(7)
embed, head = torch.nn.Embedding(16, 4), torch.nn.Linear(4, 16)
optimizer = torch.optim.SGD([*embed.parameters(), *head.parameters()], lr=0.5)
if sys.argv[1:]:
    import predlog
    predlog.configure(sys.argv[1], every=1, console=False)
for step in range(20):
    ids = torch.tensor([[random.randrange(16) for _ in range(8)] for _ in range(2)])
    logits = head(embed(ids))
    if sys.argv[1:]:
        predlog.compare(logits, ids, step, shift=1, inputs=ids)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
"""


@pytest.mark.slow
def test_a_seeded_training_ends_with_the_same_loss(tmp_path: Path) -> None:
    """A loop that draws its batches from Python's `random` sees the same batches with predlog as without."""
    without, with_it = fresh.run(_TRAINING), fresh.run(_TRAINING, tmp_path)
    assert (with_it.returncode, with_it.stdout) == (0, without.stdout)
    assert float(without.stdout) > 0


# --- imports ------------------------------------------------------------------------------------------------------

_INSIDE_A_COMPILED_CALLER = """
def around(ids):
    record()
    return ids + 1
assert torch.equal(torch.compile(around, backend="eager")(labels), labels + 1)
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("ways", sizes(core=["watch"], slow=[*PROGRAMS][::4], full=[*PROGRAMS]))
def test_the_caller_can_compile(tmp_path: Path, ways: list[str], when: str) -> None:
    """What the caller compiles before or after the first call works, and so does the first call."""
    for way in ways:
        first, then = (COMPILE, "") if when == "before" else ("", COMPILE)
        done = fresh.run(GIVEN + first + AUDIT + PROGRAMS[way] + AUDITED + then + AUDITED, tmp_path / way)
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["a layout", "compare"])
def test_the_first_call_inside_of_a_compiled_caller(tmp_path: Path, way: str) -> None:
    """The first call of a process may be made while the caller is compiled, where predlog records nothing."""
    record = "def record():\n" + "".join(f"    {line}\n" for line in PROGRAMS[way].splitlines())
    program = GIVEN + AUDIT + record + _INSIDE_A_COMPILED_CALLER + AUDITED + "record()\n" + AUDITED + COMPILE
    done = fresh.run(program, tmp_path / "run")
    assert done.returncode == 0, done.stderr[-2000:]


def test_that_an_import_is_seen(tmp_path: Path) -> None:
    """An import of predlog's where torch functions are off is counted."""
    program = """
import predlog._runtime.torch_state, predlog
enter, leave = predlog._runtime.torch_state.alone()
enter()
predlog.read
leave()
"""
    done = fresh.run(GIVEN + AUDIT + program + AUDITED, tmp_path)
    assert "AssertionError: ['predlog.reading" in done.stderr
