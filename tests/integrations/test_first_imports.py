"""What a framework's user imports of predlog leaves a seeded training as it is."""

from pathlib import Path

import pytest

from tests import fresh
from tests.entry_points import FRAMEWORKS, GIVEN, STATES
from tests.integrations.needed import needed


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_random_states_stay_as_they_are(tmp_path: Path, name: str) -> None:
    """A callback or a tracker's sink, imported and made after the seed was set, moves no random state."""
    own, program = FRAMEWORKS[name]
    needed(name)
    done = fresh.run(GIVEN + own + STATES % program, tmp_path, "3")
    assert done.returncode == 0, done.stderr
