"""Walk over the sealed windows of a query in pieces that fit in memory, and compare each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from common.samples.seal import Digest
from services.verifier.sealed.holding import stretches
from services.verifier.sealed.outcome import Kind, QueryOutcome
from services.verifier.sealed.owners import Owner
from services.verifier.sealed.seals import Seal, SealReader, Span
from services.verifier.sealed.window_digests import rollup_digests, window_digests
from services.verifier.sink.read import Sink

# Points read at a time, and windows.
PIECE_POINTS = 400_000
PIECE_WINDOWS = 2_000


@dataclass(frozen=True, slots=True)
class Checker:
    """Compares what the sink has with its seals of one tier and pipeline.

    ``owners``: see :meth:`services.verifier.sealed.owners.Owners.of`. ``forgotten_up_to_ms`` gives
    the time up to which the sink may have deleted points. ``notes`` are for the operator, each the
    end of a line.
    """

    sink: Sink
    pipeline: str
    tier: str
    owners: Callable[[str, Seal], tuple[Owner, ...]]
    piece_points: int
    notes: Sequence[str] = ()
    forgotten_up_to_ms: Callable[[], int] = lambda: 0
    progress: Callable[[str, int, int], None] = lambda query, done, of: None

    def run(self, query: str, start_ms: int | None, end_ms: int | None) -> QueryOutcome:
        """Check every window that has a part in ``(start_ms, end_ms]``, as a whole.

        A bound that is not given is that of the query's seals. Raises
        :class:`~common.errors.SinkError`.
        """
        outcome = QueryOutcome(query, start_ms, end_ms)
        reader = SealReader(self.sink, self.pipeline, query, self.tier)
        span = reader.span()
        if span is None:
            if start_ms is not None and end_ms is not None:
                outcome.add_unsealed(max(start_ms, self.forgotten_up_to_ms()), end_ms)
            return outcome
        begin_ms = span.first_ms if start_ms is None else start_ms
        of_ms = (span.last_ms if end_ms is None else end_ms) - begin_ms
        owners_of = partial(self.owners, query)
        kept = self._kept(reader, span, outcome)
        for owners, piece in _pieces(kept, self.piece_points, owners_of):
            judged, elsewhere = self._piece(owners, piece)
            outcome.elsewhere += elsewhere
            outcome.elsewhere_at_most |= elsewhere > 0 and not owners[-1].certain
            for seal, (kind, found) in zip(piece, judged, strict=True):
                assert seal.digest is not None
                if seal.start_ms < self.forgotten_up_to_ms():  # it went on while we read
                    kind = Kind.EXPIRED
                outcome.add(kind, seal.start_ms, seal.end_ms, seal.digest.points, found)
            done_ms = piece[-1].end_ms - begin_ms
            self.progress(query, done_ms, max(done_ms, of_ms, 1))
        return outcome

    def _kept(self, reader: SealReader, span: Span, outcome: QueryOutcome) -> Iterator[Seal]:
        """The seals to compare, in order; whatever else there is to say goes to ``outcome``."""
        start_ms, end_ms = outcome.start_ms, outcome.end_ms
        forgotten_ms = self.forgotten_up_to_ms()
        # A window that begins or ends in the range may be overlapped by one that does not.
        after_ms = span.first_ms - 1 if start_ms is None else start_ms - span.longest_ms
        to_ms = span.last_ms if end_ms is None else min(end_ms + span.longest_ms, span.last_ms)
        done_ms, last_ms = start_ms, None
        for held, stretch_end_ms in stretches(reader.pages(after_ms, to_ms), span.longest_ms):
            replaced, windows = (
                [
                    seal
                    for seal in seals
                    if (start_ms is None or start_ms < seal.end_ms)
                    and (end_ms is None or seal.start_ms < end_ms)
                ]
                for seals in (held.partial, held.windows)
            )
            for seal in replaced:
                outcome.add(Kind.REPLACED, seal.start_ms, seal.end_ms)
            for seal in windows:
                if seal.start_ms < forgotten_ms:
                    outcome.add(Kind.EXPIRED, seal.start_ms, seal.end_ms)
                elif seal.digest is None:
                    outcome.add(Kind.UNREADABLE, seal.start_ms, seal.end_ms)
                else:
                    yield seal
            if found := replaced + windows:
                last_ms = max(last_ms or 0, *(seal.end_ms for seal in found))
                if done_ms is None:
                    outcome.start_ms = done_ms = held.covered.starts_ms[0]
            if done_ms is not None:
                until_ms = stretch_end_ms if end_ms is None else min(stretch_end_ms, end_ms)
                for gap in held.covered.gaps(max(done_ms, forgotten_ms), until_ms):
                    outcome.add_unsealed(*gap)
                done_ms = max(done_ms, until_ms)
        if end_ms is not None:
            if done_ms is not None:
                outcome.add_unsealed(max(done_ms, forgotten_ms), end_ms)
        else:
            # Replays may go on after the last window: that it was sealed is not known.
            outcome.end_ms = last_ms
            outcome.unsealed = [gap for gap in outcome.unsealed if gap[0] < (last_ms or 0)]

    def _piece(
        self, owners: Sequence[Owner], piece: Sequence[Seal]
    ) -> tuple[list[tuple[Kind, int]], int]:
        """Of each window what became of it, and how many points were found.

        And how many of all those points only another bucket has than their series' own.
        """
        judged = [self._judged(owner, piece) for owner in owners]
        of_windows = zip(*(found for found, _ in judged), strict=True)
        return [
            next((one for one in found if one[0] is Kind.INTACT), found[-1]) for found in of_windows
        ], judged[-1][1]  # the last owner is all of them as one

    def _judged(self, owner: Owner, piece: Sequence[Seal]) -> tuple[list[tuple[Kind, int]], int]:
        sealed = [seal.digest or Digest() for seal in piece]
        ends_ms = [seal.end_ms for seal in piece]
        totals, elsewhere = [Digest()] * len(piece), 0
        parts = -(-sum(digest.points for digest in sealed) // self.piece_points) or 1
        for start_ms, end_ms in _split(piece[0].start_ms, piece[-1].end_ms, parts):
            points = self.sink.read(owner.places, start_ms, end_ms, owner.tags, owner.fields)
            series = [
                (key, owner.without_earlier(column))
                for key, column in points.items()
                if owner.owns(key)
            ]
            elsewhere += sum(self.sink.elsewhere.get(key, 0) for key, _ in series)
            found = (
                rollup_digests(series, ends_ms, owner.fields)
                if owner.fields
                else window_digests(series, ends_ms)
            )
            totals = [total + one for total, one in zip(totals, found, strict=True)]
        return [
            (_kind(wanted, total, certain=owner.certain), total.points)
            for wanted, total in zip(sealed, totals, strict=True)
        ], elsewhere


def _kind(sealed: Digest, found: Digest, *, certain: bool) -> Kind:
    if found == sealed:
        return Kind.INTACT
    if not certain:
        return Kind.UNTOLD
    if found.points == sealed.points:
        return Kind.ALTERED
    if found.points > sealed.points:
        return Kind.EXTRA
    return Kind.THINNED if found.points else Kind.DELETED


def _pieces(
    windows: Iterable[Seal], piece_points: int, owners_of: Callable[[Seal], tuple[Owner, ...]]
) -> Iterator[tuple[tuple[Owner, ...], list[Seal]]]:
    """Runs of windows without a gap between them, each of about so many points at most.

    With what all of a run are compared with.
    """
    piece: list[Seal] = []
    owners: tuple[Owner, ...] = ()
    points = 0
    for seal in windows:
        more = seal.digest.points if seal.digest else 0
        its_owners = owners_of(seal)
        if piece and (
            seal.start_ms != piece[-1].end_ms
            or its_owners is not owners
            or points + more > piece_points
            or len(piece) >= PIECE_WINDOWS
        ):
            yield owners, piece
            piece, points = [], 0
        owners = its_owners
        piece.append(seal)
        points += more
    if piece:
        yield owners, piece


def _split(start_ms: int, end_ms: int, parts: int) -> Iterator[tuple[int, int]]:
    """``(start_ms, end_ms]`` in so many parts, or in fewer where it has not as many ms."""
    parts = min(parts, end_ms - start_ms)
    bounds = [start_ms + (end_ms - start_ms) * part // parts for part in range(parts + 1)]
    yield from pairwise(bounds)
