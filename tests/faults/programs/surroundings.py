"""Do what a user does with predlog in a process that has never imported it, and compare the process's global state.

Each seed sets the state at random first. What trains by itself is done twice, with and without predlog.
"""

import asyncio
import decimal
import faulthandler
import gc
import importlib
import json
import locale
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_start_method
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests import entry_points
from tests.entry_points import GIVEN
from tests.faults.telling import asked, tell

# The control: rich draws from Python's random numbers when it is imported.
PROGRAMS = {**entry_points.PROGRAMS, "an import that draws": "import rich.style"}
_SIGNALS = [one for one in signal.Signals if one not in {signal.SIGKILL, signal.SIGSTOP}]
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


def _handle(_number: int, _frame: object) -> None:
    """Be a handler of the program's own."""


def _wakeup() -> int:
    number = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(number)
    return number


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _numpy_random() -> str:
    return repr(np.random.get_state(legacy=False)["state"])  # noqa: NPY002 - the global one is what others share


def _logging() -> Any:
    root = logging.getLogger()
    return root.level, [repr(one) for one in root.handlers], logging.root.manager.disable, logging.raiseExceptions


def _descriptors() -> Any:
    flags = importlib.import_module("fcntl")
    return [(flags.fcntl(one, flags.F_GETFL), flags.fcntl(one, flags.F_GETFD)) for one in (0, 1, 2)]


def _backends() -> Any:
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return (
        cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic, cudnn.enabled,
        cuda.flash_sdp_enabled(), cuda.math_sdp_enabled(), torch.backends.mkldnn.enabled,
    )  # fmt: skip


# What a library may change for everybody. Each is the same value in two processes in which it is the same.
STATES: dict[str, Callable[[], Any]] = {
    "random": lambda: hash(random.getstate()),
    "NumPy's random state": _numpy_random,
    "torch's random state": lambda: hash(torch.get_rng_state().numpy().tobytes()),
    "default dtype": torch.get_default_dtype,
    "default device": torch.get_default_device,
    "threads of torch": torch.get_num_threads,
    "threads between operations": torch.get_num_interop_threads,
    "grad mode": torch.is_grad_enabled,
    "inference mode": torch.is_inference_mode_enabled,
    "anomaly mode": torch.is_anomaly_enabled,
    "autocast": lambda: (
        torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_autocast_cache_enabled()
    ),
    "deterministic algorithms": lambda: (
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    ),
    "matmul precision": torch.get_float32_matmul_precision,
    "backends": _backends,
    "torch functions": lambda: (torch._C._is_torch_function_enabled(), torch._C._len_torch_function_stack()),
    "dispatch": lambda: (
        str(torch._C._dispatch_tls_local_exclude_set()), str(torch._C._dispatch_tls_local_include_set())
    ),
    "printing of tensors": lambda: vars(torch._tensor_str.PRINT_OPTS),
    "saved tensors hooks": lambda: torch._C._autograd._top_saved_tensors_default_hooks(False) is None,
    "printing of arrays": np.get_printoptions,
    "floating-point errors of NumPy": np.geterr,
    "warnings": lambda: ([str(one) for one in warnings.filters], warnings.showwarning.__qualname__),
    "logging": _logging,
    "locale": lambda: locale.setlocale(locale.LC_ALL),
    "time zone": lambda: (time.tzname, time.timezone),
    "signal handlers": lambda: [repr(signal.getsignal(one)).partition(" at ")[0] for one in _SIGNALS],
    "blocked signals": lambda: sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "timers": lambda: signal.getitimer(signal.ITIMER_REAL),
    "wakeup descriptor": _wakeup,
    "umask": _umask,
    "working directory": os.getcwd,
    "environment": lambda: dict(os.environ),
    "limits": lambda: [resource.getrlimit(one) for one in _LIMITS],
    "priority and cores": lambda: (os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0))),
    "descriptors 0 to 2": _descriptors,
    "standard streams": lambda: [one is other for one, other in zip(
        (sys.stdin, sys.stdout, sys.stderr), (sys.__stdin__, sys.__stdout__, sys.__stderr__), strict=True)],
    "hooks for exceptions": lambda: [one.__qualname__ for one in (
        sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook, sys.breakpointhook)],
    "tracing and profiling": lambda: (sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()),
    "recursion limit": sys.getrecursionlimit,
    "switch interval": sys.getswitchinterval,
    "digits of integers": getattr(sys, "get_int_max_str_digits", int),
    "import path": lambda: list(sys.path),
    "garbage collection": lambda: (gc.isenabled(), gc.get_threshold(), gc.get_debug()),
    "decimals": lambda: str(decimal.getcontext()),
    "event loop": lambda: type(asyncio.get_event_loop_policy()).__qualname__,
    "start method": lambda: get_start_method(allow_none=True),
    "faulthandler": faulthandler.is_enabled,
    "stack size": threading.stack_size,
}  # fmt: skip


def states() -> dict[str, str]:
    """Return all states in words."""
    return {name: repr(read()) for name, read in STATES.items()}


