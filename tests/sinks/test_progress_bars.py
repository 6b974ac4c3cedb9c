"""Progress bars stay whole while tables are drawn, on a real pseudo-terminal."""

import fcntl
import os
import pty
import struct
import termios

import pyte
import pytest

from tests import fresh

LOOPS = {
    "tqdm": """
        from tqdm import tqdm
        for step in tqdm(range(40), mininterval=0, miniters=1, desc="training"):
            predlog.compare(*pair, step)
            spin()
    """,
    "tqdm, imported as most do, and a nested bar": """
        from tqdm.auto import tqdm
        for epoch in tqdm(range(2), mininterval=0, miniters=1, desc="epochs"):
            for step in tqdm(range(20), mininterval=0, miniters=1, desc="training", leave=False):
                predlog.compare(*pair, 20 * epoch + step)
                spin()
    """,
    "rich": """
        from rich.progress import Progress
        with Progress(refresh_per_second=50) as progress:
            task = progress.add_task("training", total=40)
            for step in range(40):
                predlog.compare(*pair, step)
                spin()
                progress.update(task, completed=step + 1, refresh=True)
    """,
}
HEAD = """
from tests import ROOT, fresh
import predlog, torch
from tests import events
pair = events.pair()
def spin():
    torch.randn(200, 200) @ torch.randn(200, 200)
from predlog.findings.needs import ALIGNMENT
predlog.configure(every=5, samples=1, ignore=(*ALIGNMENT, "loss-differs-from-pair"))
"""


def on_terminal(code: str, rows: int = 30, columns: int = 80) -> list[str]:
    """Run a program on a pseudo-terminal and give every line that it ever showed, scrolled ones included."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    fresh.start(code, streams=(terminal, terminal, terminal), environment=environment)
    os.close(terminal)
    screen = pyte.HistoryScreen(columns, rows, history=10000)
    stream = pyte.ByteStream(screen)
    try:
        while chunk := os.read(controller, 65536):
            stream.feed(chunk)
    except OSError:
        pass  # Linux says EIO where the last writer has gone
    os.close(controller)
    assert fresh.wait(60) == 0
    scrolled = ["".join(line[column].data for column in range(columns)) for line in screen.history.top]
    return [line.rstrip() for line in [*scrolled, *screen.display]]


@pytest.mark.parametrize("bar", LOOPS)
def test_tables_and_bar_stay_whole(bar: str) -> None:
    """Every table is complete, line under line, and no line of a bar is left standing among them."""
    code = HEAD + "\n".join(line[8:] for line in LOOPS[bar].splitlines()) + "\npredlog.close()\n"
    # The first heading says that inputs are not known.
    lines = [line for line in on_terminal(code) if line and not line.strip().startswith("inputs")]
    assert lines.pop() == "predlog: 8 comparisons, and no file: no directory was passed; no open findings"
    assert lines[0] == "predlog 0.1.0: every 5 steps"
    tables = [index for index, line in enumerate(lines) if line.startswith("step ")]
    assert len(tables) == 8
    for number, index in enumerate(tables):
        assert lines[index].startswith(f"step {5 * number} · text · sample 0 · ")
        assert "16 of 20 supervised" in lines[index]
        assert [line.split()[0] for line in lines[index + 1 : index + 4]] == ["label", "pred", "p"]
    assert lines.count("─" * 80) == 7
    others = [line for line in lines[1:] if not line.startswith(("step ", " ", "─"))]
    assert len(others) == 1, others
    assert "100%" in others[0]


def test_that_test_can_fail() -> None:
    """A plain print does break a bar, and the test above would see it."""
    code = "from tqdm import tqdm\nfor step in tqdm(range(9), mininterval=0): print('step')\n"
    assert sum("it/s" in line or "%|" in line for line in on_terminal(code)) > 1


@pytest.mark.parametrize("end", ["bar.close(); predlog.close()", "predlog.close(); bar.close()", ""])
def test_the_last_line_is_whole(end: str) -> None:
    """The line at the end begins in the first column, and one bar is left: closed before, afterwards, or never."""
    code = f"""
from tqdm import tqdm
predlog.configure(every=5, samples=1, ignore=(*ALIGNMENT, "loss-differs-from-pair"))
bar = tqdm(total=10, mininterval=0, miniters=1, desc="training")
for step in range(10):
    predlog.compare(*pair, step)
    bar.update()
{end}
"""
    lines = [line for line in on_terminal(HEAD + code, columns=200) if line]
    assert sum("training:" in line for line in lines) == 1, lines
    assert sum(line.startswith("predlog: 2 comparisons") for line in lines) == 1, lines
    assert all(line.startswith(("predlog", "step", " ", "─", "training: 100%")) for line in lines), lines
