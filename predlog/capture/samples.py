"""Which samples of a batch are shown, and under which ids: those that are followed come first, then the usual ones.

The choice is made in the training thread, from what is known on the host. So ids on another device are kept in the
records, and never waited for, but no sample is found by them.
"""

import numbers
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from torch import Tensor

from predlog._runtime.failure import located, own_failure
from predlog.capture.pair import Pair
from predlog.capture.scalar import on_its_way
from predlog.capture.tensors import as_ids, as_signed
from predlog.errors import NoSuchSampleError, PairError
from predlog.numbers.window import Window

# Samples of one batch that are shown because they are followed.
MOST_FOLLOWED: Final = 32
# Characters of an id; a longer one is cut, and its checksum keeps it apart from others that begin alike.
LONGEST_ID: Final = 100
# Ids that a message lists.
_LISTED: Final = 3
# What a number of 64 bits holds, signed or not: what is larger is written in another way.
_LEAST, _MOST = -(2**63), 2**64 - 1
_FIX: Final = "pass a list of strings or ints, or a tensor or an array of ints, with one id per sample of the batch"


class SampleIds(NamedTuple):
    """The ids of a batch: on the host, or coming from a device; `problem` says why there are none."""

    known: Sequence[str] | None = None
    coming: Callable[[], Sequence[str]] | None = None
    device: str = ""
    problem: str | None = None


class Choice(NamedTuple):
    """The samples shown, by their places in the batch, in order; their ids, if they have any; and what to report."""

    places: tuple[int, ...]
    ids: Callable[[], Sequence[str]] | None
    remarks: tuple[str, ...]

    @property
    def are_first(self) -> bool:
        """Whether the samples are the first of the batch."""
        return self.places == tuple(range(len(self.places)))


def as_id(one: Any) -> str:
    """Return a string or an int as an id of bounded length; raise PairError for anything else."""
    text = one if type(one) is str else None
    if text is None and isinstance(one, str):
        text = str.__str__(one)
    if text is None and isinstance(one, numbers.Integral) and not isinstance(one, bool):
        number = int(one)
        text = str(number) if number.bit_length() <= 64 else hex(number)  # Python writes no number of many digits
    if text is None:
        raise PairError(f"one of type {type(one).__name__}")
    if len(text) <= LONGEST_ID:
        return text
    check = zlib.crc32(text.encode(errors="surrogatepass"))
    return f"{text[: LONGEST_ID - 9]}…{check:08x}"


def choose(pair: Pair, window: Window, sample_ids: object) -> Choice:
    """Return which samples of a pair are shown.

    Raises NoSuchSampleError if the batch has none of the samples that are to be shown.
    """
    samples = pair.labels.shape[0]
    if sample_ids is None and not window.follow and type(window.samples) is int:
        return Choice(tuple(range(min(samples, window.samples))), None, ())
    found = _found(sample_ids, samples)
    remarks = [] if found.problem is None else [found.problem]
    followed: list[int] = []
    if window.follow and found.known is not None:
        followed = [place for place, one in enumerate(found.known) if one in window.follow]
        if len(followed) > MOST_FOLLOWED:
            remarks.append(
                f"follow= finds [{len(followed)}] samples of this batch, and the first {MOST_FOLLOWED} of them are"
                " shown: follow fewer ids"
            )
    elif window.follow and found.coming is not None:
        remarks.append(
            f"follow= finds no sample by [ids on {found.device}], because reading them would wait for the device:"
            " pass sample_ids= as a list, or as a tensor on the CPU"
        )
    elif window.follow and sample_ids is None:
        remarks.append(
            f"follow= finds no sample, because this pair came without ids [{samples} samples]: pass sample_ids= to"
            " compare, one id per sample"
        )
    usual, missing = _usual(window.samples, samples)
    if missing:
        remarks.append(
            f"samples= has places [{', '.join(map(str, missing))}] that this batch of {samples} samples does not have;"
            " they are left out"
        )
    many = len(usual) + len(missing)
    places = followed[:MOST_FOLLOWED]
    places += [one for one in usual if one not in set(places)][: max(many - len(places), 0)]
    if not places:
        raise NoSuchSampleError(f"nothing is shown of this pair: {remarks[-1]}")
    places.sort()
    return Choice(tuple(places), _of_places(found, places), tuple(remarks))


