"""The rule about pairs whose samples and time are the other way round."""

from collections.abc import Sequence

from predlog.findings.rule import ALL_BUT_FEW, CLEAN, CLEARLY_MORE, ENOUGH, NO_BETTER, Fault, Past, Pool, Verdict

# The share of labels that may equal the inputs along the axis that the layout calls time.
_FEW = 0.5
_HOW_FAR = ("one", "two")


def axes_swapped(pool: Pool, _past: Past) -> Verdict:
    """Check whether labels equal the inputs of the next sample, or the one after, and not of the next position."""
    if pool[-1].across is None:
        return NO_BETTER  # only the first records are looked at
    known = [one.across for one in pool if one.across is not None]
    for offset in range(len(known[-1].counts) // 2):
        equal = sum(one.counts[2 * offset] for one in known)
        compared = sum(one.counts[2 * offset + 1] for one in known)
        if equal < ALL_BUT_FEW * compared or not compared:
            continue
        if compared < ENOUGH:
            return None
        differ = _differ_along_time(pool, [sum(column) for column in zip(*[one.along for one in known], strict=True)])
        if not differ:
            return None if differ is None else CLEAN
        return Fault(
            f"labels equal the inputs {_HOW_FAR[offset]} sample{'s' * offset} on ({equal} of {compared} supervised"
            " tokens) and not those of the next position, so what is read as samples is time",
            f"Pass {known[-1].advice}.",
            {"equal": equal, "compared": compared, "samples_on": offset + 1, "advice": known[-1].advice},
        )
    return CLEAN


def _differ_along_time(pool: Pool, along: Sequence[int]) -> bool | None:
    """Return whether most labels differ from the inputs at their position, at the next, and at the one after.

    `along` are how many of all samples equal the next, and of how many. Returns None if there are too few to tell.
    """
    pairs = [zip(one.equal, one.compared, strict=True) for one in pool if one.equal and one.compared]
    sums = [tuple(map(sum, zip(*column, strict=True))) for column in zip(*pairs, strict=True)]
    if len(sums) < 2 or max(sums[1][1], along[1]) < CLEARLY_MORE:
        return None
    return all(same <= _FEW * of for same, of in [*sums, along])
