"""Settings: the argument, then the environment, then the default, however a recorder is made."""

import dataclasses
import inspect
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import predlog
from predlog import Comparison, Recorder, read
from predlog._runtime.notices import Notices
from predlog.errors import PairError, PredlogError, SettingError
from predlog.recorder import default, environment
from predlog.recorder.settings import CHECKS, Settings
from tests import ROOT, events, fresh

PARAMETERS = inspect.signature(Recorder).parameters
# Arguments that are objects of the caller's.
OBJECTS = {"decode", "special_tokens", "processors", "sinks"}
# What each variable may have, which setting that makes, and an argument that says otherwise.
EXAMPLES: dict[str, tuple[str, Any, Any]] = {
    "directory": ("runs/of the environment", Path("runs/of the environment"), None),
    "every": ("7", 7, 10),
    "samples": ("0,-1", (0, -1), 2),
    "follow": ("doc-1, doc-2", ("doc-1", "doc-2"), ()),
    "first": ("0", 0, 5),
    "last": ("12", 12, 5),
    "codebooks": ("3", 3, 8),
    "ranks": ("4, 5", (4, 5), "auto"),
    "streams": ("text,eval/text", frozenset({"text", "eval/text"}), None),
    "score": ("off", False, True),
    "worst": ("0", 0, 5),
    "alternatives": ("4", 4, 0),
    "all_tokens": ("true", 150_000, False),
    "console": ("FULL", "full", True),
    "ignore": ("collapsed, at-chance", frozenset({"collapsed", "at-chance"}), ()),
    "queue": ("16", 16, 256),
    "strict": ("Yes", True, False),
    "durable_every": ("2.5", 2.5, 10.0),
    "text": ("no", False, True),
    "text_window": ("80", 80, 400),
    "mode": ("0640", 0o640, None),
    "rank_folders": ("on", True, False),
}


@pytest.fixture(autouse=True)
def reported_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Report what was reported in other tests, and leave no default recorder behind."""
    monkeypatch.setattr(environment, "_notices", Notices())
    monkeypatch.setattr(default, "_default", None)
    monkeypatch.setattr(default, "_every", 1)
    yield
    predlog.close()


def kept(recorder: Recorder, name: str) -> Any:
    value = getattr(recorder.settings, name)
    return value.alone if name == "ignore" else value


def test_no_setting_is_forgotten() -> None:
    """Each argument that is a plain value has a check, a place in `Settings`, a variable and an example here."""
    plain = PARAMETERS.keys() - OBJECTS
    assert plain == CHECKS.keys() == environment.READERS.keys() == environment.VARIABLES.keys() == EXAMPLES.keys()
    assert plain == {field.name for field in dataclasses.fields(Settings)}
    assert len({*environment.VARIABLES.values()}) == len(plain)


@pytest.mark.parametrize("make", [Recorder, predlog.configure, default.current])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_environment_comes_before_the_default(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Recorder], name: str
) -> None:
    """However a recorder is made, each variable sets its argument, and no other."""
    monkeypatch.setenv(environment.VARIABLES[name], EXAMPLES[name][0])
    with make() as recorder:
        assert kept(recorder, name) == EXAMPLES[name][1]
    others = CHECKS.keys() - {name, "ignore"}
    usual = Settings.of({one: PARAMETERS[one].default for one in CHECKS})
    assert {one: kept(recorder, one) for one in others} == {one: getattr(usual, one) for one in others}


@pytest.mark.parametrize("make", [Recorder, predlog.configure])
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_argument_comes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., Recorder], name: str
) -> None:
    """What is passed counts, also if it is the default, by its name or its place."""
    monkeypatch.setenv(environment.VARIABLES[name], EXAMPLES[name][0])
    passed = EXAMPLES[name][2]
    assert passed == PARAMETERS[name].default
    with make(passed) if name == "directory" else make(**{name: passed}) as recorder:
        assert kept(recorder, name) == kept(Recorder(**{name: passed}), name)
        assert kept(recorder, name) != EXAMPLES[name][1]


def test_a_file_s_first_line_has_what_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader sees the settings with which the run was recorded, and the records are made with them."""
    for name in ("directory", "every", "samples", "first", "mode"):
        value = str(tmp_path / "run") if name == "directory" else EXAMPLES[name][0]
        monkeypatch.setenv(environment.VARIABLES[name], value)
    with Recorder(console=False) as recorder:
        for step in range(8):
            recorder.compare(*events.pair(samples=4), step)
    first, *others = read(tmp_path / "run")
    assert isinstance(first, predlog.records.Run)
    assert {name: first.settings[name] for name in ("every", "samples", "first", "mode")} == {
        "every": 7, "samples": [0, -1], "first": 0, "mode": 0o640
    }  # fmt: skip
    found = [one for one in others if isinstance(one, Comparison)]
    assert [(one.step, one.sample) for one in found] == [(0, 0), (0, 3), (7, 0), (7, 3)]
    assert {token.slot for one in found for token in one.tokens} == {"last"}
    assert (tmp_path / "run" / "predictions.jsonl").stat().st_mode & 0o777 == 0o640


