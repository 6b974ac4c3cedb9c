"""Runs of which tests make pages: one in which every text is hostile, and one that becomes better."""

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from predlog.reading.reader import read
from predlog.records.codec import to_line
from predlog.records.schema import Comparison, Record
from predlog.report import page as report
from predlog.report.contents import Contents
from predlog.report.film_strip import MOST
from tests import events

STEPS = range(0, 600, 10)
HOSTILE = [
    "</script><script>window.ran=1</script>",
    "<img src=x onerror=window.ran=1>",
    "<svg/onload=window.ran=1>",
    "</style><script>window.ran=1</script>",
    "<!--<script>window.ran=1</script>",
    "]]><script>window.ran=1</script>",
    "{{7*7}}{% raw %}{{ config }}",
    "${window.ran=1}`${window.ran=1}`",
    "javascript:window.ran=1",
    '" onfocus=window.ran=1 autofocus x="',
    "' onmouseover='window.ran=1",
    "&lt;script&gt;window.ran=1&lt;/script&gt;",
    "<iframe srcdoc='<script>parent.ran=1</script>'>",
    "<link rel=stylesheet href=http://192.0.2.1/a.css>",
    "<img src=http://192.0.2.1/pixel>",
    "url(http://192.0.2.1/b)}*{background:url(http://192.0.2.1/c)",
    "<meta http-equiv=refresh content='0;url=http://192.0.2.1/'>",
    "<base href=http://192.0.2.1/>",
    "$$\\frac{1}{2}$$ \\(x\\) $x @x @{step} $name{safe}",
    "\u202egnp.\u2066live\u2069\u200b\ufeff",
    "\ud800\udc00\udfff",
    "\x00\x01\x1b[31m\x7f\x9b",
    "\u2028\u2029\r\n\t",
    "z\u0335\u0322\u0321" * 30,
    "x" * 5000,
    "__proto__",
    "constructor",
    "%3Cscript%3E=&stream=#",
]


