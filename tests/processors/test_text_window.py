"""The text around the tokens shown: what was read and what was asked for, decoded as a whole, and never too long."""

import json
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from predlog import Comparison, Recorder, inspect, read
from predlog.errors import SettingError
from predlog.processors.decode import Decode
from predlog.records.schema import Passage
from predlog.records.window import Excerpt
from tests import events
from tests.cases.material import chat_tokenizer
from tests.events import told
from tests.processors.test_processors import trained

IGNORED = -100
NOTHING: dict[str, str] = {}
QUESTION, ANSWER, LONG = "What is a list?", "A list is a mutable sequence.", "It may hold any object. " * 60


@cache
def tokenizers() -> dict[str, Any]:
    """Return tokenizers of every kind of pieces: bytes, pieces with a leading blank, pieces that continue a word."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "read", "##ing", "the", "sta", "##te", "##ment", ",", "a"]
    word_pieces = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    word_pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    word_pieces.decoder = decoders.WordPiece()
    return {
        "byte-level": trained("byte-level"),
        "metaspace": trained("metaspace"),
        "word pieces": word_pieces,
        "transformers": PreTrainedTokenizerFast(tokenizer_object=trained("byte-level")),
    }


def chat(*turns: str) -> tuple[Tensor, Tensor]:
    """Return the ids and the labels of a chat in which every second turn is an answer."""
    encode = chat_tokenizer().backend_tokenizer.encode
    ids: list[int] = []
    labels: list[int] = []
    for number, turn in enumerate(turns):
        head = encode(f"<mask>{'assistant' if number % 2 else 'user'}\n").ids
        body = encode(f"{turn}</s>\n").ids
        ids += [*head, *body]
        labels += [*[IGNORED] * len(head), *(body if number % 2 else [IGNORED] * len(body))]
    return torch.tensor([ids]), torch.tensor([labels])


def window(
    ids: Tensor | None, labels: Tensor, shift: int = 1, *, decode: Any = None, settings: Any = (), **how: Any
) -> list[tuple[int, str | None, str]] | None:
    """Return the window of the first sample as a recorder's reader gets it."""
    vocabulary = 1600
    logits = torch.zeros(*labels.shape, vocabulary)
    with Recorder(
        every=1, console=False, decode=chat_tokenizer() if decode is None else decode, strict=True, **dict(settings)
    ) as recorder:
        future = recorder.compare(logits, labels, 0, shift=shift, inputs=ids, **how)
        assert future is not None
        passages = future.result(30)[0].window
    return None if passages is None else [(one.left_out, one.read, one.asked) for one in passages]


def excerpt(ids: Sequence[int], is_asked: Sequence[bool], characters: int = 400, beyond: int = 0) -> Excerpt:
    asked = [place for place, one in enumerate(is_asked) if one]
    first, last = (asked[0], asked[-1] + 1) if asked else (len(ids), len(ids))
    return Excerpt([*ids], bytes(is_asked), first, last, {}, knows_inputs=True, characters=characters, beyond=beyond)


def decoded(decoder: Any, kept: Excerpt) -> list[dict[str, Any]]:
    event = Decode(decoder)(None, "", events.comparison(vocabulary=None, window=kept))
    passages: list[dict[str, Any]] = event["window"]
    return passages


# --- what a reader sees -------------------------------------------------------------------------------------------
def test_prompt_and_answer_are_read_in_the_record(tmp_path: Path) -> None:
    """One line of the file has the prompt, where it ends, and the answer; whatever the shift, it is the same."""
    ids, labels = chat(QUESTION, ANSWER)
    whole = [(0, f"<mask>user\n{QUESTION}</s>\n<mask>assistant\n", f"{ANSWER}</s>\n")]
    assert window(ids, labels) == whole
    assert window(ids[:, :-1], labels[:, 1:], 0) == whole
    with Recorder(tmp_path, every=1, console=False, decode=chat_tokenizer()) as recorder:
        recorder.compare(torch.zeros(*labels.shape, 512), labels, 0, shift=1, inputs=ids)
    line = next(line for line in (tmp_path / "predictions.jsonl").read_text().splitlines() if '"tokens"' in line)
    assert json.loads(line)["window"] == [{"left_out": 0, "read": whole[0][1], "asked": whole[0][2]}]


