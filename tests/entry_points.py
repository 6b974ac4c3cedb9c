"""The ways into predlog, as programs: what happens the first time a process goes one of them.

Each program begins where torch is imported, has `logits` [2, 8, 16], `labels` [2, 8] and a `folder`, and does what a
user does who has neither imported nor called anything of predlog's before.
"""

GIVEN = """
import random, sys, torch
generator = torch.Generator().manual_seed(1)
logits = torch.randn(2, 8, 16, generator=generator)
labels = torch.randint(16, (2, 8), generator=generator)
folder = sys.argv[1]
"""
# The random states of Python, NumPy and torch are the same after a program as before; the second argument seeds them.
STATES = """
import numpy
def states():
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    kind, keys, *rest = numpy.random.get_state()
    return {"random": random.getstate(), "numpy": (kind, keys.tolist(), *rest),
            "torch": [one.tolist() for one in (torch.get_rng_state(), *cuda)]}
seed = int(sys.argv[2])
random.seed(seed)
numpy.random.seed(seed)
torch.manual_seed(seed)
before = states()
%s
moved = {name for name, state in states().items() if state != before[name]}
assert not moved, moved
"""
# An import counts where torch functions are off, or one of their modes is pushed, and predlog is what asked for it. A
# finder sees the imports of `importlib.import_module` too, which an audit hook does not.
AUDIT = """
imported = []
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if torch._C._is_torch_function_enabled() and not torch._C._len_torch_function_stack():
            return
        frame = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != "<string>":
            if "/predlog/" in frame.f_code.co_filename:
                imported.append(name)
                break
            frame = frame.f_back
sys.meta_path.insert(0, Finder)
"""
AUDITED = """
half = [name for name, module in sys.modules.copy().items()
        if getattr(getattr(module, "__spec__", None), "_initializing", False)]
assert not imported, imported[:5]
assert not half, half
"""
COMPILE = 'assert torch.equal(torch.compile(lambda one: one + 1, backend="eager")(logits), logits + 1)\n'
_LOOP = """
class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        # Drawn by a generator, so that making it moves no global state.
        self.embed, self.head = (torch.nn.Parameter(torch.randn(16, 4, generator=generator)) for _ in range(2))
    def forward(self, ids, labels):
        logits = self.embed[ids] @ self.head.T
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
small = Small()
"""
_RECORD = """
from predlog import Recorder
with Recorder(folder, every=1) as recorder:
    recorder.compare(logits, labels, 0, shift=1, inputs=labels)
"""
# What makes the runs that a reader's program is about, in another process than the reader's.
RUNS = (
    _RECORD
    + """
import gzip, pathlib, zstandard
lines = pathlib.Path(folder, "predictions.jsonl").read_bytes()
pathlib.Path(folder, "packed.jsonl.gz").write_bytes(gzip.compress(lines))
pathlib.Path(folder, "packed.jsonl.zst").write_bytes(zstandard.compress(lines))
"""
)

