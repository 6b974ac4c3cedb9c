"""What a recorder and its callers are given → what predlog works with, or an error that says what to do."""

import numbers
from typing import Any

from structlog.typing import Processor

from predlog.errors import PairError, SettingError
from predlog.notices import Notices
from predlog.processors import Decode
from predlog.specials import PerStream, SpecialTokens, of_tokenizer, per_stream
from predlog.specials import special_tokens as read_special_tokens


def decoding(decode: Any, notices: Notices) -> list[Processor]:
    """Give the processors that add texts to tokens, of which there are none without a decoder."""
    if decode is None:
        return []
    try:
        return [Decode(decode, notices)]
    except TypeError as error:
        raise SettingError(str(error)) from None


def special_tokens(given: Any, decode: Any) -> PerStream[SpecialTokens]:
    """Give the special tokens of each stream: those given, else those that the decoder knows."""
    if given is not None:
        return per_stream(given, read_special_tokens)
    return per_stream(decode, _what_it_knows)


def _what_it_knows(decoder: Any) -> SpecialTokens:
    # Nobody asked for them, so a decoder that has none, or tells nonsense, is no error.
    try:
        return of_tokenizer(decoder) or SpecialTokens()
    except Exception:  # noqa: BLE001 - a foreign object's own code
        return SpecialTokens()


def whole_step(step: object) -> int:
    """Give a step as an int; raises PairError where it is none."""
    # A tensor is no Integral, so it is refused here without being read.
    if not isinstance(step, numbers.Integral) or isinstance(step, bool):
        raise PairError(f"step is a {type(step).__name__}: pass a Python int; reading a tensor would stop the device")
    number = int(step)
    if not 0 <= number < 2**63:
        raise PairError(f"step={number} must be from 0 to 2**63 - 1")
    return number
