"""Take what must not be seen out of events, before any sink gets them."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from predlog.errors import SettingError
from predlog.records import Event

# What readers go by, and what nobody but predlog writes.
_KEPT = frozenset({"event", "level", "timestamp", "stream", "code", "help", "slot", "versions"})
_TEXTS = ("input_text", "label_text", "prediction_text")


class Redact:
    """Replace what must not be seen in everything that an event says: texts of tokens, messages, evidence, context.

    `what` is a regular expression, whose matches are replaced, or a callable from a text to what may be seen of it.

    Tokenizers split names and numbers, so what neighbouring tokens read together is looked at, too. Each token that has
    part in a match reads `replacement`; where a callable changes what neighbours read together, all of them do. What
    begins before the tokens shown, or ends behind them, can't be known. Ids stay: whoever has the tokenizer can read
    them, so where that is too much, let a processor raise `structlog.DropEvent`.

    Where `what` raises, the event is not recorded: never is it written as it was.

    Raises:
        SettingError: `what` is neither a pattern nor a callable.
    """

    def __init__(self, what: str | re.Pattern[str] | Callable[[str], str], *, replacement: str = "[redacted]") -> None:
        self._replacement = replacement
        if isinstance(what, str):
            what = re.compile(what)
        if isinstance(what, re.Pattern):
            pattern = what
            # As a function, lest a backslash in the replacement means something.
            self._seen: Callable[[str], Any] = lambda text: pattern.sub(lambda _match: replacement, text)
            self._spans: Callable[[str], list[tuple[int, int]]] = lambda text: [
                match.span() for match in pattern.finditer(text)
            ]
        elif callable(what):
            seen = self._seen = what
            self._spans = lambda text: [] if seen(text) == text else [(0, len(text))]
        else:
            raise SettingError(f"Redact({what!r}): pass a pattern, or a callable from a text to what may be seen of it")

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Give the event without what must not be seen."""
        if event.get("event") == "predlog.comparison":
            for field in _TEXTS:
                for neighbours in _runs(event["tokens"], field):
                    self._redact_together(neighbours, field)
        return {key: value if key in _KEPT else self._redacted(value) for key, value in event.items()}

    def _redact_together(self, tokens: Sequence[dict[str, Any]], field: str) -> None:
        spans = self._spans("".join(token[field] for token in tokens))
        start = 0
        for token in tokens:
            end = start + len(token[field])
            if any(first < end and start < last for first, last in spans):
                token[field] = self._replacement
            start = end

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, str):
            seen = value if value == self._replacement else self._seen(value)
            if not isinstance(seen, str):
                raise TypeError(f"the callable of Redact gave {type(seen).__name__} instead of text")
            return seen
        if isinstance(value, dict):
            return {key: item if key in _KEPT else self._redacted(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._redacted(item) for item in value]
        return value


def _runs(tokens: Sequence[dict[str, Any]], field: str) -> Iterator[list[dict[str, Any]]]:
    """Give the tokens that have this text and stand side by side."""
    known = [token for token in tokens if token[field] is not None]
    for _, run in itertools.groupby(enumerate(known), key=lambda one: one[1]["position"] - one[0]):
        yield [token for _, token in run]
