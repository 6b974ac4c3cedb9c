"""The programs of docs/explanations/shards.md: trainings in several processes, read as if one had had all logits."""

import importlib.util
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from predlog import Comparison, Finding, Token
from tests.installed import release
from tests.integrations.held import same
from tests.integrations.launching import Edits, Training, launched_together
from tests.integrations.needed import needed

needed("transformers")

# Each starts up to six processes: CI runs them with `-m slow`.
pytestmark = pytest.mark.slow
# Sums over processes are made in another order than in one, and five updates enlarge what they differ by.
CLOSE = {0: 1e-4, 5: 5e-3}
PLAN = "parallelize_module(model, {}, plan)\n"


@dataclass(frozen=True)
class Recipe:
    """A program, how to change it to one that records nothing and to one without shards, and what CPUs need.

    `program` is its name if not that of the recipe, and `installs` what no extra can name.
    """

    without: Edits
    whole: Edits
    processes: int = 2
    ranks: frozenset[int] = frozenset({0, 1})
    program: str = ""
    on_cpus: Edits = ()
    needs: tuple[str, ...] = ()
    installs: str = ""
    more: Mapping[str, Edits] = field(default_factory=dict)

    def variants(self, name: str) -> dict[str, Edits]:
        """Return what is run in several processes: the edits, by name."""
        edits = {"sharded": (), "without": self.without, **self.more}
        return {f"{name}, {one}": [*self.on_cpus, *each] for one, each in edits.items()}


def recording(compare: str, whole: Edits, **more: Any) -> Recipe:
    """Return a recipe whose program calls `predlog.configure`, and records by this call."""
    return Recipe([(compare, ""), ("predlog.configure(", "(lambda *_, **__: None)(")], whole, **more)