def disturb(seed: int) -> ExitStack:
    """Set the state at random, as programs do; what can't be set without a context is left in that of the stack."""
    chance, stack = random.Random(seed), ExitStack()
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - as above
    torch.manual_seed(seed)
    torch.set_num_threads(chance.choice([1, 2]))
    torch.set_float32_matmul_precision(chance.choice(["highest", "high", "medium"]))
    torch.use_deterministic_algorithms(chance.random() < 0.3, warn_only=True)
    torch.set_printoptions(precision=chance.randrange(2, 8))
    torch.backends.cudnn.benchmark = chance.random() < 0.5
    np.seterr(over=chance.choice(["ignore", "warn"]))
    np.set_printoptions(precision=chance.randrange(2, 8))
    signal.signal(signal.SIGUSR2, signal.SIG_IGN if chance.random() < 0.5 else _handle)
    signal.signal(signal.SIGTERM, signal.SIG_DFL if chance.random() < 0.5 else _handle)
    os.umask(chance.choice([0o022, 0o077, 0o027]))
    os.environ["SOMETHING"] = str(seed)
    sys.setrecursionlimit(chance.randrange(900, 3000))
    sys.setswitchinterval(chance.choice([0.005, 0.001]))
    decimal.getcontext().prec = chance.randrange(5, 40)
    warnings.simplefilter(chance.choice(["default", "ignore"]), ResourceWarning)
    logging.getLogger().setLevel(chance.choice(["INFO", "WARNING"]))
    logging.getLogger().addHandler(logging.NullHandler())
    gc.set_threshold(chance.randrange(500, 900))
    locale.setlocale(locale.LC_ALL, chance.choice(["C.UTF-8", ""]))
    if chance.random() < 0.3:
        stack.enter_context(torch.autocast("cpu", torch.bfloat16))
    if chance.random() < 0.2:
        torch.set_default_dtype(torch.float64)
    return stack


def _with_trainer(folder: str, *, is_recorded: bool) -> None:
    from tests.integrations import tiny  # noqa: PLC0415 - imported before the fork
    from tests.integrations.test_trainer import trained  # noqa: PLC0415

    callbacks: list[Any] = []
    if is_recorded:
        from predlog.integrations.transformers import PredictionCallback  # noqa: PLC0415 - the first import counts

        callbacks = [PredictionCallback(folder, every=1)]
    trained(Path(folder), callbacks, max_steps=2, eval_strategy="steps", eval_steps=1, samples=tiny.samples()[:8])


def _with_fit(folder: str, *, is_recorded: bool) -> None:
    from tests.integrations import writers  # noqa: PLC0415 - as above

    callbacks: list[Any] = []
    if is_recorded:
        from predlog.integrations.lightning import PredictionCallback  # noqa: PLC0415

        callbacks = [PredictionCallback(folder, every=1, shift=1)]
    loader = writers.loader(writers.IDS[:8])
    writers.trainer(*callbacks, max_steps=2).fit(writers.Writer(), loader, loader)


def _with_program(way: str) -> Callable[..., None]:
    def call(folder: str, *, is_recorded: bool) -> None:
        arguments, sys.argv = sys.argv, ["program", folder]
        exec(GIVEN + (PROGRAMS[way] if is_recorded else ""), {"__name__": "__main__"})
        sys.argv = arguments

    return call


WAYS: dict[str, Callable[..., None]] = {
    **{way: _with_program(way) for way in PROGRAMS if way not in {"help", "the demo"}},
    "transformers' Trainer": _with_trainer,
    "Lightning's Trainer": _with_fit,
}


def after(way: str, seed: int, *, is_recorded: bool) -> dict[str, str]:
    """Return the states after a way was gone in a forked process, or the traceback of what it raised."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            with disturb(seed), tempfile.TemporaryDirectory() as folder:
                WAYS[way](folder, is_recorded=is_recorded)
                found = states()
        except BaseException:  # noqa: BLE001 - it is told
            found = {"raised": traceback.format_exc()[-1000:]}
        with os.fdopen(writer, "w") as pipe:
            json.dump(found, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.wait()
    return dict(json.loads(text)) if text else {"raised": "the process died"}


def main(ways: list[str], seeds: int, modules: list[str]) -> None:
    """Go each way with each seed, with predlog and without; tell which states differ."""
    for module in modules:
        importlib.import_module(module)
    loaded = [name for name in sys.modules if name.partition(".")[0] == "predlog"]
    differing: dict[str, str] = {}
    for way in ways:
        for seed in range(seeds):
            without, with_it = (after(way, seed, is_recorded=is_recorded) for is_recorded in (False, True))
            for name in without.keys() | with_it.keys():
                if without.get(name) != with_it.get(name) or name == "raised":
                    differing[f"{way}, seed {seed}: {name}"] = f"{without.get(name)} → {with_it.get(name)}"[-600:]
    tell("done", kinds=len(STATES), processes=2 * len(ways) * seeds, differing=differing, loaded=loaded)


if __name__ == "__main__":
    main(**asked())
