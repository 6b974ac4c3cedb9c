"""The frameworks that tests train with: where one is missing its tests are skipped, but not where all must be there."""

import importlib
import importlib.metadata
import os
from types import ModuleType
from typing import Any

import pytest


def needed(name: str, *, is_loaded: bool = True) -> Any:
    """Import a framework; skip the test module that asks where it is not installed, unless nothing may be skipped.

    With `is_loaded=False` it is only looked for: the tests load it in processes of their own.
    """
    try:
        if not is_loaded:
            return importlib.metadata.distribution(name)
        module: ModuleType = importlib.import_module(name)
    except ImportError as error:
        if "PREDLOG_TESTS_NEED_FRAMEWORKS" in os.environ:
            raise
        pytest.skip(f"needs {name}: {error}", allow_module_level=True)
    return module
