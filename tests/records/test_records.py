"""Records: one line ↔ one typed record, whatever the text, and every damage seen."""

import json
import math
import shutil
import subprocess
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predlog.errors import RecordError, UnknownKindError
from predlog.reading.shards import Joined
from predlog.records import codec, json_schema
from predlog.records import schema as records_schema
from tests import ROOT, events
from tests.written import sealed

GOLDEN = Path(__file__).parent / "golden" / "schema-1.jsonl"
# Of lines with the keys that schema 1 has gained.
LATER = GOLDEN.with_name("schema-1-later.jsonl")
# The parts of one comparison.
PARTS = GOLDEN.with_name("schema-1-parts.jsonl")
PUBLISHED = ROOT / "docs" / "records.schema.json"
EVERY_KIND = [events.run(), events.comparison(), events.finding(), events.gap()]
NOW = [events.now(event) for event in EVERY_KIND]

# Everything that a tokenizer or a callable may give, and what breaks lines, terminals and encoders.
HOSTILE = [
    "\ud800",
    "\udcff",
    "\x00",
    "\x1b[31m",
    "\x7f",
    "\x85",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u200b",
    "\ufeff",
    "\n",
    '"',
    "\\",
    "👩‍🚀",
    "表",
]
text = st.lists(st.sampled_from(HOSTILE) | st.characters(exclude_categories=()) | st.text(max_size=5)).map("".join)
ids = st.integers(-(2**63), 2**63 - 1)
logprobs = st.deferred(  # libraries may have made the processor take subnormal numbers for 0
    lambda: (
        st.none()
        | st.floats(max_value=0, allow_nan=False, allow_infinity=False, allow_subnormal=math.nextafter(0, 1) > 0)
    )
)


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    shown = [
        events.token(
            position,
            label=draw(ids),
            prediction=draw(st.none() | ids),
            label_logprob=draw(logprobs),
            prediction_logprob=draw(logprobs),
            label_text=draw(st.none() | text),
            prediction_text=draw(st.none() | text),
        )
        for position in range(draw(st.integers(0, 3)))
    ]
    context = draw(st.dictionaries(text, st.none() | st.booleans() | ids | text, max_size=3))
    return events.comparison(stream=draw(text), tokens=shown, context=context, step=draw(st.integers(0, 2**63 - 1)))


@given(comparisons())
def test_any_record_survives_the_round_trip(event: dict[str, Any]) -> None:
    """What is written is what is read, lone surrogates, NUL, U+2028, bidi controls and 64-bit ids included."""
    record = codec.from_line(codec.to_line(event))
    assert record == codec.from_event(event)
    assert isinstance(record, records_schema.Comparison)
    assert [one.label_text for one in record.tokens] == [one["label_text"] for one in event["tokens"]]
    assert [one.label for one in record.tokens] == [one["label"] for one in event["tokens"]]
    assert record.context == event["context"]