def test_of_a_long_answer_both_ends_are_shown() -> None:
    """The beginning and the end are there, and so is how many tokens are left out between; 400 characters in all."""
    ids, labels = chat(QUESTION, f"Begin. {LONG}The end.")
    found = window(ids, labels)
    assert found is not None
    (before, prompt, begin), (between, nothing, end) = found
    assert (before, prompt, nothing) == (0, f"<mask>user\n{QUESTION}</s>\n<mask>assistant\n", "")
    assert begin.startswith("Begin. It may")
    assert end.endswith("object. The end.</s>\n")
    assert 360 <= len(f"{prompt}{begin}{end}") <= 400
    encode = chat_tokenizer().backend_tokenizer.encode
    supervised = int((labels != IGNORED).sum())
    assert between == supervised - len(encode(begin).ids) - len(encode(end).ids)


def test_of_a_long_prompt_the_end_is_shown() -> None:
    """It is cut at its beginning, and what a short answer doesn't need goes to the prompt."""
    ids, labels = chat(LONG + QUESTION, "Yes.")
    found = window(ids, labels)
    assert found is not None
    ((before, prompt, answer),) = found
    assert prompt is not None
    assert answer == "Yes.</s>\n"
    assert prompt.endswith(f"{QUESTION}</s>\n<mask>assistant\n")
    assert 380 <= len(prompt + answer) <= 400
    assert before == ids.shape[1] - len(chat_tokenizer().backend_tokenizer.encode(prompt + answer).ids)


def test_turns_of_a_chat_are_passages() -> None:
    """Each answer follows what was read before it: the prompt's end is marked at each of them."""
    found = window(*chat(QUESTION, ANSWER, "And a tuple?", "It can't be changed."))
    assert found == [
        (0, f"<mask>user\n{QUESTION}</s>\n<mask>assistant\n", f"{ANSWER}</s>\n"),
        (0, "<mask>user\nAnd a tuple?</s>\n<mask>assistant\n", "It can't be changed.</s>\n"),
    ]


def test_without_inputs_only_the_labels_are_known() -> None:
    """What was read is null, and how many tokens it has is counted."""
    ids, labels = chat(QUESTION, ANSWER, "And a tuple?", "It can't be changed.")
    prompt, answer = (labels[0] == IGNORED).tolist().index(False), (labels[0] != IGNORED).sum()
    hidden = int(ids.shape[1] - prompt - answer)
    assert window(None, labels) == [
        (prompt, None, f"{ANSWER}</s>\n"),
        (hidden, None, "It can't be changed.</s>\n"),
    ]


def test_masked_language_modelling_shows_what_is_read_around_the_labels() -> None:
    """The mask is read, then the label that it hides, then the text goes on; nothing is lost or repeated."""
    encode = chat_tokenizer().backend_tokenizer.encode
    ids = encode("The list may hold any object.").ids
    labels = [IGNORED] * len(ids)
    places = [2, 5, len(ids) - 2]
    for place in places:
        labels[place], ids[place] = ids[place], chat_tokenizer().mask_token_id
    found = window(torch.tensor([ids]), torch.tensor([labels]), 0)
    assert found is not None
    assert [asked for *_, asked in found[:-1]] == [chat_tokenizer().decode([labels[place]]) for place in places]
    whole = "".join(f"{read}{asked}" for _, read, asked in found)
    assert whole.replace("<mask>", "") == "The list may hold any object."
    assert whole.count("<mask>") == 3


def test_a_sample_without_labels_shows_what_was_read() -> None:
    """Its text still says which sample it is."""
    ids, labels = chat(QUESTION, ANSWER)
    found = window(ids, torch.full_like(labels, IGNORED))
    assert found == [(0, f"<mask>user\n{QUESTION}</s>\n<mask>assistant\n{ANSWER}</s>\n", "")]
    assert window(None, torch.full_like(labels, IGNORED)) in (None, [])


def test_labels_that_are_not_shifted_are_seen_in_the_text() -> None:
    """The text is that of the pair as it was passed: where the model is asked for what it has read, it is doubled."""
    ids, labels = chat(QUESTION, ANSWER)
    found = window(ids, labels, 0)
    assert found is not None
    assert found[0][1:] == (f"<mask>user\n{QUESTION}</s>\n<mask>assistant\nA", f"{ANSWER}</s>\n")