PLAIN = "    predlog.compare(logits, labels, step, inputs=inputs)\n"
LOSS = "    with loss_parallel():\n        cross_entropy("
# The Trainer's parallelisms are refused on CPUs: accelerate is told that it has several GPUs.
ON_CPUS = [
    ("from accelerate import", "from torch import distributed\nfrom accelerate import"),
    ("report_to=[], **small, **split", "report_to=[], use_cpu=True, **small, **split"),
]
IN_ONE = [
    ON_CPUS[0],
    ("report_to=[], **small, **split", "report_to=[], use_cpu=True, remove_unused_columns=False, **small"),
]
# The Trainer splits labels that it has shifted, and positions that it has counted.
SHIFTED = (
    '"labels": one}',
    '"labels": one, "shift_labels": torch.tensor([*one[1:], -100]), "position_ids": torch.arange(64)}',
)
TOLD = 'arguments.distributed_state.distributed_type = "MULTI_GPU"\n'
WITHOUT = [("    callbacks=[PredictionCallback(every=5, decode=chr)],\n", "")]
# torch's own attention across processes has no CPU kernel: each process gathers the keys and values of all.
OWN_ATTENTION = """
from transformers import AttentionInterface


class Gathered(torch.autograd.Function):
    @staticmethod
    def forward(_, own):
        distributed.all_gather(whole := [torch.empty_like(own) for _ in range(2)], own.contiguous())
        return torch.cat(whole, 2)

    @staticmethod
    def backward(_, gradient):
        distributed.all_reduce(whole := gradient.contiguous())
        return whole.chunk(2, 2)[distributed.get_rank()]


def attention(_, query, key, value, __, scaling, **___):
    pieces = torch.arange(64).chunk(4)
    index = [torch.cat([pieces[rank], pieces[3 - rank]]) for rank in range(2)]
    later = torch.cat(index)[None] > index[distributed.get_rank()][:, None]
    scores = (query @ Gathered.apply(key).transpose(-1, -2) * scaling).masked_fill(later, float("-inf"))
    return (scores.softmax(-1) @ Gathered.apply(value)).transpose(1, 2), None


own = AttentionInterface()["sdpa"]
AttentionInterface.register("sdpa", attention)
"""
AS_BEFORE = '\nAttentionInterface.register("sdpa", own)\n'
LOADED = """
from transformers.distributed import DistributedConfig

if distributed.get_rank() == 0:
    model.save_pretrained("checkpoint")
distributed.barrier()
model = LlamaForCausalLM.from_pretrained("checkpoint", distributed_config=DistributedConfig(tp_plan="auto"))
"""
ULYSSES = """
import os

import deepspeed
from accelerate.utils import DeepSpeedSequenceParallelConfig
from deepspeed.runtime.sequence_parallel import parallel_state_sp
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

del os.environ["ACCELERATE_USE_CPU"]  # with which Accelerate would not use DeepSpeed
deepspeed.init_distributed("gloo")
handler = DeepSpeedSequenceParallelConfig(sp_seq_length=64, sp_attn_implementation="sdpa")
settings = {"zero_optimization": {"stage": 0}, "zero_allow_untested_optimizer": True}
settings |= {"train_micro_batch_size_per_gpu": "auto", "train_batch_size": "auto"}
"""
# The next program in the same processes is to find all as it was.
AFTER_ULYSSES = """
parallel_state_sp._release_sequence_parallel_groups()
ALL_ATTENTION_FUNCTIONS._local_mapping.clear()
"""
RECIPES = {
    "tensor_parallel": recording(
        PLAIN,
        [(PLAN.format("mesh"), "")],
        more={
            "watched": [
                (PLAIN, ""),
                ("for step, batch in", "criterion = torch.nn.CrossEntropyLoss()\nfor step, batch in"),
                (LOSS, "    with loss_parallel(), predlog.watch(criterion, step=lambda: step):\n        criterion("),
            ]
        },
    ),
    "fsdp2_tensor_parallel": recording(
        PLAIN,
        [
            (PLAN.format('mesh["tp"]'), ""),
            ('    fully_shard(layer, mesh=mesh["dp"])\n', "    pass\n"),
            ('fully_shard(model, mesh=mesh["dp"])\n', ""),
            ('mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))\n', ""),
            ('batch.chunk(2)[mesh["dp"].get_local_rank()]', "batch"),
        ],
        processes=4,
    ),
    "plain_shards": recording(
        "    predlog.compare(logits, labels, step, inputs=inputs, shard=shard, group=distributed.group.WORLD)\n",
        [(", shard=shard, group=distributed.group.WORLD", "")],
    ),
    "context_parallel": recording(
        "    predlog.compare(logits, labels, step, inputs=inputs, **where)\n",
        [(', attn_implementation="gathered"', ""), (", **where", "")],
    ),
    "transformers_tensor_parallel": recording(
        "    predlog.compare(output.logits, batch, step, shift=1, inputs=batch)\n",
        [(', distributed_config=DistributedConfig(tp_plan="auto")', "")],
        ranks=frozenset({0}),
    ),
    "trainer_context_parallel": Recipe(
        WITHOUT,
        [*IN_ONE, SHIFTED],
        on_cpus=[
            *ON_CPUS,
            ("torch.manual_seed(0)\n", f"{TOLD}{OWN_ATTENTION}torch.manual_seed(0)\n"),
            ("trainer.train()\n", f"trainer.train(){AS_BEFORE}"),
        ],
    ),
    "trainer_tensor_parallel": Recipe(
        WITHOUT,
        IN_ONE,
        ranks=frozenset({0}),
        program="trainer_context_parallel",
        on_cpus=[
            ON_CPUS[0],
            ("report_to=[], **small, **split", "report_to=[], use_cpu=True, **small"),
            ("torch.manual_seed(0)\n", f"{TOLD}torch.manual_seed(0)\n"),
            ("trainer = Trainer(", f"{LOADED}trainer = Trainer("),
        ],
    ),
    "trainer_ulysses": Recipe(
        WITHOUT,
        [*IN_ONE, SHIFTED],
        program="trainer_context_parallel",
        on_cpus=[
            *ON_CPUS,
            ("cp_size=2", "sp_size=2, sp_backend='deepspeed', sp_handler=handler"),
            ("split = {", f"{ULYSSES}split = {{"),
            ("trainer.train()\n", f"trainer.train()\n{AFTER_ULYSSES}"),
            ('    "fsdp": True,\n', '    "deepspeed": settings,\n'),
            ('    "fsdp_config": {"version": 2, "transformer_layer_cls_to_wrap": "LlamaDecoderLayer"},\n', ""),
            ('"labels": one}', '"labels": one, "position_ids": torch.arange(64)}'),
            ("vocab_size=257,", 'vocab_size=257, attn_implementation="sdpa",'),
        ],
        needs=("deepspeed",),
        installs="deepspeed==0.19.8",
    ),
    "megatron_loss": recording(
        '    predlog.compare(logits, labels, step, layout="t b v, b t", inputs=inputs, shard=shard, group=tp)\n',
        [("compare(logits, labels", "compare(logits[..., :VOCABULARY], labels"), (", shard=shard, group=tp", "")],
        needs=("megatron",),
        installs="megatron-core==0.16.1",
    ),
}


@dataclass(frozen=True)
class Runs:
    """What a recipe leaves: with predlog, without it, and without shards in one process."""

    recipe: Recipe
    sharded: Training
    without: Training
    whole: Training
    more: Mapping[str, Training]


