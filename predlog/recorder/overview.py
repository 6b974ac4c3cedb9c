"""What a recorder shows of itself: what is on, what is recorded so far, and which findings are open."""

from collections.abc import Sequence
from typing import Any

from predlog.recorder import settings
from predlog.records import html
from predlog.records.schema import Finding
from predlog.records.text import harmless

# Names, of streams or findings, that are listed; and findings that are shown whole.
_MOST_NAMES, _MOST_FINDINGS = 8, 4


def line(recorder: Any) -> str:
    """Return a recorder in one line, as its `repr`. Nothing is waited for, also after `close`."""
    facts = _facts(recorder)
    parts = [facts["file"], f"every {facts['every']}", facts["recorded"], f"open findings: {facts['open findings']}"]
    return harmless(f"<{type(recorder).__name__} {'; '.join(filter(None, (*parts, facts['state'])))}>")


def page(recorder: Any) -> str:
    """Return a recorder as a notebook shows it: a table, and the open findings."""
    shown = [(name, value) for name, value in _facts(recorder).items() if value]
    found = "".join(map(html.finding, recorder.findings[:_MOST_FINDINGS]))
    return f"<div>{html.facts(f'predlog.{type(recorder).__name__}', shown)}{found}</div>"


def _facts(recorder: Any) -> dict[str, str]:
    """Return what is known of a recorder, in words, by name; of what says nothing, an empty text."""
    chosen, stats = recorder.settings, recorder.stats()
    counted = [recorder._accounts.named(stats["written"])]  # noqa: SLF001 - these are methods of its class
    counted += [f"{stats[name]} {name}" for name in ("pending", "filtered", "dropped", "failed") if stats[name]]
    newest = recorder.gate.newest()
    place = settings.file_of(chosen.directory, has_folders=chosen.rank_folders)
    return {
        "file": "no file, since no directory was passed" if place is None else str(place),
        "every": "step" if chosen.every == 1 else f"{chosen.every} steps",
        "streams": "all" if chosen.streams is None else _listed(sorted(chosen.streams)),
        "console": {True: "compact", False: "off"}.get(chosen.console, str(chosen.console)),
        "recorded": ", ".join(counted),
        "newest": _listed([f"{stream} step {step}" for stream, step in newest.items()]),
        "refused": f"{stats['refused']} pair{'s' * (stats['refused'] != 1)}" if stats["refused"] else "",
        "open findings": _open(recorder.findings),
        "state": recorder.gate.state(),
    }


def _open(findings: Sequence[Finding]) -> str:
    codes = [f"{one.code} ({one.stream}, since step {one.step})" for one in findings]
    return _listed(codes) or "none"


def _listed(names: Sequence[Any]) -> str:
    more = [f"… {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return ", ".join([*map(str, names[:_MOST_NAMES]), *more])
