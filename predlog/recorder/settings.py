"""The arguments of a recorder, checked once."""

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Final, Literal

from structlog.typing import Processor

from predlog._runtime import process
from predlog._runtime.failure import located, own_failure
from predlog._runtime.notices import Notices
from predlog.capture.samples import as_id
from predlog.capture.scored import MOST_TOKENS
from predlog.errors import PairError, SettingError
from predlog.findings.catalog import CODES
from predlog.findings.special_tokens import PerStream, SpecialTokens, of_tokenizer, per_stream
from predlog.findings.special_tokens import special_tokens as read_special_tokens
from predlog.numbers.window import Window
from predlog.processors.decode import Decode
from predlog.recorder.gate import Ranks
from predlog.sinks import JSONL, Console
from predlog.sinks.console import FORMS

Check = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The arguments of a `Recorder` that are plain values; `of` checks them."""

    directory: Path | None
    every: int
    samples: int | tuple[int, ...]
    follow: tuple[str, ...]
    first: int
    last: int
    codebooks: int
    ranks: Ranks
    streams: frozenset[str] | None
    score: bool
    worst: int
    alternatives: int
    all_tokens: int
    console: bool | Literal["compact", "full"]
    ignore: PerStream[frozenset[str]]
    queue: int
    strict: bool
    durable_every: float
    text: bool
    text_window: int
    mode: int | None
    rank_folders: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Settings":
        """Return the plain values among a recorder's arguments; raise SettingError if one makes no sense."""
        made = {name: check(arguments[name]) for name, check in CHECKS.items()}
        check_together(made)
        return cls(**made)

    def window(self, *, has_decoder: bool, has_processors: bool) -> Window:
        """Return which part of a pair is shown; processors see more of the text than is kept."""
        return Window(
            self.samples, self.first, self.last, self.codebooks, self.score, self.worst, self.alternatives,
            self.all_tokens, self.text_window if has_decoder and self.text else 0, BEYOND if has_processors else 0,
            frozenset(self.follow),
        )  # fmt: skip

    def shown(self) -> dict[str, Any]:
        """Return the settings as plain values, as the first line of an attempt holds them."""
        return {
            **{name: list(value) if type(value) is tuple else value for name, value in asdict(self).items()},
            "directory": None if self.directory is None else str(self.directory),
            "streams": None if self.streams is None else sorted(self.streams),
            "ignore": {name: sorted(ones) for name, ones in self.ignore.by_name.items()}
            or sorted(self.ignore.alone or ()),
        }


# Characters of the text around the tokens shown, the most that a record has of it, and how many more processors see.
TEXT_WINDOW, _LONGEST_WINDOW, BEYOND = 400, 100_000, 256


def check_counts(least: int = 1, **counts: Any) -> None:
    """Raise SettingError if a value is no integer of at least so much."""
    for name, value in counts.items():
        _count(name, least)(value)


def _count(name: str, least: int = 1, *, most: int | None = None, usual: int | None = None) -> Check:
    """Return a check of a number, which is cut to the `most`; with `usual`, True stands for that, and False for 0."""

    def check(value: Any) -> int:
        if usual is not None and type(value) is bool:
            return usual if value else 0
        if type(value) is int and value >= least:
            return value if most is None else min(value, most)
        raise SettingError(f"{name}={value!r} must be an integer of at least {least}")

    return check


def _flag(name: str) -> Check:
    def check(value: Any) -> bool:
        if type(value) is bool:
            return value
        raise SettingError(f"{name}={value!r} must be True or False")

    return check


def check_window(samples: Any, first: Any, last: Any, codebooks: Any) -> None:
    """Raise SettingError if the numbers of samples, tokens and codebooks to show make no sense."""
    places(samples)
    check_counts(codebooks=codebooks)
    check_counts(0, first=first, last=last)
    check_together({"first": first, "last": last})


def check_together(arguments: Mapping[str, Any]) -> None:
    """Raise SettingError if arguments that make sense alone make none together."""
    if arguments["first"] == 0 and arguments["last"] == 0:
        raise SettingError("first=0 and last=0 show no token: pass a number above 0 for one of them")


