"""In a notebook the console is one table per cell, which is updated in place. All of it in a real kernel."""

import subprocess
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

import predlog
from predlog.records.text import nats, percent, probability
from tests import ROOT
from tests.records.test_notebook import HOSTILE, Parsed

SETUP = """
import os, torch, predlog
from torch import nn
from IPython.display import clear_output
torch.manual_seed(0)
torch.set_num_threads(1)
WORDS = [" the", "lan", "guage", "\\n", "    ", " def", HOSTILE, "<0xF0><0x9F>"]
V = len(WORDS)
model = nn.Sequential(nn.Embedding(V, 16), nn.Linear(16, V))
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
def train(steps, compare=predlog.compare, **how):
    for step in steps:
        ids = torch.randint(V, (4, 24))
        labels = (ids * 3 + 1) % V
        labels[:, :4] = -100
        logits = model(ids)
        compare(logits, labels, step, inputs=ids, **how)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        optimizer.zero_grad(); loss.backward(); optimizer.step()
def configure(name, **how):
    return predlog.configure(name, every=1, decode=lambda i: WORDS[i], **how)
"""
# What each cell does, by name, in the order in which the cells run. All of them are in one kernel.
CELLS = {
    "switched off": "os.environ['PREDLOG_CONSOLE'] = '0'; train(range(2)); del os.environ['PREDLOG_CONSOLE']",
    "configure": "recorder = configure('run'); recorder",
    "training": "train(range(40)); train(range(5), stream='eval/text')",
    "again": "train(range(40, 60))",
    "another cell": "recorder",
    "fault": "train([60], lambda logits, labels, step, inputs: predlog.compare(logits, inputs, step, inputs=inputs))",
    "throttled": "from predlog.sinks import notebook\n"
    "notebook.INTERVAL = 3600; train(range(61, 161)); notebook.INTERVAL = 0.25",
    "closed": "predlog.close(); recorder",
    "two": "with predlog.Recorder('a', every=1) as a, predlog.Recorder('b', every=1) as b:\n"
    "    train(range(3), a.compare); train(range(3), b.compare)",
    "cleared": "configure('cleared')\nfor step in range(4):\n"
    "    train([step]); clear_output(wait=step % 2); print('plot', step)",
    "cleared and trained": "for step in range(4, 8):\n    clear_output(); print('plot', step); train([step])",
    "codebooks": "predlog.compare(torch.randn(2, 4, 30, V), torch.randint(V, (2, 4, 30)), 8, stream='audio',"
    " layout='b k t v, b k t')",
    "full": "configure('full', console='full'); train(range(2))",
    "off": "configure('off', console=False); train(range(2))",
    "refused": "configure('refused'); predlog.compare(torch.randn(2, 5, V), torch.randint(V, (2, 9)), 0)",
    "fails": """
configure('fails')
publisher = type(get_ipython().display_pub)
publish = publisher.publish
def broken(*_, **__): raise RuntimeError('no front end')
publisher.publish = broken
train(range(3)); predlog.flush()
publisher.publish = publish
""",
    "works again": "train(range(3, 6))",
    "error": "train(range(6, 9)); raise ValueError('of the user')",
    "thread": """
import threading
go = threading.Event(), threading.Event()
def work():
    train([9]); go[0].set(); go[1].wait(); train([10])
worker = threading.Thread(target=work); worker.start(); go[0].wait(); predlog.flush()
""",
    "while a thread trains": "go[1].set(); worker.join(); predlog.flush()",
    "nothing new": "train([10])",
    "own chain": """
import structlog
structlog.configure(processors=[predlog.sinks.Console(), structlog.processors.JSONRenderer()],
                    logger_factory=structlog.ReturnLoggerFactory())
configure('chain', console=False, processors=[predlog.processors.ToStructlog()])
train(range(3)); predlog.flush()
""",
    "a forked child": """
read, write = os.pipe()
if not (child := os.fork()):
    from predlog._runtime import kernel
    os.write(write, repr(kernel.shell()).encode()); os._exit(0)
os.waitpid(child, 0); print(os.read(read, 99).decode())
""",
}


