"""What the command prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.progress import Progress, ProgressColumn
from rich.table import Table

FILE_COLUMNS = 140


def stdout() -> Console:
    """Console for results. Made for each use, so that a redirected stream is respected."""
    console = Console(highlight=False)
    if not console.is_terminal:
        # A file has no width; rich would squeeze tables into 80 columns.
        console.width = FILE_COLUMNS
    return console


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def remark(text: str) -> None:
    """One plain line on stderr; ``text`` is shown as it is, brackets and all."""
    typer.echo(text, err=True)


def progress_bar(*columns: ProgressColumn, quiet: bool) -> Progress:
    """A bar on stderr; nothing where that is no terminal, or if ``quiet``."""
    console = Console(stderr=True, highlight=False)
    disable = quiet or not console.is_terminal
    return Progress(*columns, console=console, transient=True, disable=disable)


def table(title: str, first: str, *numbers: str) -> Table:
    """An empty table: the column ``first``, and columns of ``numbers``, which are never cut."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    made.add_column(first, overflow="fold")
    for heading in numbers:
        made.add_column(heading, justify="right", no_wrap=True)
    return made


def thousands(number: int) -> str:
    """``1,234,567``."""
    return f"{number:,}"


def counts(by_reason: Mapping[str, int], separator: str = ", ") -> str:
    """``nan 3, infinite 1``, or a dash for none."""
    return separator.join(f"{why} {thousands(n)}" for why, n in sorted(by_reason.items())) or "–"
