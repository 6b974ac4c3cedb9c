"""One look at a model before its training: its pair, its shift, its loss, and whether it sees what it is to predict."""

import random
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.integrations.needed import needed

transformers = needed("transformers")
peft = needed("peft")

from transformers.modeling_outputs import CausalLMOutput  # noqa: E402
from transformers.models.auto import modeling_auto  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

import predlog  # noqa: E402
from predlog.errors import PairError, SettingError  # noqa: E402
from predlog.integrations.transformers import Preflight, preflight  # noqa: E402
from tests import ROOT  # noqa: E402
from tests.integrations import tiny  # noqa: E402
from tests.sizes import sizes  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")
VOCABULARY = len(tiny.tokenizer())
SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
BERT = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "intermediate_size": 64}


def batch(samples: int = 4) -> dict[str, torch.Tensor]:
    chosen = tiny.samples()[:samples]
    return {name: torch.tensor([one[name] for one in chosen]) for name in chosen[0]}


def made(name: str, kind: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(vocab_size=VOCABULARY, **settings)
    return getattr(transformers, f"{name}{kind}")(config).train()


def whisper() -> Any:
    return made(
        "Whisper", "ForConditionalGeneration", d_model=64, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, encoder_attention_heads=4, decoder_attention_heads=4, num_mel_bins=8,
        max_source_positions=30, max_target_positions=64, decoder_start_token_id=0, suppress_tokens=[],
        begin_suppress_tokens=[], **SPECIAL,
    )  # fmt: skip


CAUSAL: dict[str, Callable[[], Any]] = {
    "llama": tiny.llama,
    "gpt2": lambda: made("GPT2", "LMHeadModel", n_embd=64, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=1),
    "mamba": lambda: made("Mamba", "ForCausalLM", hidden_size=64, num_hidden_layers=2, state_size=8, **SPECIAL),
    "mixtral": lambda: made(
        "Mixtral", "ForCausalLM", hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=4, output_router_logits=True,
    ),
    "bert that decodes": lambda: made("Bert", "LMHeadModel", is_decoder=True, **BERT),
    "bfloat16": lambda: tiny.llama().bfloat16(),
    "lora": lambda: peft.get_peft_model(tiny.llama(), peft.LoraConfig(r=4, task_type="CAUSAL_LM")),
    "prompt tuning": lambda: peft.get_peft_model(
        tiny.llama(), peft.PromptTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM")
    ),
    "in parallel": lambda: nn.DataParallel(tiny.llama()),
    "compiled": lambda: torch.compile(tiny.llama()),
}  # fmt: skip
DECODERS: dict[str, Callable[[], Any]] = {
    # Without labels it fills a cache, and then its decoder has no mask.
    "fsmt": lambda: made(
        "FSMT", "ForConditionalGeneration", langs=["en", "de"], src_vocab_size=VOCABULARY, tgt_vocab_size=VOCABULARY,
        d_model=64, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
        encoder_attention_heads=4, decoder_attention_heads=4, decoder_start_token_id=1, **SPECIAL,
    ),
    "t5": lambda: made(
        "T5", "ForConditionalGeneration", d_model=64, d_ff=64, num_layers=2, num_heads=4, d_kv=16,
        decoder_start_token_id=2, pad_token_id=2, eos_token_id=1,
    ),
    "bart": lambda: made(
        "Bart", "ForConditionalGeneration", d_model=64, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, encoder_attention_heads=4, decoder_attention_heads=4, decoder_start_token_id=1,
        forced_eos_token_id=1, **SPECIAL,
    ),
    "whisper": whisper,
}  # fmt: skip


def codes(seen: predlog.Inspection) -> list[str]:
    return [one.code for one in seen.findings]


@pytest.mark.parametrize("make", CAUSAL.values(), ids=CAUSAL)
def test_a_sound_causal_model(make: Callable[[], Any]) -> None:
    """Its shift is read, its loss is that of the pair, it sees nothing ahead, and there are no findings."""
    seen = preflight(make(), batch(), decode=tiny.tokenizer())
    assert (codes(seen), seen.shift, seen.sight) == ([], 1, "causal"), str(seen)
    assert seen.shift_from.startswith("read from the source of the loss of ")
    assert "loss-differs-from-pair" not in seen.undecided["text"]
    assert seen.loss == pytest.approx(6.2, abs=0.5)
    assert [one.sample for one in seen.comparisons] == [0, 1, 2, 3]
    assert seen.comparisons[0].tokens[0].label_text is not None


@pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS)
def test_a_sound_encoder_decoder(make: Callable[[], Any]) -> None:
    """What its decoder reads is replaced, and the encoder's input stays: its logits may depend on all of that."""
    given = batch()
    if make is whisper:
        given = {"input_features": torch.randn(4, 8, 60), "labels": given["labels"].clamp(3)}
    seen = preflight(make(), given)
    assert (codes(seen), seen.shift, seen.sight) == ([], 0, "causal"), str(seen)
    assert "decoder_input_ids" in seen.sight_why


