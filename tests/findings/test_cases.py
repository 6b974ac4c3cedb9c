"""Real models with one known mistake each are named rightly, and healthy trainings are left alone.

Each short mistake is made in one of its models, and each healthy training done once and shortly. With `-m slow` come
a second model, long mistakes, longer trainings, and recorders that are passed less; with `-m full` the other models.
`python -m tests.cases` runs all.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from predlog import Recorder
from predlog.findings import catalog
from tests.cases import faults, healthy, loops
from tests.cases.faults import FAULTS, NEEDS, Fault
from tests.cases.passed import EVERYTHING, Passed
from tests.sizes import sizes


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are fastest in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


LITTLE = Passed(inputs=False, positions=False)


def is_short(fault: Fault) -> bool:
    return fault.by + fault.prepared < 20


def size(fault: Fault, number: int) -> Any:
    """Return the mark of a mistake in its model of a number: a short one in the second is slow, as long ones are."""
    if number > 1:
        return pytest.mark.full
    return () if is_short(fault) and not number else pytest.mark.slow


# Short ones in every model, long ones in the first.
CASES = [
    pytest.param(fault, model, id=f"{fault.name}: {model}", marks=size(fault, number))
    for fault in FAULTS
    for number, model in enumerate(fault.models if is_short(fault) else fault.models[:1])
]
# The mistake that shows each code soonest.
SOONEST = {
    code: min((fault for fault in FAULTS if fault.code == code), key=lambda fault: fault.by + fault.prepared)
    for code in sorted({fault.code for fault in FAULTS})
}


@pytest.mark.parametrize(("fault", "model"), CASES)
def test_a_mistake_is_named_rightly(fault: Fault, model: str) -> None:
    """The code that fits is found by the first record that can decide it, and no other code."""
    found, _ = faults.found(fault, model)
    assert fault.is_named(found), [one.message for one in found]


@pytest.mark.parametrize(
    "code", [pytest.param(code, marks=() if is_short(fault) else pytest.mark.slow) for code, fault in SOONEST.items()]
)
def test_without_its_rule_a_mistake_is_not_named(code: str) -> None:
    """With its rule taken out, the mistake has no name; so the test above sees it when a rule goes."""
    case = SOONEST[code]
    found, _ = faults.found(case, case.models[0], ignore=[code])
    assert code not in {one.code for one in found}


@pytest.mark.parametrize(
    "passed",
    sizes(core=None, slow=Passed(10, inputs=False, positions=False), full=Passed(10), of="every 10"),
)
@pytest.mark.parametrize("code", SOONEST)
def test_a_mistake_is_named_whatever_is_passed(code: str, passed: Passed) -> None:
    """Also every tenth step alone names it, without what it does not need."""
    case = SOONEST[code]
    if not case.can_be_named(passed):
        pytest.skip(f"{code} can't be known without {' and '.join(NEEDS.get(code, case.needs or ()))}")
    found, _ = faults.found(case, case.models[0], passed=passed)
    assert case.is_named(found, passed), [one.message for one in found]


def test_each_code_has_a_case() -> None:
    """There is a mistake for every finding that can be said.

    What is no mistake is in recorder/test_losses, and what is one of a model's mask in integrations/test_preflight.
    """
    assert {fault.code for fault in FAULTS} == set(catalog.CODES) - {"capture-failed", "sees-the-future"}


@pytest.mark.parametrize(
    ("passed", "steps"),
    [
        *sizes(core=(EVERYTHING, 16), slow=(EVERYTHING, 24), full=(EVERYTHING, 60), of="everything"),
        *sizes(core=None, slow=(LITTLE, 16), full=(LITTLE, 40), of="logits and labels"),
    ],
)
@pytest.mark.parametrize("name", healthy.HEALTHY)
def test_a_healthy_training_is_left_alone(name: str, passed: Passed, steps: int) -> None:
    """No finding at all in 24 logged steps from a random start, and in 16 without inputs, masks and positions."""
    found, records = healthy.found(healthy.HEALTHY[name], seed=1, steps=steps, passed=passed)
    assert [one.message for one in found] == []
    assert records >= min(steps, 40)


@pytest.mark.parametrize("name", healthy.ENDS_PAD)
def test_an_end_token_that_pads_is_left_alone(name: str) -> None:
    """One token that begins, ends and pads, as GPT-2's does, is not taken for a doubled begin or supervised padding."""
    special = {"pad": loops.EOS, "eos": loops.EOS, "bos": loops.EOS}
    found, _ = healthy.found(healthy.ENDS_PAD[name], seed=1, steps=60, special_tokens=special)
    assert [one.message for one in found] == []


def test_findings_change_nothing() -> None:
    """With inputs and findings on, weights and random state after 20 steps are bitwise those without predlog."""
    states = []
    for recorder in (None, Recorder(every=1, console=False, sinks=[lambda _l, _n, event: event])):
        setup = loops.made("llama", seed=3)
        setup.model.train()
        for _ in loops.train(setup, () if recorder is None else (recorder,), range(20)):
            pass
        states.append(([weight.clone() for weight in setup.model.parameters()], torch.get_rng_state()))
        if recorder is not None:
            recorder.close()
    (without, random_without), (with_it, random_with) = states
    assert all(torch.equal(one, other) for one, other in zip(without, with_it, strict=True))
    assert torch.equal(random_without, random_with)
