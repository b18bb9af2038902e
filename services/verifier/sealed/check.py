"""Walk over the sealed windows of a query in pieces that fit in memory, and compare each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from common.samples.seal import Digest
from services.verifier.points import Column, SeriesKey
from services.verifier.sealed.candidates import Candidates
from services.verifier.sealed.holding import holding
from services.verifier.sealed.outcome import Kind, QueryOutcome
from services.verifier.sealed.seals import Seal, read_seals
from services.verifier.sealed.window_digests import window_digests
from services.verifier.sink import Sink

# Points read at a time, and windows.
PIECE_POINTS = 400_000
PIECE_WINDOWS = 2_000


@dataclass(frozen=True, slots=True)
class Checker:
    """Compares what the sink has with its seals of one tier and pipeline.

    ``forgotten_up_to_ms`` gives the time up to which the sink may have deleted points.
    """

    sink: Sink
    pipeline: str
    tier: str
    candidates: Mapping[str, Candidates]
    piece_points: int
    forgotten_up_to_ms: Callable[[], int] = lambda: 0
    progress: Callable[[str, int, int], None] = lambda query, done, of: None

    def run(self, query: str, start_ms: int | None, end_ms: int | None) -> QueryOutcome:
        """Check every window that has a part in ``(start_ms, end_ms]``, as a whole.

        A bound that is not given is that of the query's seals. Raises
        :class:`~common.errors.SinkError`.
        """
        outcome = QueryOutcome(query, start_ms, end_ms)
        windows, replays = read_seals(self.sink, self.pipeline, query, self.tier, start_ms or 0)
        if windows:
            first_ms = min(seal.start_ms for seal in windows) if start_ms is None else start_ms
            last_ms = max(seal.end_ms for seal in windows) if end_ms is None else end_ms
            outcome.start_ms, outcome.end_ms = start_ms, end_ms = first_ms, last_ms
        held = holding(windows, replays)
        if start_ms is not None and end_ms is not None:
            known_ms = max(start_ms, self.forgotten_up_to_ms())
            outcome.unsealed += held.covered.gaps(known_ms, end_ms)
            self._check(held.windows, start_ms, end_ms, outcome)
            for seal in held.partial:
                if start_ms < seal.end_ms and seal.start_ms < end_ms:
                    outcome.add(Kind.REPLACED, seal.start_ms, seal.end_ms)
        return outcome

    def _check(
        self, windows: Sequence[Seal], start_ms: int, end_ms: int, outcome: QueryOutcome
    ) -> None:
        forgotten_ms = self.forgotten_up_to_ms()
        kept: list[Seal] = []
        for seal in windows:
            if seal.end_ms <= start_ms or seal.start_ms >= end_ms:
                continue
            if seal.start_ms < forgotten_ms:
                outcome.add(Kind.EXPIRED, seal.start_ms, seal.end_ms)
            elif seal.digest is None:
                outcome.add(Kind.UNREADABLE, seal.start_ms, seal.end_ms)
            else:
                kept.append(seal)
        done = 0
        for piece in _pieces(kept, self.piece_points):
            for seal, (kind, found) in zip(piece, self._piece(outcome.query, piece), strict=True):
                assert seal.digest is not None
                if seal.start_ms < self.forgotten_up_to_ms():  # it went on while we read
                    kind = Kind.EXPIRED
                sealed = seal.digest.points
                outcome.add(kind, seal.start_ms, seal.end_ms, sealed, found)
            done += len(piece)
            self.progress(outcome.query, done, len(kept))

    def _piece(self, query: str, piece: Sequence[Seal]) -> list[tuple[Kind, int]]:
        mine = self.candidates[query]
        sealed = [seal.digest or Digest() for seal in piece]
        ends_ms = [seal.end_ms for seal in piece]
        totals, narrow = [Digest()] * len(piece), [Digest()] * len(piece)
        parts = -(-sum(digest.points for digest in sealed) // self.piece_points) or 1
        for start_ms, end_ms in _split(piece[0].start_ms, piece[-1].end_ms, parts):
            tags = {tag: value for tag, value in mine.tags.items() if value}
            points = self.sink.read(mine.measurements, start_ms, end_ms, tags)
            series = [(key, column) for key, column in points.items() if mine.owns(key)]
            totals = _added(totals, series, ends_ms)
            if not mine.certain:
                own = [(key, column) for key, column in series if not self._others(query, key)]
                narrow = _added(narrow, own, ends_ms)
        return [
            (_kind(wanted, total), total.points)
            if mine.certain or wanted == total
            else (Kind.INTACT if wanted == rest else Kind.UNTOLD, rest.points)
            for wanted, total, rest in zip(sealed, totals, narrow, strict=True)
        ]

    def _others(self, query: str, series: SeriesKey) -> bool:
        return any(
            other.certain and other.owns(series)
            for name, other in self.candidates.items()
            if name != query
        )


def _kind(sealed: Digest, found: Digest) -> Kind:
    if found == sealed:
        return Kind.INTACT
    if found.points == sealed.points:
        return Kind.ALTERED
    if found.points > sealed.points:
        return Kind.EXTRA
    return Kind.THINNED if found.points else Kind.DELETED


def _added(
    totals: list[Digest], series: list[tuple[SeriesKey, Column]], ends_ms: list[int]
) -> list[Digest]:
    found = window_digests(series, ends_ms)
    return [total + one for total, one in zip(totals, found, strict=True)]


def _pieces(windows: Sequence[Seal], piece_points: int) -> Iterator[list[Seal]]:
    """Runs of windows without a gap between them, each of about so many points at most."""
    piece: list[Seal] = []
    points = 0
    for seal in windows:
        more = seal.digest.points if seal.digest else 0
        if piece and (
            seal.start_ms != piece[-1].end_ms
            or points + more > piece_points
            or len(piece) >= PIECE_WINDOWS
        ):
            yield piece
            piece, points = [], 0
        piece.append(seal)
        points += more
    if piece:
        yield piece


def _split(start_ms: int, end_ms: int, parts: int) -> Iterator[tuple[int, int]]:
    """``(start_ms, end_ms]`` in so many parts, or in fewer where it has not as many ms."""
    parts = min(parts, end_ms - start_ms)
    bounds = [start_ms + (end_ms - start_ms) * part // parts for part in range(parts + 1)]
    yield from pairwise(bounds)