@pytest.fixture(scope="module", params=RECIPES)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    name, recipe = request.param, RECIPES[request.param]
    if release("torch") < (2, 8) or release("transformers") < (5, 18):
        pytest.skip("written for torch 2.8 and transformers 5.18, and later")
    if not _is_installed(recipe):
        pytest.skip(
            f"needs what an extra can't name, for its own dependencies: pip install --no-deps {recipe.installs}"
        )
    several: dict[str, dict[str, Edits]] = defaultdict(dict)
    one: dict[str, dict[str, Edits]] = defaultdict(dict)
    for other, each in RECIPES.items():
        if _is_installed(each) and each.processes == recipe.processes:
            several[each.program or other] |= each.variants(other)
        if _is_installed(each):
            one[each.program or other][other] = each.whole
    made = launched_together(tmp_path_factory, several, processes=recipe.processes)[recipe.program or name]
    whole = launched_together(tmp_path_factory, one, processes=1)[recipe.program or name][name]
    own = {key.removeprefix(f"{name}, "): training for key, training in made.items() if key.startswith(f"{name}, ")}
    return Runs(recipe, own["sharded"], own["without"], whole, own)


def _is_installed(recipe: Recipe) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in recipe.needs)


def comparisons(training: Training) -> list[Comparison]:
    return [one for one in training.records if isinstance(one, Comparison)]


def test_what_is_read_is_what_one_process_records(runs: Runs) -> None:
    """Joined, the records are those of the same model and batches in one process: ids, ranks, losses, worst tokens."""
    ours, theirs = comparisons(runs.sharded), comparisons(runs.whole)
    assert [(one.step, one.sample) for one in ours] == [(step, sample) for step in (0, 5) for sample in (0, 1)]
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for name in ("step", "stream", "sample", "length", "vocabulary", "shift", "supervised", "matched", "nonfinite"):
            assert getattr(one, name) == getattr(other, name), name
        assert (one.loss, one.entropy) == pytest.approx((other.loss, other.entropy), abs=CLOSE[one.step])
        assert one.missing_ids in (None, 0)
        assert len(one.tokens) == len(other.tokens) == 10
        assert len(one.worst) == len(other.worst) == 5
        for token, known in zip([*one.tokens, *one.worst], [*other.tokens, *other.worst], strict=True):
            assert_same_token(token, known, CLOSE[one.step])


def assert_same_token(token: Token, known: Token, close: float) -> None:
    ours, theirs = msgspec.structs.asdict(token), msgspec.structs.asdict(known)
    for name in ("label_logprob", "prediction_logprob"):
        assert ours.pop(name) == pytest.approx(theirs.pop(name), abs=close)
    rank, least, known_rank = ours.pop("label_rank"), ours.pop("label_rank_at_least"), theirs.pop("label_rank")
    del theirs["label_rank_at_least"]
    if token.slot is None:  # of one of the worst, the texts of some ids may not be in any part
        for name in ("label_text", "prediction_text", "input_text"):
            assert ours.pop(name) in (theirs.pop(name), None)
    assert ours == theirs
    assert rank == known_rank or (rank is None and (least is None or least <= known_rank))


def test_nothing_is_found_and_the_model_learns(runs: Runs) -> None:
    """The programs are right, so no finding is open, and the loss falls: the labels are those of the logits."""
    assert not [one for one in runs.sharded.records if isinstance(one, Finding)]
    first, last = ([one.loss or 0 for one in comparisons(runs.sharded) if one.step == step] for step in (0, 5))
    assert max(last) < min(first) - 1


def test_the_ranks_of_one_copy_record(runs: Runs) -> None:
    """Those processes record that have one copy of the logits together; of whole logits, one does."""
    assert runs.sharded.ranks == runs.recipe.ranks


def test_the_training_is_the_same_without(runs: Runs) -> None:
    """Recording changes no bit of the weights, and makes no collective."""
    for seen, without in zip(runs.sharded.seen, runs.without.seen, strict=True):
        assert same(seen["weights"], without["weights"])
        assert seen["collectives"] == without["collectives"] > 10
    assert not runs.without.records


def test_a_watched_loss_of_shards(runs: Runs) -> None:
    """`watch` passes on what `loss_parallel`'s cross entropy is called with: the same pairs, without the inputs."""
    if (watched := runs.more.get("watched")) is None:
        pytest.skip("its loss is no cross_entropy, or whole")
    assert watched.ranks == runs.recipe.ranks
    assert not [one for one in watched.records if isinstance(one, Finding)]
    for one, other in zip(comparisons(watched), comparisons(runs.sharded), strict=True):
        assert (one.loss, one.matched, one.length) == (other.loss, other.matched, other.length)
        theirs = [msgspec.structs.replace(token, input=None, input_text=None) for token in other.tokens]
        assert list(one.tokens) == theirs
    for seen, without in zip(watched.seen, runs.without.seen, strict=True):
        assert same(seen["weights"], without["weights"])
        assert seen["collectives"] == without["collectives"]
