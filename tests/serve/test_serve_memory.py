"""How much memory `predlog serve` takes."""

import random
import socket
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from predlog.records.codec import to_line
from tests import events
from tests.serve.serving import serving

MOST = 256 * 2**20


def large(folder: Path, size: int, **fields: int) -> int:
    """Write a run of so many bytes, two samples per step, whose tokens have texts; return its next step."""
    folder.mkdir(parents=True)
    draw = random.Random(0)
    step = seq = 0
    with (folder / "predictions.jsonl").open("wb") as opened:
        while opened.tell() < size:
            for sample in (0, 1):
                opened.write(to_line(comparison(draw, step, sample, seq, **fields)))
                seq += 1
            step += 10
    return step


def comparison(draw: random.Random, step: int, sample: int, seq: int, *, kept: int = 0) -> dict[str, object]:
    tokens = [
        events.token(
            place, label := draw.randrange(50_000), said := draw.choice((label, draw.randrange(50_000))),
            slot="first" if place < 5 else "last", label_text=f" w{label}", prediction_text=f" w{said}",
            input=label, input_text=f" w{label}", label_logprob=round(-8 * draw.random(), 6),
        )
        for place in range(10)
    ]  # fmt: skip
    text = " ".join(f"word{draw.randrange(10_000)}" for _ in range(20))
    later = {**events.LATER, "recorder": "0a1b2c3d", "loss": draw.random(), "entropy": 1.0}
    later["window"] = [{"left_out": 0, "read": text, "asked": text}]
    if kept:
        ids = [draw.randrange(50_000) for _ in range(kept)]
        later["all_tokens"] = {
            "positions": [*range(kept)], "labels": ids, "predictions": ids,
            "label_logprobs": [round(-8 * draw.random(), 4) for _ in ids], "label_ranks": [1] * kept,
        }  # fmt: skip
    return {
        **events.comparison(step=step, sample=sample, tokens=tokens, matched=50, supervised=100),
        **later,
        "seq": seq,
    }


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0, 500])
def test_memory_of_a_large_run(tmp_path: Path, kept: int) -> None:
    """Ten tabs on a run of 300 MB take 256 MiB at most, also those that do not read what they have asked for."""
    step = large(tmp_path / "runs/exp", 300_000_000, kept=kept)
    with serving(tmp_path / "runs") as server:
        assert server.ask().status == 200
        pages = [server.ask("run/exp/") for _ in range(10)]
        streams = []
        for number, page in enumerate(pages):
            cursor = page.body.partition(b'data-cursor="')[2].partition(b'"')[0].decode()
            part = ("events", "", "state")[number % 3]
            streams.append(socket.create_connection(("127.0.0.1", server.port)))
            asked = f"GET {server.path}run/exp/{part}?since={cursor} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            streams[-1].sendall(asked.encode())
        draw, seq = random.Random(1), 2 * step // 10
        with (tmp_path / "runs/exp/predictions.jsonl").open("ab") as opened:
            for more in range(40):
                opened.write(to_line(comparison(draw, step + 10 * more, 0, seq + more, kept=kept)))
        found = b""
        while b"event: change" not in found:
            found += streams[0].recv(1 << 16)
        assert server.ask("run/exp/state").status == server.ask("run/exp/content").status == 200
        most = server.most_memory()
        for one in streams:
            one.close()
    print(f"{most / 2**20:.0f} MiB at most")
    assert most < MOST
