"""Dead letters as tables and text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from rich import box
from rich.markup import escape
from rich.table import Table

from common.state.dead_letters.kept import KeptDeadLetter
from etlctl.dead_letters.export import metadata
from etlctl.dead_letters.payloads import (
    batch_lines,
    batch_of,
    hex_lines,
    inflated,
    printable,
    when,
)
from etlctl.output import thousands

_DETAIL_CHARS = 120
_SHOWN_LINES = 100


def table(letters: Iterable[KeptDeadLetter]) -> Table:
    """One row for each dead letter; the details are cut."""
    made = Table(box=box.SIMPLE_HEAD)
    for heading in ("id", "time", "stage", "reason", "feed"):
        made.add_column(heading, no_wrap=heading == "id")
    made.add_column("samples", justify="right", no_wrap=True)
    made.add_column("detail", overflow="fold")
    for letter in letters:
        detail = printable(letter.detail)
        if len(detail) > _DETAIL_CHARS:
            detail = detail[: _DETAIL_CHARS - 1] + "…"
        cells = (
            letter.id,
            when(letter.at_ms),
            printable(letter.stage),
            printable(letter.reason),
            printable(letter.feed),
            thousands(letter.samples),
            detail,
        )
        made.add_row(*map(escape, cells))
    return made


def how_many(letters: int, samples: int) -> str:
    """``1 dead letter (10 samples)``."""
    plural = "" if letters == 1 else "s"
    of = "1 sample" if samples == 1 else f"{thousands(samples)} samples"
    return f"{thousands(letters)} dead letter{plural} ({of})"


def metadata_lines(letter: KeptDeadLetter) -> Iterator[str]:
    """Everything but the payload, a line each."""
    known = metadata(letter)
    known["time"] = when(known.pop("at_ms"))
    width = max(map(len, known))
    for name, value in known.items():
        yield f"{name:<{width}}  {printable(str(value))}"


def payload_lines(payload: bytes | None, samples: int) -> Iterator[str]:
    """The payload for people: lines, a summary of samples, or the first bytes."""
    if payload is None:
        yield "The payload is no longer there."
        return
    if (batch := batch_of(payload, samples)) is not None:
        yield from batch_lines(batch)
        return
    try:
        text = inflated(payload, samples).decode()
    except UnicodeDecodeError:
        yield from hex_lines(payload)
        return
    lines = text.removesuffix("\n").split("\n")
    yield from map(printable, islice(lines, _SHOWN_LINES))
    if (hidden := len(lines) - _SHOWN_LINES) > 0:
        yield f"… and {thousands(hidden)} more lines: export or --json shows all"