def test_a_model_that_sees_both_sides_by_design() -> None:
    """A masked language model is not accused; the result says what it sees."""
    given = batch()
    is_masked = torch.rand(given["labels"].shape) < 0.3
    given["labels"] = given["input_ids"].masked_fill(~is_masked, -100)
    given["input_ids"] = given["input_ids"].masked_fill(is_masked, 4)
    seen = preflight(made("Bert", "ForMaskedLM", **BERT), given)
    assert (codes(seen), seen.shift, seen.sight) == ([], 0, "sees both sides"), str(seen)
    assert "its labels are not the next inputs, so it may" in " ".join(str(seen).split())


def test_a_model_that_sees_the_future() -> None:
    """BERT as it is, trained on next tokens, is accused: error, code, numbers and fix."""
    seen = preflight(made("Bert", "LMHeadModel", **BERT), batch())
    assert codes(seen) == ["sees-the-future"]
    (finding,) = seen.findings
    assert (finding.level, finding.step, finding.stream) == ("error", 0, "text")
    assert "is_decoder=True" in finding.message
    assert finding.evidence["moved"] == finding.evidence["rows"] > 0
    assert seen.sight == "sees the future"
    assert codes(preflight(made("Bert", "LMHeadModel", **BERT), batch(), ignore="sees-the-future")) == []


class Attended(nn.Module):
    """A language model of one layer, with a mask of attention that is the caller's, and a loss that shifts."""

    def __init__(self, mask: torch.Tensor, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(VOCABULARY, 32), nn.Linear(32, VOCABULARY)
        self.dropout = nn.Dropout(dropout)
        self.mask = mask

    def forward(self, input_ids: Any, labels: Any = None, attention_mask: Any = None) -> CausalLMOutput:
        """Return logits and loss."""
        read = self.dropout(self.table(input_ids))
        weights = (read @ read.mT / 32).masked_fill(~self.mask, -torch.inf).softmax(-1)
        logits = self.head(self.dropout(read + weights @ read))
        loss = None
        if labels is not None:
            shifted = labels[..., 1:]
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), shifted.flatten())
        return CausalLMOutput(loss=loss, logits=logits)


def lower() -> torch.Tensor:
    return torch.ones(tiny.LENGTH, tiny.LENGTH, dtype=torch.bool).tril()


def one_ahead() -> torch.Tensor:
    return torch.ones(tiny.LENGTH, tiny.LENGTH, dtype=torch.bool).tril(1)


def block(first: int, last: int) -> Callable[[], torch.Tensor]:
    def mask() -> torch.Tensor:
        made = lower()
        made[first:last, first:last] = True
        return made

    return mask


@pytest.mark.parametrize(
    ("mask", "sight"),
    [
        (lower, "causal"),
        (one_ahead, "sees the future"),
        *((block(*ends), "sees the future") for ends in ((0, 14), (0, 25), (18, 30), (30, 42), (44, 48))),
    ],
)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_mask_that_is_wrong_somewhere(mask: Callable[[], torch.Tensor], sight: str, dropout: float) -> None:
    """One token too far, or within any part: both are seen, also through dropout."""
    given = batch()
    given["labels"] = given["input_ids"]
    seen = preflight(Attended(mask(), dropout).train(), given, shift=1)
    assert seen.sight == sight, str(seen)
    assert codes(seen) == (["sees-the-future"] if sight == "sees the future" else [])


