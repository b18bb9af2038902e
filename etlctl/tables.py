"""Tables for people: they fit the width that there is, and never cut a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # imported where it is used: most of what is printed as JSON needs no rich
    from rich.console import Console, ConsoleOptions, RenderableType

# Narrower than this, a name or a text is not folded for the sake of a number.
TEXT_MIN_CHARS = 16
_BETWEEN_CHARS = 2


class Table:
    """Rows of a name, ``numbers`` and ``texts``; cells are rich markup.

    Names and texts are folded where they are long. Where that is not enough, the columns of
    ``spare`` are left out, the first one first, and a line below the table names them.
    """

    def __init__(
        self,
        title: str,
        name: str,
        *numbers: str,
        texts: Sequence[str] = (),
        spare: Sequence[str] = (),
    ) -> None:
        self.title = title
        self.headings = (name, *numbers, *texts)
        self._whole = frozenset(numbers)
        self._spare = tuple(spare)
        self._rows: list[tuple[str, ...]] = []
        self._ends: set[int] = set()

    def add_row(self, *cells: str) -> None:
        """One cell for each column."""
        self._rows.append(cells)

    def add_section(self) -> None:
        """A line below the last row."""
        self._ends.add(len(self._rows) - 1)

    def widths(self, available: int) -> dict[int, int]:
        """The width of each column that is shown in ``available`` characters, by its index."""
        from rich.text import Text

        wanted = [
            max(
                line.cell_len
                for cell in (heading, *(row[index] for row in self._rows))
                for line in (Text.from_markup(cell).split("\n", allow_blank=True) or [Text()])
            )
            for index, heading in enumerate(self.headings)
        ]
        given = {
            index: width if heading in self._whole else min(width, TEXT_MIN_CHARS)
            for index, (heading, width) in enumerate(zip(self.headings, wanted, strict=True))
        }

        def left() -> int:
            return available - sum(given.values()) - _BETWEEN_CHARS * (len(given) - 1)

        for heading in self._spare:
            if left() >= 0:
                break
            del given[self.headings.index(heading)]
        for index, width in given.items():
            more = min(width + max(left(), 0), wanted[index]) - width
            given[index] = width + more
        return given

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        widths = self.widths(options.max_width)
        made = RichTable(
            title=self.title or None,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            # With the divider of the box two characters lie between columns.
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for index, width in widths.items():
            heading = self.headings[index]
            justify: Literal["right", "left"] = "right" if heading in self._whole else "left"
            made.add_column(heading, justify=justify, width=width, overflow="fold")
        for number, row in enumerate(self._rows):
            made.add_row(*(row[index] for index in widths), end_section=number in self._ends)
        yield Text()
        yield made
        left_out = [one for index, one in enumerate(self.headings) if index not in widths]
        if left_out:
            yield Text(f"Left out for want of width: {', '.join(left_out)}.", style="dim")
        yield Text()