class Watched(nbclient.NotebookClient):
    """Runs a notebook as papermill and nbconvert do, and keeps what the kernel showed and updated, by cell."""

    shown: list[tuple[int, str, str]]

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] in {"display_data", "update_display_data"}:
            self.shown.append((cell_index, msg["msg_type"], msg["content"]["transient"].get("display_id", "")))
        return super().process_message(msg, cell, cell_index)


class Ran:
    """What the cells have left: their outputs, and the messages on the way there."""

    def __init__(self, folder: Path) -> None:
        code = [f"HOSTILE = {HOSTILE!r}\n{SETUP}", *CELLS.values()]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in code])  # type: ignore[no-untyped-call]
        client = Watched(
            notebook,
            timeout=120,
            kernel_name="python3",
            allow_errors=True,
            resources={"metadata": {"path": str(folder)}},
        )
        client.shown = []
        client.execute()
        self.folder = folder
        self.outputs: dict[str, list[Any]] = dict(
            zip(["setup", *CELLS], (one["outputs"] for one in notebook.cells), strict=True)
        )
        self.messages = {
            name: [(kind, shown) for cell, kind, shown in client.shown if cell == number]
            for number, name in enumerate(["setup", *CELLS])
        }

    def tables(self, cell: str) -> list[str]:
        """Return the HTML of the tables below a cell."""
        return [one["data"]["text/html"] for one in self.outputs[cell] if one["output_type"] == "display_data"]

    def table(self, cell: str) -> str:
        """Return the text of the only table."""
        (html,) = self.tables(cell)
        return Parsed(html).text

    def stream(self, cell: str, name: str) -> str:
        return "".join(one["text"] for one in self.outputs[cell] if one.get("name") == name)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("notebook"))


def records(folder: Path, step: int, stream: str = "text") -> Sequence[predlog.Comparison]:
    found = [one for one in predlog.read(folder) if isinstance(one, predlog.Comparison)]
    return sorted((one for one in found if (one.step, one.stream) == (step, stream)), key=lambda one: one.sample)


def figures(one: predlog.Comparison) -> str:
    """Return the heading that a record should have."""
    assert one.loss is not None
    assert one.matched is not None
    share = percent(one.matched / one.supervised)
    where = f"step {one.step} · {one.stream} · sample {one.sample}"
    return f"{where} · loss {nats(one.loss)} · {share} correct · {one.supervised} of {one.length} supervised"


def test_no_cell_failed(ran: Ran) -> None:
    """predlog breaks none of the cells, and writes nothing on stdout."""
    errors = {
        name: [one["traceback"] for one in shown if one["output_type"] == "error"]
        for name, shown in ran.outputs.items()
    }
    assert [name for name, found in errors.items() if found] == ["error"]
    assert {name for name in ran.outputs if ran.stream(name, "stdout")} == {
        "cleared",
        "cleared and trained",
        "a forked child",
    }


def test_one_table_per_cell(ran: Ran) -> None:
    """A cell that trains shows one table, and updates that; the executed notebook holds its last state alone."""
    for cell in ("training", "again", "throttled"):
        first, *more = ran.messages[cell]
        assert first[0] == "display_data"
        assert {kind for kind, _ in more} == {"update_display_data"}
        assert {shown for _, shown in more} == {first[1]}
        assert len(ran.tables(cell)) == 1
        assert [one["output_type"] for one in ran.outputs[cell] if one.get("name") != "stderr"] == ["display_data"]
    assert ran.messages["training"][0][1] != ran.messages["again"][0][1]
    # As many as there was time for; with an hour in between, the first at most, and the last.
    assert 1 <= len(ran.messages["throttled"]) - 1 <= 3
    assert "step 160 · text" in ran.table("throttled")