@given(comparisons())
def test_a_record_is_one_line_for_everybody(event: dict[str, Any]) -> None:
    """`splitlines` sees one line, and no raw control, separator or bidi character is in it."""
    line = codec.to_line(event)
    assert line.endswith(b"\n")
    shown = line[:-1].decode()
    assert shown.splitlines() == [shown]
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in shown)
    assert not set(shown) & set(
        "\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    )
    assert json.loads(shown)["event"] == "predlog.comparison"


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_tail_and_jq_see_one_line_a_record(tmp_path: Path) -> None:
    """The tools that people use on such files agree with us about where a record ends."""
    file = tmp_path / "predictions.jsonl"
    file.write_bytes(b"".join(codec.to_line(events.comparison(step=n, stream=odd)) for n, odd in enumerate(HOSTILE)))
    last = subprocess.run(["tail", "-n", "1", file], capture_output=True, check=True).stdout
    assert json.loads(last)["step"] == len(HOSTILE) - 1
    steps = subprocess.run(["jq", ".step", file], capture_output=True, check=True, text=True).stdout
    assert steps.split() == [str(n) for n in range(len(HOSTILE))]


@pytest.mark.parametrize("event", EVERY_KIND, ids=lambda event: event["event"])
def test_every_key_is_always_there(event: dict[str, Any]) -> None:
    """A line holds every key of its kind in the schema's order, the checksum last."""
    keys = list(json.loads(codec.to_line(event)))
    assert keys[:8] == ["event", "level", "timestamp", "schema", "run", "attempt", "rank", "seq"]
    assert keys[-1] == "crc"
    assert set(keys) == {*event, "crc"}
    if event["event"] == "predlog.comparison":
        assert list(json.loads(codec.to_line(event))["tokens"][0]) == list(events.token(0))


@pytest.mark.parametrize("event", NOW, ids=lambda event: event["event"])
def test_new_lines_have_every_key_of_the_schema(event: dict[str, Any]) -> None:
    """A line that is written now also has the keys that the schema has gained, in the schema's order."""
    line = json.loads(codec.to_line(event))

    def written(kind: Any) -> list[str]:
        return [key for key in kind.__struct_fields__ if key not in records_schema.JOINED_KEYS]

    assert list(line) == ["event", *written(type(codec.from_event(event))), "crc"]
    for token in line.get("tokens", ()):
        assert list(token) == written(records_schema.Token)
    if event["event"] == "predlog.comparison":
        with pytest.raises(RecordError, match="reported_loss"):
            codec.to_line({name: value for name, value in event.items() if name != "reported_loss"})


def test_a_name_that_the_schema_has_gained_elsewhere_is_kept() -> None:
    """Of a processor's key, only a name that the same kind of event has is taken for predlog's own."""
    for event in (events.comparison(), events.now(events.comparison())):
        record = codec.from_line(codec.to_line({**event, "document": "a.txt"}))
        assert record.context == {"epoch": 3, "document": "a.txt"}


@pytest.mark.parametrize("event", EVERY_KIND, ids=lambda event: event["event"])
def test_a_removed_key_is_refused(event: dict[str, Any]) -> None:
    """An event that lost a key can't be written as a record without it."""
    for key in set(event) - {"event"}:
        with pytest.raises(RecordError, match=key):
            codec.to_line({name: value for name, value in event.items() if name != key})


def test_foreign_keys_land_in_the_context() -> None:
    """Keys that processors add never touch the typed part."""
    record = codec.from_line(codec.to_line({**events.comparison(), "loss": 2.5, "epoch": 4}))
    assert record.context == {"epoch": 4, "loss": 2.5}


def test_a_wrong_type_is_refused_by_name() -> None:
    """The message says which key has what in it."""
    with pytest.raises(RecordError, match=r"step"):
        codec.from_event(events.comparison(step="twelve"))


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 2**70])
def test_values_that_json_cannot_hold_are_refused(value: object) -> None:
    """A leaked object is an error, never its `repr` in the file."""
    with pytest.raises(RecordError, match="not JSON"):
        codec.to_line(events.comparison(context={"value": value}))


def test_values_of_other_libraries_become_plain_ones() -> None:
    """In a host's own chain nothing else converts them: a NumPy scalar is written as a number."""
    line = codec.to_line(events.comparison(context={"loss": np.float32(0.5), "name": "\ud800"}))
    assert codec.from_line(line).context == {"loss": 0.5, "name": "\ud800"}


@pytest.mark.parametrize("strange", ["plain", "\ud800"])
def test_numbers_that_are_none_are_null(strange: str) -> None:
    """NaN and infinities that processors add are written as null, whichever encoder has to be used."""
    line = codec.to_line(events.comparison(context={"a": [math.nan, {"b": -math.inf}], "c": strange}))
    assert codec.from_line(line).context == {"a": [None, {"b": None}], "c": strange}


def test_every_flipped_bit_is_seen() -> None:
    """No single damaged bit gives a record."""
    line = bytearray(codec.to_line(events.comparison()))
    for bit in range(8 * len(line)):
        line[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecordError):
            codec.from_line(bytes(line))
        line[bit // 8] ^= 1 << bit % 8
    codec.from_line(bytes(line))


def test_every_torn_line_is_seen() -> None:
    """A line that was cut anywhere is no record."""
    line = codec.to_line(events.comparison())
    for end in range(len(line) - 1):
        with pytest.raises(RecordError):
            codec.from_line(line[:end])


def test_a_newer_schema_names_itself() -> None:
    """A reader that is too old says so, with both versions."""
    for changed in ({"schema": 2}, {"schema": 2, "count": "many"}, {"schema": 2, "event": "predlog.news"}):
        line = codec._dump({**events.gap(), **changed})[:-1]
        with pytest.raises(RecordError, match="schema 2, and this predlog reads up to 1"):
            codec.from_line(b'%b,"crc":"%08x"}\n' % (line, zlib.crc32(line)))


def changed(old: str, new: str | bytes) -> bytes:
    """Return the JSON of a gap with something else in it."""
    text = json.dumps(events.gap(reason="why"), separators=(",", ":")).encode()
    assert text.count(old.encode()) == 1
    return text.replace(old.encode(), new if isinstance(new, bytes) else new.encode())


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[1]",
        b"7",
        b'{"schema":"two"',
        b'{"event":"predlog.gap","schema":1',
        b'{"event":[],"schema":1}',
        b'{"event":{},"schema":1}',
        b'{"schema":1}',
        changed("why", "\U0010fffda"),  # the mark of half pairs before what is none
        changed("why", "\U0010fffd\U00100041"),
        changed("why", "\U0010fffd"),
        changed("why", b"\xff\xfe"),
        changed('"context":{}', f'"context":{{"a":{"[" * 5000}{"]" * 5000}}}'),
    ],
    ids=lambda line: str(line[-60:]),
)
def test_whole_lines_that_are_no_records(line: bytes) -> None:
    """Whatever a line holds, JSON or not, it is a record or a RecordError."""
    with pytest.raises(RecordError) as raised:
        codec.from_line(sealed(line))
    assert not isinstance(raised.value, UnknownKindError)  # it is damage


