"""Token text: from every kind of decoder, and never from the user's own tokenizer at the user's own time."""

import threading
import tracemalloc
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from predlog import Recorder
from predlog.processors.decode import MOST_BYTES, Decode
from tests import events
from tests.events import told
from tests.sizes import sizes


def trained(kind: str) -> Tokenizer:
    """Train a tokenizer on real text: byte-level as GPT-2's, or metaspace with byte fallback as Llama's."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=kind == "metaspace", unk_token="<unk>"))
    if kind == "byte-level":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
        alphabet = []
    special = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256) if kind == "metaspace")]
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(topics.values(), trainer)
    return tokenizer


@pytest.fixture(scope="module", params=["byte-level", "metaspace"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return trained(request.param)


def text_of(decoder: Any, token: int | None) -> str | None:
    event = events.comparison(tokens=[events.token(0, label=token, prediction=token)])
    Decode(decoder)(None, "info", event)
    shown: str | None = event["tokens"][0]["label_text"]
    return shown


def test_pieces_add_up_to_the_text(tokenizer: Tokenizer) -> None:
    """The texts of the tokens, one after another, are the text: leading spaces are part of a token."""
    text = " the statement returns a value, and the name is bound in the local scope."
    assert "".join(text_of(tokenizer, token) or "" for token in tokenizer.encode(text).ids).strip() == text.strip()


@pytest.mark.parametrize("wrapped", [False, True])
def test_special_tokens_are_shown(tokenizer: Tokenizer, wrapped: bool) -> None:
    """An end token is text like any other, through the library's tokenizer and through Hugging Face's."""
    special = tokenizer.token_to_id("</s>")
    decoder = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>") if wrapped else tokenizer
    assert text_of(decoder, special) == "</s>"


def test_pieces_of_a_character_are_bytes(tokenizer: Tokenizer) -> None:
    """A token that is part of a character reads as its bytes, not as a replacement character."""
    pieces = [text_of(tokenizer, token) for token in tokenizer.encode("€").ids]
    assert "".join(filter(None, pieces)).strip() == "<0xE2><0x82><0xAC>"


def test_unknown_ids_have_no_text(tokenizer: Tokenizer) -> None:
    """An id beyond the vocabulary, or below zero, stays an id."""
    assert text_of(tokenizer, 10**6) is None
    assert text_of(tokenizer, -100) is None


def test_ids_beyond_the_tokenizer_are_reported_once(tokenizer: Tokenizer, capfd: pytest.CaptureFixture[str]) -> None:
    """A model's vocabulary is often padded: one line names an id that has no text, and how many have."""
    decode = Decode(tokenizer)
    size = tokenizer.get_vocab_size()
    texts = [decode._text(decode._texts.alone, token) for token in range(size, size + 30)]  # type: ignore[arg-type]
    assert set(texts) == {None}
    (line,) = told(capfd)
    assert f"id {size} is beyond the tokenizer, which has texts for {size} ids: it is shown as an id" in line


def test_any_callable(capfd: pytest.CaptureFixture[str]) -> None:
    """A callable from one id to its text will do."""
    assert text_of({7: " seven"}.__getitem__, 7) == " seven"
    assert not told(capfd)


@pytest.mark.parametrize(
    ("decoder", "reason"), [({}.__getitem__, "raised KeyError: 7"), (bytes, "returned bytes instead of text")]
)
def test_a_decoder_that_fails_leaves_ids(capfd: pytest.CaptureFixture[str], decoder: Any, reason: str) -> None:
    """The text is null, and stderr reports it once."""
    assert text_of(decoder, 7) is None
    (line,) = told(capfd)
    assert f"decode(7) {reason}" in line


def test_slow_tokenizers(tmp_path: Path) -> None:
    """A tokenizer written in Python is copied and asked for one id at a time."""

    class Slow:
        def convert_ids_to_tokens(self, token: int) -> str:
            return ["▁the", "ing"][token]

        def decode(self, tokens: list[int], *, skip_special_tokens: bool) -> str:
            assert not skip_special_tokens
            return ["the", "ing"][tokens[0]]

    assert [text_of(Slow(), token) for token in (0, 1)] == [" the", "ing"]