def test_disable_always_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither an argument nor another variable switches on what PREDLOG_DISABLE switches off; nothing is reported."""
    for name, (value, *_) in EXAMPLES.items():
        monkeypatch.setenv(environment.VARIABLES[name], value)
    monkeypatch.setenv("PREDLOG_EVRY", "3")
    monkeypatch.setenv("PREDLOG_DISABLE", "1")
    monkeypatch.chdir(tmp_path)
    for make in (Recorder, predlog.configure):
        with make(tmp_path / "run", every=1) as recorder:
            assert recorder.compare(*events.pair(), 0) is None
    assert predlog.compare(*events.pair(), 0) is None
    assert [*tmp_path.iterdir()] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("off", ["0", "false", "No", "OFF", " ", ""])
def test_what_does_not_disable(monkeypatch: pytest.MonkeyPatch, off: str) -> None:
    """A variable that says no, or nothing, switches nothing off."""
    monkeypatch.setenv("PREDLOG_DISABLE", off)
    with Recorder(every=1, console=False) as recorder:
        assert recorder.compare(*events.pair(), 0) is not None


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("every", "0", "an integer of at least 1"), ("every", "often", "an integer of at least 1"),
        ("every", "1e3", "an integer of at least 1"), ("every", "9" * 5000, "an integer of at least 1"),
        ("samples", "two", "a number, at least 1, or places"), ("samples", "0,x", "a number, at least 1, or places"),
        ("first", "-1", "an integer of at least 0"), ("ranks", "1", "'auto', 0, 'local', 'all' or"),
        ("streams", ",", "a collection of names"), ("score", "maybe", "True or False"),
        ("console", "wide", "True, False, 'compact' or 'full'"), ("ignore", "colapsed", "was 'collapsed' meant?"),
        ("durable_every", "nan", "a number of seconds"), ("mode", "rw", "permissions"), ("mode", "400", "permissions"),
        ("text_window", "many", "an integer of at least 0"), ("all_tokens", "some", "an integer of at least 0"),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_ignored(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str, value: str, allowed: str
) -> None:
    """It is reported once, with the value and what is allowed; the default counts, and nothing is raised."""
    monkeypatch.setenv(environment.VARIABLES[name], value)
    made = [Recorder(strict=True), Recorder()]
    assert [kept(one, name) for one in made] == [kept(Recorder(**{name: PARAMETERS[name].default}), name)] * 2
    (line,) = events.said(capfd).splitlines()
    assert line.startswith(f"predlog: {environment.VARIABLES[name]}={value[:60]!r} is ignored: ")
    assert allowed in line


def test_the_environment_alone_shows_no_token(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Values that make sense alone and none together are ignored, also where an argument is one of the two."""
    monkeypatch.setenv("PREDLOG_LAST", "0")
    assert kept(Recorder(), "last") == 0
    assert kept(Recorder(first=0), "last") == 5
    assert events.said(capfd).splitlines() == [
        "predlog: PREDLOG_LAST=0 is ignored: first=0 and last=0 show no token: pass a number above 0 for one of them"
    ]
    with pytest.raises(SettingError):
        Recorder(first=0, last=0)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("PREDLOG_EVRY", "PREDLOG_EVERY"), ("PREDLOG_DIRECTORY", "PREDLOG_DIR"),
        ("PREDLOG_DISABLED", "PREDLOG_DISABLE"),
        ("PREDLOG_SAMPLE", "PREDLOG_SAMPLES"), ("PREDLOG_TEXTWINDOW", "PREDLOG_TEXT_WINDOW"),
        ("PREDLOG_", "PREDLOG_DIR"), ("PREDLOG_\x1b[31m", "PREDLOG_"),
    ],
)  # fmt: skip
def test_an_unknown_variable_is_reported(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str, nearest: str
) -> None:
    """One line names the variable and the nearest that there is, however many recorders are made."""
    monkeypatch.setenv(name, "1")
    for _ in range(3):
        Recorder()
    (line,) = events.said(capfd).splitlines()
    assert " in the environment is no setting and changes nothing; was " in line
    assert f"was {nearest}" in line
    assert line.isprintable()


