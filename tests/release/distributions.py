"""The source distribution and the wheel: they are built, hold what they must and nothing else, and work."""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.release import environments, tree

_RECORDING = """
import sys
from pathlib import Path
import torch
import predlog
assert Path(predlog.__file__).is_relative_to(sys.argv[1]), predlog.__file__
recorder = predlog.configure(every=1, console=False)
(comparison,) = recorder.compare(torch.zeros(1, 3, 4), torch.zeros(1, 3).long(), 0).result(10)
assert comparison.supervised == 3
"""


def problems(root: Path) -> Iterator[str]:
    """Build both, and yield one line per thing that is wrong with them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        built, direct = folder / "built", folder / "direct"
        try:
            # The wheel is built from the source distribution, and once more from the tree.
            _run(sys.executable, "-m", "build", "--quiet", "--outdir", built, root)
            _run(sys.executable, "-m", "build", "--quiet", "--wheel", "--outdir", direct, root)
            source, wheel = next(built.glob("*.tar.gz")), next(built.glob("*.whl"))
            _run(sys.executable, "-m", "twine", "check", "--strict", source, wheel)
        except subprocess.CalledProcessError as error:
            yield f"{' '.join(map(str, error.cmd[1:4]))}: {(error.stdout + error.stderr).strip().splitlines()[-1]}"
            return
        yield from contents(root, source, wheel)
        if wheel.read_bytes() != (direct / wheel.name).read_bytes():
            yield f"{wheel.name}: the source distribution makes another wheel than the tree"
        yield from _recording(wheel, folder)
        yield from environments.problems(root, source, wheel, folder)


def contents(root: Path, source: Path, wheel: Path) -> Iterator[str]:
    """Yield one line per file that is missing, and per file that should not be there."""
    files, version = tree.tracked(root), tree.version(root)
    with tarfile.open(source) as packed:
        inside = {one.name for one in packed if one.isfile()}
    whole = {f"predlog-{version}/{file}" for file in (*files, "PKG-INFO")}
    yield from _differences(source, inside, whole)
    module = {file for file in files if file.startswith("predlog/")}
    pages = {f"predlog/findings/pages/{Path(file).name}" for file in files if file.startswith("docs/findings/")}
    about = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    with zipfile.ZipFile(wheel) as packed:
        inside = {*packed.namelist()}
    yield from _differences(wheel, inside, module | pages | {f"predlog-{version}.dist-info/{one}" for one in about})


def _differences(distribution: Path, inside: set[str], wanted: set[str]) -> Iterator[str]:
    yield from (f"{distribution.name} lacks {one}" for one in sorted(wanted - inside))
    yield from (f"{distribution.name} holds {one}, which does not belong there" for one in sorted(inside - wanted))


def _recording(wheel: Path, folder: Path) -> Iterator[str]:
    """Record a pair with the wheel and with the libraries that are installed here."""
    site, empty = folder / "site", folder / "empty"
    empty.mkdir()
    try:
        _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel)
        _run(sys.executable, "-W", "error", "-c", _RECORDING, site, folder=empty, path=site)
    except subprocess.CalledProcessError as error:
        yield f"{wheel.name} does not record: {error.stderr.strip().splitlines()[-1]}"


def _run(*command: str | Path, folder: Path | None = None, path: Path | None = None) -> None:
    environments.run(*command, folder=folder, path="" if path is None else str(path))
