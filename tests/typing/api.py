"""What type checkers must accept of the public names, and what they must not: lines that say so are errors."""

from concurrent.futures import Future
from typing import assert_type

import numpy as np
import torch

import predlog
from predlog.integrations.lightning import PredictionCallback as LightningCallback
from predlog.integrations.transformers import PredictionCallback

logits, labels = torch.zeros(1, 3, 4), torch.zeros(1, 3).long()

recorder = predlog.configure("runs/typed", every=10, samples=4, decode=str, ranks="local", console=False)
assert_type(recorder, predlog.Recorder)
Recorded = Future[tuple[predlog.Comparison, ...]] | None
assert_type(predlog.compare(logits, labels, 0, shift=1, lr=0.1), Recorded)
rows = predlog.Rows(labels, logits[..., 0], logits[..., 0], label_rank=labels, vocabulary=np.int64(4))
assert_type(rows, predlog.Rows)
assert_type(predlog.compare(rows, labels, 0), Recorded)
predlog.Rows(prediction=labels, prediction_logprob=logits[..., 0], label_logprob=logits[..., 0], vocabulary=None)
seen = predlog.inspect(logits, labels, shift=1, inputs=labels, decode=str, ignore={"text": ("collapsed",)})
assert_type(seen, predlog.Inspection)
assert_type(seen.comparisons, tuple[predlog.Comparison, ...])
assert_type(seen.findings[0], predlog.Finding)
assert_type(recorder.findings, tuple[predlog.Finding, ...])
assert_type(predlog.flush(), bool)
for record in predlog.read("runs/typed"):
    assert_type(record, predlog.Run | predlog.Comparison | predlog.Finding | predlog.Gap)

PredictionCallback("runs/typed", every=10, shift=1, samples=4, decode=None)
LightningCallback("runs/typed", every=10, shift=1, samples=4, logits="last_logits")

predlog.configure(evry=3)  # type: ignore[call-arg] # an error
predlog.configure(every="3")  # type: ignore[arg-type] # an error
predlog.configure(ranks=(4, 5))
predlog.configure(ranks="first")  # type: ignore[arg-type] # an error
predlog.Recorder(evry=3)  # type: ignore[call-arg] # an error
predlog.Rows(labels, logits[..., 0])  # type: ignore[call-arg] # an error
predlog.Rows(labels, logits[..., 0], logits[..., 0], labels, 4)  # type: ignore[call-arg] # an error
predlog.Rows(labels, logits[..., 0], logits[..., 0], vocabulary=4.0)  # type: ignore[arg-type] # an error
predlog.inspect(logits, labels, shfit=1)  # type: ignore[call-arg] # an error
predlog.inspect(logits, labels, 3)  # type: ignore[call-arg] # an error
predlog.compare(logits, labels)  # type: ignore[call-arg] # an error
predlog.compare(logits, labels, "0")  # type: ignore[arg-type] # an error
PredictionCallback(evry=3)  # type: ignore[call-arg] # an error
LightningCallback(evry=3)  # type: ignore[call-arg] # an error
