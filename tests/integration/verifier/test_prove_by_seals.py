"""The verifier, where Prometheus has deleted what it had no time to compare: the seals remain."""

from __future__ import annotations

import pytest

from common.state.proven import Differing, Proven
from services.verifier.source import Source
from tests.integration.etlctl.verify.sealing import WINDOW_MS, Sealer
from tests.integration.etlctl.verify.world import STEP_MS, Point
from tests.integration.verifier.prover_rig import FEED, Rig

HOURS_MS = 7_200_000
WINDOWS = HOURS_MS // WINDOW_MS


class Past:
    """Two hours before the oldest sample of the source: loaded, sealed, and deleted there."""

    def __init__(self, rig: Rig, window_ms: int = WINDOW_MS) -> None:
        self.rig, self.window_ms = rig, window_ms
        world = rig.world
        self.end_ms = world.start_ms
        self.start_ms = world.start_ms - HOURS_MS
        series = (("load", (("host", "a"), ("job", "app"))), ("odd", (("job", "app"),)))
        times = range(self.start_ms + STEP_MS, self.end_ms + 1, STEP_MS)
        self.points: list[Point] = [(one, ms, float(ms % 7)) for one in series for ms in times]
        world.write(self.points)
        world.write(world.expected())
        rig.windows.plan(FEED, self.start_ms, world.end_ms)
        while (window := rig.windows.lease(FEED, "live", 10**12, 10**9)) is not None:
            assert rig.windows.commit(FEED, window, []) == "committed"
        self.sealer = Sealer(world)

    def bounds(self, number: int) -> tuple[int, int]:
        start_ms = self.start_ms + number * self.window_ms
        return start_ms, min(start_ms + self.window_ms, self.end_ms)

    def seal(self, *, but: int | None = None) -> None:
        for number in range(-(-HOURS_MS // self.window_ms)):
            if number != but:
                self.sealer.seal(self.bounds(number), self.points)

    def within(self, number: int) -> list[Point]:
        first_ms, last_ms = self.bounds(number)
        return [point for point in self.points if first_ms < point[1] <= last_ms]

    def delete(self, points: list[Point]) -> None:
        for (name, tags), time_ms, _ in points:
            self.rig.world.delete(name, dict(tags), time_ms)

    def differs(self, *ranges: Differing) -> None:
        """All was compared before, and this differed."""
        record = self.rig.prover.record
        proof = record.read()[FEED.name]
        proven = Proven(proof.feed.origin_ms, tuple(proof.settled), ranges)
        assert record.save({FEED.name: proof._replace(proven=proven)})

    @property
    def by_seals_seconds(self) -> float | None:
        return self.rig.value("etl_verify_proven_by_seal_seconds_total")

    @property
    def unproven_seconds(self) -> float | None:
        return self.rig.value("etl_verify_unproven_seconds_total")

    @property
    def kept_ms(self) -> int:
        """How long after its beginning the history of the source really begins."""
        end_ms: int = max(one["end_ms"] for one in self.rig.events("verify_unproven"))
        return end_ms - self.end_ms


def test_what_the_source_has_deleted_is_proven_by_its_seals(rig: Rig) -> None:
    past = Past(rig)
    past.seal()

    rig.turn()
    rig.turn()

    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == 0
    assert past.by_seals_seconds == HOURS_MS / 1000
    assert past.unproven_seconds == past.kept_ms / 1000 <= STEP_MS / 1000
    assert rig.value("etl_verify_pieces_total", result="intact")
    assert rig.value("etl_verify_pieces_total", result="damaged") == 0
    proven = rig.registry.get_sample_value("etl_records_total")
    assert proven is not None
    assert proven >= len(past.points) + len(rig.world.expected())


@pytest.mark.parametrize("lost", ["a point", "all"])
def test_what_the_source_deletes_while_it_is_compared_is_compared_with_its_seals(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    past = Past(rig)
    past.seal()
    past.delete(past.within(0)[:1] if lost == "a point" else past.points)
    oldest_ms, asked = Source.oldest_ms, iter([past.start_ms])
    monkeypatch.setattr(Source, "oldest_ms", lambda self: next(asked, None) or oldest_ms(self))

    rig.turn()
    rig.turn()
    rig.turn()

    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == (1 if lost == "a point" else len(past.points))


def test_damage_to_what_the_source_has_deleted_is_found_and_its_repair_too(rig: Rig) -> None:
    past = Past(rig)
    past.seal(but=4)
    thinned, altered, extra, gone = (past.within(n) for n in (0, 2, 6, 7))
    past.delete([*thinned[:3], *gone])
    (name, tags), time_ms, value = altered[0]
    rig.world.write([((name, tags), time_ms, value + 1)])
    too_many = [((name, tags), extra[0][1] + 1, 1.0)]
    rig.world.write(too_many)

    rig.turn()
    rig.turn()

    assert rig.verified_ms == rig.world.end_ms
    assert rig.differing == 3 + 1 + 1 + len(gone)
    unproven_seconds = (WINDOW_MS + past.kept_ms) / 1000
    assert past.unproven_seconds == unproven_seconds
    assert past.by_seals_seconds == (WINDOWS - 5) * WINDOW_MS / 1000
    told = rig.events("verify_damaged")
    assert sum(line["points"] for line in told) == rig.differing
    assert sum(line["windows"] for line in told) == 4
    kinds = [example.split()[0] for line in told for example in line["examples"]]
    assert kinds == ["thinned", "altered", "extra", "deleted"]

    rig.now_seconds += 3600
    rig.turn()
    assert len(rig.events("verify_damaged")) == len(told)  # the same is said once

    rig.world.write(past.points)
    past.delete(too_many)
    rig.now_seconds += 3600
    rig.turn()
    rig.turn()
    assert rig.differing == 0
    assert past.unproven_seconds == unproven_seconds
    assert past.by_seals_seconds == (WINDOWS - 1) * WINDOW_MS / 1000
    assert rig.events("verify_equal_again")


def test_windows_over_the_edge_of_a_piece_are_counted_once(rig: Rig) -> None:
    past = Past(rig, window_ms=440_000)
    past.seal()
    past.delete(past.points)

    rig.turn()
    rig.turn()

    assert rig.differing == len(past.points)
    assert past.by_seals_seconds is None
    assert rig.verified_ms == rig.world.end_ms


def test_what_differed_from_the_source_is_not_proven_by_its_seals(rig: Rig) -> None:
    past = Past(rig)
    past.seal()
    past.differs(Differing(*past.bounds(1), 5, 0), Differing(*past.bounds(5), 5, 0))
    past.delete(lost := past.within(5))

    rig.turn()
    rig.turn()

    # The one holds what was loaded, which was not what the source had; the other not even that.
    assert past.unproven_seconds == WINDOW_MS / 1000
    assert past.by_seals_seconds is None
    assert rig.differing == len(lost)

    rig.world.write(lost)
    rig.now_seconds += 3600
    rig.turn()
    rig.turn()
    assert rig.differing == 0


def test_a_range_of_which_the_source_has_deleted_a_part(rig: Rig) -> None:
    past = Past(rig)
    past.seal()
    begins_ms, ends_ms = past.bounds(WINDOWS - 1)[0], past.end_ms + WINDOW_MS
    past.differs(Differing(begins_ms, ends_ms, 9, 0))
    past.delete(deleted := past.within(WINDOWS - 1)[:2])
    late = [p for p in rig.world.expected() if p[1] <= ends_ms and p[0][0] == "odd"]
    past.delete(late)

    rig.turn()
    rig.turn()

    assert rig.differing == len(deleted) + len(late)
    assert sum(one["missing"] for one in rig.events("verify_differs")) == len(late)
    assert sum(one["points"] for one in rig.events("verify_damaged")) == len(deleted)


@pytest.mark.parametrize("digest", ["unknown", "0"])
def test_a_seal_that_says_nothing_proves_nothing(rig: Rig, digest: str) -> None:
    past = Past(rig)
    past.seal(but=3)
    start_ms, end_ms = past.bounds(3)
    rig.world.write_raw(
        f"etl_seal,pipeline={rig.world.namespace},query=raw,tier=hot start_ms={start_ms}i,"
        f'points=80i,digest="{digest}",sealed_ms=1i {end_ms}'
    )

    rig.turn()
    rig.turn()

    assert rig.differing == 0
    assert past.unproven_seconds == (WINDOW_MS + past.kept_ms) / 1000
    assert past.by_seals_seconds == (WINDOWS - 1) * WINDOW_MS / 1000


def test_what_the_sink_keeps_no_longer_is_unproven(rig: Rig) -> None:
    past = Past(rig)
    past.seal()
    past.delete(past.within(0))
    rig.world.changes["load.tiers"] = {"hot": {"bucket": rig.world.database, "retention": "1h"}}
    rig.now_seconds = past.bounds(1)[1] / 1000 + 3600
    rig.prover = rig.new_prover()

    rig.turn()
    rig.turn()

    assert rig.differing == 0
    assert past.unproven_seconds == (2 * WINDOW_MS + past.kept_ms) / 1000
