"""A captured pair, or why there is none → what the judge is asked, for a recorder and for one look alike."""

from collections.abc import Iterator, Sequence

from predlog.findings.facts import Facts
from predlog.findings.judge import Judge
from predlog.findings.special_tokens import PerStream, SpecialTokens
from predlog.numbers.snapshot import Sizes, Snapshot


def specials_of(specials: PerStream[SpecialTokens], stream: str, layout: object) -> SpecialTokens:
    """Return the special tokens of a stream; a layout with codebooks has none of those that are given alone."""
    has_codebooks = type(layout) is str and "k" in layout
    return specials.of(stream, has_codebooks=has_codebooks) or SpecialTokens()


def remarks(sizes: Sizes) -> Iterator[tuple[str, str]]:
    """Yield what is to be reported of how a pair was read, each after its kind."""
    if sizes.is_flat and sizes.length > 1:
        length = sizes.length
        remark = (
            f"labels of one axis are read as one sample of {length} tokens; if they are {length} samples of one label"
            " each, as a classifier has them, pass logits[:, None] and labels[:, None]"
        )
        yield "flat", remark
    for problem in sizes.unused:
        yield problem.partition("[")[0], problem  # whatever the shape


def judge_pair(
    judge: Judge, captured: Snapshot, facts: Sequence[Facts], step: int, stream: str, *, is_idle: bool = False
) -> str | None:
    """Have a captured pair judged; return what is to be reported of a stream's first one without inputs."""
    sizes, shard = captured.sizes, captured.sizes.shard
    if shard is not None and shard.start:
        return None  # the process that has the first ids reports what ids show
    if sizes.is_split:
        # All else is judged by whoever reads the parts of all processes.
        judge.learn(step, stream, sizes.known)
        judge.judge(step, stream, facts, is_trained=sizes.is_trained, declared=sizes.declared, among="part")
        return None
    off = judge.learn(step, stream, sizes.known)
    across = captured.across and captured.across()
    judge.judge(
        step, stream, facts, is_trained=sizes.is_trained, across=across, declared=sizes.declared, is_idle=is_idle,
        among="all" if shard is None else "ids",
    )  # fmt: skip
    return off


def refusal_message(why: str, stream: str, after: str) -> str:
    """Return the message of the finding about a pair that was refused, and what follows from that."""
    end = "" if why.endswith(("?", ".")) else "."
    return f"{stream}: {why}{end} {after}".rstrip()
