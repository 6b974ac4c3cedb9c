"""Nothing of the program's is changed: the global state after each way into predlog is what it would be without.

The rule: whatever the program has set, all kinds of state that a library can change for everybody are equal in two
processes of which one has used predlog, its first imports included.
"""

from collections.abc import Iterator

from tests.entry_points import PROGRAMS
from tests.faults.children import side_by_side, started
from tests.faults.experiment import Figure, Size, at_least, equals

# What a training calls; commands, and what they import, are for processes of their own.
_PLAIN = [way for way in PROGRAMS if way not in {"help", "the demo"} and not way.startswith(("cli.", "report."))]
# What is imported before the first fork: a framework's own import may change what it likes.
_Group = tuple[list[str], list[str]]
_GROUPS: dict[str, _Group] = {
    "calls": (_PLAIN, []),
    "Trainer": (["transformers' Trainer"], ["transformers.trainer", "tests.integrations.tiny"]),
    "Lightning": (["Lightning's Trainer"], ["lightning.pytorch", "transformers"]),
}
_FEW: dict[str, _Group] = {"calls": (["compare", "configure", "watch"], [])}
# That the experiment can fail.
_CONTROL: _Group = (["an import that draws"], [])


def run(size: Size) -> Iterator[Figure]:
    """Go all ways with many seeds, or a few with one."""
    groups = {**size.of(_GROUPS, _FEW), "control": _CONTROL}
    for figures in side_by_side(lambda name: list(_figures(name, *groups[name], size)), groups, many=2):
        yield from figures


def _figures(name: str, ways: list[str], modules: list[str], size: Size) -> Iterator[Figure]:
    with started("surroundings", ways=ways, seeds=size.of(20, 1), modules=modules) as child:
        done = child.told("done", size.of(3000, 100))
        if done is None:
            yield equals(f"{name}: hangs or died", 1, 0, f"{child.stuck()} {child.stderr()[-300:]}")
            return
        if name == "control":
            yield at_least("an import that draws: states that differ", len(done["differing"]), 1)
            return
        yield equals(f"{name}: modules of predlog's that were imported before", len(done["loaded"]), 0)
        yield at_least(f"{name}: kinds of state that were compared", done["kinds"], 35)
        note = "; ".join(f"{where}: {what}" for where, what in done["differing"].items())[:1500]
        yield equals(f"{name}: states that differ, of {done['processes']} processes", len(done["differing"]), 0, note)
