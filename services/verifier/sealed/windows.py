"""Windows as they were loaded, by their seals in the sink."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from common.state.feeds import Range
from common.state.ranges import merged, overlaps
from services.verifier.sealed.holding import stretches
from services.verifier.sealed.seals import Seal, SealReader

# Ranges less apart are loaded again as one.
NEAR_MS = 60_000


def sealed_windows(reader: SealReader, bounds: Range) -> Iterator[Seal]:
    """The seals that hold of windows with a part in ``bounds``, in order.

    Raises :class:`~common.errors.SinkError`.
    """
    if (span := reader.span()) is None:
        return
    pages = reader.pages(bounds[0] - span.longest_ms, bounds[1] + span.longest_ms)
    for held, _ in stretches(pages, span.longest_ms):
        for seal in held.windows:
            if seal.start_ms < bounds[1] and bounds[0] < seal.end_ms:
                yield seal


def whole_windows(
    reader: SealReader, ranges: Iterable[Range], whole_from_ms: int, without_seal: Iterable[Range]
) -> list[Range]:
    """Ranges, widened to all of each window that they have a part of; near ones are one.

    The seal of a window that is loaded again in part says nothing any more. One of which the source
    has deleted a part, before ``whole_from_ms``, is left as it is. ``without_seal``: windows whose
    seals the sink did not have yet a moment ago. Raises :class:`~common.errors.SinkError`.
    """
    ranges = _joined(ranges)
    if not ranges:
        return []
    sealed = sealed_windows(reader, (ranges[0][0], ranges[-1][1]))
    windows = [*without_seal, *((seal.start_ms, seal.end_ms) for seal in sealed)]
    whole = [one for one in windows if one[0] >= whole_from_ms and overlaps(ranges, *one)]
    return merged([*ranges, *whole])


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """What of a series is missing lies a sample apart; many short windows cost more than one."""
    found: list[Range] = []
    for start_ms, end_ms in merged(ranges):
        if found and start_ms - found[-1][1] <= NEAR_MS:
            found[-1] = found[-1][0], end_ms
        else:
            found.append((start_ms, end_ms))
    return found
