"""Append events to a file, one `write(2)` a line, so that what is written survives a kill of the process."""

import errno
import os
import time
from pathlib import Path
from typing import Any

from predlog import records
from predlog.errors import RecordError
from predlog.records import Event

# Enough to hold the last whole line of a file, however long its token texts are.
_TAIL = 4 * 1024 * 1024


class JSONL:
    """Append predlog's events to `path` as lines of JSON; pass every event on unchanged.

    The file and its folders are made with the first event. A line goes out in one `write`, so a reader sees
    it whole or not at all, and no kill of the process can take it back. At least every `durable_every`
    seconds of writing, and at `flush` and `close`, the lines are also made safe against a power cut.
    """

    def __init__(self, path: str | os.PathLike[str], *, durable_every: float = 10.0) -> None:
        self.path = Path(path)
        self._durable_every = durable_every
        self._file: int | None = None
        self._synced_at = time.monotonic()
        self._unsynced = False

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Write the event, if it is one of predlog's."""
        if records.is_ours(event):
            self._write(records.to_line(event))
        return event

    def last_attempt(self) -> int:
        """Give the attempt that the file's last undamaged line belongs to; 0 for a new or foreign file."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
                lines = file.read(_TAIL).split(b"\n")
        except FileNotFoundError:
            return 0
        for line in reversed(lines):
            try:
                return records.from_line(line).attempt
            except RecordError:
                continue
        return 0

    def flush(self) -> None:
        """Make what is written safe against a power cut (`fdatasync`)."""
        self._synced_at = time.monotonic()
        if self._file is not None and self._unsynced:
            self._unsynced = False
            _sync(self._file)

    def close(self) -> None:
        """Flush and close the file; the next event opens it again."""
        file, unsynced = self._file, self._unsynced
        self._file, self._unsynced = None, False
        if file is not None:
            try:
                if unsynced:
                    _sync(file)
            finally:
                os.close(file)

    def _write(self, line: bytes) -> None:
        if self._file is not None and not os.fstat(self._file).st_nlink:
            self.close()  # somebody removed the file: what goes on being written there, nobody will read
        if self._file is None:
            self._file = self._open()
        written = os.write(self._file, line)
        if written < len(line):
            # The disk is full. Taken back, the next line can't merge with half of this one.
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise OSError(f"{self.path}: only {written} of {len(line)} bytes of a line could be written")
        self._unsynced = True
        if time.monotonic() - self._synced_at >= self._durable_every:
            self.flush()

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                # A kill tore the last line. Closed, it stays one damaged line and the next one stays whole.
                os.write(file, b"\n")
        except BaseException:
            os.close(file)
            raise
        return file


def _sync(file: int) -> None:
    try:
        getattr(os, "fdatasync", os.fsync)(file)  # macOS has no fdatasync
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EROFS}:  # a pipe or a device has nothing to sync
            raise
