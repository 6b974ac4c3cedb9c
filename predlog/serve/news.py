"""What the page of a run shows → what is new since the pages were told last, in as little as they need to draw it."""

import time
from collections.abc import Callable
from itertools import chain
from typing import Any

from predlog.reading.words import seen
from predlog.report import curves, whole_samples
from predlog.report.contents import Contents
from predlog.report.film_strip import Strip, columns, named_samples
from predlog.serve.patch import patch, shared

# How many times as long as it took to compute something passes until it is computed again.
_TIMES = 10


class _Due:
    """What is computed when something is new, and at most a tenth of the time."""

    def __init__(self) -> None:
        self._is_behind = False
        self._next = 0.0

    def __call__(self, now: float, make: Callable[[], Any], *, is_new: bool) -> Any:
        self._is_behind |= is_new
        if not self._is_behind or now < self._next:
            return None
        started = time.monotonic()
        made = make()
        self._is_behind, self._next = False, now + _TIMES * (time.monotonic() - started)
        return made


class News:
    """What of a run's contents is new; pages have all that the contents have now."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        strip = contents.strip
        self._shown = [(step, len(step)) for step in strip.steps]
        self._samples = named_samples(strip.rows)
        self._curves = curves.data([contents])
        self._curves_are_due = _Due()
        self._samples_are_due = _Due()

    def change(self, now: float, *, has_records: bool, has_comparisons: bool) -> dict[str, Any] | None:
        """Return what is new at a time, in seconds; None if nothing is, or what is new waits for more.

        `strip` has the new rows. `curves` is a patch of the curves, and `whole` tells of all rows which are of the same
        sample, and what is known of its text: what takes long to compute comes less often.
        """
        made = {
            "strip": self._strip() if has_comparisons else None,
            "curves": self._curves_are_due(now, self._patch_of_curves, is_new=has_records),
            "whole": self._samples_are_due(now, self._all_samples, is_new=has_comparisons),
        }
        return made if has_records or any(made.values()) else None

    def _patch_of_curves(self) -> dict[str, Any] | None:
        before, self._curves = self._curves, curves.data([self._contents])
        return patch(before, self._curves)

    def _all_samples(self) -> dict[str, Any]:
        made = whole_samples.columns(self._contents.strip.rows, lambda *_: -1, spells=self._contents.spells)
        return {name: made[name] for name in ("text", "texts", "dropped")}

    def _strip(self) -> dict[str, Any]:
        """Return which rows stay, the new ones, which come after them, and what each row is a sample of."""
        strip = self._contents.strip
        ranges, new = self._ranges(strip.steps)
        added = Strip()
        for row in new:
            added.add(row)
        self._shown = [(step, len(step)) for step in strip.steps]
        (_, before), self._samples = self._samples, named_samples(strip.rows)
        names, which = self._samples
        # After a row is left out in the middle, the places of those that come after it are other ones.
        stays = shared(before, which) if len(ranges) < 2 else 0
        return {
            "keep": ranges,
            "add": columns([added], [seen(self._contents.name)], spells=self._contents.spells),
            "samples": names,
            "sample": {"keep": stays, "add": which[stays:]},
        }

    def _ranges(self, steps: list[list[Any]]) -> tuple[list[list[int]], list[Any]]:
        """Return the ranges of rows that are still shown, and the rows that were not."""
        still = {id(step) for step in steps}
        ranges: list[list[int]] = []
        place = 0
        for step, many in self._shown:
            if id(step) in still:
                if ranges and ranges[-1][1] == place:
                    ranges[-1][1] += many
                else:
                    ranges.append([place, place + many])
            place += many
        before = {id(step): many for step, many in self._shown}
        return ranges, [*chain.from_iterable(step[before.get(id(step), 0) :] for step in steps)]
