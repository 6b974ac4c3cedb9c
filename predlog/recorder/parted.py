"""What a recorder says of pairs whose logits are in shards: its records are parts, and a reader joins them."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from predlog.findings.facts import Facts
from predlog.numbers.snapshot import Snapshot
from predlog.numbers.unpack import unpack, unpack_parts


def in_parts(step: int, stream: str, file: str | None) -> str:
    """Return the line about the first part, of which `file` is the run's file, if there is one."""
    where = f"step {step}, stream {stream!r}: the logits are in shards, so each process records its part"
    if file is None:
        return f"{where}, and nobody can join what is in no file: pass directory="
    return (
        f"{where}; shown whole, also while the run goes on, by: predlog tail -f {shlex.quote(str(Path(file).parent))}"
    )


def unpacked(captured: Snapshot, texts: int) -> Iterable[tuple[dict[str, Any], Facts]]:
    """Return the fields and the facts of each sequence of a pair: of a comparison, or of a part of it.

    A part has further tokens for the texts of so many of the worst: of use only if there is someone who writes texts.
    """
    return unpack(captured) if captured.sizes.shard is None else unpack_parts(captured, texts)
