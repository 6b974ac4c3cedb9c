"""The Jupyter kernel that this process is, if it is one: which cell runs, what is shown below it, when it has ended.

Jupyter, VS Code and Colab all run IPython's kernel. IPython is looked for among the loaded modules and never imported:
where there is a kernel, it is loaded. IPython in a terminal, a script, and a process forked from a kernel are none.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from predlog._runtime.failure import own_failure


def shell() -> Any:
    """Return the shell of the kernel that this process is, or None."""
    zmqshell, ipython = sys.modules.get("ipykernel.zmqshell"), sys.modules.get("IPython")
    # Spyder's front end shows no HTML, and changes nothing that it has shown.
    if zmqshell is None or ipython is None or "spyder_kernels" in sys.modules:
        return None
    try:
        found = ipython.get_ipython()
        # What a forked child sends is dropped.
        is_here = isinstance(found, zmqshell.ZMQInteractiveShell) and found.kernel.session.pid == os.getpid()
    except own_failure(AttributeError, zmqshell, ipython):  # loaded in part only, or of another make
        return None
    return found if is_here else None


def cell(shell: Any) -> int:
    """Return the number of the cell that runs now, or ran last: another one for each time that a cell is run."""
    number: int = shell.execution_count
    return number


def runs_cells() -> bool:
    """Return whether this thread is the one in which cells run."""
    return threading.current_thread() is threading.main_thread()


def show(shell: Any, content: Mapping[str, str], name: str, *, is_new: bool) -> None:
    """Show some content, by its type, below the cell that runs; or in place of what has that name, wherever it is."""
    shell.display_pub.publish(data=content, metadata={}, transient={"display_id": name}, update=not is_new)


def at_end_of_cell(shell: Any, call: Callable[[], None]) -> None:
    """Call something once, in the thread that runs cells, when the cell that runs now has ended."""

    def once(_result: object) -> None:
        shell.events.unregister("post_run_cell", once)
        call()

    shell.events.register("post_run_cell", once)


def watch_clearing(shell: Any, call: Callable[[], None]) -> Callable[[], None]:
    """Call something whenever this thread clears what its cell shows; return what ends that.

    Whatever has been shown below the cell is gone then. `%%capture` has a publisher of its own, which clears nothing.
    """
    publisher = shell.display_pub
    if not hasattr(publisher, "register_hook"):
        return lambda: None

    def look(message: dict[str, Any]) -> dict[str, Any]:
        if message.get("msg_type") == "clear_output":
            call()
        return message

    publisher.register_hook(look)
    return lambda: publisher.unregister_hook(look)
