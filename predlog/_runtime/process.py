"""Which process of a distributed run this is, read anew at each call.

Launchers set the environment before the process starts, the process group comes later, and both may be
wrong at import time. So nothing is cached here.
"""

import os
import sys
from typing import Any

# torchrun, Lightning and Accelerate set the first name; Slurm and Open MPI set the others.
_RANK = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
_LOCAL_RANK = ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK")
_WORLD_SIZE = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
# No job has more processes.
_MOST = 2**31 - 1


def rank() -> int:
    """Return this process's global rank: the process group's, else the launcher's, else 0."""
    group = _process_group()
    return max(group.get_rank(), 0) if group else _from_environment(_RANK, 0)


def local_rank() -> int:
    """Return this process's rank on its node: the launcher's, else the global rank."""
    return _from_environment(_LOCAL_RANK, rank())


def world_size() -> int:
    """Return the number of processes in the run: the process group's, else the launcher's, else 1."""
    group = _process_group()
    return max(group.get_world_size(), 1) if group else _from_environment(_WORLD_SIZE, 1, least=1)


def unusable() -> list[str]:
    """Return which of the launcher's numbers are none that a process can have, in words; each is read as if unset."""
    if _process_group():
        return []
    return [
        f"{name}={os.environ[name][:20]} in the environment is not from {least} to {_MOST}, so it is ignored"
        for least, names in ((0, _RANK), (0, _LOCAL_RANK), (1, _WORLD_SIZE))
        for name in names
        if os.environ.get(name, "").isdecimal() and _number(name, least) is None
    ]


def _process_group() -> Any:
    # A program that initialised a process group has imported this module; no other program should pay for the import.
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed


def _from_environment(names: tuple[str, ...], otherwise: int, least: int = 0) -> int:
    numbers = (_number(name, least) for name in names)
    return next((number for number in numbers if number is not None), otherwise)


def _number(name: str, least: int) -> int | None:
    value = os.environ.get(name, "")
    # Python refuses to read a number of thousands of digits.
    number = int(value) if value.isdecimal() and len(value) < 20 else -1
    return number if least <= number <= _MOST else None
