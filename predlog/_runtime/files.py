"""What a file of lines asks of the system: lines written whole, and made safe against a power cut."""

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

from predlog.records.codec import BINARY

# Seconds within which a line that is being written gets its end.
_WRITING = 0.05
# Files and folders that have nothing to sync, or whose file system can't: pipes, devices, some network file systems.
_NOTHING_TO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EROFS, errno.ENOSYS})
# How the names of files begin that were removed while they were open.
_HIDDEN = (".nfs", ".fuse_hidden")
# How often a line is begun anew because another process has written after a part of it.
_TRIES = 3


def is_cut_off(file: int) -> bool:
    """Return whether a kill has cut off the last line: one that is being written has its end shortly after."""
    size = os.fstat(file).st_size
    if not size:
        return False
    os.lseek(file, size - 1, os.SEEK_SET)
    if os.read(file, 1) == b"\n":
        return False
    time.sleep(_WRITING)
    return os.fstat(file).st_size == size


def is_hidden(file: int) -> bool:
    """Return whether an open file was removed on NFS or FUSE: they rename it, and remove it when it is closed."""
    try:
        return Path(f"/proc/self/fd/{file}").readlink().name.startswith(_HIDDEN)
    except OSError:  # only Linux has that
        return False


def above_standard_streams(file: int) -> int:
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


def append(file: int, line: bytes) -> None:
    """Write a line whole, in one `write` if that takes all of it.

    Raises:
        OSError: It could not be written whole, and the file is as it was.
    """
    rest, tries = line, 1
    while rest:
        try:
            written = os.write(file, rest)
            rest = rest[written:]
            is_torn = bool(rest) and not (written and _is_last(file))
        except OSError:
            _remove_half(file, len(line) - len(rest))
            raise
        if is_torn:
            # The rest would not follow its beginning. The other process's line has an end: a whole line fits after it.
            if not written or tries == _TRIES:
                _remove_half(file, len(line) - len(rest))
                raise OSError(errno.EIO, f"a line of {len(line)} bytes could not be written at once")
            rest, tries = line, tries + 1


def sync(file: int) -> None:
    """Make what is written to a file safe against a power cut."""
    try:
        getattr(os, "fdatasync", os.fsync)(file)  # macOS has no fdatasync
    except OSError as error:
        if error.errno not in _NOTHING_TO_SYNC:
            raise


def sync_folder(folder: Path) -> None:
    """Make the names of new files in a folder safe against a power cut."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows can't open a folder
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | BINARY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _NOTHING_TO_SYNC:
            raise
    finally:
        os.close(opened)


def _remove_half(file: int, written: int) -> None:
    """Remove half a line, because the next one would merge with it, unless another process has written after it."""
    with suppress(OSError):
        if written and _is_last(file):
            os.ftruncate(file, _position(file) - written)


def _is_last(file: int) -> bool:
    return os.fstat(file).st_size == _position(file)


def _position(file: int) -> int:
    return os.lseek(file, 0, os.SEEK_CUR)


def end(file: int) -> int:
    """Return the offset after what was written last; 0 for a device, which has none, or if it can't be told."""
    try:
        return _position(file)
    except OSError:  # what is written is written
        return 0
