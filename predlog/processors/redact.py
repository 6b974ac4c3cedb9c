"""Remove what must not be seen from events, before any sink gets them."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, chain, groupby, pairwise
from operator import itemgetter
from typing import Any

from predlog._runtime.failure import raised_at
from predlog._runtime.notices import Notices
from predlog.errors import PredlogError, SettingError
from predlog.processors.passages import changed, following, replaced
from predlog.records.codec import keys
from predlog.records.plain import Conversion
from predlog.records.schema import OF_PAIRS, Event

# What readers rely on; only predlog writes these, and the caller the name of a stream.
_KEPT = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "stream",
        "code",
        "help",
        "versions",
        "tokens",
        "worst",
        "all_tokens",
        "window",
        "facts",
        "rows",
        "shard",
    }
)
# Of evidence, these show which finding a line is about.
_LINKS = frozenset({"since", "codebooks"})
_TEXTS = ("input_text", "label_text", "prediction_text")
# How `Decode` writes a piece of a character, and how a token begins that continues a word.
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_CONTINUES = "##"


class Redact:
    """Replace what must not be seen in all that an event contains: texts of tokens, messages, evidence, context.

    `what` is a regular expression, whose matches are replaced, or a callable that returns what may be shown of a text.

    In context, evidence and settings, names and whole numbers are searched as well, at any depth; a number of which
    anything is replaced becomes a text. The numbers of the schema stay, such as steps and counts.

    Tokenizers split names and numbers, even characters, so the joined text of neighbouring tokens is searched, too.
    Each token that is part of a match becomes `replacement`; if a callable changes a joined text, so do the tokens of
    the shortest stretch that it changes. A match that begins before the tokens shown, or ends after them, is not found.
    The name of a stream stays, and so do ids: whoever has the tokenizer can read them. If that is too much, let a
    processor raise `structlog.DropEvent`.

    If `what` raises, the event is not recorded: it is never written as it was, and neither is the text of the error.
    What another processor has added, and is no plain value, is made one first, as all that is recorded is. If it has no
    plain form, it can't be searched, so it becomes null, and one line on stderr says so.

    Raises:
        SettingError: `what` is neither a pattern nor a callable.
    """

    def __init__(self, what: str | re.Pattern[str] | Callable[[str], str], *, replacement: str = "[redacted]") -> None:
        self._replacement = replacement
        self._notices = Notices()
        self._pattern = pattern = re.compile(what) if isinstance(what, str | re.Pattern) else None
        if pattern is not None:
            # As a function, because a backslash in the replacement would be an escape.
            self._seen: Callable[[str], Any] = lambda text: pattern.sub(lambda _match: replacement, text)
        elif callable(what):
            self._seen = what
        else:
            raise SettingError(f"Redact({what!r}): pass a pattern, or a callable that returns the redacted text")

    def __reduce__(self) -> tuple[Any, ...]:
        what = self._seen if self._pattern is None else self._pattern
        return partial(Redact, replacement=self._replacement), (what,)

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Return the event without what must not be seen."""
        try:
            return self._redact_event(event)
        except PredlogError:
            raise
        except Exception as error:  # noqa: BLE001 - a user's callable may raise anything, and quote what it was given
            what = (
                f"{type(error).__name__} at {raised_at(error)} (its text is withheld: it may quote what it was given)"
            )
        # Outside of the handler: the error, whose words are withheld, is in no traceback that PREDLOG_TRACEBACK prints.
        raise PredlogError(what)

    def _redact_event(self, event: Event) -> Event:
        known = keys(event.get("event", ""))
        if not known:
            return event  # it is not one of predlog's
        event = self._plain(event)
        if event.get("event") in OF_PAIRS:
            tokens = _tokens_of(event)
            for field in _TEXTS:
                for neighbours in _runs(tokens, field):
                    self._redact_together(neighbours, field)
                for token in tokens:
                    token[field] = self._redacted(token[field])
            for one in _alternatives_of(tokens):
                one["text"] = self._redacted(one["text"])
            for passages in following(event.get("window") or ()):
                self._redact_passages(passages)
            if "facts" in event:  # numbers but for the names of options
                event["facts"] = {**event["facts"], "declared": self._redacted(event["facts"]["declared"])}
        # What processors have added goes to the context, and is redacted with it.
        added = {key: value for key, value in event.items() if key not in known}
        free = {key: self._redacted_within(event[key]) for key in ("evidence", "settings") if key in event}
        as_is = _KEPT | free.keys()
        event = {key: value if key in as_is else self._redacted(value) for key, value in event.items() if key in known}
        return {**event, **free, "context": self._redacted_free({**event["context"], **added})}

    def _plain(self, event: Event) -> Event:
        """Return an event of plain values only: nothing else can be searched, and JSON might write what it contains."""
        conversion = Conversion()
        event = {key: value if key in _KEPT else conversion.of(value, "") for key, value in event.items()}
        tokens = _tokens_of(event)
        for token in tokens:
            token |= {field: conversion.of(token[field], "") for field in _TEXTS}
        for one in _alternatives_of(tokens):
            one["text"] = conversion.of(one["text"], "")
        if event.get("window"):
            event["window"] = conversion.of(event["window"], "")
        if conversion.refused:  # their names may be what must not be seen
            kinds = ", ".join(sorted({one.rpartition("=")[2] for one in conversion.refused}))
            self._notices.report(
                "values",
                f"what is no plain value can't be redacted and is recorded as null: {kinds}; pass numbers and texts",
            )
        return event

    def _redacted_within(self, values: dict[str, Any]) -> dict[str, Any]:
        return {key: value if key in _LINKS else self._redacted_free(value) for key, value in values.items()}

    def _redacted_free(self, value: Any) -> Any:
        """Return a value with names and whole numbers redacted as well; names that become the same are numbered."""
        if isinstance(value, dict):
            seen: dict[Any, Any] = {}
            for key, item in value.items():
                name = self._redacted_free(key)
                while name in seen:
                    name = f"{name} {len(seen)}"
                seen[name] = self._redacted_free(item)
            return seen
        if isinstance(value, list):
            return [self._redacted_free(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
            digits = str(int(value))
            shown = self._redacted(digits)
            return value if shown == digits else shown
        return self._redacted(value)

    def _redact_together(self, tokens: Sequence[dict[str, Any]], field: str) -> None:
        texts = [token[field] for token in tokens]
        for place in self._changed(texts) if self._pattern is None else self._matched(texts, self._pattern):
            tokens[place][field] = self._replacement

    def _redact_passages(self, passages: Sequence[dict[str, Any]]) -> None:
        """Redact passages that follow one another: each text that has a part of a match gets the replacement there."""
        places = [(one, key) for one in passages for key in ("read", "asked") if one.get(key)]
        texts = [one[key] for one, key in places]
        if self._pattern is None:
            seen = changed(texts, self._redacted, self._replacement)
        else:
            seen = self._replaced(texts, self._pattern)
        for (one, key), text in zip(places, seen, strict=True):
            one[key] = text

    def _replaced(self, texts: Sequence[str], pattern: re.Pattern[str]) -> list[str]:
        """Return texts without the matches in each alone and in all of them joined."""
        begins = [0, *accumulate(map(len, texts))]
        spans = [found.span() for found in pattern.finditer("".join(texts))]
        for begin, text in zip(begins, texts, strict=False):
            spans += [(begin + first, begin + last) for first, last in map(re.Match.span, pattern.finditer(text))]
        return list(replaced(texts, spans, self._replacement))

    def _matched(self, texts: Sequence[str], pattern: re.Pattern[str]) -> set[int]:
        """Return the places of the tokens that are part of a match."""
        found = set()
        for joined, ends in _joined(texts):
            for first, last in map(re.Match.span, pattern.finditer(joined)):
                found |= {place for place, (start, end) in enumerate(ends) if first < end and start < last}
        return found

    def _changed(self, texts: Sequence[str]) -> set[int]:
        """Return the places of the tokens in the shortest stretches that a callable changes."""
        found: set[int] = set()
        if not self._changes(texts):
            return found
        first = 0
        for last in range(1, len(texts) + 1):
            if not self._changes(texts[first:last]):
                continue
            while first + 1 < last and self._changes(texts[first + 1 : last]):
                first += 1
            found |= set(range(first, last))
            first += 1
        return found

    def _changes(self, texts: Sequence[str]) -> bool:
        return any(self._redacted(joined) != joined for joined, _ in _joined(texts))

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, str):
            seen = value if value == self._replacement else self._seen(value)
            if not isinstance(seen, str):
                raise PredlogError(f"an error: the callable returned {type(seen).__name__} instead of text")
            return seen
        if isinstance(value, dict):
            return {key: self._redacted(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._redacted(item) for item in value]
        return value


def _tokens_of(event: Event) -> list[dict[str, Any]]:
    """Return all tokens of a comparison, those shown and the worst, by their positions; none of another event."""
    return sorted((*event.get("tokens", ()), *event.get("worst", ())), key=itemgetter("position"))


def _alternatives_of(tokens: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return chain.from_iterable(token.get("alternatives", ()) for token in tokens)


def _runs(tokens: Sequence[dict[str, Any]], field: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the tokens that have this text and neighbouring positions, in one list per stretch."""
    known = [token for token in tokens if token[field] is not None]
    # In a stretch, positions are as far ahead of the places in the list.
    for _, run in groupby(enumerate(known), key=lambda placed: placed[1]["position"] - placed[0]):
        yield [token for _, token in run]


def _joined(texts: Sequence[str]) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield the joined text of tokens, and where each token begins and ends in it.

    If tokens are marked as continuing a word, yield it once more with blanks between the words.
    """
    yield _join(texts)
    if any(text.startswith(_CONTINUES) for text in texts[1:]):
        yield _join(
            [text if not place or text.startswith(_CONTINUES) else f" {text}" for place, text in enumerate(texts)]
        )


def _join(texts: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Return texts joined, their bytes joined to characters; a token with a part of a character has all of it."""
    pieces = [_bytes_of(text.removeprefix(_CONTINUES) if place else text) for place, text in enumerate(texts)]
    joined = b"".join(pieces).decode(errors="surrogateescape")
    # Where each character and each token ends in bytes.
    ends = [0, *accumulate(len(character.encode(errors="surrogateescape")) for character in joined)]
    stops = [0, *accumulate(map(len, pieces))]
    return joined, [(bisect_right(ends, start) - 1, bisect_left(ends, stop)) for start, stop in pairwise(stops)]


def _bytes_of(text: str) -> bytes:
    raw = b""
    for place, part in enumerate(_BYTE.split(text)):
        raw += bytes([int(part, 16)]) if place % 2 else part.encode(errors="replace")
    return raw
