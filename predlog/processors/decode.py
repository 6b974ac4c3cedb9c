"""Token ids → texts, with the tokenizer or the decoder that the user passed."""

import copy
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from predlog._runtime.failure import located, own_failure
from predlog._runtime.notices import Notices
from predlog.findings.special_tokens import of_tokenizer, per_stream
from predlog.processors.text_window import Sizes, passages
from predlog.records.schema import OF_PAIRS, Event
from predlog.records.window import Excerpt

# Characters of a token's text. Tokens are short, but a decoder may return anything.
_LONGEST = 1024
# Bytes of the texts that one decoder's cache holds, and what an entry takes beside its text. A vocabulary of 100,000
# short tokens has room.
MOST_BYTES: Final = 16 * 2**20
_ENTRY: Final = 100


class Decode:
    """Add the text of labels, predictions and inputs to comparisons, and the text around the tokens shown.

    `decoder` is a Hugging Face tokenizer, a `tokenizers.Tokenizer`, a callable from one id to its text, or a mapping
    from names of streams to these. One that is not in a mapping is used for streams without codebooks. A tokenizer is
    used only if there are logits for at least half of its ids: it can't decode the ids of another vocabulary. If the
    number of logits is not known, it is used.

    A tokenizer is copied here, in the calling thread, and only the copy is used later: a fast tokenizer that
    decodes in one thread may raise "Already borrowed" when another one changes its truncation. So pass the
    tokenizer, not a function around it: a callable is called as it is, from predlog's own thread.

    A piece of a character, as byte-level tokenizers have them, is shown as its bytes: `<0xE2><0x82>`. A text of more
    than 1024 characters is cut, and its length is added. If the decoder fails, the text stays null and the id is shown.

    The text around the tokens shown is decoded as a whole, by the tokenizer's `decode`; a callable's texts are joined.
    What is no text stands as U+FFFD there. If `decode` fails, there is none.
    """

    def __init__(self, decoder: Any, notices: Notices | None = None) -> None:
        self._notices = notices or Notices()
        self._texts = per_stream(decoder, lambda one: _Texts(one, self._notices))

    def __call__(self, _logger: Any, _name: str, event: Event) -> Event:
        """Fill the texts of each token, and that of the window."""
        if event.get("event") in OF_PAIRS:
            excerpt = event.get("window")
            if isinstance(excerpt, Excerpt):  # of a second decoder, it is text already
                event["window"] = None
            texts = self._texts.of(event["stream"], has_codebooks=event["codebook"] is not None)
            vocabulary = event["vocabulary"]
            if texts is not None and (vocabulary is None or 2 * vocabulary >= texts.size):
                for token in (*event["tokens"], *event.get("worst", ())):
                    for which in ("input", "label", "prediction"):
                        token[f"{which}_text"] = self._text(texts, token[which])
                    for one in token.get("alternatives", ()):
                        one["text"] = self._text(texts, one["prediction"])
                if isinstance(excerpt, Excerpt):
                    event["window"] = self._window(texts, excerpt)
        return event

    def _window(self, texts: "_Texts", excerpt: Excerpt) -> list[dict[str, Any]] | None:
        if texts.sizes is None:
            texts.sizes = Sizes(partial(self._text, texts))
        try:
            return passages(excerpt, texts.sizes, texts.decode)
        except Exception as error:  # noqa: BLE001 - a foreign object's own code
            why = f"decoding {len(excerpt.ids)} ids together raised {located(error)}; records have no window"
            self._notices.report("window", why, error)
            return None
        finally:
            texts.sizes.forget()

    def _text(self, texts: "_Texts", token: int | None) -> str | None:
        if token is None or token < 0:  # marks such as -100 overflow in some tokenizers
            return None
        try:
            text = texts.of(token)
        except Exception as error:  # noqa: BLE001 - a user's decoder may raise anything
            if 0 < texts.size <= token:  # ids may have holes, so it was asked
                self._report_beyond(token, texts.size)
            else:
                self._report(token, f"raised {located(error)}", error)
        else:
            if isinstance(text, str):
                return text
            if text is None and texts.size:
                self._report_beyond(token, texts.size)
            else:
                self._report(token, f"returned {type(text).__name__} instead of text")
        return None

    def _report_beyond(self, token: int, size: int) -> None:
        # A model's vocabulary is often padded: no fault, so one line is enough.
        where = "beyond" if token >= size else "none of"
        self._notices.report_once(
            "beyond the tokenizer",
            f"id {token} is {where} the tokenizer, which has texts for {size} ids: it is shown as an id, and so are"
            " others that it does not have",
        )

    def _report(self, token: int, why: str, error: Exception | None = None) -> None:
        self._notices.report("decode", f"decode({token}) {why}; the id is shown instead", error)