def places(samples: Any) -> int | tuple[int, ...]:
    """Return a number of samples as it is, and their places in a batch as ints; raise SettingError for others."""
    if isinstance(samples, Sequence) and not isinstance(samples, str | bytes):
        found = tuple(one if isinstance(one, bool) or not isinstance(one, Integral) else int(one) for one in samples)
        if found and all(type(one) is int for one in found):
            return found
    elif type(samples) is int and samples >= 1:
        return samples
    raise SettingError(
        f"samples={samples!r} must be a number, at least 1, or places in a batch as integers, such as (0, -1)"
    )


def followed(follow: Any) -> tuple[str, ...]:
    """Return the ids of the samples to follow; raise SettingError for a lone one, or one that is no id."""
    problem = ""
    if isinstance(follow, str | bytes) or not isinstance(follow, Iterable):
        problem = f"must be a collection of ids, such as follow=({follow!r},)"
    else:
        try:
            return tuple(dict.fromkeys(map(as_id, follow)))
        except PairError as error:
            problem = f"has {error}: ids are strings or ints"
    raise SettingError(f"follow={follow!r} {problem}")


def folder(directory: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder as a path; raise SettingError if it is none."""
    if directory is None:
        return None
    try:
        path = os.fspath(directory)
    except own_failure(TypeError):
        path = ""
    if not path:
        raise SettingError(f"directory={directory!r} must be the path of a folder, or None")
    return Path(path)


def names(streams: Any) -> frozenset[str] | None:
    """Return stream names as a set; raise SettingError for a lone string, whose letters would be the names."""
    if streams is None:
        return None
    listed = () if isinstance(streams, str) or not isinstance(streams, Iterable) else tuple(streams)
    if not listed or not all(isinstance(name, str) and name.strip() for name in listed):
        raise SettingError(f"streams={streams!r} must be a collection of names, such as ['text', 'audio']")
    return frozenset(listed)


def ignored(ignore: Any) -> PerStream[frozenset[str]]:
    """Return the codes of findings to ignore, of all streams or of each that is named, as `codes` does."""
    if not isinstance(ignore, Mapping):
        return PerStream(alone=codes(ignore))
    if wrong := [name for name in ignore if not isinstance(name, str) or not name.strip()]:
        raise SettingError(f"ignore: {wrong[0]!r} must be the name of a stream, such as 'text' or 'audio'")
    return PerStream(by_name={name: codes(ones) for name, ones in ignore.items()})


def codes(ignore: Any) -> frozenset[str]:
    """Return codes of findings as a set; raise SettingError if one is unknown, and list those that are known."""
    listed = (ignore,) if isinstance(ignore, str) or not isinstance(ignore, Iterable) else tuple(ignore)
    unknown = [code for code in listed if code not in CODES]
    if unknown:
        close = difflib.get_close_matches(str(unknown[0]), CODES, n=1)
        meant = f" (was {close[0]!r} meant?)" if close else ""
        raise SettingError(f"ignore: {unknown[0]!r} is no finding's code{meant}; there are {', '.join(CODES)}")
    return frozenset(listed)


def _ranks(ranks: Any) -> Any:
    if type(ranks) in {int, str} and ranks in {"auto", 0, "local", "all"}:
        return ranks
    listed = tuple(ranks) if isinstance(ranks, Iterable) and not isinstance(ranks, str | bytes) else ()
    if listed and all(type(one) is int and one >= 0 for one in listed):
        return tuple(sorted(set(listed)))
    raise SettingError(f"ranks={ranks!r} must be 'auto', 0, 'local', 'all' or global ranks, such as (0, 1)")


def _form(console: Any) -> Any:
    if type(console) is bool or (type(console) is str and console in FORMS):
        return console
    raise SettingError(f"console={console!r} must be True, False, {' or '.join(map(repr, FORMS))}")


def _seconds(durable_every: Any) -> float:
    if type(durable_every) in {int, float} and durable_every >= 0:
        return durable_every  # type: ignore[no-any-return] # it is a number
    raise SettingError(f"durable_every={durable_every!r} must be a number of seconds, 0 or more")


def _permissions(mode: Any) -> int | None:
    if mode is None or (type(mode) is int and 0 <= mode <= 0o777 and mode & 0o600 == 0o600):
        return mode
    raise SettingError(f"mode={mode!r} must be permissions that let the owner read and write, such as 0o600")


# Of each setting, what checks an argument and returns it as it is kept.
CHECKS: Final[Mapping[str, Check]] = {
    "directory": folder, "every": _count("every"), "samples": places, "follow": followed, "first": _count("first", 0),
    "last": _count("last", 0), "codebooks": _count("codebooks"), "ranks": _ranks, "streams": names,
    "score": _flag("score"), "worst": _count("worst", 0), "alternatives": _count("alternatives", 0),
    "all_tokens": _count("all_tokens", 0, most=MOST_TOKENS, usual=MOST_TOKENS), "console": _form, "ignore": ignored,
    "queue": _count("queue"), "strict": _flag("strict"), "durable_every": _seconds, "text": _flag("text"),
    "text_window": _count("text_window", 0, most=_LONGEST_WINDOW, usual=TEXT_WINDOW), "mode": _permissions,
    "rank_folders": _flag("rank_folders"),
}  # fmt: skip


def processors(argument: str, given: Any) -> tuple[Any, ...]:
    """Return structlog processors as a tuple; raise SettingError if one can't be called."""
    listed = tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(callable(processor) for processor in listed):
        raise SettingError(f"{argument}={given!r} must be a list of structlog processors")
    return listed


def make_sinks(
    chosen: Settings, place: Path, more: Sequence[Processor]
) -> tuple[Processor | None, Sequence[Processor]]:
    """Return the file of this process in the folder `place`, None if none was asked for, and the other sinks.

    Called when the first pair arrives: the process group, and with it the rank, may not exist before. A function, not
    a method: the thread that calls it refers to no recorder, which could then never be freed.
    """
    file = file_of(place if chosen.directory is not None else None, has_folders=chosen.rank_folders)
    jsonl = None if file is None else JSONL(file, durable_every=chosen.durable_every, mode=chosen.mode)
    is_shown = chosen.console and process.local_rank() == 0
    console = Console(form="full" if chosen.console == "full" else "compact")
    return jsonl, [*([console] if is_shown else []), *more]


def file_of(directory: Path | None, *, has_folders: bool) -> Path | None:
    """Return the file of this process in the folder of a run, which may have a folder for each rank."""
    if directory is None:
        return None
    number = process.rank()
    folder = directory / f"rank={number}" if has_folders else directory
    return folder / (f"predictions-rank{number}.jsonl" if number else "predictions.jsonl")


def decoding(decode: Any, notices: Notices) -> list[Processor]:
    """Return the processors that add texts to tokens: none without a decoder."""
    if decode is None:
        return []
    try:
        return [Decode(decode, notices)]
    except own_failure(TypeError) as error:
        raise SettingError(str(error)) from None


def special_tokens(given: Any, decode: Any, notices: Notices) -> PerStream[SpecialTokens]:
    """Return the special tokens of each stream: those given, else those that the decoder knows.

    The user did not ask for the latter, so a tokenizer that raises is no error; it is reported once.
    """
    if given is not None:
        return per_stream(given, read_special_tokens)

    def known(decoder: Any) -> SpecialTokens:
        try:
            return of_tokenizer(decoder) or SpecialTokens()
        except own_failure(Exception, decoder) as error:  # a foreign object's own code
            notices.report_once(
                "special tokens",
                f"the special tokens of the {type(decoder).__name__} in decode= are not known, so findings about"
                f" padding and end tokens are left out: {located(error)}; pass special_tokens=",
                error,
            )
            return SpecialTokens()

    return per_stream(decode, known)
