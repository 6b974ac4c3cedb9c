"""Append events to a file, one `write(2)` per line, so that what is written survives a kill of the process."""

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from predlog._runtime.fork import ForkSafeLock
from predlog.errors import NotDurableError, RecordError
from predlog.records import codec
from predlog.records.schema import Event

# Only POSIX systems have these.
_NO_FOLLOW, _NO_WAIT = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK"))
# Bytes: enough for the last whole line of a file, however long its token texts are.
_TAIL = 4 * 1024 * 1024
# Seconds within which a line that is being written gets its end.
_WRITING = 0.05


class JSONL:
    """Append predlog's events to `path` as lines of JSON; pass every event on unchanged.

    The file and its folders are made with the first event. Each line is one `write`, so a reader sees
    it whole or not at all, and no kill of the process can remove it. At least every `durable_every`
    seconds of writing, and at `flush` and `close`, the lines are also made safe against a power cut. Threads, processes
    and signal handlers may write to one file at once.

    The file's permissions follow the umask; `mode`, such as 0o600, narrows them, and those of a folder that is made
    for it. A symbolic link at `path` is not followed: whoever can create it could choose which file is written to.

    Raises:
        OSError: The line is not in the file. The next event opens the file again.
        NotDurableError: The line is in the file, but could not be made safe against a power cut.
        RecordError: The event does not fit its schema.
    """

    def __init__(self, path: str | os.PathLike[str], *, durable_every: float = 10.0, mode: int | None = None) -> None:
        # Even if the process changes its working folder, the same file is opened again.
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow symbolic links
        self._durable_every = durable_every
        self._mode = mode
        self._file: int | None = None
        self._header = b""
        self._synced_at = time.monotonic()
        self._unsynced = False
        self._lock = ForkSafeLock(inner=True)

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Write the event, if it is one of predlog's."""
        if codec.is_ours(event):
            line = codec.to_line(event)
            with self._lock.lock:
                self._append(line)
                if event["event"] == "predlog.run" and event["stats"] is None:
                    self._header = line
                if time.monotonic() - self._synced_at >= self._durable_every:
                    self._flush()
        return event

    def last_attempt(self) -> int:
        """Return the attempt of the file's last undamaged line; 0 for a new or foreign file."""
        try:
            # Without O_NONBLOCK, opening something other than a file, such as a pipe, might never return.
            file = self._opened(os.O_RDONLY | _NO_WAIT, 0)
        except FileNotFoundError:
            return 0
        try:
            size = os.fstat(file).st_size
            lines = _read_at(file, _TAIL, max(size - _TAIL, 0)).split(b"\n") if size else []
        finally:
            os.close(file)
        for line in reversed(lines):
            try:
                return codec.from_line(line).attempt
            except RecordError:
                continue
        return 0

    def flush(self) -> None:
        """Make what is written safe against a power cut (`fdatasync`); raises NotDurableError if that fails."""
        with self._lock.lock:
            self._flush()

    def close(self) -> None:
        """Flush and close the file; the next event opens it again."""
        with self._lock.lock:
            try:
                self._flush()
            finally:
                self._close()

    def _append(self, line: bytes) -> None:
        try:
            if self._file is not None and not os.fstat(self._file).st_nlink:
                # Somebody removed the file: nobody would read what is written to it from now on.
                self._close()
                self._unsynced = False
            if self._file is None:
                self._file = self._open()
                if not os.fstat(self._file).st_size:
                    line = self._header + line  # a new file begins with the attempt's first line, too
            _write_whole(self._file, line)
        except OSError:
            self._close()
            raise
        self._unsynced = True

    def _flush(self) -> None:
        self._synced_at = time.monotonic()
        if self._file is not None and self._unsynced:
            self._unsynced = False
            try:
                _sync(self._file)
            except OSError as error:
                raise NotDurableError(f"{self.path} is written, but not safe against a power cut: {error}") from None

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # it would repeat the error of the line that was not written
                os.close(file)

    def _open(self) -> int:
        mode = 0o666 if self._mode is None else self._mode
        # Who may read the file may enter its folder.
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=mode | (mode & 0o444) >> 2)
        file = _above_standard_streams(self._opened(os.O_RDWR | os.O_APPEND | os.O_CREAT, mode))
        try:
            status = os.fstat(file)
            self._refuse_pipes(status.st_mode)
            if self._mode is not None and status.st_mode & 0o777 & ~mode and hasattr(os, "fchmod"):
                os.fchmod(file, status.st_mode & mode)  # Windows has it from Python 3.13 on
            if _is_cut_off(file):
                # With an end, it is one damaged line, and the next line is whole.
                os.write(file, b"\n")
        except BaseException:
            os.close(file)
            raise
        return file

    def _opened(self, flags: int, mode: int) -> int:
        try:
            return os.open(self.path, flags | codec.BINARY | _NO_FOLLOW, mode)
        except OSError as error:
            if error.errno == errno.ELOOP and self.path.is_symlink():
                raise OSError(
                    errno.ELOOP, f"a symbolic link, which is not followed; name the file: {self.path}"
                ) from None
            raise

    def _refuse_pipes(self, mode: int) -> None:
        if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
            raise OSError(errno.EINVAL, f"neither a file nor a device, so writing might never return: {self.path}")


def _read_at(file: int, size: int, start: int) -> bytes:
    os.lseek(file, start, os.SEEK_SET)
    return os.read(file, size)


def _is_cut_off(file: int) -> bool:
    """Return whether a kill has cut off the last line: one that is being written has its end shortly after."""
    size = os.fstat(file).st_size
    if not size or _read_at(file, 1, size - 1) == b"\n":
        return False
    time.sleep(_WRITING)
    return os.fstat(file).st_size == size


def _above_standard_streams(file: int) -> int:
    """Return a descriptor above 2: the number of a closed standard stream is free, and prints would go to our file."""
    low = []
    try:
        while file <= 2:
            low.append(file)
            file = os.dup(file)
    finally:
        for one in low:
            os.close(one)
    return file


def _write_whole(file: int, line: bytes) -> None:
    """Write a line in one `write`; if that fails, leave the file as it was."""
    written = os.write(file, line)
    if written == len(line):
        return
    try:
        written += os.write(file, line[written:])  # raises the reason: no space, a quota, a limit
    finally:
        _remove_half(file, written)
    raise OSError(errno.EIO, f"a line of {len(line)} bytes could not be written at once")


def _remove_half(file: int, written: int) -> None:
    """Remove half a line, because the next one would merge with it, unless another process has written after it."""
    with suppress(OSError):
        end = os.fstat(file).st_size
        if end == os.lseek(file, 0, os.SEEK_CUR):
            os.ftruncate(file, end - written)


def _sync(file: int) -> None:
    try:
        getattr(os, "fdatasync", os.fsync)(file)  # macOS has no fdatasync
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EROFS}:  # a pipe or a device has nothing to sync
            raise