@pytest.mark.parametrize(
    "line",
    [
        changed('"context":{}', r'"\u001b[31m\nX\u202e":1'),
        changed('"schema":1', r'"schema":"\u001b[31m\nX\u202e"'),
        changed('"count":12', r'"count":"\u001b[31m\nX\u202e"'),
        changed('"predlog.gap"', r'"\u001b[31m\nX\u202e"'),
        changed('"schema":1', r'"schema":2,"versions":{"predlog":"9\u001b[31m\nX\u202e"}'),
        changed('"schema":1', """"schema":2,"versions":{"predlog":"9'; rm -rf X; '"}"""),
    ],
)
def test_errors_do_nothing_on_a_terminal(line: bytes) -> None:
    """Where an error quotes a line, nothing in it steers, and nothing in what is to be pasted is a command."""
    with pytest.raises(RecordError) as raised:
        codec.from_line(sealed(line))
    assert str(raised.value).isprintable()
    assert "rm -rf" not in str(raised.value)


def test_what_the_caller_has_put_there_stays() -> None:
    """A key of a later schema that the context has already is kept beside it, under a name that is free."""
    event = events.comparison(context={"lr": 1, "tokens": "mine"})
    event["tokens"][0]["new"] = 3
    record = codec.from_line(sealed(json.dumps({**event, "lr": 2, "lr_": 4}).encode()))
    assert record.context == {"lr": 1, "lr_": 2, "lr__": 4, "tokens": "mine", "tokens_": [{"new": 3}, {}]}


@pytest.mark.parametrize(
    ("codebook", "several", "about"),
    [
        (None, None, {None}),
        (3, None, {3}),
        (None, [1, 2], {1, 2}),
        (None, [[1]], {None}),
        (None, [1, "a", True, None, {}], {1}),
        (None, "12", {None}),
        (3, [1, 2], {3}),
    ],
)
def test_which_codebooks_a_finding_is_about(codebook: int | None, several: Any, about: set[int | None]) -> None:
    """Its own, or those of the evidence; what a processor has put among these and is none is left out."""
    evidence = {} if several is None else {"codebooks": several}
    found = codec.from_event(events.finding(codebook=codebook, evidence=evidence))
    assert isinstance(found, records_schema.Finding)
    assert found.codebooks == about


def test_the_golden_file_reads_as_ever() -> None:
    """The lines of schema 1, as they were first written, are still read, and still written the same."""
    lines = GOLDEN.read_bytes().splitlines(keepends=True)
    assert [codec.from_line(line) for line in lines] == [codec.from_event(event) for event in EVERY_KIND]
    assert [codec.to_line(event) for event in EVERY_KIND] == lines


def test_the_golden_file_of_later_keys_reads_as_ever() -> None:
    """So are the lines of schema 1 with the keys that it has gained; only these are null in a line without them."""
    lines = LATER.read_bytes().splitlines(keepends=True)
    assert [codec.from_line(line) for line in lines] == [codec.from_event(event) for event in NOW]
    assert [codec.to_line(event) for event in NOW] == lines
    older, newer = codec.from_event(EVERY_KIND[1]), codec.from_line(lines[1])
    assert isinstance(older, records_schema.Comparison)
    assert isinstance(newer, records_schema.Comparison)
    assert (older.sample_id, newer.sample_id) == (None, "doc-17")
    assert (older.reported_loss, newer.reported_loss) == (None, 2.75)
    assert [(one.document, one.document_position) for one in older.tokens] == [(None, None)] * 2
    assert [(one.document, one.document_position) for one in newer.tokens] == [(2, 5), (None, None)]
    assert (older.loss, older.entropy, older.worst, older.all_tokens) == (None, None, (), None)
    assert (newer.loss, newer.entropy, newer.worst[0].position) == (2.3, 1.9, 70)
    assert newer.all_tokens is not None
    assert newer.all_tokens.predictions == (3, None)
    assert [len(one.alternatives) for one in newer.tokens] == [1, 0]
    assert older.window is None
    assert newer.window is not None
    assert [(one.left_out, one.read, one.asked) for one in newer.window] == [
        (40, " is one?\n", "A list"),
        (300, "", " is mutable.</s>"),
    ]


