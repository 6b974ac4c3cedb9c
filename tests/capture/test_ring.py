"""What is on its way from a device arrives whole, is waited for by the worker alone, and is never too much."""

import gc
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from predlog import Recorder
from predlog.capture import capture as capturing_capture
from predlog.capture import ring as capturing_ring
from predlog.capture import ring as ring_module
from predlog.capture.ring import Arrival, Ring, Slot
from tests import events


def packed(words: int = 5, start: int = 7) -> Tensor:
    values = torch.arange(start, start + 2 * words).view(2, 1, words)
    values[-1, -1, -1] = 1  # the stamp
    return values


def sent(ring: Ring, values: Tensor) -> Arrival:
    arrival = ring.arrival()
    assert arrival is not None
    arrival.send(values)
    return arrival


def still_on_its_way(arrival: Arrival) -> Tensor:
    """Return the flag of an arrival, lowered: as it is while the device has other things to do."""
    assert arrival.slot is not None
    flag = arrival.slot._memory[:1]
    flag.zero_()
    return flag


def test_what_is_sent_arrives() -> None:
    """Whatever its shape, and whatever was sent before, a packed tensor arrives as it was."""
    ring = Ring(2, is_pinned=False)
    for words in (5, 1, 300, 17, 301):
        values = packed(words)
        assert torch.equal(sent(ring, values).read(), values)


def test_what_was_read_stays_when_the_slot_is_used_again() -> None:
    """The host's copy is its own."""
    ring = Ring(1, is_pinned=False)
    first = sent(ring, packed(start=7)).read()
    sent(ring, packed(start=70)).read()
    assert torch.equal(first, packed(start=7))


def test_the_reader_waits_until_the_flag_is_up() -> None:
    """Nothing is read while it is on its way, however long that takes."""
    ring = Ring(1, is_pinned=False)
    arrival = sent(ring, packed())
    flag = still_on_its_way(arrival)
    done = threading.Event()
    found: list[Tensor] = []

    def read() -> None:
        found.append(arrival.read())
        done.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert not done.wait(0.05)
    flag.fill_(1)
    assert done.wait(10)
    thread.join()
    assert torch.equal(found[0], packed())


def test_no_more_are_on_their_way_than_there_are_slots() -> None:
    """A full ring says so; each that is read makes room."""
    ring = Ring(3, is_pinned=False)
    arrivals = [sent(ring, packed()) for _ in range(3)]
    assert ring.arrival() is None
    arrivals[1].read()
    sent(ring, packed()).read()
    assert ring.arrival() is not None


def test_what_is_forgotten_makes_room_when_it_has_arrived() -> None:
    """An arrival that nobody holds gives its slot back; while the copy is under way, the slot is not used again."""
    ring = Ring(2, is_pinned=False)
    arrival = sent(ring, packed())
    flag = still_on_its_way(arrival)
    slot = arrival.slot
    del arrival
    gc.collect()
    other = ring.arrival()
    assert other is not None
    assert other.slot is not slot
    assert ring.arrival() is None
    flag.fill_(1)
    assert (last := ring.arrival()) is not None
    assert last.slot is slot


def test_an_arrival_that_fails_gives_its_slot_back() -> None:
    """What can't be sent takes no slot away."""
    ring = Ring(1, is_pinned=False)
    for _ in range(3):
        arrival = ring.arrival()
        assert arrival is not None
        with pytest.raises(AttributeError):
            arrival.send(None)  # type: ignore[arg-type]
        del arrival
    assert ring.arrival() is not None


def test_what_never_arrives_is_given_up() -> None:
    """A device that hangs or has failed costs what was on its way, not the worker."""
    ring = Ring(1, is_pinned=False)
    arrival = sent(ring, packed())
    still_on_its_way(arrival)
    with pytest.raises(TimeoutError, match="nothing came from the device within"):
        arrival.read(patience=0.01)
    assert ring.arrival() is None  # a copy may still come


def test_a_copy_that_fails_half_way_costs_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever interrupts the copies, the slot can be used again, with another memory."""
    ring = Ring(1, is_pinned=False)
    copies: list[int] = []

    def copy(*_tensors: Any, **_how: Any) -> None:
        copies.append(1)
        raise KeyboardInterrupt

    for _ in range(3):
        arrival = ring.arrival()
        assert arrival is not None
        values = packed()
        with monkeypatch.context() as broken:
            broken.setattr(Tensor, "copy_", copy)
            with pytest.raises(KeyboardInterrupt):
                arrival.send(values)
        del arrival
    assert len(copies) == 3
    assert torch.equal(sent(ring, packed()).read(), packed())


def test_all_slots_together_take_no_more_than_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker far behind does not make pinned memory grow without end; one that is alone may be of any size."""
    monkeypatch.setattr(ring_module, "_MOST_WORDS", 2000)
    ring = Ring(8, is_pinned=False)
    under_way = []
    while (arrival := ring.arrival(10 * 50)) is not None:
        arrival.send(packed(250))
        under_way.append(arrival)
    assert 1 <= len(under_way) < 8
    assert sum(slot.words for slot in ring._slots) <= 2000
    for arrival in under_way:
        arrival.read()
    large = Ring(8, is_pinned=False).arrival(10_000)
    assert large is not None


