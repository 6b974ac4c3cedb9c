"""The tests, in folders named like the packages that they test, and what they share."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