def test_the_golden_file_of_parts_reads_as_ever() -> None:
    """Parts are still read, written the same, and joined to the same comparison."""
    lines = PARTS.read_bytes().splitlines(keepends=True)
    parts = [codec.from_line(line) for line in lines]
    assert [codec.to_line(codec.to_event(part)) for part in parts] == lines
    (whole,) = Joined(parts)
    assert isinstance(whole, records_schema.Comparison)
    assert (whole.recorder, whole.sample_id, whole.missing_ids) == ("0a1b2c3d", "doc-17", 0)
    assert (whole.supervised, whole.matched, whole.loss, whole.entropy) == (3, 0, 2.375146, 0.953301)
    assert [(one.label, one.prediction, one.label_logprob, one.label_rank) for one in whole.tokens] == [
        (4, 0, -1.483108, 2),
        (0, 4, -3.116048, 2),
    ]
    assert [(one.label_text, one.prediction_text, one.label_logprob) for one in whole.worst] == [
        ("<1>", "<2>", -1.195614)
    ]


def test_columns_of_different_lengths_are_damage() -> None:
    """All tokens are aligned by construction, and a line in which they are not is no record."""
    event = events.now(events.comparison())
    event["all_tokens"] = {**event["all_tokens"], "labels": [3]}
    with pytest.raises(RecordError, match="differ in length"):
        codec.to_line(event)
    with pytest.raises(RecordError, match="differ in length"):
        codec.from_line(sealed(json.dumps(event, separators=(",", ":")).encode()))


@pytest.mark.parametrize("event", EVERY_KIND, ids=lambda event: event["event"])
def test_a_line_may_name_its_recorder(event: dict[str, Any]) -> None:
    """A line with the recorder's name reads as one without does, but for the name; both fit the published schema."""
    later = events.LATER if event["event"] == "predlog.comparison" else {}
    named = codec.to_line({**event, **later, "recorder": "0a1b2c3d"})
    assert named.index(b'"run":"exp1","recorder":"0a1b2c3d","attempt":1') > 0
    record, before = codec.from_line(named), codec.from_event(event)
    assert (record.recorder, before.recorder) == ("0a1b2c3d", None)
    assert msgspec.structs.replace(record, recorder=None) == before
    assert codec.from_line(codec.to_line(codec.to_event(record))) == record
    for line in (named, codec.to_line({**event, "recorder": None})):
        jsonschema.validate(json.loads(line), json.loads(PUBLISHED.read_text()))
    assert b"recorder" not in codec.to_line({**event, "recorder": None})


def test_the_published_schema_is_current() -> None:
    """docs/records.schema.json is what `predlog.records.json_schema()` gives; write it again if this fails."""
    assert json.loads(PUBLISHED.read_text()) == json_schema()


@pytest.mark.parametrize("event", EVERY_KIND, ids=lambda event: event["event"])
def test_lines_fit_the_published_schema(event: dict[str, Any]) -> None:
    """A validator that knows nothing of predlog accepts each line, and refuses it without a key."""
    schema = json.loads(PUBLISHED.read_text())
    line = json.loads(codec.to_line(event))
    jsonschema.validate(line, schema)
    for key in line:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: value for name, value in line.items() if name != key}, schema)


def test_no_character_that_steers_or_hides_stands_in_a_line() -> None:
    """Controls, format characters and separators of all of Unicode are escaped, and are read back as they were."""
    every = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in {"Cc", "Cf", "Zl", "Zp"}]
    # Signs before numbers in Arabic are format characters that are seen.
    steering = [one for one in every if unicodedata.bidirectional(one) != "AN"]
    assert len(steering) > 200
    line = codec.to_line(events.gap(reason="".join(steering)))
    assert not set(line.decode()[:-1]) & set(steering)
    record = codec.from_line(line)
    assert isinstance(record, records_schema.Gap)
    assert record.reason == "".join(steering)


def test_a_line_has_a_longest_length() -> None:
    """What `read` would pass over as too long is not written: an error says by how much it is, and what to do."""
    tokens = [events.token(place, place, place) for place in range(80_000)]
    with pytest.raises(
        RecordError, match=r"event of [\d,]+ bytes is longer than a line may be, 16,777,216: show fewer"
    ):
        codec.to_line(events.comparison(tokens=tokens))
    assert codec.to_line(events.comparison(tokens=tokens[:40_000]))
