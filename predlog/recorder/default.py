"""The default recorder, used by `predlog.compare`, `configure`, `flush` and `close`."""

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Literal

from structlog.typing import Processor
from torch.compiler import is_dynamo_compiling

from predlog._runtime.failure import located, own_failure
from predlog._runtime.fork import ForkSafeLock
from predlog._runtime.notices import Notices
from predlog._runtime.torch_state import is_traced
from predlog.capture.shard import Shard
from predlog.recorder import environment
from predlog.recorder.recorder import Recorder
from predlog.records.schema import Comparison

_default: Recorder | None = None
# A copy of the default recorder's, for the check in `compare`. Without a recorder every step is due.
_every = 1
_notices = Notices()
# Of several threads that use the default recorder first, at once, one makes it.
_making = ForkSafeLock()


def compare(
    logits: object,
    labels: object,
    step: int,
    *,
    stream: str = "text",
    layout: str | None = None,
    shift: int = 0,
    inputs: object = None,
    ignore_index: int = -100,
    loss_mask: object = None,
    position_ids: object = None,
    document_ids: object = None,
    attention_mask: object = None,
    row_index: object = None,
    row_count: int | None = None,
    reported_loss: object = None,
    sample_ids: object = None,
    shard: Shard | None = None,
    group: object = None,
    **context: object,
) -> Future[tuple[Comparison, ...]] | None:
    """Record what the model predicts next to what it was asked to predict, if this step is due.

    The default recorder records it: the one that `configure` made. Without it, the first call makes one from the
    environment and the defaults, as `configure()` does.

    Args:
        logits: Floating point, any dtype and device: a torch tensor, a NumPy array, or anything that supports DLPack,
            [b, t, v] or as `layout` says. Only the rows of the tokens shown are read, and, for the accuracy, those of
            their samples; of a DTensor, the part that this process has. Without logits, pass a `Projection`, or `Rows`
            that were reduced elsewhere; for chunks along time, pass a list of them.
        labels: Integer token ids of the same samples, [b, t].
        step: The training step, a Python int from 0 to 2**63 - 1. The first pair of each stream and step is recorded.
        stream: Name of the pair: "text", "audio", "eval/text".
        layout: einops patterns of logits and labels over b (sample), t (time), k (codebook) and v (vocabulary), such
            as "b t v, b t" or "(b k) t v, b t k". If omitted, it is inferred for 3 and 2 axes, or 2 and 1.
        shift: By how many positions the labels lead the logits: 0 for a pair that could go into `cross_entropy` as it
            is, 1 for the raw pair of a Hugging Face causal model.
        inputs: The token ids that the model read, laid out as the labels are; of an encoder-decoder model, what its
            decoder read. With them the alignment is known, not guessed.
        ignore_index: The label that marks positions without supervision.
        loss_mask: Booleans, 0 and 1, or weights, laid out as the labels are. A position is supervised where its label
            is not `ignore_index` and its mask is above 0; no other row of logits is read.
        position_ids: The position of each token in its document, laid out as the labels are, or [t] for all samples. A
            position that is not above the one before begins a document; one that jumps ahead has no neighbour there.
        document_ids: The document of each token, laid out as the labels are, or the cumulative lengths of the
            documents in the only sample, as variable-length attention takes them.
        attention_mask: [b, t], 0 at padding; of an encoder-decoder model, the decoder's. Other shapes are not used.
        row_index: If the rows of a sample are split over processes (sequence or context parallel): the position in the
            whole sample of each label here, integers laid out as the labels are, or [t] for all samples. It is
            `torch.arange(length)` of the whole sample, split as the labels were, in any way. Each process records a
            part, and whoever reads the files of all joins them. Pass labels that were shifted before they were split,
            and shift=0: with another shift, a label whose row another process has counts for none of the two.
        row_count: With `row_index`, how many positions the whole sample has. Without it, a comparison is known to be
            whole only if every process of the run has recorded a part of it.
        reported_loss: The loss of this pair as the trainer computes it, a scalar tensor or a number, which is checked
            against the pair and never waited for. If the loss overwrites its logits, call `compare` before the loss,
            and `report_loss` after it.
        sample_ids: One id per sample of the batch: a list of strings or ints, or a tensor [b] of ints. They are kept as
            `sample_id`, as strings of at most 100 characters, and `follow` finds samples by them; those on another
            device than the CPU are kept, but not followed, since reading them would wait.
        shard: Which part of the vocabulary these logits are of, if each process has a part: see `predlog.Shard`. Each
            process that passes one records what it knows, and whoever reads the files of all joins the parts. A DTensor
            knows its own part.
        group: The ranks that have one copy of such logits together, with all rows of a sample: a process group, a
            `DeviceMesh`, or a list of global ranks. With `ranks="auto"` only the copy of the lowest ranks is recorded,
            and parts of rows are joined within the group. DTensors know their mesh.
        context: Small JSON values to keep beside the record: epoch=3, lr=2e-4.

    Returns:
        None if nothing was captured; else a future of the records as the sinks got them, one per sample and codebook
        (`Part` records of logits in shards), without those that a processor dropped. Wait for it in notebooks and
        tests alone.

    Raises:
        PredlogError: Only if the default recorder was made with `strict`.
    """
    # The same check as in `Recorder.compare`, without a second call.
    if is_dynamo_compiling():
        return None
    recorder = _default
    if type(step) is int and step % _every:
        if recorder is not None and recorder.gate.is_waiting:
            recorder.gate.skip(step)
        return None
    if recorder is None:
        if is_traced():
            return None
        recorder = current_or_none()
        if recorder is None:
            return None
    return recorder.compare(
        logits, labels, step,
        stream=stream, layout=layout, shift=shift, inputs=inputs, ignore_index=ignore_index, loss_mask=loss_mask,
        position_ids=position_ids, document_ids=document_ids, attention_mask=attention_mask, row_index=row_index,
        row_count=row_count, reported_loss=reported_loss, sample_ids=sample_ids, shard=shard, group=group, **context,
    )  # fmt: skip