@pytest.mark.parametrize("steps", sizes(core=60, slow=300))
@pytest.mark.parametrize("kind", ["tokenizers", "transformers"])
def test_the_users_tokenizer_is_never_used_from_another_thread(tmp_path: Path, kind: str, steps: int) -> None:
    """Truncation is toggled thousands of times in the training thread while tables are decoded: nothing is borrowed."""
    plain = trained("byte-level")
    users: Any = plain if kind == "tokenizers" else PreTrainedTokenizerFast(tokenizer_object=plain)
    text = topics["assignment"]
    logits, labels = events.pair(length=200, vocabulary=1500)
    with Recorder(tmp_path, every=1, decode=users, console=False, strict=True, queue=10**4) as recorder:
        for step in range(steps):
            recorder.compare(logits.roll(step, -1), (labels + step) % 1500, step)
            for _ in range(5):
                if kind == "tokenizers":
                    users.enable_truncation(max_length=16 + step)
                    users.encode(text)
                    users.no_truncation()
                else:
                    users(text, truncation=True, max_length=16 + step)
        assert recorder.flush(60)
        assert recorder.stats()["written"] == 2 * steps


@pytest.mark.parametrize("how", ["itself", "wrapped", "its method"])
def test_only_a_copy_made_up_front_is_used(tmp_path: Path, how: str) -> None:
    """The tokenizer that was passed, or whose method was, is copied in the calling thread, and left alone.

    Which calls borrow a tokenizer has changed between releases of `tokenizers` (batches up to 0.22 raise
    "Already borrowed", 0.23 does not), so the rule is held here, and not only where today's release would raise.
    """

    class Watched:
        def __init__(self) -> None:
            self.calls: list[str] = []
            self.copied_in: list[threading.Thread] = []

        def __deepcopy__(self, memo: object) -> "Watched":
            self.copied_in.append(threading.current_thread())
            return Watched()

        def id_to_token(self, token: int) -> str:
            self.calls.append("id_to_token")
            return str(token)

        def decode(self, tokens: list[int], *, skip_special_tokens: bool) -> str:
            self.calls.append("decode")
            return str(tokens[0])

    class Wrapper:
        def __init__(self, tokenizer: Watched) -> None:
            self.backend_tokenizer = tokenizer

    users = Watched()
    decode = {"itself": users, "wrapped": Wrapper(users), "its method": users.decode}[how]
    with Recorder(tmp_path, every=1, decode=decode, console=False) as recorder:
        future = recorder.compare(*events.pair(), 0)
        assert future is not None
        assert all(token.label_text == str(token.label) for token in future.result(5)[0].tokens)
    assert users.calls == []
    assert users.copied_in == [threading.current_thread()]


def test_a_text_that_is_too_long_is_cut_and_says_so() -> None:
    """A decoder that gives a book for a token fills no disk and no memory; how long it was is kept."""
    decode = Decode(lambda token: "x" * (1024 + token))
    event = decode(None, "info", events.comparison(tokens=[events.token(0, 0), events.token(1, 1)]))
    short, long = (token["label_text"] for token in event["tokens"])
    assert short == "x" * 1024
    assert long == "x" * 1024 + "… (1025 characters)"


@pytest.mark.parametrize("length", [4, 1000, 2000])
def test_the_cache_is_bounded_in_bytes(length: int) -> None:
    """However many texts there are, and however long, the cache takes no more than 16 MiB; short ones are kept."""
    calls: list[int] = []

    def text(token: int) -> str:
        calls.append(token)
        return f"{token:06d}" + "\U0001f600" * length

    decode = Decode(text)
    tracemalloc.start()
    try:
        for start in range(0, 30_000, 3):
            event = events.comparison()
            for token in event["tokens"]:
                token.update(label=start, prediction=start + 1, input=start + 2)
            decode(None, "info", event)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.2 * MOST_BYTES
    if length == 4:
        assert len(calls) == len(set(calls))