def corpus() -> Iterator[dict[str, Any]]:
    """Yield a run in which everything that is text is hostile, also that around the tokens."""
    for number, event in enumerate(_corpus()):
        window = {}
        if event["event"] == "predlog.comparison":
            text, other = HOSTILE[number % len(HOSTILE)], HOSTILE[number // 5 % len(HOSTILE)]
            passages = [(3, text, other), (number, other * 3, text), (0, None, other)]
            window = {**events.LATER, "window": [passage(*one) for one in passages]}
        yield {**event, **window, "recorder": "0a1b2c3d"}


def passage(left_out: int, read: str | None, asked: str) -> dict[str, Any]:
    return {"left_out": left_out, "read": read, "asked": asked}


def _corpus() -> Iterator[dict[str, Any]]:
    everything = {text: text for text in HOSTILE}
    yield events.run(
        run=HOSTILE[0],
        host=HOSTILE[1],
        versions=everything,
        settings={**everything, "directory": HOSTILE},
        context=everything,
    )
    for step, text in enumerate(HOSTILE):
        other = HOSTILE[step - 1]
        tokens = [
            events.token(0, 3, 4, label_text=text, prediction_text=other, input=1, input_text=text),
            events.token(1, 5, 5, label_text=other, prediction_text=other, slot="last"),
        ]
        yield events.comparison(step=step, stream=text, tokens=tokens, context=everything)
        yield events.comparison(step=step, stream="text", tokens=tokens, context={text: text})
        yield events.finding(
            step=step, stream=text, code=text, message=text, help=text, evidence={text: [text]}, level=text
        )
        yield events.finding(step=step, stream=text, code="collapsed", message=text)
        yield events.gap(reason=text, first_step=step, last_step=step + 1)
    for step in range(len(HOSTILE), len(HOSTILE) + 3):  # so that one token is stubborn, and one forgotten
        for text, other in itertools.pairwise(HOSTILE):
            wrong = [events.token(0, 3, 4, label_text=other), events.token(1, 5, 4, label_text=text)]
            yield events.comparison(step=step, stream=other, tokens=wrong)
    yield events.run(run=HOSTILE[0], stats=dict.fromkeys(HOSTILE, 1))


def trained() -> Iterator[dict[str, Any]]:
    """Yield a run of text and of audio with three codebooks, two samples, two ranks, that becomes better."""
    yield events.run(run="exp1")
    for number, step in enumerate(STEPS):
        for stream, codebook, rank, sample in LANES:
            right = [(7 * number + 3 * place + sample) % 60 < number for place in range(10)]
            tokens = [
                events.token(
                    20 + 40 * place,
                    100 + place,
                    100 + place if is_right else 7,
                    slot="first" if place < 5 else "last",
                    label_logprob=round(math.log((number + 1) / 70) - place / 10, 6),
                    prediction_logprob=-0.125,
                    label_rank=1 if is_right else 2 + place,
                    label_text=f" t{place}" if stream == "text" else None,
                    prediction_text=(f" t{place}" if is_right else "no") if stream == "text" else None,
                    input=5,
                    input_text="in",
                )
                for place, is_right in enumerate(right)
            ]
            yield events.comparison(
                step=step,
                stream=stream,
                codebook=codebook,
                rank=rank,
                sample=sample,
                tokens=tokens,
                matched=5 * number,
                supervised=300,
            )
        if number == 20:
            yield events.finding(step=step, code="collapsed", level="warning", message="text: one token everywhere")
    yield events.gap(first_step=300, last_step=320)


def perfect(audio: str = "audio") -> Iterator[dict[str, Any]]:
    """Yield a run of text and of audio with four codebooks, two samples, two ranks, all right, up to a late step."""
    lanes = [("text", None), *((audio, codebook) for codebook in range(4))]
    for step in (0, 500, *range(999_000, 1_000_001, 50)):
        for (stream, codebook), rank, sample in itertools.product(lanes, (0, 1), (0, 1)):
            tokens = [
                events.token(place, place, place, slot="first" if place < 5 else "last", label_logprob=-0.01 * place)
                for place in range(10)
            ]
            yield events.comparison(
                step=step,
                stream=stream,
                codebook=codebook,
                rank=rank,
                sample=sample,
                tokens=tokens,
                matched=10 if step else 1,
                supervised=10,
            )


# Stream, codebook, rank and sample.
LANES = [
    (stream, codebook, rank, sample)
    for stream, codebook in [("text", None), ("audio", 0), ("audio", 1), ("audio", 2)]
    for rank in (0, 1)
    for sample in (0, 1)
]


def odd() -> Iterator[dict[str, Any]]:
    """Yield what is not as it mostly is: short samples, none supervised, nothing finite, accuracy switched off."""

    def tokens(firsts: int, lasts: int, **fields: Any) -> list[dict[str, Any]]:
        slots = ["first"] * firsts + ["last"] * lasts
        return [events.token(place, label=place, slot=slot, **fields) for place, slot in enumerate(slots)]

    yield events.comparison(step=0, tokens=tokens(5, 5))
    yield events.comparison(step=1, tokens=tokens(5, 2))
    yield events.comparison(step=2, tokens=tokens(1, 0))
    yield events.comparison(step=3, tokens=[], supervised=0, matched=0)
    unknown = {"label_logprob": None, "prediction_logprob": None, "label_rank": None, "prediction": None}
    yield events.comparison(step=4, tokens=tokens(5, 5, **unknown, match=False), nonfinite=20)
    yield events.comparison(step=5, tokens=tokens(5, 5), matched=None)


def scored() -> Iterator[dict[str, Any]]:
    """Yield a run whose records have a loss and all their tokens, and one record that has neither."""
    for step in range(0, 240, 10):
        tokens = [events.token(1, 7, 7, label_text=" a", prediction_text=" a"), events.token(3, 8, 7, slot="last")]
        columns = {
            "positions": [1, 2, 3], "labels": [7, 9, 8], "predictions": [7, 7, None],
            "label_logprobs": [-0.01, -2.5, None], "label_ranks": [1, 12, None],
        }  # fmt: skip
        scores = {"loss": 8.0 - step / 40, "entropy": 4.0, "all_tokens": columns}
        yield events.comparison(
            step=step, supervised=3, matched=1, tokens=tokens, **{**events.LATER, "recorder": "0a1b2c3d", **scores}
        )
    yield events.comparison(step=240)


def page_of(records: Iterable[Record], source: str = "runs/exp1", most: int = MOST) -> str:
    """Return the page of one run."""
    return report.page([Contents.of(records, source, most=most)]).html


def written(folder: Path, told: Iterator[dict[str, Any]]) -> tuple[Path, list[Comparison]]:
    """Make the page of a run, through a file, and give the comparisons that it is of."""
    folder.mkdir()
    file = folder / "predictions.jsonl"
    file.write_bytes(b"".join(to_line({**event, "seq": seq}) for seq, event in enumerate(told)))
    records = list(read(file))
    page = folder / "report.html"
    page.write_text(page_of(read(file), str(file)), "utf-8")
    return page, [record for record in records if isinstance(record, Comparison)]
