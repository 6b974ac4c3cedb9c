"""Append events to a file, one `write(2)` per line, so that what is written survives a kill of the process."""

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from predlog._runtime import files
from predlog._runtime.fork import ForkSafeLock
from predlog.errors import NotDurableError, RecordError, TruncatedError
from predlog.records import codec
from predlog.records.backwards import backwards
from predlog.records.schema import Comparison, Event

# Only POSIX systems have these.
_NO_FOLLOW, _NO_WAIT = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK"))
# Bytes at a file's end in which the last attempt is searched, and those after its last undamaged line's beginning:
# lines of several recorders may alternate, and the last one need not be of the newest attempt.
_FURTHEST, _TAIL = 1 << 28, 1 << 20
# The identity of no file.
_UNKNOWN = (-1, -1)


class JSONL:
    """Append predlog's events to `path` as lines of JSON; pass every event on unchanged.

    The file and its folders are made with the first event. Each line is one `write`, so a reader sees
    it whole or not at all, and no kill of the process can remove it. At least every `durable_every`
    seconds of writing, and at `flush` and `close`, the lines are also made safe against a power cut. Threads, processes
    and signal handlers may write to one file at once.

    The file's permissions follow the umask; `mode`, such as 0o600, narrows them, and those of a folder that is made
    for it. A symbolic link at `path` is not followed: whoever can create it could choose which file is written to.

    If the file is removed, or renamed and another one put in its place, as `logrotate` does, the next line goes to the
    new file, after the attempt's first line. While a renamed file has no successor, it gets the lines.

    Raises:
        OSError: The line is not in the file. The next event opens the file again.
        NotDurableError: The line is in the file, but could not be made safe against a power cut.
        TruncatedError: The line is in the file, but lines before it are not any more: somebody has cut them off.
        RecordError: The event does not fit its schema.
    """

    def __init__(self, path: str | os.PathLike[str], *, durable_every: float = 10.0, mode: int | None = None) -> None:
        # Even if the process changes its working folder, the same file is opened again.
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow symbolic links
        self._durable_every = durable_every
        self._mode = mode
        self._file: int | None = None
        # Of the file that was written to last: which one it is, and where the last line ended.
        self._identity: tuple[int, int] | None = None
        self._end = 0
        # Folders with a new entry that a power cut could still remove.
        self._folders: dict[Path, None] = {}
        self._header = b""
        self._synced_at = time.monotonic()
        self._unsynced = False
        self._lock = ForkSafeLock(inner=True)

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Write the event, if it is one of predlog's."""
        if codec.is_ours(event):
            line = codec.to_line(event)
            with self._lock.lock:
                problem = self._append(line)
                if event["event"] == "predlog.run" and event["stats"] is None:
                    self._header = line
                if time.monotonic() - self._synced_at >= self._durable_every:
                    self._flush()
            if problem is not None:
                raise problem
        return event

    def last_attempt(self) -> int:
        """Return the newest attempt at the file's end; 0 for a new or foreign file."""
        return self.last()[0]

    def last(self) -> tuple[int, int]:
        """Return the newest attempt at the file's end, and the highest step of a comparison there; (0, -1) without."""
        try:
            # Without O_NONBLOCK, opening something other than a file, such as a pipe, might never return.
            file = self._opened(os.O_RDONLY | _NO_WAIT, 0)
        except FileNotFoundError:
            return 0, -1
        try:
            return _last(file)
        finally:
            os.close(file)

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

    def _append(self, line: bytes) -> OSError | None:
        """Write a line; return what is wrong with those before it."""
        try:
            problem = None
            if self._file is not None:
                status = os.fstat(self._file)
                problem = self._leave(self._file, status)
            if self._file is None:
                self._file = self._open()
                status = os.fstat(self._file)
            identity = status.st_dev, status.st_ino
            if not status.st_size or self._identity not in {None, identity}:
                line = self._header + line  # a new file begins with the attempt's first line, too
            files.append(self._file, line)
            self._identity, self._end = identity, files.end(self._file) if stat.S_ISREG(status.st_mode) else 0
        except OSError:
            self._close()
            raise
        self._unsynced = True
        return problem

    def _leave(self, file: int, status: os.stat_result) -> OSError | None:
        """Close the file if it is not the one to write to any more; return what is wrong with its lines then."""
        problem: OSError | None = None
        named = _status(self.path)
        is_removed = not status.st_nlink or (named is None and files.is_hidden(file))
        if is_removed or (named is not None and _is_other_file(named, status)):
            try:
                if not is_removed:  # nobody reads a file that was
                    self._flush()
            except NotDurableError as error:
                problem = error
            self._unsynced = False
        elif status.st_size < self._end:
            lost = self._end - status.st_size
            problem = TruncatedError(
                f"{self.path} was cut off by another program: its last {lost:,} bytes are gone; rotate it with"
                " rename and create instead, or not at all while it is written"
            )
            self._identity = _UNKNOWN  # the attempt's first line may be among what is gone
        else:
            return None
        self._close()  # opening it again makes a line that was cut off one of its own
        return problem

    def _flush(self) -> None:
        self._synced_at = time.monotonic()
        if self._file is not None and self._unsynced:
            self._unsynced = False
            folders, self._folders = self._folders, {}
            try:
                files.sync(self._file)
                for folder in folders:
                    files.sync_folder(folder)
            except OSError as error:
                raise NotDurableError(f"{self.path} is written, but not safe against a power cut: {error}") from None

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # it would repeat the error of the line that was not written
                os.close(file)

    def _open(self) -> int:
        mode = 0o666 if self._mode is None else self._mode
        folder = self.path.parent
        made = [one for one in (folder, *folder.parents) if not one.exists()]
        # Who may read the file may enter its folder.
        folder.mkdir(parents=True, exist_ok=True, mode=mode | (mode & 0o444) >> 2)
        file = files.above_standard_streams(self._opened(os.O_RDWR | os.O_APPEND | os.O_CREAT, mode))
        try:
            status = os.fstat(file)
            if not status.st_size:
                self._folders |= dict.fromkeys([folder, *(one.parent for one in made)])
            self._refuse_pipes(status.st_mode)
            if self._mode is not None and status.st_mode & 0o777 & ~mode and hasattr(os, "fchmod"):
                os.fchmod(file, status.st_mode & mode)  # Windows has it from Python 3.13 on
            if files.is_cut_off(file):
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


def _last(file: int) -> tuple[int, int]:
    newest, step, left, budget = 0, -1, _TAIL, _FURTHEST
    for line in backwards(file, os.fstat(file).st_size + 1):  # as if a newline followed
        budget -= len(line) + 1
        left -= len(line) + 1 if newest else 0
        with suppress(RecordError):
            record = codec.from_line(line)
            newest = max(newest, record.attempt)
            step = max(step, record.step if isinstance(record, Comparison) else -1)
        if left < 0 or budget < 0:
            break
    return newest, step


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()  # a link is not followed
    except OSError:
        return None


def _is_other_file(named: os.stat_result, status: os.stat_result) -> bool:
    return stat.S_ISREG(named.st_mode) and (named.st_dev, named.st_ino) != (status.st_dev, status.st_ino)
