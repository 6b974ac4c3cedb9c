"""The house: which package imports which, where each heavy dependency lives, and how large a module may be."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest
from torch import Tensor, nn

import predlog
from predlog._runtime import torch_state
from tests import ROOT

PACKAGE = ROOT / "predlog"

EVERYWHERE = {"records", "errors"}
# What each package may import beside itself and what is for everybody.
TABLE = {
    "errors": set(),
    "records": set(),
    "_runtime": set(),
    "findings": set(),
    "numbers": {"findings"},
    "capture": {"numbers", "findings", "_runtime"},
    "processors": {"findings", "_runtime"},
    "sinks": {"_runtime"},
    "recorder": {"capture", "numbers", "findings", "processors", "sinks", "_runtime"},
    "integrations": {"recorder", "capture", "_runtime"},
    "reading": {"numbers", "findings"},
    "report": {"reading", "findings"},
    "serve": {"report", "reading", "findings"},
    "cli": {"serve", "report", "reading", "sinks", "findings", "_runtime"},
    "__main__": {"cli"},
}
# Exceptions: the demo calls predlog as a user does, and two modules write down the version; of the findings processors
# know the special tokens alone.
WIDER = {
    "cli.demo.training": {"__init__"},
    "recorder.attempt": {"__init__"},
    "report.page": {"__init__"},
    "serve.documents": {"__init__"},
    "__init__": {*TABLE},
}
NARROWER = {("processors", "findings"): {"findings.special_tokens"}}
# Where a heavy dependency may be imported; every entry must need it.
HOMES = {
    "torch": {
        "capture", "recorder.default", "integrations", "_runtime.torch_state", "sinks.tensorboard", "cli.demo",
    },
    "einops": {"capture.layout"},
    "structlog": {"recorder", "processors.to_structlog", "integrations"},  # integrations for the type of a processor
    "msgspec": {"records"},
    "orjson": {"records"},
    "rich": {"sinks.terminal", "sinks.console", "cli", "_runtime.first_imports"},
    "pyarrow": {"cli.token_table", "cli.commands.export"},
    "jinja2": {"report.page"},
    "bokeh": {"report"},
    "starlette": {"serve"},
    "uvicorn": {"serve.server"},
    "transformers": {"integrations.transformers"},
    "lightning": {"integrations.lightning"},
    "wandb": {"sinks.wandb"},
    "mlflow": {"sinks.mlflow"},
    "trackio": {"sinks.trackio"},
}  # fmt: skip
# A module has one reason to exist. What is longer, or shorter, has a reason here.
LONGEST, LONGEST_WITH_REASON, SHORTEST, MOST_FILES = 300, 350, 25, 270
LONGER = {
    "records.schema": "a third of it describes the keys, for the published schema",
    "recorder.recorder": "a third of it spells out and explains the arguments",
    "integrations.lightning": "a fifth of it spells out and explains the arguments",
    "integrations.transformers": "a fifth of it spells out and explains the arguments",
}
SHORTER = {
    "cli.commands.serve": "one module per subcommand",
    "__main__": "python -m predlog",
    "_runtime.first_imports": "an import",
}

Imports = dict[str, set[str]]


@cache
def sources() -> dict[str, str]:
    """Read the source of each module, by its name within predlog; read once for all tests."""
    files = {file: file.relative_to(PACKAGE).with_suffix("") for file in PACKAGE.rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): file.read_text() for file, name in files.items()}


@cache
def imports() -> Imports:
    """Parse each module once, and list all that it imports, inside of functions too."""
    return {name: imported(source) for name, source in sources().items()}


def imported(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def privates_of_torch(source: str) -> set[str]:
    """List torch's private names in a source: reached through torch, of any module or tensor, or in a text."""
    tree = ast.parse(source)
    known = {one for one in (*dir(nn.Module()), *dir(Tensor), "_orig_mod") if re.match("_[^_]", one)}
    known |= {one.rpartition(".")[2] for one in torch_state.PRIVATE_NAMES if "._C." in one}
    names = {name for name in imported(source) if re.match(r"torch\b.*\._[^_]", name)}
    texts: set[str] = set()
    roots = {"torch"} | {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "torch"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            path = ast.unparse(node)
            is_of_torch = path.partition(".")[0] in roots and re.match("_[^_]", node.attr) is not None
            if is_of_torch or (node.attr in known and path != f"self.{node.attr}"):
                names.add(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
    return names | {text for text in texts if text in known or re.search(r"\btorch\._[^_]|^_saved_", text)}


def own(name: str, modules: Imports) -> str | None:
    """Return the module of predlog's that an imported name comes from; `__init__` for predlog itself."""
    if name.partition(".")[0] != "predlog":
        return None
    inner = name.removeprefix("predlog").removeprefix(".")
    while inner:
        if inner in modules:
            return inner
        inner = inner.rpartition(".")[0]
    return "__init__"


def against_the_table(modules: Imports) -> list[str]:
    """List the imports that the table does not allow."""
    wrong = []
    for module, names in modules.items():
        package = module.partition(".")[0]
        allowed = {package, *EVERYWHERE, *TABLE.get(package, ()), *WIDER.get(module, ())}
        for target in {own(name, modules) for name in names} - {None}:
            assert target is not None
            into = target.partition(".")[0]
            narrow = NARROWER.get((package, into))
            if into not in allowed or (narrow is not None and target not in narrow):
                wrong.append(f"{module} imports {target}")
    return sorted(wrong)


def test_imports_run_down_the_table() -> None:
    """A package imports only what the table of the house allows."""
    assert not against_the_table(imports())


def test_that_the_table_test_can_fail() -> None:
    """An import that goes up, or from the training side to the reading side, is named."""
    planted = {
        **imports(),
        "capture.window": {"predlog.recorder.gate.Gate"},
        "sinks.console": {"predlog.reading.reader.read"},
        "reading.reader": {"predlog.sinks.JSONL", "predlog.records.schema.Run"},
        "processors.decode": {"predlog.findings.judge.Judge"},
    }
    assert against_the_table(planted) == [
        "capture.window imports recorder.gate",
        "processors.decode imports findings.judge",
        "reading.reader imports sinks",
        "sinks.console imports reading.reader",
    ]


def private_accesses(source: str) -> list[str]:
    """List the private names of a recorder that a source uses: `recorder._x`, `self._recorder._x`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if owner.strip("_") == "recorder":
                found.append(f"{owner}.{node.attr}")
    return found


def test_nobody_touches_a_recorders_private_names() -> None:
    """Outside of `recorder/` nothing private of a Recorder is used."""
    outside = {name: source for name, source in sources().items() if not name.startswith("recorder")}
    assert not {name: found for name, source in outside.items() if (found := private_accesses(source))}


def test_that_the_test_of_private_names_can_fail() -> None:
    """A private name is seen, however the recorder is held."""
    planted = "recorder._every; self._recorder._gate; self.recorder._close(1); self._recorder.gate; recorder.__exit__"
    assert private_accesses(planted) == ["recorder._every", "_recorder._gate", "recorder._close"]


def test_no_module_is_imported_in_a_circle() -> None:
    """Modules can be put in an order in which each imports only those before it."""
    packages = {name for name in imports() if any(other.startswith(f"{name}.") for other in imports())}
    graph = {
        name: {own(one, imports()) for one in names} - {None, name, "__init__", *packages}
        for name, names in imports().items()
        if name not in packages
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {error.args[1]}")


def test_the_house_has_these_rooms_only() -> None:
    """What one sees in `predlog/` are the packages and modules of the table."""
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()} - {"__pycache__", "py.typed", "__init__"}
    assert rooms == set(TABLE)


def test_the_docs_have_the_table() -> None:
    """The page for contributors lists each package, and what it may import, as the table of this test does."""
    page = (ROOT / "docs" / "contributing" / "changing-the-code.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)/` \|.*\| (.*?) \|$", page, re.MULTILINE)
    packages = {name: names for name, names in TABLE.items() if (PACKAGE / name).is_dir()}
    assert {name: {*re.findall(r"`(\w+)`", names)} for name, names in rows} == packages


@pytest.mark.parametrize("library", HOMES)
def test_each_heavy_dependency_has_its_home(library: str) -> None:
    """Only the rooms of the table import a heavy dependency, and each of them does."""
    users = {name for name, names in imports().items() if any(one.split(".")[0] == library for one in names)}
    homes = HOMES[library]
    assert {user for user in users if not any(f"{user}.".startswith(f"{home}.") for home in homes)} == set()
    assert {home for home in homes if not any(f"{user}.".startswith(f"{home}.") for user in users)} == set()


def test_private_names_of_torch_have_one_home() -> None:
    """torch's private names are used in `_runtime.torch_state` alone, `_saved_*` of autograd's nodes in one more."""
    found = {name: privates for name, source in sources().items() if (privates := privates_of_torch(source))}
    assert found.pop("_runtime.torch_state")
    assert found == {"integrations._watch.autograd_rows": {"_saved_"}}


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        ("import torch._dynamo", "torch._dynamo"),
        ("from torch._dynamo.utils import counters", "torch._dynamo.utils.counters"),
        ("from torch import _C", "torch._C"),
        ("import torch\ntorch._C._len_torch_function_stack()", "torch._C._len_torch_function_stack"),
        ("from torch.nn import functional as f\nf._pad(1)", "f._pad"),
        ("def hooks(module): return module._forward_hooks", "module._forward_hooks"),
        ("def is_it(model): return hasattr(model, '_orig_mod')", "_orig_mod"),
        ("import sys\nsys.modules.get('torch._dynamo.utils')", "torch._dynamo.utils"),
        ("def sizes(node, name): return getattr(node, f'_saved_{name}')", "_saved_"),
    ],
)
def test_that_the_test_of_torchs_private_names_can_fail(planted: str, name: str) -> None:
    """Whichever way a source reaches for a private name, it is listed."""
    assert name in privates_of_torch(planted)


def test_modules_are_neither_long_nor_tiny() -> None:
    """A module has at most 300 lines (350 with a reason) and at least 25, or a reason; there are no more than that."""
    lines = {name: source.count("\n") for name, source in sources().items()}
    inits = {name for name in lines if any(other.startswith(f"{name}.") for other in lines)} | {"__init__"}
    assert {name for name, count in lines.items() if count > LONGEST} == set(LONGER)
    assert not {name for name, count in lines.items() if count > LONGEST_WITH_REASON}
    assert {name for name, count in lines.items() if count < SHORTEST and name not in inits} == set(SHORTER)
    assert len(lines) <= MOST_FILES


def loaded_by(code: str) -> set[str]:
    program = f"import sys; {code}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("import predlog", {"torch", "structlog", "rich", "msgspec", "orjson", "einops", "numpy"}),
        ("import predlog; predlog.read", {"torch", "structlog", "rich", "einops", "numpy"}),
        (
            "import predlog.cli.main, predlog.cli.parser; predlog.cli.parser.parser()",
            {"torch", "structlog", "rich", "msgspec", "orjson", "einops", "numpy"},
        ),
    ],
)
def test_importing_is_light(code: str, without: set[str]) -> None:
    """Importing predlog, reading files and starting the command line load none of what they don't need."""
    assert not loaded_by(code) & without


def test_a_recorder_loads_no_more_than_it_needs() -> None:
    """Beyond torch, a recorder loads no progress bar, tokenizer, notebook or NumPy, though they are installed."""
    more = loaded_by("import torch, predlog; predlog.Recorder()") - loaded_by("import torch")
    assert not {name.split(".")[0] for name in more} & {"tqdm", "transformers", "tokenizers", "IPython", "numpy"}


def test_that_test_can_fail() -> None:
    """Using the recorder does load torch and structlog, and the test above would see it."""
    assert {"torch", "structlog"} <= loaded_by("import predlog; predlog.Recorder")


def test_public_names_are_there() -> None:
    """Every public name resolves, and an unknown one is an AttributeError."""
    assert all(getattr(predlog, name) is not None for name in predlog.__all__)
    assert set(dir(predlog)) == set(predlog.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = predlog.nothing
