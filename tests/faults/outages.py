"""Ways in which a file stops taking lines, and takes them again; each is made and fixed by the process it strikes."""

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from structlog.typing import Processor

from predlog.sinks import JSONL
from tests.faults.lines import Lines


class Outage:
    """One way: `begin` is called after every step until it says that it has begun, and `end` once."""

    settings: ClassVar[dict[str, Any]] = {}
    needs_shim = False
    needs_mount = False
    # Much like another one, so that it is done at full size alone.
    is_relative = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "predictions.jsonl"
        # Comparisons that were in a file which is gone.
        self.removed = 0

    def prepare(self) -> None:
        """Do what comes before the recorder is made."""

    def sinks(self) -> Sequence[Processor]:
        """Return what gets every event beside the file."""
        return ()

    def begin(self) -> bool:
        """Let the file fail; False where that has to be tried again after the next step."""
        return True

    def end(self) -> None:
        """Let the file be written again."""


class SizeLimit(Outage):
    """The file may not grow further, and the next line has room for a part of it."""

    room = 100

    def begin(self) -> bool:
        """Lower the limit."""
        self._limit(self.file.stat().st_size + self.room)
        return True

    def end(self) -> None:
        """Raise it again."""
        self._limit(resource.RLIM_INFINITY)

    @staticmethod
    def _limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


class SizeLimitWithRoomForAGap(SizeLimit):
    """A gap record is shorter than a comparison: it finds room where no comparison does."""

    room = 600


class FullFromTheStart(Outage):
    """Not even the first line is taken: ENOSPC, whatever is written."""

    def prepare(self) -> None:
        """Put a device that is always full where the file is to be."""
        self.folder.mkdir()
        self.file.symlink_to("/dev/full")

    def end(self) -> None:
        """Take it away, so that opening again makes a file."""
        self.file.unlink()


class FullDisk(Outage):
    """Another file takes all the space of a small file system."""

    needs_mount = True

    def begin(self) -> bool:
        """Fill it, at a moment when the file's last page has no room for another record."""
        if -self.file.stat().st_size % os.sysconf("SC_PAGE_SIZE") > 250:
            return False
        with self._filler.open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017 - no test
        return True

    def end(self) -> None:
        """Return the space back."""
        self._filler.unlink()

    @property
    def _filler(self) -> Path:
        return self.folder.parent / "filler"


class FailingCalls(Outage):
    """Calls on the file fail, by the preloaded shim."""

    needs_shim = True
    fault = f"{errno.EIO} write"

    def begin(self) -> bool:
        """Return which calls, and with what, in one rename."""
        new = self._flag.with_suffix(".new")
        new.write_text(self.fault)
        new.rename(self._flag)
        return True

    def end(self) -> None:
        """Let them through."""
        self._flag.unlink(missing_ok=True)

    @property
    def _flag(self) -> Path:
        return Path(os.environ["PREDLOG_TESTS_FAULT"])


class Stale(FailingCalls):
    """A network file system has forgotten the open file: every write on that descriptor fails for good."""

    fault = f"{errno.ESTALE} write"


class ServerGone(FailingCalls):
    """A network file system has forgotten the open file, and the file can't be opened again either."""

    is_relative = True
    fault = f"{errno.ESTALE} write,open"


class StaleStatus(FailingCalls):
    """A network file system does not tell the state of a file."""

    fault = f"{errno.ESTALE} stat"


class ServerHangs(FailingCalls):
    """A network file system answers nothing, and goes on where it was."""

    settings: ClassVar[dict[str, Any]] = {"durable_every": 0.0}
    fault = "0 write,sync,open,stat"


class ShortWrites(FailingCalls):
    """Writes come back with half of the line written, and so does what completes it."""

    fault = "1 half"


class UnsupportedSync(FailingCalls):
    """A file system has no fdatasync."""

    is_relative = True
    settings: ClassVar[dict[str, Any]] = {"durable_every": 0.0}
    fault = f"{errno.EOPNOTSUPP} sync"


class FailingSync(FailingCalls):
    """The line is in the file, and making it durable fails."""

    settings: ClassVar[dict[str, Any]] = {"durable_every": 0.0}
    fault = f"{errno.EIO} sync"


class ReadOnly(FailingCalls):
    """A disk error, after which the file system is mounted read-only, as ext4 does it; then it is writable again."""

    needs_mount = True

    def begin(self) -> bool:
        """Mount it read-only, which the kernel refuses as long as anybody has a file of it open for writing."""
        if not self._flag.exists():
            super().begin()
        if not self._remount("ro"):
            return False
        super().end()
        return True

    def end(self) -> None:
        """Mount it writable."""
        super().end()
        assert self._remount("rw")

    def _remount(self, how: str) -> bool:
        command = ["mount", "-o", f"remount,{how}", str(self.folder.parent)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


class FolderRemoved(Outage):
    """Somebody removes the run's folder, and it can be made anew at once."""

    def begin(self) -> bool:
        """Remove it."""
        self.removed = len(Lines.of(self.file).all_of("comparison"))
        shutil.rmtree(self.folder)
        return True


class FolderBarred(FolderRemoved):
    """Somebody removes the run's folder, and a file bears its name."""

    def begin(self) -> bool:
        """Remove it and bar the way."""
        super().begin()
        self.folder.touch()
        return True

    def end(self) -> None:
        """Clear the way."""
        self.folder.unlink()


class SecondSinkFull(Outage):
    """A second file is on a device that is always full, and the first one is well."""

    def sinks(self) -> Sequence[Processor]:
        """Return the second file."""
        return [JSONL("/dev/full")]


OUTAGES: dict[str, type[Outage]] = {
    "size limit": SizeLimit,
    "size limit, room for a gap": SizeLimitWithRoomForAGap,
    "full from the start": FullFromTheStart,
    "full disk": FullDisk,
    "EIO": FailingCalls,
    "ESTALE": Stale,
    "server gone": ServerGone,
    "ESTALE from stat": StaleStatus,
    "server hangs": ServerHangs,
    "short writes": ShortWrites,
    "failing fdatasync": FailingSync,
    "unsupported fdatasync": UnsupportedSync,
    "read-only": ReadOnly,
    "folder removed": FolderRemoved,
    "folder barred": FolderBarred,
    "second sink full": SecondSinkFull,
}
