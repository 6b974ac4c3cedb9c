"""Processes that begin in a moment, because they are forked from one that has imported torch and predlog already."""

import multiprocessing
from multiprocessing.context import ForkServerContext


def context() -> ForkServerContext:
    """Return the standard library's fork server; no thread runs in it, which a fork of this process could not say."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["predlog.recorder.recorder", "tests.events"])
    return server
