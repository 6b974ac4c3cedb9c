"""TRL's trainers, with nothing wrong, are left alone: of each kind one in every run, with `-m slow` all."""

from collections.abc import Iterator

import pytest
import torch

from tests.cases import trl
from tests.cases.passed import EVERYTHING, Passed

pytestmark = pytest.mark.filterwarnings("default")
LITTLE = Passed(inputs=False, positions=False)
SHORT = ("SFT, packed", "SFT, prompts and completions", "DPO", "GRPO, inner iterations")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are fastest in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("passed", [EVERYTHING, pytest.param(LITTLE, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SHORT else pytest.mark.slow) for name in trl.TRAINERS]
)
def test_a_trainer_is_left_alone(name: str, passed: Passed) -> None:
    """The callback records steps, and nothing is found."""
    found, records = trl.found(trl.TRAINERS[name], seed=1, passed=passed)
    assert [one.message for one in found] == []
    assert records >= 16
