import inspect
import os
import re
import typing
from importlib.metadata import version as _version

import msgspec
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation


project = "predlog"
author = "The predlog authors"
copyright = "The predlog authors"  # noqa: A001 - the name that Sphinx asks for
version = release = _version("predlog")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "predlog"
html_extra_path = ["records.schema.json"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
toc_object_entries_show_parents = "hide"
default_role = "py:obj"  # a name in a docstring: a link where it is documented, and code elsewhere
nitpicky = False

# The settings are listed once, on their own page.
_LISTED_ELSEWHERE = {"predlog.configure", "predlog.Recorder", "predlog.Recorder.compare"}
_PROCESSOR = re.compile(r"~collections\.abc\.Callable\[\[~typing\.Any, str, .*?\]\](?:, .*?\])?(?=\])")


def setup(app: Sphinx) -> None:
    """Have parameters listed once, with their defaults, and commands as they describe themselves."""
    app.connect("autodoc-process-signature", _shortened)
    app.connect("autodoc-process-docstring", _fields, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", _defaults, priority=600)  # after it
    app.connect("source-read", _commands)


def _shortened(_app, what, name, obj, _options, signature, returns):
    """Leave out what the list of parameters has: keywords, and all of a class that nobody makes."""
    if what == "class" and (_is_record(obj) or "Attributes:" in (obj.__doc__ or "")):
        return "", None
    if signature and ", *, " in signature and name not in _LISTED_ELSEWHERE:
        return f"{signature.partition(', *, ')[0]}, …)", returns
    if signature and name in _LISTED_ELSEWHERE:
        return f"{signature.partition(', *, ')[0]}, **settings)", returns
    return signature, returns


def _is_record(obj) -> bool:
    return inspect.isclass(obj) and issubclass(obj, msgspec.Struct)


def _fields(_app, what, _name, obj, _options, lines):
    """List the fields of a record with the descriptions that its JSON Schema has."""
    if what != "class" or not _is_record(obj):
        return
    hints = typing.get_type_hints(obj, include_extras=True)
    lines += ["", ".. list-table::", "   :widths: 20 25 55", "   :header-rows: 1", "", "   * - key", "     - type", "     - meaning"]
    for name in obj.__struct_fields__:
        lines += [f"   * - ``{name}``", f"     - ``{_plain(hints[name])}``", f"     - {_described(hints[name])}"]
    lines.append("")


def _plain(hint) -> str:
    """Return a type without what is said about it."""
    if typing.get_origin(hint) is typing.Annotated:
        return _plain(typing.get_args(hint)[0])
    arguments = typing.get_args(hint)
    if arguments and typing.get_origin(hint) is not typing.Literal:
        if isinstance(hint, type(int | str)) or typing.get_origin(hint) is typing.Union:
            return " | ".join(map(_plain, arguments))
        inside = ", ".join("..." if one is ... else _plain(one) for one in arguments)
        return f"{typing.get_origin(hint).__name__}[{inside}]"
    return stringify_annotation(hint, "smart").rpartition(".")[2] if "Literal" not in str(hint) else _text(hint)


def _text(hint) -> str:
    return " | ".join(map(repr, typing.get_args(hint)))


def _described(hint) -> str:
    """Return what is said about a field, at any depth of its type."""
    found = [one.description for one in getattr(hint, "__metadata__", ()) if getattr(one, "description", None)]
    for inner in typing.get_args(hint) if not found else ():
        found += [_described(inner)] if not isinstance(inner, str) else []
    return next((one for one in found if one), "").replace("*", r"\*")


def _defaults(_app, what, name, obj, _options, lines):
    """Add the type and the default to each parameter that the docstring describes."""
    if name in _LISTED_ELSEWHERE:
        lines[:] = [*_without_parameters(lines), "", _WHERE[name]]
        return
    if what not in {"function", "method", "class"}:
        return
    try:
        parameters = inspect.signature(obj).parameters
    except (TypeError, ValueError):
        return
    hints = getattr(obj.__init__ if what == "class" else obj, "__annotations__", {})
    for at in reversed(range(len(lines))):
        found = re.match(r":param \\?\*{0,2}(\w+):", lines[at])
        parameter = parameters.get(found[1]) if found else None
        if parameter is None or parameter.default is inspect.Parameter.empty:
            continue
        kind = stringify_annotation(hints[found[1]], "smart") if found[1] in hints else "object"
        kind = _PROCESSOR.sub("structlog.typing.Processor", kind)
        lines.insert(at, f":type {found[1]}: {kind}, default {parameter.default!r}")


_WHERE = {
    "predlog.Recorder": "Its arguments are the :doc:`settings </reference/settings>`.",
    "predlog.configure": "Its arguments are those of a :class:`Recorder`: the :doc:`settings </reference/settings>`.",
    "predlog.Recorder.compare": "Its arguments are those of :func:`predlog.compare`.",
}


def _without_parameters(lines):
    inside = False
    for line in lines:
        inside = line.startswith((":param", ":type")) or (inside and (line.startswith(" ") or not line))
        if not inside:
            yield line


def _commands(_app, docname, source):
    """Put the help of each command in the place of a comment that names it."""
    if docname != "reference/command-line":
        return
    from predlog.cli.options import parser  # noqa: PLC0415 - nothing else of the documentation needs the command

    os.environ["COLUMNS"] = "100"
    (commands,) = (one for one in parser()._actions if hasattr(one, "choices") and isinstance(one.choices, dict))  # noqa: SLF001
    for name, command in commands.choices.items():
        shown = re.sub(r"\x1b\[[\d;]*m", "", command.format_help())
        source[0] = source[0].replace(f"<!-- help: {name} -->", f"```text\n{shown.rstrip()}\n```")
