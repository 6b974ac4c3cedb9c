"""The programs of the pages about frameworks: short, complete, and without a finding."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from predlog import Comparison, Finding, read
from tests import ROOT
from tests.integrations.needed import needed

for name in ("accelerate", "datasets", "peft", "transformers"):
    needed(name)
trl = needed("trl")

# Older trainers report to each tracker that is installed.
FILE = "predictions.jsonl"
NO_TRACKERS = {"WANDB_MODE": "disabled", "DISABLE_MLFLOW_INTEGRATION": "TRUE"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trainer", "sft"])
def test_the_page_s_program_runs(tmp_path: Path, name: str) -> None:
    """It has at most 30 lines, is on its page, records its due steps with their texts, and nothing is found."""
    if name == "sft" and "completion_only_loss" not in trl.SFTConfig.__dataclass_fields__:
        pytest.skip("this TRL wants a chat template for a prompt with its completion")
    program = ROOT / "docs" / "examples" / f"{name}.py"
    assert len(program.read_text().splitlines()) <= 30
    assert f"{{literalinclude}} ../examples/{name}.py" in (ROOT / "docs" / "frameworks" / "transformers.md").read_text()
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "80"} | NO_TRACKERS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    records = list(read(tmp_path / "runs" / name))
    found = [one for one in records if isinstance(one, Comparison)]
    assert {one.step for one in found} == {0, 10, 20, 30}
    assert all(token.label_text for one in found for token in one.tokens)
    assert not [one for one in records if isinstance(one, Finding)]
    assert "predlog step=30 stream=train sample=1 " in done.stdout
    # TRL's fused head makes no logits, so nothing sums up the loss of a pair.
    unchecked = "the loss was not checked (see predlog explain loss-differs-from-pair); " * (name == "sft")
    assert re.findall(r"^predlog: .*", done.stderr, re.MULTILINE) == [
        f"predlog: 8 comparisons in runs/{name}/{FILE}; no open findings; {unchecked}next: predlog report runs/{name}"
    ]