def test_memory_grows_by_a_factor_and_only_where_it_is_needed() -> None:
    """A loop with one capture under way uses one slot's memory, which is made anew ever more rarely."""
    ring = Ring(8, is_pinned=False)
    slots: list[Slot] = list(ring._free)
    made = set()
    for words in range(1, 400):
        sent(ring, packed(words)).read()
        made.add(tuple(slot._memory.data_ptr() for slot in slots if len(slot._memory) > 8))
    assert len(made) <= 11
    assert sum(len(slot._memory) > 8 for slot in slots) == 1


def test_an_arrival_is_read_once() -> None:
    """A second reading would find another capture's words."""
    arrival = sent(Ring(1, is_pinned=False), packed())
    arrival.read()
    with pytest.raises(RuntimeError, match="once"):
        arrival.read()


def test_slots_made_in_inference_mode_work_outside() -> None:
    """An evaluation that comes first does not spoil the slots for the training."""
    with torch.inference_mode():
        ring = Ring(1, is_pinned=False)
        sent(ring, packed(9)).read()
    assert torch.equal(sent(ring, packed(3)).read(), packed(3))


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Treat CPU tensors as those of a device whose values must not be waited for."""
    monkeypatch.setattr(capturing_capture, "_NEAR", frozenset())
    capturing_ring.ring_of.cache_clear()
    yield
    capturing_ring.ring_of.cache_clear()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "predictions.jsonl").read_bytes().splitlines()]


def comparisons(path: Path) -> list[dict[str, Any]]:
    """Return what comparisons hold beside when and by which run they were written."""
    passing = {"timestamp", "crc", "run", "recorder"}
    found = [line for line in lines(path) if line["event"] == "predlog.comparison"]
    return [{name: value for name, value in line.items() if name not in passing} for line in found]


@pytest.mark.usefixtures("far")
def test_a_recorder_records_from_afar(tmp_path: Path) -> None:
    """By the ring come the same records as from the CPU."""
    logits, labels = events.pair(length=40)
    with Recorder(tmp_path / "far", every=1, console=False, strict=True) as recorder:
        for step in range(100):
            recorder.compare(logits, labels, step, shift=1, inputs=labels)
    with pytest.MonkeyPatch.context() as near:
        near.setattr(capturing_capture, "_NEAR", {"cpu"})
        with Recorder(tmp_path / "near", every=1, console=False, strict=True) as recorder:
            for step in range(100):
                recorder.compare(logits, labels, step, shift=1, inputs=labels)
    here, there = comparisons(tmp_path / "near"), comparisons(tmp_path / "far")
    assert len(here) == len(there) == 200
    for one, other in zip(here, there, strict=True):
        for token, expected in zip(one.pop("tokens"), other.pop("tokens"), strict=True):
            assert {name: pytest.approx(value, abs=2e-6) for name, value in expected.items()} == token
        assert one == other


@pytest.mark.usefixtures("far")
def test_what_finds_no_slot_is_dropped_and_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A worker that is stuck costs what finds no room, which is counted, said and told to the file."""
    logits, labels = events.pair(length=40)
    entered, release = threading.Event(), threading.Event()

    def stuck(_logger: Any, _name: str, event: Any) -> Any:
        if event["event"] == "predlog.comparison":
            entered.set()
            release.wait(30)
        return event

    with Recorder(tmp_path, every=1, console=False, processors=[stuck], queue=1000) as recorder:
        assert recorder.compare(logits, labels, 0) is not None
        assert entered.wait(10)
        futures = [recorder.compare(logits, labels, step) for step in range(1, 301)]
        lost = 2 * futures.count(None)
        assert lost == 2 * (300 - capturing_ring._SLOTS)
        assert recorder.stats()["dropped"] == lost
        release.set()
        assert recorder.flush(30)
        recorder.compare(logits, labels, 400)
    stats = recorder.stats()
    assert stats["submitted"] == stats["written"] + stats["dropped"]
    gaps = [line for line in lines(tmp_path) if line["event"] == "predlog.gap"]
    assert [(gap["count"], gap["reason"]) for gap in gaps] == [(lost, "no slot free")]
    assert "all slots for copies to the host are in use, because the device or the worker is too slow" in events.said(
        capfd
    )
