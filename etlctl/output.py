"""What the command prints: results on stdout, everything else on stderr.

Whatever stdout is, a command ends with its own exit code: what an encoding does not have is
escaped, and what nobody reads is thrown away.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from common.errors import EtlError

if TYPE_CHECKING:  # imported where it is used: most of what is printed as JSON needs no rich
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

FILE_COLUMNS = 140
_ESCAPED = "backslashreplace"


class _Descriptor(io.FileIO):
    """A descriptor that goes on as if nothing were wrong when its reader (head, less) has gone.

    What cannot be written for another reason (a full disk) raises :class:`EtlError` once.
    """

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())
            os.close(nothing)
            if not isinstance(error, BrokenPipeError):
                raise EtlError(f"the output cannot be written: {error.strerror}") from None
            printed.reader_gone = printed.reader_gone or self.fileno() == 1
            return super().write(data)


def use_any_stdout() -> None:
    """Make stdout and stderr take whatever is printed, in every locale and without a reader."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream, encoding = getattr(sys, name), "utf-8"
        if stream is None:  # closed: what is opened next must not get its number
            nothing = os.open(os.devnull, os.O_WRONLY)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
        elif isinstance(stream, io.TextIOWrapper):
            stream.flush()
            number, encoding = stream.fileno(), stream.encoding
        else:
            continue
        raw = _Descriptor(number, "w", closefd=False)
        made = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=encoding,
            errors=_ESCAPED,
            line_buffering=name == "stderr" or raw.isatty(),
        )
        setattr(sys, name, made)


def stdout() -> Console:
    """Console for results. Made for each use, so that a redirected stream is respected."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        # A file has no width; rich would squeeze tables into 80 columns.
        console.width = FILE_COLUMNS
    return console


@dataclass
class Printed:
    """What a run of the command has printed. ``reader_gone``: nobody reads what stdout says."""

    json: bool = False
    reader_gone: bool = False


printed = Printed()


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    printed.json = True
    text = json.dumps(document, indent=2, ensure_ascii=False)
    # Escaped as JSON has it, so that it can be read whatever the encoding.
    typer.echo(text if is_printable(text) else json.dumps(document, indent=2))


def is_printable(text: str) -> bool:
    """Whether the encoding of stdout has every character of ``text``."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def remark(text: str) -> None:
    """One plain line on stderr; ``text`` is shown as it is, brackets and all."""
    typer.echo(text, err=True)


def progress_bar(*columns: ProgressColumn, quiet: bool) -> Progress:
    """A bar on stderr; nothing where that is no terminal, or if ``quiet``."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, highlight=False)
    disable = quiet or not console.is_terminal
    return Progress(*columns, console=console, transient=True, disable=disable)


def escape(text: str) -> str:
    """``text`` as rich shows it as it is, brackets and all."""
    from rich.markup import escape as escaped

    return escaped(text)


def thousands(number: int) -> str:
    """``1,234,567``."""
    return f"{number:,}"


def counts(by_reason: Mapping[str, int]) -> str:
    """``nan 3, infinite 1``, or a dash for none."""
    return ", ".join(f"{why} {thousands(n)}" for why, n in sorted(by_reason.items())) or "–"
