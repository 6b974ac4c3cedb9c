"""Fixtures that many tests share."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

import predlog

# How long an example takes is the machine's business; how many there are is a test's own.
settings.register_profile("predlog", deadline=None)
settings.load_profile("predlog")
# Many tests start processes. These keep what Python has compiled, as those of users do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# There are as many workers as cores: threads of torch's beyond one would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Started in the background, a shell has us ignore Ctrl-C, and every process that we start; tests send it to some.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keep the collector from looking through all that was imported, whenever a test calls it: nothing of it goes."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)  # before those are chosen that run
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make each test in a browser a slow one, if it takes no longer."""
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and "chromium" in item.fixturenames
            and not item.get_closest_marker("full")
        ):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start a browser for the tests of a module."""
    from tests import browsing  # noqa: PLC0415 - selenium is needed by these tests alone

    with browsing.browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Draw the same random tensors in every run, in whichever order and worker the tests come."""
    import torch  # noqa: PLC0415 - not before the number of threads is set above

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start each test without a launcher's or a user's settings, and without those that frameworks make for all."""
    before = dict(os.environ)
    ours = [name for name in before if name.startswith("PREDLOG_") and not name.startswith("PREDLOG_TESTS_")]
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", *ours):
        monkeypatch.delenv(name, raising=False)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def host_structlog() -> Iterator[None]:
    """Put the host's structlog configuration back after a test that changed it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run an example where it may write, and leave no recorder behind."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    predlog.close()