PROGRAMS = {
    "compare": """
import predlog
predlog.compare(logits, labels, 0)
predlog.flush()
""",
    "configure": """
import predlog
predlog.configure(folder, every=1, decode=str, special_tokens={"pad": 0}, processors=[predlog.processors.Redact("1")])
predlog.compare(logits, labels, 0, shift=1, inputs=labels, epoch=1)
predlog.close()
""",
    "a recorder": _RECORD,
    "a layout": """
from predlog import Recorder
with Recorder(folder, every=1) as recorder:
    recorder.compare(logits.transpose(1, 2), labels, 0, layout="b v t, b t")
""",
    "codebooks": """
from predlog import Recorder
with Recorder(folder, every=1) as recorder:
    recorder.compare(logits.expand(4, 2, 8, 16).flatten(0, 1), labels.unsqueeze(-1).expand(2, 8, 4), 0,
                     layout="(b k) t v, b t k", stream="audio")
""",
    "a projection": """
from predlog import Projection, Recorder
with Recorder(folder, every=1) as recorder:
    recorder.compare(Projection(logits, torch.eye(16)), labels, 0)
    recorder.compare([logits[:, :4], logits[:, 4:]], labels, 1)
""",
    "arrays": """
from predlog import Recorder
with Recorder(folder, every=1) as recorder:
    array = logits.numpy()
    recorder.compare(array, labels.numpy(), 0)
    recorder.compare(array[:, ::-1], labels.numpy(), 1)
    array.flags.writeable = False
    recorder.compare(array, labels.numpy(), 2)
""",
    "pairs that can't be": """
from predlog import Recorder
with Recorder(folder, every=1) as recorder:
    recorder.compare(logits, labels[:, :3], 0)
    recorder.compare("logits", None, 1)
    recorder.compare(logits * float("nan"), labels + 100, 2)
""",
    "watch": _LOOP + """
import predlog
recorder = predlog.Recorder(folder, every=1)
with predlog.watch(small, inputs="ids", recorder=recorder):
    for _ in range(3):
        small(labels, labels).backward()
recorder.close()
""",
    "structlog's chain": _RECORD + """
import structlog
import predlog.processors
structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
with Recorder(every=1, console=False, processors=[predlog.processors.ToStructlog()]) as recorder:
    recorder.compare(logits, labels, 0)
""",
    "an import of a part": """
import predlog.sinks.console, predlog.sinks.jsonl, predlog.processors.decode, predlog.recorder.recorder
import predlog.integrations.watch
""",
    "help": """
from predlog.cli.main import main
for command in ([], ["tail"]):
    try:
        main([*command, "--help"])
    except SystemExit as end:
        assert end.code == 0
""",
    "the demo": """
from predlog.cli.main import main
assert main(["demo", "--steps", "2", "--directory", folder]) == 0
""",
} | {
    module: f"import predlog.{module}"
    for module in (
        "cli.commands.tail", "cli.commands.explain", "cli.commands.summary", "cli.text.curves", "cli.text.difference",
        "cli.text.paper", "cli.io", "cli.demo.training", "sinks.terminal.style", "report.page",
    )
}  # fmt: skip
# These read a run that another process has made.
READERS = {
    "reading": """
import pathlib, predlog
for name in ("", "packed.jsonl.gz", "packed.jsonl.zst"):
    assert [*predlog.read(pathlib.Path(folder, name))]
""",
} | {
    " ".join(command): f"""
import os
from predlog.cli.main import main
os.chdir(folder)
assert main({[*command]}) in (0, 1)
"""
    for command in (
        ("summary", "predictions.jsonl"), ("summary", "--json", "packed.jsonl.gz"), ("tail", "predictions.jsonl"),
        ("check", "predictions.jsonl"), ("diff", "predictions.jsonl", "packed.jsonl.zst"), ("explain", "collapsed"),
        ("report", "predictions.jsonl"), ("export", "predictions.jsonl", "-o", "tokens.csv"),
        ("export", "predictions.jsonl", "-o", "tokens.parquet"), ("completion", "bash"),
    )
}  # fmt: skip

# They begin where the framework is imported, since a user's own import of it is the user's own.
FRAMEWORKS = {
    "transformers": ("from transformers import TrainerCallback", """
from predlog.integrations.transformers import PredictionCallback
PredictionCallback(folder, every=1)
"""),
    "lightning": ("import lightning.pytorch", """
from predlog.integrations.lightning import PredictionCallback
PredictionCallback(folder, every=1)
"""),
    "tensorboard": ("from torch.utils.tensorboard import SummaryWriter", """
import predlog
from predlog.sinks.tensorboard import TensorBoard
with predlog.Recorder(every=1, console=False, sinks=[TensorBoard(SummaryWriter(folder))]) as recorder:
    recorder.compare(logits, labels, 0)
"""),
    "wandb": ("import wandb", "import predlog.sinks.wandb"),
    "mlflow": ("import mlflow", "import predlog.sinks.mlflow"),
    "trackio": ("import trackio", "import predlog.sinks.trackio"),
}  # fmt: skip
