"""How far an expression looks back: what a source must hold for its value to be what it was.

Read from the parsed expression: ranges, subqueries, offsets, ``@`` and Prometheus' look-back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from promql_parser import AtModifierType, Expr, MatrixSelector, VectorSelector

from common.promql.expression import LOOKBACK_MS, children, duration_ms, parse_expression

NEVER_MS = 2**62


class Reach(NamedTuple):
    """What an evaluation looks at, at most.

    ``back_ms``: how far before its own time. ``pinned_ms``: the earliest time that ``@`` makes it
    look at, whenever it is evaluated; None where nothing is pinned.
    """

    back_ms: int = 0
    pinned_ms: int | None = None

    def earliest_ms(self, at_ms: int) -> int:
        """The earliest time that an evaluation at ``at_ms`` looks at."""
        earliest_ms = at_ms - self.back_ms
        return earliest_ms if self.pinned_ms is None else min(earliest_ms, self.pinned_ms)

    def whole_from_ms(self, lowest_ms: int) -> int:
        """From when on an evaluation looks at nothing before ``lowest_ms``.

        ``NEVER_MS`` where a pinned time lies before it.
        """
        if self.pinned_ms is not None and self.pinned_ms < lowest_ms:
            return NEVER_MS
        return lowest_ms + self.back_ms


# A raw sample depends on itself alone.
RAW = Reach()


def reach_of(source: str) -> Reach:
    """The reach of an expression.

    Ranges, subqueries and offsets add up where one holds the other; a selector without a range of
    its own takes the latest sample of the look-back. ``@ start()`` and ``@ end()`` are taken for
    the evaluation time. Raises :class:`common.errors.ConfigError`.
    """
    back_ms, pinned = 0, []
    for at_ms, before_ms in _selectors(parse_expression(source).tree, None, 0):
        if at_ms is None:
            back_ms = max(back_ms, before_ms)
        else:
            pinned.append(at_ms - before_ms)
    return Reach(back_ms, min(pinned, default=None))


def _selectors(tree: Expr, at_ms: int | None, before_ms: int) -> Iterator[tuple[int | None, int]]:
    """Of each selector, the time that it is pinned to, if any, and how far before that it looks."""
    waiting = [(tree, at_ms, before_ms)]
    while waiting:
        node, at_ms, before_ms = waiting.pop()
        # The offset and the `@` of a range stand with the selector that it holds.
        modified = node.vector_selector if isinstance(node, MatrixSelector) else node
        if (pinned_ms := _pinned_ms(modified)) is not None:
            at_ms, before_ms = pinned_ms, 0
        before_ms += duration_ms(modified, "offset")
        if isinstance(node, VectorSelector):
            yield at_ms, before_ms + LOOKBACK_MS
            continue
        before_ms += duration_ms(node, "range")
        if isinstance(node, MatrixSelector):
            yield at_ms, before_ms
            continue
        waiting.extend((child, at_ms, before_ms) for child in children(node))


def _pinned_ms(node: Expr) -> int | None:
    at = getattr(node, "at", None)
    if at is None or at.type != AtModifierType.At:
        return None
    # Asked for its time, the library ends in a panic where that lies before 1970; printed it is 0.
    return round(float(str(at).removeprefix("@ ")) * 1_000)
