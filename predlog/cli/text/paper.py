"""Styled lines → standard output: colours and wrapping on a terminal, each line whole by itself elsewhere."""

import sys

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from predlog.records.text import encodable
from predlog.sinks.terminal.style import PLAIN, glyphs_of, shorten

Part = str | tuple[str, Style]
# So that rich measures what a table needs, and not what there is.
_ANY_WIDTH = 10_000


class Paper:
    """Lines that go out together, when all is known.

    Texts must be visible already; what the stream can't encode is escaped here. `NO_COLOR`, `FORCE_COLOR`, `COLUMNS`
    and `TERM=dumb` mean what they mean to rich.

    Args:
        name: What all lines are about, if several such papers follow each other: the title on a terminal, and
            elsewhere the beginning of each line.
    """

    def __init__(self, name: str | None = None) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._lines: list[Text] = []
        self.is_screen = self._console.is_terminal and not self._console.is_dumb_terminal
        self.width = self._console.width
        self.glyphs = glyphs_of(self._console.options)
        self._prefix = ""
        self._is_one_of_several = name is not None
        if name is not None and self.is_screen:
            self.line((name, Style.parse("bold reverse")))
        elif name is not None:
            self._prefix = f"{self.encodable(name)}: "

    def line(self, *parts: Part) -> None:
        """Add a line; on a terminal, what is too long for it is cut, and marked."""
        room = self.width if self.is_screen else None
        text = Text()
        for part in parts:
            content, style = (part, PLAIN) if isinstance(part, str) else part
            content = self.encodable(content)
            if room is not None:
                content = shorten(content, room, self.glyphs.ellipsis) if room else ""
                room -= cell_len(content)
            text.append(content, style)
        text.rstrip()
        self._lines.append(text)

    def table(self, table: Table) -> bool:
        """Add a table, and return whether it fits: one that is too wide for the terminal is not added."""
        needed = self._console.measure(table, options=self._console.options.update(width=_ANY_WIDTH)).minimum
        if needed > self.width:
            return False
        for segments in self._console.render_lines(table, pad=False):
            text = Text.assemble(*((segment.text, segment.style or PLAIN) for segment in segments))
            text.rstrip()
            self._lines.append(text)
        return True

    def paragraph(self, text: str, style: Style = PLAIN, indent: int = 2) -> None:
        """Add a text; on a terminal it is wrapped between words, and indented from its second line on."""
        text = self.encodable(text)
        if not self.is_screen:
            self._lines.append(Text(text))
            return
        wrapped = Text(text, style).wrap(self._console, max(self.width - indent, 10))
        for number, line in enumerate(wrapped):
            line.rstrip()
            self._lines.append(Text(" " * indent if number else "").append_text(line))

    def heading(self, text: str) -> None:
        """Add a title with a blank line above it, on a terminal; elsewhere every line has its name in it."""
        if self.is_screen:
            if self._lines:
                self._lines.append(Text())
            self.line((text, Style.parse("bold")))

    def encodable(self, text: str) -> str:
        """Return a text in characters that the stream has."""
        return encodable(text, self._console.encoding)

    def write(self) -> None:
        """Write all lines at once, and a blank one between several papers on a terminal.

        So whoever reads part of them and leaves is no error of rich's.
        """
        if self._is_one_of_several and self.is_screen:
            self._lines.append(Text())
        with self._console.capture() as captured:
            for line in self._lines:
                self._console.print(
                    Text(self._prefix) + line if self._prefix else line, no_wrap=True, overflow="ignore", crop=False
                )
        sys.stdout.write(captured.get())