def test_a_prefix_that_is_seen_on_purpose() -> None:
    """Where the prefix has no labels, its rows may see each other."""
    given = batch()
    given["labels"] = given["input_ids"].clone()
    given["labels"][:, :26] = -100
    seen = preflight(Attended(block(0, 25)()).train(), given)
    assert (codes(seen), seen.sight) == ([], "causal")


def test_half_precision_is_not_taken_for_proof() -> None:
    """What may be rounding in bfloat16 is neither accused nor cleared: the result asks for float32."""
    seen = preflight(made("Bert", "LMHeadModel", **BERT).bfloat16(), batch())
    assert (codes(seen), seen.sight) == ([], "unknown"), str(seen)
    assert "which may be rounding: try it in float32" in seen.undecided["text"]["sees-the-future"]


def test_a_model_that_ignores_its_inputs() -> None:
    """Where no logit moves at all, nothing is known of what the model sees."""

    class Ignorant(Bare):
        def forward(self, input_ids: Any, labels: Any = None, **more: Any) -> CausalLMOutput:
            return super().forward(torch.zeros_like(input_ids), labels, **more)

    seen = preflight(Ignorant(), batch(), shift=1)
    assert (codes(seen), seen.sight) == ([], "unknown")
    assert "the later ones don't move either" in str(seen)


# --- shift and loss -----------------------------------------------------------------------------------------------
class ShiftsTwice(transformers.LlamaForCausalLM):  # type: ignore[misc, name-defined]
    """A model that shifts the labels before the loss that shifts them."""

    def forward(self, input_ids: Any = None, labels: Any = None, **more: Any) -> Any:
        """Return what the model returns for labels that are shifted."""
        shifted = None if labels is None else functional.pad(labels[:, 1:], (0, 1), value=-100)
        return super().forward(input_ids=input_ids, labels=shifted, **more)


def test_a_model_that_shifts_labels_twice() -> None:
    """Its loss is that of labels shifted once more, which is certain of random weights, too."""
    seen = preflight(tiny.llama(ShiftsTwice).train(), batch(), decode=tiny.tokenizer())
    assert codes(seen) == ["loss-differs-from-pair"], str(seen)
    assert seen.findings[0].evidence["explanation"] == "one more shift"
    assert "not that of the pair" in str(seen)


