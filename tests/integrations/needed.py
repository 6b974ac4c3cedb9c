"""The frameworks that tests train with: where one is missing its tests are skipped, but not where it must be there.

`PREDLOG_TESTS_NEED_FRAMEWORKS` says which must be: 1 is all, and else it has their names with commas between.
"""

import importlib
import importlib.metadata
import os
from types import ModuleType
from typing import Any

import pytest


def needed(name: str, *, is_loaded: bool = True) -> Any:
    """Import a framework; skip the test module that asks where it is not installed, unless it must be there.

    With `is_loaded=False` it is only looked for: the tests load it in processes of their own.
    """
    try:
        if not is_loaded:
            return importlib.metadata.distribution(name)
        module: ModuleType = importlib.import_module(name)
    except ImportError as error:
        if not {"1", name}.isdisjoint(os.environ.get("PREDLOG_TESTS_NEED_FRAMEWORKS", "").split(",")):
            raise
        pytest.skip(f"needs {name}: {error}", allow_module_level=True)
    return module