def test_a_character_of_several_tokens_is_whole() -> None:
    """Bytes join, also where the prompt ends within a character; at a cut, half a character is left out."""
    tokenizer = trained("byte-level")
    ids = tokenizer.encode("x€").ids
    assert len(ids) == 4
    for first in range(1, 4):
        kept = excerpt(ids, [place >= first for place in range(4)])
        (passage,) = decoded(tokenizer, kept)
        assert (passage["read"], passage["asked"]) == ("x", "€")
    (passage,) = decoded(tokenizer, excerpt([*ids, *ids[1:3]], [True] * 6))
    assert passage["asked"] == "x€"


@pytest.mark.parametrize("kind", ["byte-level", "metaspace", "word pieces", "transformers"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_passages_are_the_text_of_all_ids(kind: str, data: st.DataObject) -> None:
    """Of any ids, joined, they are what the tokenizer makes of them at once; wherever labels begin and end."""
    tokenizer = tokenizers()[kind]
    backend: Tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
    words = st.sampled_from(["read", "the", "state", "reading", "€", "日本", " a", "statement", "🙂", ","])
    ids = backend.encode(" ".join(data.draw(st.lists(words, min_size=1, max_size=8))), add_special_tokens=False).ids
    is_asked = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    found = decoded(tokenizer, excerpt(ids, is_asked, 10_000))
    assert "".join(one["read"] + one["asked"] for one in found) == backend.decode(ids, skip_special_tokens=False)
    assert sum(bool(one["read"]) for one in found) <= sum(not asked for asked, _ in groupby(is_asked))


# --- bounds and failures ------------------------------------------------------------------------------------------
def odd(token: int) -> str | None:
    """Return a text of any kind: none, empty, long, with half a pair, with bytes."""
    return [None, "", "word ", "x" * 3000, "\ud800", "<0xE2><0x82>", "\x1b[31m\u202e", "日本" * 40][token % 8]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(-3, 1600), max_size=200),
    st.integers(0, 120),
    st.sampled_from([7, 40, 400]),
    st.sampled_from([0, 256]),
    st.sampled_from(["byte-level", "word pieces", "odd", "longer together"]),
    st.randoms(use_true_random=False),
)
def test_it_is_never_too_long(
    ids: list[int], prompt: int, characters: int, beyond: int, kind: str, random: Any
) -> None:
    """Whatever the tokens are, no more characters are kept than were asked for, and what is left out is counted."""

    class Longer:
        def id_to_token(self, token: int) -> str:
            return "x"

        def decode(self, tokens: list[int], *, skip_special_tokens: bool) -> str:
            return "longer " * len(tokens)

    decoder = {"odd": odd, "longer together": Longer()}.get(kind) or tokenizers()[kind]
    is_asked = [place >= prompt and random.random() < 0.9 for place in range(len(ids))]
    found = [one for one in decoded(decoder, excerpt(ids, is_asked, characters, beyond)) if "beyond" not in one]
    assert sum(len(one["read"]) + len(one["asked"]) for one in found) <= characters
    assert sum(one["left_out"] for one in found) <= len(ids)


def test_processors_see_more_than_is_kept() -> None:
    """Beside each end of what is kept are passages for processors, and together they are the text without a hole."""
    ids, labels = chat(LONG + QUESTION, LONG)
    passages: list[Any] = []

    def look(_logger: Any, _name: str, event: Any) -> Any:
        passages.extend(event.get("window") or ())
        return event

    kept = window(ids, labels, settings={"processors": [look]})
    assert kept == window(ids, labels)
    assert [one.get("beyond", False) for one in passages] == [True, False, True, True, False]
    before, begin, more, less, end = passages
    assert (
        before["read"] + begin["read"]
        == chat_tokenizer().decode(ids[0])[: -len(LONG) - 5][-len(before["read"] + begin["read"]) :]
    )
    assert LONG.startswith(begin["asked"] + more["asked"])
    assert f"{LONG}</s>\n".endswith(less["asked"] + end["asked"])
    assert all(200 < len(one["read"] + one["asked"]) <= 256 for one in (before, more, less))


def test_ids_without_text_are_marked(capfd: pytest.CaptureFixture[str]) -> None:
    """Where a decoder has no text for ids, such as those that stand for an image, one mark is in their place."""
    tokenizer = trained("byte-level")
    ids = [*tokenizer.encode("the").ids, -200, -200, 10**6, *tokenizer.encode(" list").ids]
    (passage,) = decoded(tokenizer, excerpt(ids, [False] * len(ids)))
    assert passage["read"] == "the\ufffd list"
    assert "beyond the tokenizer" in told(capfd)[0]