def test_labels_that_were_shifted_before() -> None:
    """A collator that shifts, and a model that does: the labels skip a token."""
    given = batch()
    given["labels"] = functional.pad(given["labels"][:, 1:], (0, 1), value=-100)
    seen = preflight(tiny.llama(), given, decode=tiny.tokenizer())
    assert codes(seen) == ["labels-shifted-twice"]


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_a_shift_that_the_source_does_not_show(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a loss function of the user's own, the shift is measured: only with it the loss is that of the pair."""

    def loss_function(logits: Any, labels: Any, **_more: Any) -> Any:
        rows = logits[:, : logits.shape[1] - shift]
        return functional.cross_entropy(rows.flatten(0, 1), labels[:, shift:].flatten())

    model = tiny.llama().train()
    monkeypatch.setattr(type(model), "loss_function", staticmethod(loss_function))
    given = batch()
    seen = preflight(model, given)
    assert seen.shift == shift
    assert seen.shift_from.startswith("measured: ")
    assert seen.loss == pytest.approx(model(**given).loss.item(), rel=1e-4)


class Bare(nn.Module):
    """A model that takes labels, and computes no loss of them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, VOCABULARY)

    def forward(self, input_ids: Any, labels: Any = None, **_more: Any) -> CausalLMOutput:
        """Return logits alone."""
        return CausalLMOutput(logits=self.table(input_ids))


def test_a_shift_that_nobody_knows() -> None:
    """Without a loss nothing can be measured: it raises and asks; with `shift=` the model is looked at."""
    with pytest.raises(PairError, match="how the loss of Bare shifts its labels isn't known: pass shift="):
        preflight(Bare(), batch())
    seen = preflight(Bare(), batch(), shift=1)
    assert (codes(seen), seen.sight, seen.loss) == ([], "causal", None)
    assert "loss: " not in str(seen)


def test_a_shift_that_is_passed() -> None:
    """It is used, and if the model's own contradicts it, a note says so."""
    seen = preflight(tiny.llama(), batch(), shift=0)
    assert (seen.shift, seen.shift_from) == (0, "as passed")
    assert any("shift=0 was passed, and the loss of LlamaForCausalLM shifts by 1" in note for note in seen.notes)


def test_labels_in_their_place() -> None:
    """`shift_labels` are taken as they are."""
    given = batch()
    labels = given.pop("labels")
    given["shift_labels"] = functional.pad(labels[:, 1:], (0, 1), value=-100)
    seen = preflight(tiny.llama(), {**given, "labels": labels})
    assert (codes(seen), seen.shift, seen.shift_from) == ([], 0, "since the batch has shift_labels")


# --- what is passed -----------------------------------------------------------------------------------------------
def test_labels_out_of_range_are_a_finding() -> None:
    """The model raises, and the finding says why; what raises for another reason is raised as it is."""
    given = batch()
    given["labels"][0, 30] = VOCABULARY
    seen = preflight(tiny.llama(), given)
    assert codes(seen) == ["label-out-of-range"]
    assert seen.comparisons == ()
    with pytest.raises(TypeError, match="nonsense"):
        preflight(Attended(lower()), {**batch(), "nonsense": torch.ones(1)})


def test_a_pair_that_is_wrong() -> None:
    """Everything that `inspect` finds is found, such as labels that are all masked."""
    given = batch()
    given["labels"] = torch.full_like(given["labels"], -100)
    assert codes(preflight(tiny.llama(), given)) == ["nothing-supervised"]


@pytest.mark.parametrize(
    ("given", "error", "why"),
    [
        (lambda: {name: value for name, value in batch().items() if name != "labels"}, SettingError, "has no labels"),
        (lambda: batch()["input_ids"], SettingError, "a mapping of tensors"),
        (lambda: {**batch(), "labels": [[1, 2]]}, SettingError, "labels is a list: pass tensors"),
        (lambda: {**batch(), "labels": torch.zeros(4, tiny.LENGTH)}, RuntimeError, "Long"),
    ],
    ids=["no labels", "no mapping", "lists", "floats"],
)
def test_a_batch_that_is_none(given: Callable[[], Any], error: type[Exception], why: str) -> None:
    """What makes no pair raises and says what to pass: an empty result would look like a sound pair."""
    with pytest.raises(error, match=why):
        preflight(tiny.llama(), given())


def test_labels_of_a_regression() -> None:
    """There is no pair to look at, so it raises."""
    model = made("Bert", "ForSequenceClassification", num_labels=1, **BERT)
    with pytest.raises(PairError, match="no pair can be read: labels are floats"):
        preflight(model, {**batch(), "labels": torch.rand(4)})


def test_a_classifier() -> None:
    """One label per sample is a pair, and its logits may depend on everything."""
    model = made("Bert", "ForSequenceClassification", num_labels=3, **BERT)
    seen = preflight(model, {**batch(), "labels": torch.tensor([0, 1, 2, 1])})
    assert (codes(seen), seen.shift, seen.sight) == ([], 0, "sees both sides")


def test_a_model_compiled_in_place() -> None:
    """Its outputs can't be seen: it raises and says so."""
    model = tiny.llama()
    model.compile()
    with pytest.raises(SettingError, match="before that"):
        preflight(model, batch())


def test_a_batch_of_a_tokenizer() -> None:
    """A BatchEncoding is no mapping, and works; the caller's batch is not changed."""
    given = transformers.BatchEncoding(batch())
    before = {name: given[name].clone() for name in given.keys()}  # noqa: SIM118 - it is no mapping
    seen = preflight(tiny.llama(), given)
    assert not seen.findings
    assert all(torch.equal(given[name], value) for name, value in before.items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_batch_on_another_device() -> None:
    """It is copied to where the model is, which a note says; CUDA's random numbers go on as if nothing was."""
    model, state = tiny.llama().cuda().train(), torch.cuda.get_rng_state()
    seen = preflight(model, batch())
    assert (codes(seen), seen.sight) == ([], "causal")
    assert seen.notes[0] == "the batch was copied from cpu to cuda:0, where the model is"
    assert torch.equal(torch.cuda.get_rng_state(), state)


class Counts(transformers.LlamaForCausalLM):  # type: ignore[misc, name-defined]
    """A model that refuses a batch without exactly three tokens of an image in each sample."""

    def forward(self, input_ids: Any = None, **more: Any) -> Any:
        """Return what the model returns."""
        if ((input_ids == 4).sum(1) != 3).any():
            raise ValueError("image tokens and images don't match")
        return super().forward(input_ids=input_ids, **more)


def test_the_token_of_an_image() -> None:
    """What stands for an image is not replaced, so the model can be called."""
    given = batch()
    given["input_ids"].clamp_(5)
    given["input_ids"][:, [1, 40, 41]] = 4
    given["attention_mask"][:] = 1
    seen = preflight(tiny.llama(Counts, image_token_id=4), given)
    assert (seen.sight, codes(seen)) == ("causal", [])
    unnamed = preflight(tiny.llama(Counts), given)
    assert (unnamed.sight, codes(unnamed)) == ("unknown", [])
    assert "image tokens and images don't match" in unnamed.undecided["text"]["sees-the-future"]


def test_the_pages_example(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The example on docs/frameworks/transformers.md prints what the page shows, below the tables."""
    monkeypatch.setenv("COLUMNS", "120")
    page = (ROOT / "docs/frameworks/transformers.md").read_text().partition("## Before the training")[2]
    (example, *_), (shown, *_) = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "text"))
    exec(example, {"model": tiny.llama(), "batch": batch(), "tokenizer": tiny.tokenizer()})
    assert capsys.readouterr().out.endswith(shown)


# --- what stays as it is ------------------------------------------------------------------------------------------
class Restless(Attended):
    """A model whose forward changes all that a forward can change."""

    def __init__(self) -> None:
        super().__init__(lower(), 0.5)
        self.norm = nn.BatchNorm1d(VOCABULARY)
        self.frozen = nn.Dropout(0.1).eval()
        self.calls, self.seen, self.last = 0, [1], {"a": 1}
        self.plain = torch.zeros(3)
        self.register_buffer("replaced", torch.zeros(2))
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)

    def forward(self, input_ids: Any, labels: Any = None, attention_mask: Any = None) -> CausalLMOutput:
        """Change what can be changed."""
        self.calls += 1
        self.seen.append(self.calls)
        self.last["b"] = self.calls
        self.plain += random.random() + float(np.random.rand()) + torch.rand(3)  # noqa: NPY002 - NumPy's own, as many programs use it
        self.replaced = self.get_buffer("replaced") + 1
        self.get_buffer("unsaved").add_(1)
        self.cache = torch.ones(2)
        self.register_buffer("new", torch.ones(1))
        made = super().forward(input_ids, labels, attention_mask)
        assert made.logits is not None
        self.norm(made.logits.flatten(0, 1))
        if labels is not None:
            labels.fill_(0)
        self.frozen.train()
        return made


def state_of(model: nn.Module) -> dict[str, Any]:
    own = {
        name: {key: deepcopy(value) for key, value in vars(module).items() if not key.startswith("_")}
        for name, module in model.named_modules()
    }
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {"own": own, "tensors": {name: value.detach().clone() for name, value in tensors.items()}}


def test_nothing_is_left_behind() -> None:
    """Modes, buffers, attributes, gradients and random states are what they were, whatever the forward does."""
    model, given = Restless().train(), batch()
    model.frozen.eval()
    before, labels = state_of(model), given["labels"].clone()
    python, numpy, own = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - NumPy's own, as many programs use it
    seen = preflight(model, given, shift=1)
    assert seen.sight == "causal", str(seen)
    after = state_of(model)
    assert str(after["own"]) == str(before["own"])
    assert after["tensors"].keys() == before["tensors"].keys()
    assert all(torch.equal(value, before["tensors"][name]) for name, value in after["tensors"].items())
    assert [module.training for module in model.modules()].count(False) == 1
    assert all(parameter.grad is None for parameter in model.parameters())
    assert random.getstate() == python
    assert str(np.random.get_state()) == str(numpy)  # noqa: NPY002 - NumPy's own, as many programs use it
    assert torch.equal(torch.get_rng_state(), own)
    assert torch.equal(given["labels"], labels)
    assert torch.is_grad_enabled()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_nothing_is_left_behind_by_a_forward_that_raises() -> None:
    """The same when the model raises in the middle."""
    model, given = Restless().train(), batch()
    model.head = nn.Linear(31, 7)
    before, own = state_of(model), torch.get_rng_state()
    with pytest.raises(RuntimeError):
        preflight(model, given)
    assert str(state_of(model)["own"]) == str(before["own"])
    assert torch.equal(torch.get_rng_state(), own)


def test_a_training_is_the_same_after_it() -> None:
    """Weights after steps with dropout are bitwise those of a training without a look before."""

    def trained(*, is_looked_at: bool) -> list[torch.Tensor]:
        torch.manual_seed(1)
        model = tiny.llama(attention_dropout=0.1).train()
        torch.manual_seed(2)
        if is_looked_at:
            preflight(model, batch())
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(3):
            model(**batch()).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return [weight.detach() for weight in model.parameters()]

    pairs = zip(trained(is_looked_at=False), trained(is_looked_at=True), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_what_is_shown() -> None:
    """The text says the shift and how it is known, the loss, and what the model sees, between findings and the rest."""
    seen = preflight(tiny.llama(), batch())
    assert isinstance(seen, Preflight)
    lines = str(seen).splitlines()
    for line in (
        "shift: 1, read from the source of the loss of LlamaForCausalLM",
        f"loss: {seen.loss:.6g} nats, that of the pair",
        "causality: causal: no row of logits moved when later input_ids were replaced",
    ):
        assert line in lines
        assert line in seen._repr_html_()
    assert repr(seen).startswith("<Preflight: no findings in 4 samples, ")


# --- all models ---------------------------------------------------------------------------------------------------
# Whatever a configuration calls its sizes; what has none of these names is left as it is.
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "embedding_size", "word_embed_proj_dim"), 64),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"), 96),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), 2
    ),
    **dict.fromkeys(
        (
            "num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads",
            "decoder_attention_heads", "num_experts", "num_local_experts", "n_routed_experts",
        ),
        4,
    ),
    "num_key_value_heads": 2, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_group": 1, "topk_group": 1,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16,
    "d_kv": 16, "head_dim": 16, "rotary_dim": 8, "max_position_embeddings": 128, "vocab_size": VOCABULARY,
    "decoder_start_token_id": 1, **SPECIAL,
}  # fmt: skip
_LARGEST = 10_000_000


def small(kind: str, name: str) -> Any:
    """Return a small random model of an architecture; None if it can't be made small, or takes no text alone."""
    config = CONFIG_MAPPING[kind]
    try:
        known = config()
        sizes = {key: value for key, value in SMALL.items() if hasattr(known, key) or key in SPECIAL}
        model = getattr(transformers, name)
        with torch.device("meta"):
            if sum(weight.numel() for weight in model(config(**sizes)).parameters()) > _LARGEST:
                return None
        torch.manual_seed(0)
        made = model(config(**sizes)).train()
        made(**batch(2))
    except Exception:  # noqa: BLE001 - whatever an architecture lacks
        return None
    return made


@pytest.mark.parametrize(
    ("mapping", "least", "every"),
    [
        *sizes(core=None, slow=("CAUSAL_LM", 12, 6), full=("CAUSAL_LM", 80, 1), of="decoders"),
        *sizes(core=None, slow=("SEQ_TO_SEQ_CAUSAL_LM", 12, 1), of="encoders and decoders"),
    ],
)
def test_all_models_of_transformers(mapping: str, least: int, every: int) -> None:
    """Of those that can be made small only encoders see the future, and the loss of each is that of its pair."""
    seen = {}
    every_kind = [*getattr(modeling_auto, f"MODEL_FOR_{mapping}_MAPPING_NAMES").items()]
    for kind, names in every_kind[every // 2 :: every]:  # falcon_h1 takes half a minute, and comes with `-m full`
        name = names if isinstance(names, str) else names[0]
        model = small(kind, name)
        if model is not None:
            seen[name] = preflight(model, batch()), getattr(model.config, "is_decoder", None)
    accused = {name for name, (one, _) in seen.items() if "sees-the-future" in codes(one)}
    assert accused == {name for name in accused if seen[name][1] is False}
    assert not {name for name, (one, _) in seen.items() if "loss-differs-from-pair" in codes(one)}
    assert sum(one.sight == "causal" for one, _ in seen.values()) >= least
