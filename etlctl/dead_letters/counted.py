"""Dead letters that were only counted, as tables, text and plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from common.state.dead_letters.counted import CountedDeadLetters
from etlctl.dead_letters.payloads import printable, when
from etlctl.output import thousands


def counted_metadata(letters: CountedDeadLetters) -> dict[str, Any]:
    """Everything that is known of them, as plain data."""
    known = asdict(letters)
    del known["group"]  # where it lies, not what it is
    known["windows"] = [
        {"start_ms": start_ms, "end_ms": end_ms, "samples": samples}
        for start_ms, end_ms, samples in letters.windows
    ]
    return known


def counted_samples(found: Sequence[CountedDeadLetters]) -> str:
    """``1,200 samples more``."""
    return f"{thousands(sum(letters.samples for letters in found))} samples more"


def counted_table(found: Iterable[CountedDeadLetters]) -> Table:
    """One row for each cause."""
    made = Table(box=box.SIMPLE_HEAD, title="Only counted", title_justify="left")
    for heading in ("id", "stage", "reason", "feed", "measurement", "after", "up to"):
        made.add_column(heading, no_wrap=heading == "id")
    made.add_column("samples", justify="right", no_wrap=True)
    for letters in found:
        cells = (
            letters.id,
            letters.stage,
            letters.reason,
            letters.feed,
            letters.measurement,
            *_bounds(letters),
            thousands(letters.samples),
        )
        made.add_row(*(escape(printable(cell)) for cell in cells))
    return made


def counted_lines(letters: CountedDeadLetters) -> Iterator[str]:
    """Everything, a line each, and the windows."""
    known = counted_metadata(letters)
    del known["windows"]
    known["time"] = when(known.pop("at_ms"))
    width = max(map(len, known))
    for name, value in known.items():
        yield f"{name:<{width}}  {printable(str(value))}"
    yield ""
    for start_ms, end_ms, samples in letters.windows:
        yield f"({when(start_ms)} to {when(end_ms)}]: {thousands(samples)} samples"


def _bounds(letters: CountedDeadLetters) -> tuple[str, str]:
    if not letters.windows:
        return "", ""
    return when(letters.windows[0][0]), when(max(end for _, end, _ in letters.windows))