def test_variables_of_others_are_not_reported(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Those that exist, those of predlog's own tests, and those of other programs are no mistakes."""
    for name in ("PREDLOG_TRACEBACK", "PREDLOG_TESTS_NEED_FRAMEWORKS", "MY_PREDLOG_DIR", "PREDLOGX"):
        monkeypatch.setenv(name, "1")
    Recorder()
    assert events.said(capfd) == ""


def test_one_process_of_a_node_reports(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Of eight processes with the same environment, seven are silent."""
    monkeypatch.setenv("PREDLOG_EVRY", "3")
    for rank in range(8):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        monkeypatch.setattr(environment, "_notices", Notices())  # each process has its own
        Recorder()
    assert events.said(capfd).count("PREDLOG_EVRY") == 1


TEXTS = st.text(st.characters(codec="ascii", exclude_characters="\0"))


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(EXAMPLES, TEXTS)))
def test_no_environment_ends_a_run(values: dict[str, str]) -> None:
    """Whatever the variables hold, a recorder is made, and each that has a value is taken or reported."""
    reported: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "_notices", Notices(collect=reported.append))
        for name, value in values.items():
            patch.setenv(environment.VARIABLES[name], value)
        found = environment.of_environment({*EXAMPLES})
    for name, value in values.items():
        is_reported = any(one.startswith(f"{environment.VARIABLES[name]}=") for one in reported)
        assert (name in found) + is_reported == bool(value.strip())
    Settings.of({**{one: PARAMETERS[one].default for one in CHECKS}, **found, "first": 1})


def test_a_step_that_is_not_due_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is read when a recorder is made, and by no call of `compare`, due or not."""
    with Recorder(every=2, console=False) as recorder:
        monkeypatch.setattr(environment, "of_environment", lambda *_: pytest.fail("the environment was read"))
        monkeypatch.setattr(environment, "is_disabled", lambda: pytest.fail("the environment was read"))
        for step in range(4):
            recorder.compare(*events.pair(), step)
    assert recorder.stats()["submitted"] == 4


def test_a_copy_in_another_process_has_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken from the environment goes with a pickle; the environment of the other process does not count."""
    monkeypatch.setenv("PREDLOG_EVERY", "3")
    (tmp_path / "recorder").write_bytes(pickle.dumps(Recorder()))
    monkeypatch.setenv("PREDLOG_EVERY", "4")
    program = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).settings.every)"
    assert fresh.run(program, str(tmp_path / "recorder")).stdout == "3\n"


def test_the_page_has_all_settings() -> None:
    """docs/reference/settings.md lists each argument in its order, with its variable and its default."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? ?\| `(.*?)` \| .+ \|$", page, re.MULTILINE)
    variables = environment.VARIABLES
    assert [name for name, *_ in rows] == [*PARAMETERS]
    assert {name: (variable, usual) for name, variable, usual in rows} == {
        name: (variables.get(name, ""), repr(one.default)) for name, one in PARAMETERS.items()
    }
    others = page.partition("## Other variables")[2]
    assert {*re.findall("^\\| `(PREDLOG_[A-Z]+)`", others, re.MULTILINE)} == environment._KNOWN - {*variables.values()}


def test_the_page_s_lines(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """What docs/reference/settings.md shows of stderr is what is written, and its command sets what it says."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    (lines,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    monkeypatch.setenv("PREDLOG_EVERY", "often")
    monkeypatch.setenv("PREDLOG_EVRY", "1")
    Recorder()
    assert sorted(events.said(capfd).splitlines()) == sorted(lines.splitlines())
    (command,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    monkeypatch.delenv("PREDLOG_EVRY")
    for name, value in re.findall(r"(\w+)=(\S+)", command):
        monkeypatch.setenv(name, value)
    chosen = Recorder().settings
    assert (str(chosen.directory), chosen.every, chosen.samples, chosen.text_window) == ("runs/exp2", 50, (0, -1), 0)


@pytest.mark.parametrize("stream", ["", " ", "\t\n"])
def test_a_stream_without_a_name_is_refused(capfd: pytest.CaptureFixture[str], stream: str) -> None:
    """It is reported with what to do, counted, and never raised; the next pair is recorded."""
    with Recorder(every=1, console=False) as recorder:
        assert recorder.compare(*events.pair(), 0, stream=stream) is None
        assert recorder.compare_due(*events.pair(), 0, stream=stream) is None
        recorder.report_loss(torch.tensor(1.0), 0, stream=stream)
        assert recorder.compare(*events.pair(), 1) is not None
    assert recorder.stats()["refused"] == 2
    assert events.said(capfd).count(f"stream={stream!r} is no name: pass one, such as 'text', or leave it out") >= 1


def test_names_of_streams_are_names_everywhere() -> None:
    """Where an error may be raised, it is: by a strict recorder, one look, and settings that name streams."""
    with Recorder(every=1, console=False, strict=True) as recorder, pytest.raises(PairError, match="is no name"):
        recorder.compare(*events.pair(), 0, stream="")
    with pytest.raises(PredlogError, match="is no name"):
        predlog.inspect(*events.pair(), stream="")
    wrong: list[dict[str, Any]] = [
        {"streams": ["text", ""]}, {"ignore": {"": ("collapsed",)}}, {"decode": {"": str}},
        {"special_tokens": {" ": {"pad": 0}}},
    ]  # fmt: skip
    for settings in wrong:
        with pytest.raises(SettingError):
            Recorder(**settings)
    with pytest.raises(SettingError), predlog.watch(torch.nn.Linear(2, 2), streams=["text", ""]):
        pass
