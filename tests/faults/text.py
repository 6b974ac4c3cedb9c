"""No token text steers a terminal, breaks a line or a column, or hides which token it is; megabytes don't pile up."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

import pyte
from rich.cells import cell_len

from predlog import Comparison
from predlog.records.schema import Token
from tests.faults.compare_hostile import TOKENS, WIDTHS, ids_of, stream_of
from tests.faults.drawn import bands, columns_of, shows, without_colours
from tests.faults.experiment import Figure, Size, at_least, at_most, equals
from tests.faults.hostile import LONG, harmful, name_of, text_of
from tests.faults.lines import Lines, Reading

# A cut text says so behind what is left of it.
_MARK = 40
_MIB = 1 << 20


def run(size: Size) -> Iterator[Figure]:
    """Show hostile texts on terminals of two widths, in a log, in a file, and once on a real pseudo-terminal."""
    count = size.of(20_000, 2000)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory, "run")
        done = _compared(folder, count, "SINKS", stdout=subprocess.PIPE)
        yield from _file(folder / "predictions.jsonl", count)
        for width in WIDTHS:
            yield from _screen(f"{width} columns", _read(folder / f"{width}.txt"), width, count)
            yield from _compact(f"{width} columns, compact", _read(folder / f"compact-{width}.txt"), width, count)
            yield from _codebooks(f"{width} columns, codebooks", _read(folder / f"codebooks-{width}.txt"), width)
        yield equals("log: harmful characters", len(harmful(_read(folder / "log.txt"))), 0)
        yield equals("stderr: lines that are not predlog's own printable ASCII", _foreign(done.stderr), 0)
        yield at_most("memory that the process gained", int(done.stdout) / _MIB, 64, "MiB", note=_length(count))
        yield from _pseudo_terminal(Path(directory, "seen"))


def _compared(folder: Path, count: int, where: str, stdout: int) -> subprocess.CompletedProcess[bytes]:
    command: list[str | Path] = [sys.executable, "-m", "tests.faults.compare_hostile", folder, str(count), where]
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONUTF8": "1"}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=True, env=environment)


def _length(count: int) -> str:
    long = [len(text) for number in range(count) if (text := text_of(number)) and len(text) > LONG]
    return f"{len(long)} texts have {sum(long) / _MIB:,.0f} million characters"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogatepass")


def _foreign(errors: bytes) -> int:
    return sum(
        not line.startswith(b"predlog: ") or any(not 32 <= byte < 127 for byte in line) for line in errors.splitlines()
    )


def _file(file: Path, count: int) -> Iterator[Figure]:
    lines, reading = Lines.of(file), Reading.of(file)
    comparisons = [record for record in reading.records if isinstance(record, Comparison)]
    by_step = {record.step: record for record in comparisons}
    steps = count // (2 * TOKENS)
    wrong_ids = wrong_texts = wrong_names = 0
    for step in range(steps):
        record = by_step[step]
        wrong_names += record.stream != stream_of(step) or not _keeps_context(record, step)
        for token, label, prediction, read in zip(record.tokens, *ids_of(step, count), strict=True):
            wrong_ids += (token.label, token.prediction, token.input) != (label, prediction, read)
            wrong_texts += not _keeps_texts(token)
    raw = file.read_bytes()
    yield equals("file: damaged lines, and comparisons more or less than were made",
                 len(lines.damaged) + abs(len(comparisons) - steps), 0)  # fmt: skip
    yield equals("file: harmful characters", len(harmful(raw.decode(errors="surrogateescape"))), 0)
    yield equals("file: lines, as str.splitlines counts them, less the newlines",
                 len(raw.decode().splitlines()) - raw.count(b"\n"), 0)  # fmt: skip
    yield at_least("file: tokens read back", sum(len(record.tokens) for record in comparisons), count / 2)
    yield equals("file: tokens whose ids are others", wrong_ids, 0)
    yield equals(f"file: tokens whose texts are others, or longer than {LONG} and their mark", wrong_texts, 0)
    yield equals("file: streams and context values that are others", wrong_names, 0)


def _keeps_context(record: Comparison, step: int) -> bool:
    text = name_of(step + 1)
    return record.context == {"note": text, "nested": [text, {text: text}]}


def _keeps_texts(token: Token) -> bool:
    return all(
        _keeps(kept, None if number is None else text_of(number))
        for kept, number in (
            (token.label_text, token.label), (token.prediction_text, token.prediction), (token.input_text, token.input),
        )
    )  # fmt: skip


def _keeps(kept: str | None, text: str | None) -> bool:
    if kept is None or text is None or len(text) <= LONG:
        return kept == text
    return len(kept) <= LONG + _MARK and kept[:LONG] == text[:LONG] and kept != text[: len(kept)]


def _screen(where: str, text: str, width: int, count: int) -> Iterator[Figure]:
    shown = without_colours(text)
    lines = shown.split("\n")
    tables = list(bands(lines))
    hidden = sum(
        not _is_shown(band.step, position, cells, count) for band in tables for position, cells in band.cells.items()
    )
    yield equals(f"{where}: harmful characters, colours apart", len(harmful(shown)), 0)
    yield equals(f"{where}: tokens in tables", sum(len(band.cells) for band in tables), count // 2)
    yield equals(f"{where}: tokens that show neither their text nor their id", hidden, 0)
    yield equals(f"{where}: tables whose columns are not one below the other",
                 sum(not band.is_aligned for band in tables), 0)  # fmt: skip
    yield equals(f"{where}: places of ticks that a text has spoilt", sum(band.spoilt for band in tables), 0)
    yield equals(f"{where}: lines too wide, by rich or by wcwidth", _too_wide(lines, width), 0)


def _is_shown(step: int, position: int, cells: dict[str, str], count: int) -> bool:
    labels, predictions, inputs = (ids[position] for ids in ids_of(step, count))
    rows = {"label": labels, "prediction": predictions, "input": inputs}
    ticks = (cells["prediction"][:1] == "✓") == (labels == predictions) and cells["label"][:1] == " "
    return ticks and all(shows(cells[row], text_of(number), number) for row, number in rows.items())


def _compact(where: str, text: str, width: int, count: int) -> Iterator[Figure]:
    yield from _codebooks(where, text, width)
    rows = [
        line.split(" ")[1] for line in without_colours(text).split("\n") if line.startswith((" label", " pred", " p "))
    ]
    wanted = ["label", "pred", "p"] * (count // (2 * TOKENS))
    yield equals(f"{where}: rows that are missing, or too many", sum(a != b for a, b in zip(rows, wanted, strict=False))
                 + abs(len(rows) - len(wanted)), 0)  # fmt: skip


def _codebooks(where: str, text: str, width: int) -> Iterator[Figure]:
    shown = without_colours(text)
    yield equals(f"{where}: harmful characters, colours apart", len(harmful(shown)), 0)
    yield equals(f"{where}: lines too wide, by rich or by wcwidth", _too_wide(shown.split("\n"), width), 0)


def _too_wide(lines: list[str], width: int) -> int:
    return sum(max(cell_len(line), len(columns_of(line))) > width for line in lines)


def _pseudo_terminal(folder: Path) -> Iterator[Figure]:
    width, count = 80, 800
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with tempfile.TemporaryFile() as got:
        # A terminal is read while it is written to, or it fills up.
        reader = subprocess.Popen([sys.executable, "-c", _COPY], stdin=ours, stdout=got)
        os.close(ours)
        try:
            _compared(folder, count, "TERMINAL", stdout=theirs)
        finally:
            os.close(theirs)
            reader.wait()
        got.seek(0)
        raw = got.read().decode()
    text = raw.replace("\r\n", "\n")
    yield from _screen("pseudo-terminal", text, width, count)
    lines = without_colours(text).split("\n")
    screen = pyte.Screen(width, len(lines) + 1)
    pyte.Stream(screen).feed(raw)
    moved = sum(
        _begins(screen.display[row]) != _begins(line)
        for row, line in enumerate(lines)
        if line.startswith(("step", " position", " label", " rank"))
    )
    yield equals("pseudo-terminal: rows that pyte shows elsewhere, or a title", moved + bool(screen.title), 0)


def _begins(line: str) -> str:
    # pyte joins letters and their marks, so only what stands before the first text can be compared.
    return line[:12].rstrip()


# A pseudo-terminal whose other end is closed gives EIO.
_COPY = """
import os
try:
    while data := os.read(0, 65536):
        os.write(1, data)
except OSError:
    pass
"""
