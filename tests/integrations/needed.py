"""The frameworks that tests train with: where one is missing its tests are skipped, but not where all must be there."""

import importlib
import os
from types import ModuleType
from typing import Any

import pytest


def needed(name: str) -> Any:
    """Import a framework; skip the test module that asks where it is not installed, unless nothing may be skipped."""
    try:
        module: ModuleType = importlib.import_module(name)
    except ImportError as error:
        if "PREDLOG_TESTS_NEED_FRAMEWORKS" in os.environ:
            raise
        pytest.skip(f"needs {name}: {error}", allow_module_level=True)
    return module