def parts(pair: Pair, choice: Choice) -> list[Pair]:
    """Return the samples of a pair that are shown, as few pairs whose samples are theirs, in order.

    The rows of logits are views: samples at equal distances are a slice. Of rows that were reduced elsewhere there is
    so little that they are copied into one pair.
    """
    if choice.are_first:
        return [pair]  # whoever takes the first ones finds them there
    slices = list(_slices(choice.places))
    return [pair.of_samples(slices)] if pair.columns is not None else [pair.of_samples([one]) for one in slices]


def _found(given: object, samples: int) -> SampleIds:
    try:
        ids = _as_ids(given)
    except own_failure(Exception, given) as error:  # a foreign object's own code; the pair can do without
        return SampleIds(problem=f"sample_ids [{located(error)}] are not kept: {_FIX}")
    if ids is None:
        return SampleIds()
    many = len(ids)
    if many != samples:
        first = [] if isinstance(ids, Tensor) else [*map(repr, ids[:_LISTED]), *["…"] * (many > _LISTED)]
        listed = f": {', '.join(first)}" if first else ""
        return SampleIds(problem=f"sample_ids [{many}{listed}] are not kept, because the batch has {samples}: {_FIX}")
    if not isinstance(ids, Tensor):
        return SampleIds(known=ids)
    wait = on_its_way(as_signed(ids.detach()))
    return SampleIds(coming=None if wait is None else lambda: list(map(str, wait())), device=str(ids.device))


def _as_ids(given: Any) -> Sequence[str] | Tensor | None:
    """Return ids on the host, or a tensor of them that is elsewhere; raise PairError, with what they are, if none."""
    if given is None:
        return None
    if type(given) not in {list, tuple}:
        if isinstance(given, str | bytes) or not hasattr(given, "shape"):
            raise PairError(f"{type(given).__name__} {_brief(given)}")
        if isinstance(given, Tensor) or getattr(getattr(given, "dtype", None), "kind", "") not in {"U", "O", "T"}:
            ids = as_ids("sample_ids", given, "ids")
            if ids.ndim != 1:
                raise PairError(f"of shape {list(ids.shape)}")
            if ids.device.type != "cpu":
                return ids
            given = ids.tolist()
        elif given.ndim == 1:
            given = given.tolist()
        else:
            raise PairError(f"of shape {list(given.shape)}")
    # Nearly all are plain strings and ints, which take a tenth of the time that others take.
    return [
        one
        if type(one) is str and len(one) <= LONGEST_ID
        else str(one)
        if type(one) is int and _LEAST <= one <= _MOST
        else as_id(one)
        for one in given
    ]


def _brief(given: object) -> str:
    return repr(given[:20]) if isinstance(given, str | bytes) else ""


def _usual(wanted: int | tuple[int, ...], samples: int) -> tuple[list[int], list[int]]:
    """Return the places that are shown where nothing is followed, each once, and those that the batch lacks."""
    if isinstance(wanted, int):
        return list(range(min(samples, wanted))), []
    has = [-samples <= one < samples for one in wanted]
    usual = dict.fromkeys(one % samples for one, is_there in zip(wanted, has, strict=True) if is_there)
    return list(usual), [one for one, is_there in zip(wanted, has, strict=True) if not is_there]


def _of_places(found: SampleIds, places: Sequence[int]) -> Callable[[], Sequence[str]] | None:
    if found.known is not None:
        ids = [found.known[one] for one in places]
        return lambda: ids
    if (coming := found.coming) is None:
        return None

    def wait() -> list[str]:
        arrived = coming()
        return [arrived[one] for one in places]

    return wait


def _slices(places: Sequence[int]) -> Iterable[slice]:
    """Yield slices of ascending places, each of as many at equal distances as follow one another."""
    begin = 0
    while begin < len(places):
        end = begin + 1
        step = places[end] - places[begin] if end < len(places) else 1
        while end < len(places) and places[end] - places[end - 1] == step:
            end += 1
        yield slice(places[begin], places[end - 1] + 1, step)
        begin = end
