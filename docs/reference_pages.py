"""How the pages of docs/reference are made: each parameter, field and option is listed once."""

import inspect
import os
import re
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union

import msgspec
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

SETTINGS = ":doc:`settings </reference/settings>`"
# What these take is listed elsewhere.
ELSEWHERE = {
    "predlog.Recorder": f"Its arguments are the {SETTINGS}.",
    "predlog.configure": f"Its arguments are those of a :class:`Recorder`: the {SETTINGS}.",
    "predlog.Recorder.compare": "Its arguments are those of :func:`predlog.compare`.",
}
_PROCESSOR = re.compile(r"~collections\.abc\.Callable\[\[~typing\.Any, str, .*?\]\](?:, .*?\])?(?=\])")
_properties: dict[str, list[str]] = {}


def setup(app: Sphinx) -> None:
    """Connect the functions below."""
    app.connect("autodoc-process-signature", _shortened)
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)
    app.connect("source-read", _with_commands)


def _shortened(
    _app: Sphinx, what: str, name: str, thing: Any, _options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Leave out the keywords that the list of parameters has, and all arguments of what nobody makes."""
    text = thing.__doc__ or ""
    if what == "class" and (_is_record(thing) or "Attributes:" in text):
        return "", None
    if signature and ", *, " in signature and (name in ELSEWHERE or "Args:" in text):
        return f"{signature.partition(', *, ')[0]}, …)", returns
    return signature, returns


def _before_napoleon(_app: Sphinx, what: str, name: str, thing: Any, _options: object, lines: list[str]) -> None:
    """Add the fields of a record. Keep the text of a property: napoleon takes what is before a colon for its type."""
    if what == "property":
        _properties[name] = lines[:]
        lines[:] = ["Put back below."]
    elif what == "class" and _is_record(thing):
        lines += _table(thing)


def _after_napoleon(_app: Sphinx, what: str, name: str, thing: Any, _options: object, lines: list[str]) -> None:
    """Add type and default to each parameter that is described, or leave all out that are listed elsewhere."""
    if what == "property":
        lines[:] = _properties.pop(name)
    elif name in ELSEWHERE:
        lines[:] = [*_without_parameters(lines), "", ELSEWHERE[name]]
    elif what in {"function", "method", "class"} and any(line.startswith(":param") for line in lines):
        _add_defaults(thing, thing.__init__ if what == "class" else thing, lines)


def _add_defaults(thing: Any, function: Any, lines: list[str]) -> None:
    parameters = inspect.signature(thing).parameters
    hints = getattr(function, "__annotations__", {})
    for at in reversed(range(len(lines))):
        found = re.match(r":param (\w+):", lines[at])
        parameter = parameters.get(found[1]) if found else None
        if found and parameter and parameter.default is not inspect.Parameter.empty:
            kind = _PROCESSOR.sub(
                "structlog.typing.Processor", stringify_annotation(hints.get(found[1], object), "smart")
            )
            lines.insert(at, f":type {found[1]}: {kind}, default {parameter.default!r}")


def _without_parameters(lines: list[str]) -> Iterator[str]:
    inside = False
    for line in lines:
        inside = line.startswith((":param", ":type")) or (inside and (line.startswith(" ") or not line))
        if not inside:
            yield line


def _is_record(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, msgspec.Struct)


def _table(record: Any) -> Iterator[str]:
    """Yield the table of a record's keys, with the descriptions that its JSON Schema has."""
    hints = typing.get_type_hints(record, include_extras=True)
    yield from ("", ".. list-table::", "   :widths: 20 25 55", "   :header-rows: 1", "")
    yield from ("   * - key", "     - type", "     - meaning")
    for name in record.__struct_fields__:
        described = next(_descriptions(hints[name]), "").replace("*", r"\*")
        yield from (f"   * - ``{name}``", f"     - ``{_plain(hints[name])}``", f"     - {described}")
    yield ""


def _plain(hint: Any) -> str:
    """Return a type as text, without its description."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _plain(arguments[0])
    if origin is Literal:
        return " | ".join(map(repr, arguments))
    if origin is Union or isinstance(hint, type(int | str)):
        return " | ".join(map(_plain, arguments))
    if arguments:
        return f"{origin.__name__}[{', '.join('...' if one is ... else _plain(one) for one in arguments)}]"
    return stringify_annotation(hint, "smart").rpartition(".")[2]


def _descriptions(hint: Any) -> Iterator[str]:
    """Yield the description of a field, at any depth of its type."""
    for said in getattr(hint, "__metadata__", ()):
        if getattr(said, "description", None):
            yield said.description
    if typing.get_origin(hint) is not Literal:
        for inner in typing.get_args(hint):
            yield from _descriptions(inner)


def _with_commands(_app: Sphinx, page: str, source: list[str]) -> None:
    """Put the help of each command in the place of the comment that names it."""
    if page != "reference/command-line":
        return
    from predlog.cli.parser import parser  # noqa: PLC0415 - nothing else here needs the command

    os.environ["COLUMNS"] = "100"
    (commands,) = (one.choices for one in parser()._actions if isinstance(one.choices, dict))  # noqa: SLF001 - as shtab does
    asked = re.findall(r"<!-- help: (\w+) -->", source[0])
    if asked != [*commands]:
        raise ValueError(f"{page} has the commands {asked}, and there are {[*commands]}")
    for name, command in commands.items():
        shown = re.sub(r"\x1b\[[\d;]*m", "", command.format_help()).rstrip()
        source[0] = source[0].replace(f"<!-- help: {name} -->", f"```text\n{shown}\n```")