def test_the_table_has_the_figures_of_the_records(ran: Ran) -> None:
    """Each stream's newest step, with loss, accuracy and probabilities as in the file; spaces visible."""
    shown = ran.table("training")
    for one in (*records(ran.folder / "run", 39), *records(ran.folder / "run", 4, "eval/text")):
        assert figures(one) in shown
        chances = [probability(token.label_logprob) for token in one.tokens]
        assert f"p {' '.join(chances[:5])}│  {' '.join(chances[5:])}" in shown
    assert shown.count("step ") == 4
    assert "predlog 0.1.0: every step, to run, attempt 1" in shown
    assert "␣the" in shown
    assert "␣␣␣␣" in shown
    assert "⟨F0 9F⟩" in shown
    assert (
        ran.outputs["training"][0]["data"]["text/plain"].splitlines()[1].startswith("step 39 · text · sample 0 · loss")
    )


def test_a_cell_that_is_run_again_begins_a_new_table(ran: Ran) -> None:
    """The table of the first run stays as it was when that ended; the new one has nothing of it."""
    assert "step 39" in ran.table("training")
    assert "step 59" not in ran.table("training")
    assert "step 59 · text · sample 1" in ran.table("again")
    assert "eval/text" not in ran.table("again")


def test_a_finding_is_above_the_samples(ran: Ran) -> None:
    """With what is wrong and what to do. The headings of its stream name it; the next cell shows that it is gone."""
    shown = ran.table("fault")
    assert shown.index("✗ labels-are-inputs, step 60: text: labels equal") < shown.index("step 60 · text · sample 0")
    assert "step 60 · text · sample 0 · ✗ labels-are-inputs · loss" in shown
    assert "predlog explain labels-are-inputs" in shown
    assert "✓ labels-are-inputs" in ran.table("throttled")
    assert "✗" not in ran.table("throttled")


def test_hostile_text_does_nothing(ran: Ran) -> None:
    """A token that is HTML is shown as text; no table has anything but tags of tables and text."""
    for html in chain.from_iterable(map(ran.tables, CELLS)):
        assert Parsed(html).tags <= {"div", "b", "table", "tr", "th", "td", "span", "code"}
    assert "<script>ale…" in ran.table("throttled")


def test_the_recorder_shows_itself(ran: Ran) -> None:
    """What `configure` returns has a line and a table: what is on, what is recorded, what is open; also when closed."""
    (before,), (closed,) = (
        [one["data"] for one in ran.outputs[cell] if one["output_type"] == "execute_result"]
        for cell in ("configure", "closed")
    )
    assert before["text/plain"] == "<Recorder run/predictions.jsonl; every step; 0 comparisons; open findings: none>"
    shown = Parsed(before["text/html"]).text
    for row in ("filerun/predictions.jsonl", "everystep", "streamsall", "consolecompact", "open findingsnone"):
        assert row in shown
    assert closed["text/plain"].startswith("<Recorder run/predictions.jsonl; every step; 332 comparisons; ")
    assert closed["text/plain"].endswith("; closed>")
    assert "newesttext step 160, eval/text step 4" in Parsed(closed["text/html"]).text


def test_two_recorders_have_a_table_each(ran: Ran) -> None:
    """Two tables below one cell, each updated on its own."""
    one, other = map(Parsed, ran.tables("two"))
    assert ", to a, " in one.text
    assert ", to b, " in other.text
    assert "step 2 · text · sample 1" in one.text
    assert "step 2 · text · sample 1" in other.text
    assert len({shown for _, shown in ran.messages["two"]}) == 2


def test_a_cell_that_clears_its_output(ran: Ran) -> None:
    """A loop that clears the output for its plot keeps one table, at the end of the cell, too."""
    assert "step 3 · text" in ran.table("cleared")
    assert "step 7 · text" in ran.table("cleared and trained")
    assert ran.stream("cleared", "stdout") == "plot 3\n"


