"""The programs of docs/explanations/shards.md: trainings in several processes, read as if one had had all logits."""

import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import pytest

import predlog
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
    """A program, the call that records, and how to change the program to one without shards."""

    compare: str
    whole: Edits
    processes: int = 2
    ranks: frozenset[int] = frozenset({0, 1})
    installs: str = ""
    argument: str = ""
    more: Mapping[str, Edits] = field(default_factory=dict)

    @property
    def without(self) -> Edits:
        return [(self.compare, ""), ("predlog.configure(", "(lambda *_, **__: None)(")]


PLAIN = "    predlog.compare(logits, labels, step, inputs=inputs)\n"
LOSS = "    with loss_parallel():\n        cross_entropy("
RECIPES = {
    "tensor_parallel": Recipe(
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
    "fsdp2_tensor_parallel": Recipe(
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
    "plain_shards": Recipe(
        "    predlog.compare(logits, labels, step, inputs=inputs, shard=shard, group=distributed.group.WORLD)\n",
        [(", shard=shard, group=distributed.group.WORLD", "")],
    ),
    "context_parallel": Recipe(
        "    predlog.compare(logits, labels, step, inputs=inputs, **where)\n",
        [(', attn_implementation="gathered"', ""), (", **where", "")],
        argument="row_index",
    ),
    "transformers_tensor_parallel": Recipe(
        "    predlog.compare(output.logits, batch, step, shift=1, inputs=batch)\n",
        [(', distributed_config=DistributedConfig(tp_plan="auto")', "")],
        ranks=frozenset({0}),
    ),
    "megatron_loss": Recipe(
        '    predlog.compare(logits, labels, step, layout="t b v, b t", inputs=inputs, shard=shard, group=tp)\n',
        [("compare(logits, labels", "compare(logits[..., :VOCABULARY], labels"), (", shard=shard, group=tp", "")],
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
    if recipe.argument not in ("", *inspect.signature(predlog.compare).parameters):
        pytest.skip(f"compare does not take {recipe.argument} yet")
    there = {one: other for one, other in RECIPES.items() if _is_installed(other)}
    alike = {
        one: {"sharded": [], "without": other.without, **other.more}
        for one, other in there.items()
        if other.processes == recipe.processes
    }
    made = launched_together(tmp_path_factory, alike, processes=recipe.processes)[name]
    whole = launched_together(tmp_path_factory, {one: {"whole": two.whole} for one, two in there.items()}, processes=1)
    return Runs(recipe, made["sharded"], made["without"], whole[name]["whole"], made)


def _is_installed(recipe: Recipe) -> bool:
    return not recipe.installs or importlib.util.find_spec("megatron") is not None


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
