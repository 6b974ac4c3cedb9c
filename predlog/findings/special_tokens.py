"""Which token ids pad, end and begin a text or stand for what is unknown, for each stream, if that is known."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from os.path import commonprefix
from typing import Any, Generic, TypeVar

from predlog.errors import SettingError

Thing = TypeVar("Thing")
# What a tokenizer knows; at a `stop` token generation stops.
OF_TOKENIZERS = ("pad", "eos", "bos", "unk")
ROLES = (*OF_TOKENIZERS, "stop")
# A template's generation prompt that is longer is none.
_LONGEST_PROMPT = 32
# A chat that shows what the template writes between.
_QUESTION, _ANSWER = "1", "2"


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids by their role, and all ids that are special; empty if they are not known.

    `size` is the number of ids that the tokenizer knows, 0 without a tokenizer. At the ids in `stop` generation stops.
    `prompt` are the ids with which the chat template begins an answer, `added` those that no text is split into, such
    as placeholders.
    """

    pad: tuple[int, ...] = ()
    eos: tuple[int, ...] = ()
    bos: tuple[int, ...] = ()
    every: frozenset[int] = field(default_factory=frozenset)
    size: int = 0
    unk: tuple[int, ...] = ()
    stop: tuple[int, ...] = ()
    prompt: tuple[int, ...] = ()
    added: frozenset[int] = field(default_factory=frozenset)

    def holds(self, token: int | None) -> bool:
        """Return whether a token is none that texts are split into, because it is special or was added, nor pads."""
        return (token in self.every or token in self.added) and token not in self.pad

    def stopping_at(self, ids: Iterable[int]) -> "SpecialTokens":
        """Return the same tokens, with the ids at which generation stops, unless these are known."""
        return self if self.stop else replace(self, stop=tuple(ids), every=self.every.union(ids))


@dataclass(frozen=True, slots=True)
class PerStream(Generic[Thing]):
    """Something that belongs to a stream: one for all streams without codebooks, or one for each name.

    A text tokenizer does not know audio codes, so what is given alone is not used for codebooks. A name also applies
    to the streams that end in it: "text" to "eval/text".
    """

    alone: Thing | None = None
    by_name: Mapping[str, Thing] = field(default_factory=dict)

    def of(self, stream: str, *, has_codebooks: bool) -> Thing | None:
        """Return what belongs to the stream, or None."""
        alone = None if has_codebooks else self.alone
        return self.by_name.get(stream, self.by_name.get(stream.rpartition("/")[2], alone))

    def changed(self, change: Callable[[Thing], Thing]) -> "PerStream[Thing]":
        """Return the same with a change to what is given alone."""
        return self if self.alone is None else replace(self, alone=change(self.alone))


def per_stream(given: Any, made: Callable[[Any], Thing]) -> PerStream[Thing]:
    """Return one thing made of `given`, or one for each value if it maps names of streams to values."""
    if given is None:
        return PerStream()
    if isinstance(given, Mapping) and not _is_of_roles(given):
        if wrong := [name for name in given if not isinstance(name, str) or not name.strip()]:
            raise SettingError(f"{wrong[0]!r} must be the name of a stream, such as 'text' or 'audio'")
        return PerStream(by_name={name: made(one) for name, one in given.items() if one is not None})
    return PerStream(alone=made(given))


def _is_of_roles(given: Mapping[Any, Any]) -> bool:
    # The name of a stream maps to a tokenizer or a mapping; a role, known or misspelt, maps to ids.
    return set(given) <= set(ROLES) or any(isinstance(value, int | list | tuple) for value in given.values())


def special_tokens(given: Any) -> SpecialTokens:
    """Return the special tokens of a tokenizer, or of a mapping from pad, eos, bos, unk and stop to ids.

    Raises SettingError if `given` is neither.
    """
    if isinstance(given, Mapping):
        ids = {role: _ids(role, value) for role, value in given.items()}
        pad, eos, bos, unk, stop = (ids.get(role, ()) for role in ROLES)
        every = frozenset((*pad, *eos, *bos, *unk, *stop))
        return SpecialTokens(pad, eos, bos, every, unk=unk, stop=stop)
    found = of_tokenizer(given)
    if found is None:
        raise SettingError(
            f"special_tokens={given!r} must be a tokenizer, a mapping such as {{'pad': 0, 'eos': 2, 'bos': 1}}, "
            "or one of these for each stream: {'text': tokenizer}"
        )
    return found


def of_tokenizer(tokenizer: Any) -> SpecialTokens | None:
    """Return what a Hugging Face tokenizer or a `tokenizers.Tokenizer` knows; None for anything else.

    The latter knows which of its tokens are special, but not their roles.
    """
    owner = getattr(tokenizer, "__self__", tokenizer)  # of `tokenizer.decode`, the tokenizer
    if hasattr(owner, "all_special_ids"):
        pad, eos, bos, unk = (_ids(role, getattr(owner, f"{role}_token_id", None)) for role in OF_TOKENIZERS)
        known = frozenset(owner.all_special_ids)
        return SpecialTokens(
            pad, eos, bos, known, len(owner), unk=unk, prompt=_prompt(owner), added=_added(owner)
        )  # fmt: skip
    if hasattr(owner, "get_added_tokens_decoder"):
        added = owner.get_added_tokens_decoder()
        special = frozenset(number for number, token in added.items() if token.special)
        unk = owner.token_to_id(getattr(owner.model, "unk_token", None) or "")
        ids = () if unk is None else (unk,)
        return SpecialTokens(every=special, size=owner.get_vocab_size(), unk=ids, added=frozenset(added))
    return None


def _added(tokenizer: Any) -> frozenset[int]:
    try:
        return frozenset(map(int, tokenizer.get_added_vocab().values()))
    except Exception:  # noqa: BLE001 - a foreign object's own code, which nobody asked for
        return frozenset()


def _prompt(tokenizer: Any) -> tuple[int, ...]:
    """Return the ids with which the chat template begins an answer; none if that can't be found out.

    They are those that the template adds to ask for an answer, without what it prefills, such as `<think>`: an answer
    in a chat begins with them, too. If it adds nothing, or ends a chat that asks for none, they are what is between
    question and answer; a space there belongs to the answer's first token.
    """
    if not getattr(tokenizer, "chat_template", None):
        return ()
    try:
        chat = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
        asked, asking, answered = (
            str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=adds))
            for messages, adds in ((chat[:1], False), (chat[:1], True), (chat, False))
        )
        begin = commonprefix([asking, answered])  # noqa: RUF071 - of texts
        if asked == asking:
            begin = answered[: answered.rindex(_ANSWER)].rstrip(" ")
        if asked == asking or not begin.startswith(asked):
            asked = begin[: begin.rindex(_QUESTION) + len(_QUESTION)]
        ids, before = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (begin, asked))
        found = tuple(map(int, ids[len(before) :]))
    except Exception:  # noqa: BLE001 - a foreign object's own code, which nobody asked for
        return ()
    is_known = begin.startswith(asked) and begin != answered and ids[: len(before)] == before
    return found if is_known and len(found) <= _LONGEST_PROMPT else ()


def _ids(role: str, value: Any) -> tuple[int, ...]:
    if role not in ROLES:
        raise SettingError(f"special_tokens has no role {role!r}: name pad, eos, bos, unk and stop")
    if value is None:
        return ()
    listed = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    if not all(type(one) is int and 0 <= one < 2**31 for one in listed):
        raise SettingError(f"special_tokens: {role}={value!r} must be a token id, or a list of them")
    return listed
