"""What all tests with frameworks share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import predlog


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run an example where it may write, and leave no recorder behind."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    predlog.close()
