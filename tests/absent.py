"""A process without what another machine lacks: packages that are not installed, and all that Windows does not have.

Called first in a new process. What predlog loads after that must do without; other libraries ask for the platform, not
for each function, so those that are needed are imported before.
"""

import importlib
import mmap
import os
import select
import signal
import socket
import sys
import time
from types import ModuleType

# As the documentation of Python lists it for Windows; of each module below, everything else is removed.
_OS = """
    DirEntry F_OK GenericAlias Mapping MutableMapping O_APPEND O_CREAT O_EXCL O_RDONLY O_RDWR O_TRUNC O_WRONLY P_DETACH
    P_NOWAIT P_NOWAITO P_OVERLAY P_WAIT PathLike R_OK SEEK_CUR SEEK_END SEEK_SET TMP_MAX W_OK X_OK abc abort access
    altsep chdir chmod close closerange cpu_count curdir defpath device_encoding devnull dup dup2 environ error execl
    execle execlp execlpe execv execve execvp execvpe extsep fdopen fsdecode fsencode fspath fstat fsync ftruncate
    get_exec_path get_inheritable get_terminal_size getcwd getcwdb getenv getlogin getpid getppid isatty kill linesep
    link listdir lseek lstat makedirs mkdir name open pardir path pathsep pipe popen process_cpu_count putenv read
    readlink remove removedirs rename renames replace rmdir scandir sep set_inheritable spawnl spawnle spawnv spawnve
    st stat stat_result statvfs_result strerror supports_bytes_environ supports_dir_fd supports_effective_ids
    supports_fd supports_follow_symlinks symlink sys system terminal_size times times_result truncate umask
    uname_result unlink unsetenv urandom utime waitpid waitstatus_to_exitcode walk write EX_OK
"""
_SIGNAL = """
    Handlers NSIG SIGABRT SIGFPE SIGILL SIGINT SIGSEGV SIGTERM SIG_DFL SIG_IGN Signals default_int_handler getsignal
    raise_signal set_wakeup_fd signal strsignal valid_signals
"""
_TIME = """
    altzone asctime ctime daylight get_clock_info gmtime localtime mktime monotonic monotonic_ns perf_counter
    perf_counter_ns process_time process_time_ns sleep strftime strptime struct_time thread_time thread_time_ns time
    time_ns timezone tzname
"""
_KEPT: dict[ModuleType, str] = {
    os: _OS,
    signal: _SIGNAL,
    time: _TIME,
    select: "error select",
    mmap: "ACCESS_COPY ACCESS_DEFAULT ACCESS_READ ACCESS_WRITE ALLOCATIONGRANULARITY PAGESIZE error mmap",
}
_UNIX_SOCKETS = ("AF_UNIX", "CMSG_LEN", "CMSG_SPACE", "recv_fds", "send_fds", "sethostname")
_POSIX_MODULES = (
    "_curses", "_posixshmem", "_posixsubprocess", "crypt", "curses", "fcntl", "grp", "nis", "ossaudiodev", "posix",
    "pty", "pwd", "readline", "resource", "spwd", "syslog", "termios", "tty",
)  # fmt: skip


def packages(*names: str) -> None:
    """Have every import of these packages fail, as where they are not installed."""
    for name in names:
        assert name not in sys.modules, f"{name} has been imported already"
        sys.modules[name] = None  # type: ignore[assignment]


def posix(*imported: str) -> None:
    """Remove what Windows lacks, after importing other people's modules; `sys.platform` stays as it is."""
    for name in ("shutil", "tempfile", *imported):
        importlib.import_module(name)
    for name in _POSIX_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for module, kept in _KEPT.items():
        for name in {name for name in vars(module) if not name.startswith("_")} - {*kept.split()}:
            delattr(module, name)
    for name in _UNIX_SOCKETS:
        vars(socket).pop(name, None)
