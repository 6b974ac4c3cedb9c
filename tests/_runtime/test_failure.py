"""How a caught error is put into words, and its traceback."""

from pathlib import Path

import pytest

from predlog._runtime.failure import located, traceback_of
from predlog.cli.main import main
from predlog.errors import PredlogError
from tests import events


class OddError(Exception):
    """An error whose own code raises."""

    def __str__(self) -> str:
        raise ValueError

    def __eq__(self, other: object) -> bool:
        raise ValueError

    __hash__ = Exception.__hash__


def throw(error: BaseException) -> None:
    raise error


def throw_instead(error: BaseException, cause: BaseException) -> None:
    try:
        throw(cause)
    except BaseException:  # noqa: BLE001 - whatever it is
        raise error from None


def caught(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return an error as it is caught, raised in place of its cause."""
    with pytest.raises(type(error)) as found:
        throw(error) if cause is None else throw_instead(error, cause)
    return found.value


@pytest.mark.parametrize(("asked", "has"), [("1", True), ("yes", True), ("0", False), ("", False), ("False", False)])
def test_a_traceback_is_made_if_asked_for(monkeypatch: pytest.MonkeyPatch, asked: str, has: bool) -> None:
    """PREDLOG_TRACEBACK asks for it; anything that says no does not."""
    monkeypatch.setenv("PREDLOG_TRACEBACK", asked)
    text = traceback_of(caught(ValueError("effect"), KeyError("cause")))
    assert bool(text) == has
    if has:
        cause, effect = text.split("ValueError: effect")[0].split("KeyError: 'cause'")
        assert cause.startswith("Traceback")
        assert effect.strip().startswith("Traceback")


def test_a_traceback_of_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors that lead to one another in a circle, or whose own code raises, have a traceback, too."""
    monkeypatch.setenv("PREDLOG_TRACEBACK", "1")
    one, other = caught(ValueError("one")), caught(ValueError("other"))
    one.__cause__, other.__cause__ = other, one
    assert traceback_of(one).count("Traceback") == 2
    assert "OddError" in traceback_of(caught(OddError(), OddError()))
    assert located(caught(OddError())).startswith("OddError (")


def test_predlogs_own_errors_need_no_place() -> None:
    """A message that was written for the user is not followed by a file and line of predlog's."""
    assert located(caught(PredlogError("pass a step"))) == "pass a step"


@pytest.mark.parametrize("asked", ["0", "1"])
def test_the_command_writes_the_traceback_if_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    """What the command can't do is one line, and with PREDLOG_TRACEBACK=1 the traceback follows."""
    monkeypatch.setenv("PREDLOG_TRACEBACK", asked)
    assert main(["summary", str(tmp_path / "nowhere")]) == 2
    line, *trace = events.said(capsys).splitlines()
    assert "nowhere" in line
    assert bool(trace) == (asked == "1")
    if trace:
        assert trace[0] == "predlog: Traceback (most recent call last):"
        assert "NoRecordsError" in trace[-1]