def test_codebooks_are_rows(ran: Ran) -> None:
    """One heading per sample, then one row per codebook."""
    shown = ran.table("codebooks")
    heading, note = "one row per codebook: loss, correct, label→prediction", "inputs not known: the alignment is not"
    assert shown.count(heading) == 2
    assert shown.count(note) == 1
    for one in records(ran.folder / "cleared", 8, "audio"):
        assert one.loss is not None
        assert one.matched is not None
        assert f"{one.codebook} {nats(one.loss):>6} {percent(one.matched / 30):>6} of 30" in shown


def test_the_full_form_has_positions_inputs_and_ranks(ran: Ran) -> None:
    """With `console="full"` a sample has six rows, as on a terminal."""
    assert ran.table("full").count("position") == ran.table("full").count("rank") == 2
    assert ran.table("full").count("input") == 2
    assert ran.table("training").count("rank") == 0


def test_without_a_console_nothing_is_shown(ran: Ran) -> None:
    """`console=False` and PREDLOG_CONSOLE=0 show no table."""
    for cell in ("switched off", "off", "another cell"):
        assert not ran.messages[cell]


def test_a_refused_pair_is_shown(ran: Ran) -> None:
    """Where no pair could be compared, the table has the finding that says why."""
    assert "✗ length-mismatch, step 0" in ran.table("refused")


def test_a_display_that_fails_is_reported(ran: Ran) -> None:
    """It is reported on stderr as a sink's failure; the file has everything, and the next cell has a table again."""
    closed, *said = ran.stream("fails", "stderr").splitlines()
    assert "next: predlog report refused" in closed
    assert said == ["predlog: Console failed: RuntimeError: no front end"] * 2  # once for events, once for `flush`
    assert not ran.tables("fails")
    assert "step 5 · text · sample 0" in ran.table("works again")
    assert {one.step for one in predlog.read(ran.folder / "fails") if isinstance(one, predlog.Comparison)} >= set(
        range(9)
    )


def test_a_cell_that_raises_has_its_table(ran: Ran) -> None:
    """The last steps before the user's error are shown."""
    assert "step 8 · text · sample 0" in ran.table("error")


def test_the_table_of_a_thread_stays(ran: Ran) -> None:
    """A thread that trains while other cells run updates the table of the cell that began it."""
    assert "step 10 · text · sample 0" in ran.table("thread")
    assert not ran.tables("while a thread trains")


def test_a_step_that_is_recorded_already_begins_no_table(ran: Ran) -> None:
    """Run again, a cell whose only step was recorded last shows nothing, rather than a table that never fills."""
    assert not ran.messages["nothing new"]


def test_a_console_in_a_chain_of_the_users(ran: Ran) -> None:
    """Events that come one by one, without a recorder's queue, are one table, too."""
    assert "step 2 · text · sample 0" in ran.table("own chain")
    assert "step 2 · text · sample 1" in ran.table("own chain")


def test_a_kernel_that_ends_closes_its_recorder(ran: Ran) -> None:
    """Nobody has closed the last one: when the kernel is shut down, its file gets its last line."""
    last = [one for one in predlog.read(ran.folder / "chain") if isinstance(one, predlog.Run)][-1]
    assert last.stats is not None
    assert last.stats["written"] == 6


def test_a_forked_child_is_no_notebook(ran: Ran) -> None:
    """What a child shows would be dropped: it prints lines."""
    assert ran.stream("a forked child", "stdout") == "None\n"


def test_ipython_in_a_terminal_keeps_the_text(tmp_path: Path) -> None:
    """IPython without a kernel prints what Python prints."""
    code = "import predlog; from tests import events; predlog.configure(every=1); predlog.compare(*events.pair(), 7)"
    command = [sys.executable, "-m", "IPython", "--no-banner", "--no-confirm-exit", "--quick", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=120, env={
        **__import__("os").environ, "IPYTHONDIR": str(tmp_path), "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert "predlog step=7 stream=text sample=0" in done.stdout
    assert "<div" not in done.stdout
