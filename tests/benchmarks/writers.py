"""Ways to write one event to a file, each as a context: predlog's own, and what people use instead."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import structlog

from predlog import Recorder

Write = Callable[[dict[str, Any]], object]


@contextmanager
def predlog(path: Path) -> Iterator[Write]:
    """Send the event down the chain that predlog's pipeline makes, into a file of a folder beside `path`.

    No worker is started: what hands over and waits is no part of the writing.
    """
    with Recorder(path.with_suffix(""), console=False) as recorder:
        pipeline = recorder._pipeline
        pipeline.outlets.open()
        pipeline._start(0.0)

        def write(event: dict[str, Any]) -> None:
            reached = pipeline._send(event)
            assert reached is not None
            pipeline._deliver(reached)

        try:
            yield write
        finally:
            # What did not come through `compare` was not counted there.
            recorder._accounts.submitted = recorder.stats()["written"]
            pipeline.finish()


@contextmanager
def bare(path: Path) -> Iterator[Write]:
    """Write with orjson and one write(2), and nothing around it."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(event: dict[str, Any]) -> object:
        return os.write(file, orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))

    try:
        yield write
    finally:
        os.close(file)


@contextmanager
def stdlib(path: Path) -> Iterator[Write]:
    """Write with the standard library: logging to a file, and json."""
    logger = logging.getLogger("tests.benchmarks.stdlib")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.FileHandler(path)
    logger.addHandler(handler)

    def write(event: dict[str, Any]) -> None:
        logger.info(json.dumps(event))

    try:
        yield write
    finally:
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def loguru(path: Path) -> Iterator[Write]:
    """Write with loguru, the event bound to a message and serialised by loguru."""
    from loguru import logger  # noqa: PLC0415 - importing it adds a handler

    logger.remove()
    handler = logger.add(path, serialize=True)

    def write(event: dict[str, Any]) -> None:
        logger.bind(**event).info("comparison")

    try:
        yield write
    finally:
        logger.remove(handler)


@contextmanager
def minimal_structlog(path: Path) -> Iterator[Write]:
    """Write with the shortest fast chain that structlog's documentation shows."""
    with path.open("ab") as file:
        logger = structlog.wrap_logger(
            structlog.BytesLogger(file),
            processors=[structlog.processors.JSONRenderer(serializer=orjson.dumps)],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            cache_logger_on_first_use=True,
        ).bind()

        def write(event: dict[str, Any]) -> object:
            return logger.info(**event)

        yield write