@pytest.mark.parametrize(("returned", "why"), [(None, "KeyError"), (b"bytes", "it returned bytes instead of text")])
def test_a_tokenizer_that_fails_leaves_no_window(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], returned: Any, why: str
) -> None:
    """The record is there with its tokens, the window is null, and stderr reports it once."""

    class Failing:
        def id_to_token(self, token: int) -> str:
            return str(token)

        def decode(self, tokens: list[int], *, skip_special_tokens: bool) -> Any:
            if len(tokens) == 1:
                return str(tokens[0])
            return NOTHING["several"] if returned is None else returned

    with Recorder(tmp_path, every=1, console=False, decode=Failing()) as recorder:
        for step in range(3):
            recorder.compare(*events.pair(), step)
    records = [one for one in read(tmp_path) if isinstance(one, Comparison)]
    assert [one.window for one in records] == [None] * 6
    assert records[0].tokens[0].label_text == str(records[0].tokens[0].label)
    line, held_back = told(capfd)
    assert why in line
    assert "5 of 'window'" in held_back


# --- settings -----------------------------------------------------------------------------------------------------
def test_it_can_be_switched_off_and_resized() -> None:
    """`text_window=0`, False and `text=False` keep none; a number of characters is kept as asked for."""
    ids, labels = chat(QUESTION, 2 * LONG)
    for off in ({"text_window": 0}, {"text_window": False}, {"text": False}):
        assert window(ids, labels, settings=off) is None
    for characters in (80, 2000):
        found = window(ids, labels, settings={"text_window": characters})
        assert found is not None
        assert characters - 40 < sum(len(f"{read}{asked}") for _, read, asked in found) <= characters
    assert window(ids, labels, settings={"text_window": True}) == window(ids, labels)


@pytest.mark.parametrize("wrong", [-1, 2.5, "400", None])
def test_a_senseless_size_is_refused(wrong: Any) -> None:
    """The message has the value."""
    with pytest.raises(SettingError, match="text_window"):
        Recorder(text_window=wrong)


def test_each_stream_has_its_decoder() -> None:
    """A stream that is not in the mapping has no text, and codes have none from a tokenizer alone."""
    ids, labels = chat(QUESTION, ANSWER)
    decode = {"text": chat_tokenizer(), "audio": lambda token: f"<{token}>"}
    assert window(ids, labels, decode=decode) == window(ids, labels)
    assert window(ids, labels, decode=decode, stream="other") is None
    found = window(ids, labels, decode=decode, stream="audio")
    assert found is not None
    assert found[0][2].startswith(f"<{int(labels[labels != IGNORED][0])}>")
    with Recorder(every=1, console=False, decode=decode) as recorder:
        codes = torch.randint(9, (1, 2, 8))
        future = recorder.compare(torch.zeros(1, 2, 8, 9), codes, 0, layout="b k t v, b k t", stream="audio")
        assert future is not None
        assert [one.window for one in future.result(30)] == [None] * 2


def test_one_look_has_the_text_too() -> None:
    """`inspect` with a decoder returns comparisons with their windows."""
    ids, labels = chat(QUESTION, ANSWER)
    seen = inspect(torch.zeros(*labels.shape, 512), labels, shift=1, inputs=ids, decode=chat_tokenizer())
    (one,) = seen.comparisons[0].window or ()
    assert one == Passage(left_out=0, read=f"<mask>user\n{QUESTION}</s>\n<mask>assistant\n", asked=f"{ANSWER}</s>\n")
    assert inspect(torch.zeros(*labels.shape, 512), labels, shift=1, inputs=ids).comparisons[0].window is None


def test_hostile_text_is_one_harmless_line(tmp_path: Path) -> None:
    """Escapes, line separators, half pairs and bidirectional controls are text in the file, and read back as such."""
    texts = ["\x1b[31m", "\n", "\u2028", "\u202e", "\ud800", "\x9b", "</script>", "\0"]
    labels = torch.arange(8)[None]
    with Recorder(tmp_path, every=1, console=False, decode=texts.__getitem__) as recorder:
        recorder.compare(torch.zeros(1, 8, 8), labels, 0, inputs=labels.roll(1, 1))
    lines = (tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()
    assert all(json.loads(line) for line in lines)
    assert not any(character in "".join(lines) for character in "\x1b\u2028\u202e\x9b\0")
    (one,) = [one for one in read(tmp_path) if isinstance(one, Comparison)]
    assert one.window is not None
    assert one.window[0].asked == "".join(texts)
