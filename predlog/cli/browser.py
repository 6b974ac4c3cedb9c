"""A page that was made, in the user's browser; and what to do if there is none, as on a login node."""

import os
import shlex
import socket
import sys
import webbrowser
from pathlib import Path

from predlog.cli import say


def show(page: Path) -> None:
    """Open a page in the browser; if there is none, say how to see it.

    The browser is that of `$BROWSER`, or else the system's. A browser in the terminal can't show the page, because it
    needs JavaScript, so without a display none is started.
    """
    file = page.resolve()
    if _has_display() and _opened(file.as_uri()):
        return
    source = shlex.quote(f"{socket.gethostname()}:{file}")
    say(f"no browser could be started here: open {page} in one, after `scp {source} .` if that is on another computer")


def _has_display() -> bool:
    is_graphical = sys.platform in {"win32", "darwin"}
    return is_graphical or any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))


def _opened(address: str) -> bool:
    try:
        # Only the first choice: webbrowser.open would go on to those in the terminal.
        return webbrowser.get().open(address)
    except (webbrowser.Error, OSError, ValueError):
        return False
