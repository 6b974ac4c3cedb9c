"""What must hold before predlog is released; `python -m tests.release` checks it."""