class _Texts:
    """One decoder, its cached texts, and how many ids it knows: 0 for a callable, of which that is not known."""

    def __init__(self, decoder: Any, notices: Notices) -> None:
        self._decode, self.decode = _text_of(decoder)
        self._cache: dict[int, Any] = {}
        self._bytes = 0
        self.sizes: Sizes | None = None
        try:
            known = of_tokenizer(decoder)
        except own_failure(Exception, decoder) as error:  # a foreign object's own code
            known = None
            # Of the same kind as a recorder's report that the special tokens are not known: one error, one line.
            notices.report_once(
                "special tokens",
                f"the number of ids of the {type(decoder).__name__} can't be read, so its texts are shown for any"
                f" vocabulary: {located(error)}",
                error,
            )
        self.size = 0 if known is None else known.size

    def of(self, token: int) -> Any:
        """Return the text of a token, or what else the decoder returns."""
        cache = self._cache  # several threads may ask, and one may replace it
        if token in cache:
            return cache[token]
        text = _cut(self._decode(token))
        if text is None or isinstance(text, str):
            taken = sys.getsizeof(text) + _ENTRY
            if self._bytes + taken > MOST_BYTES:
                self._cache, self._bytes = {}, 0
            self._cache[token] = text
            self._bytes += taken
        return text


def _cut(text: Any) -> Any:
    if not isinstance(text, str) or len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… ({len(text)} characters)"


def _text_of(decoder: Any) -> tuple[Callable[[int], Any], Callable[[list[int]], Any] | None]:
    """Return functions from one id to its text, and from several to theirs; None for a callable, which takes one."""
    owner = getattr(decoder, "__self__", None)
    if hasattr(owner, "backend_tokenizer") or hasattr(owner, "id_to_token") or hasattr(owner, "convert_ids_to_tokens"):
        decoder = owner  # `tokenizer.decode` stands for the tokenizer, which can be copied
    if hasattr(decoder, "backend_tokenizer"):
        decoder = decoder.backend_tokenizer
    if hasattr(decoder, "id_to_token") and hasattr(decoder, "decode"):
        copied = _copied(decoder)
        return _both(copied.id_to_token, copied.decode)
    if hasattr(decoder, "convert_ids_to_tokens"):
        copied = _copied(decoder)
        return _both(copied.convert_ids_to_tokens, copied.decode)
    if callable(decoder):
        return decoder, None
    raise TypeError(f"decode={decoder!r} is neither a tokenizer nor a callable from one id to text")


def _copied(tokenizer: Any) -> Any:
    try:
        return copy.deepcopy(tokenizer)
    except Exception as error:
        raise TypeError(
            f"decode: the {type(tokenizer).__name__} can't be copied: {located(error)}; pass a function from one id to"
            " its text"
        ) from error


def _both(
    piece_of: Callable[[int], str | None], decode: Callable[..., Any]
) -> tuple[Callable[[int], str | None], Callable[[list[int]], Any]]:
    """Return a function from an id to what a reader should see of its piece and its text together, and `decode`."""

    def text(token: int) -> str | None:
        piece, decoded = piece_of(token), decode([token], skip_special_tokens=False)
        return None if piece is None else _readable(piece, decoded)

    return text, partial(decode, skip_special_tokens=False)


def _readable(piece: str, decoded: str) -> str:
    """Return what a reader should see of a token: its text alone loses broken characters and leading spaces."""
    if "\ufffd" in decoded and (pieces := _bytes_of(piece)) is not None:
        return pieces
    if piece.startswith("▁") and not decoded.startswith(" "):
        return " " + decoded
    return decoded or piece


def _bytes_of(piece: str) -> str | None:
    """Return the bytes of a byte-level token that is not whole UTF-8: as text where they are text, else as `<0xE2>`."""
    try:
        raw = bytes(_BYTE_OF[character] for character in piece)
    except KeyError:
        return None
    return raw.decode(errors="surrogateescape").translate(_ESCAPED)


def _byte_alphabet() -> Mapping[str, int]:
    """Return GPT-2's alphabet: printable Latin-1 bytes are themselves, the others count up from U+0100.

    Source: `bytes_to_unicode` in https://github.com/openai/gpt-2/blob/master/src/encoder.py
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(0x100 + offset): byte for offset, byte in enumerate(others)},
    }


_BYTE_OF = _byte_alphabet()
_ESCAPED = {0xDC00 + byte: f"<0x{byte:02X}>" for byte in range(0x80, 0x100)}