def report_loss(
    loss: object, step: int, *, stream: str = "text", items: object = None, accumulate: int | None = None
) -> None:
    """Report the loss of a pair that was passed to `compare` in this step, to have it checked against the pair.

    The cross-entropy of the whole pair is computed for that, of the first three records after the first report, and
    then of every 100th. If both differ, `loss-differs-from-pair` says why, if one explanation fits. If `compare` can be
    called after the loss, pass it `reported_loss=` instead.

    Args:
        loss: A scalar tensor or a number: the mean over the supervised positions. It is never waited for.
        step: The step that `compare` was called with.
        stream: Name of the pair.
        items: What the sum was divided by, if not by the number of labels of this pair: Hugging Face's
            `num_items_in_batch`.
        accumulate: How many micro-batches make a step, if that is known.

    Raises:
        PredlogError: Only if the default recorder was made with `strict`.
    """
    if _default is not None:
        _default.report_loss(loss, step, stream=stream, items=items, accumulate=accumulate)


@environment.completed
def configure(
    directory: str | os.PathLike[str] | None = None,
    *,
    every: int = 10,
    samples: int | Sequence[int] = 2,
    follow: Collection[str | int] = (),
    first: int = 5,
    last: int = 5,
    ranks: Literal["auto", 0, "local", "all"] | Collection[int] = "auto",
    streams: Collection[str] | None = None,
    codebooks: int = 8,
    decode: Any = None,
    special_tokens: Any = None,
    score: bool = True,
    worst: int = 5,
    alternatives: int = 0,
    all_tokens: bool | int = False,
    console: bool | Literal["compact", "full"] = True,
    processors: Sequence[Processor] = (),
    sinks: Sequence[Processor] = (),
    ignore: Collection[str] | Mapping[str, Collection[str]] = (),
    queue: int = 256,
    strict: bool = False,
    durable_every: float = 10.0,
    text: bool = True,
    text_window: int = 400,
    mode: int | None = None,
    rank_folders: bool = False,
) -> Recorder:
    """Make the default recorder, and close the one before.

    An argument that is not passed is taken from the environment if that has it, such as PREDLOG_EVERY.

    Args:
        directory: Folder of the run; None records on the console only.
        every: Record the steps that are multiples of this.
        samples: How many samples of a batch to show, or their places in it, such as (0, -1).
        follow: Ids of samples that are shown whenever a recorded batch has them.
        first: How many supervised tokens to show from the start of a sample.
        last: How many to show from its end.
        ranks: Which processes record: "auto" (global rank 0; of logits in parts, the ranks that have one copy), "local"
            (the first of each node), "all", or global ranks, such as 0 or (4, 5).
        streams: Names of the streams to record; None records all.
        codebooks: How many codebooks of a sample to show.
        decode: A tokenizer, a callable from one id to its text, or one of these for each stream.
        special_tokens: A tokenizer, {"pad": 0, "eos": 2, "bos": 1}, or one of these for each stream.
        score: Read all supervised rows of the samples shown: their loss, entropy and matches.
        worst: Of these, how many tokens with the lowest label probability to keep.
        alternatives: How many of the best predictions to keep of each token.
        all_tokens: How many of the first supervised tokens to keep as columns; True keeps all.
        console: Show samples on stdout: "compact" (True), as "full" tables, or not at all (False).
        processors: structlog processors that see every event before it is written.
        sinks: structlog processors that get every event in addition to the file and the console.
        ignore: Codes of findings to ignore, or codes for each stream: {"audio": ("collapsed",)}.
        queue: How many pairs, and events per sink, may wait; the next is dropped and counted.
        strict: Raise the first failure instead of reporting it on stderr. For tests.
        durable_every: Seconds between syncs to the disk while lines are written; synced lines survive a power cut.
        text: Keep the texts of tokens; False keeps their ids only.
        text_window: Characters of text to keep around the tokens shown, if there is a decoder; 0 keeps none.
        mode: An upper limit for the file's permissions, such as 0o600.
        rank_folders: Write the file of each rank to a folder of its own, `rank=3/`, as engines partition by.

    Returns:
        The recorder. `Recorder` explains the arguments in more detail.

    Raises:
        SettingError: An argument makes no sense; the message says which and why.
    """
    arguments = locals()  # spelt out for editors, and passed on as they are
    global _default, _every
    recorder = Recorder(**arguments)
    with _making.lock:
        before = _default
        _default, _every = recorder, recorder.gate.every
    if before is not None:
        before.close()
    return recorder


def flush(timeout: float = 5.0) -> bool:
    """Wait until all that was compared so far is written and durable; return False after `timeout` seconds."""
    return _default is None or _default.flush(timeout)


def close(timeout: float = 5.0) -> bool:
    """Close the default recorder; return False if that took over `timeout` seconds. Called automatically at exit."""
    return _default is None or _default.close(timeout)


def current() -> Recorder:
    """Return the default recorder; make it from the environment and the defaults if none is configured."""
    global _default, _every
    if _default is not None:
        return _default
    with _making.lock:
        if _default is None:
            made = Recorder()
            # The lock is re-entrant: a signal handler in this thread may have made one meanwhile.
            if _default is None:
                _default, _every = made, made.gate.every
        return _default


def current_or_none() -> Recorder | None:
    """Return the default recorder; None, which is reported, if none can be made: a run must not die of its log."""
    try:
        return current()
    except own_failure(Exception) as error:  # such as a working directory that is gone
        _notices.report(
            "recorder",
            f"nothing is recorded, because the default recorder can't be made: {located(error)};"
            " call predlog.configure",
            error,
        )
        return None
