"""What a caller keeps beside a record, as plain values; made in the training thread, so there is a bound."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from predlog._runtime.failure import located, own_failure
from predlog.records.plain import NotPlainError, scalar

# Levels of lists and mappings.
_DEEPEST: Final = 8
# Values of one call, of all names and levels together: each takes about a microsecond.
MOST_VALUES: Final = 500
_NOTHING: Final = object()


def plain_context(
    context: Mapping[str, Any], report: Callable[[str, Exception], None], report_cut: Callable[[], None]
) -> dict[str, Any]:
    """Return the context as plain values, null for any other value, which is reported at once.

    A tensor on a device is no plain value: reading it would wait. No error is kept: its frames hold the pair. Of more
    than `MOST_VALUES` values the rest is left out, and "… n more" stands where it was.
    """
    values: dict[str, Any] = {}
    copy = _Copy()
    for name, value in copy.taken(iter(context.items())):
        try:
            values[name] = copy.of(value, _DEEPEST)
        except NotPlainError as error:
            values[name] = None
            report(f"{name}={error}", error)
        except own_failure(Exception, value) as error:  # a foreign mapping's own code
            values[name] = None
            report(f"{name}=<{type(value).__name__}, which raised {located(error)}>", error)
    if left_out := len(context) - len(values):
        values["…"] = _more(left_out)
    if copy.is_cut or left_out:
        report_cut()
    return values


class _Copy:
    """Copies of the values of one call, and how many more there may be."""

    def __init__(self) -> None:
        self.is_cut = False
        self._left = MOST_VALUES

    def of(self, value: Any, deepest: int) -> Any:
        """Return a value as plain ones; raise NotPlainError if it is none."""
        self._left -= 1
        if deepest and isinstance(value, list | tuple):
            items = [self.of(item, deepest - 1) for item in self.taken(iter(value))]
            return [*items, _more(len(value) - len(items))] if self._cut(len(value) - len(items)) else items
        if deepest and isinstance(value, Mapping):
            pairs = {str(key): self.of(item, deepest - 1) for key, item in self.taken(iter(value.items()))}
            return {**pairs, "…": _more(len(value) - len(pairs))} if self._cut(len(value) - len(pairs)) else pairs
        return scalar(value)

    def taken(self, items: Iterator[Any]) -> Iterator[Any]:
        """Yield items as long as there may be more values."""
        while self._left > 0 and (item := next(items, _NOTHING)) is not _NOTHING:
            yield item

    def _cut(self, left_out: int) -> bool:
        is_cut = left_out > 0 and self._left <= 0
        self.is_cut |= is_cut
        return is_cut


def _more(count: int) -> str:
    return f"… {count:,} more"
