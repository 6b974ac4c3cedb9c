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


def rank() -> int:
    """Return this process's global rank: the process group's, else the launcher's, else 0."""
    group = _process_group()
    return group.get_rank() if group else _from_environment(_RANK, 0)


def local_rank() -> int:
    """Return this process's rank on its node: the launcher's, else the global rank."""
    return _from_environment(_LOCAL_RANK, rank())


def world_size() -> int:
    """Return the number of processes in the run: the process group's, else the launcher's, else 1."""
    group = _process_group()
    return group.get_world_size() if group else _from_environment(_WORLD_SIZE, 1)


def _process_group() -> Any:
    # A program that initialised a process group has imported this module; no other program should pay for the import.
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed


def _from_environment(names: tuple[str, ...], otherwise: int) -> int:
    for name in names:
        value = os.environ.get(name, "")
        if value.isdecimal():
            return int(value)
    return otherwise
