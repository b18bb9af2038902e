"""Windows of several tiers that no replica has whole are split, each alone; by the real scripts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from fakeredis import FakeRedis
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError

from common.config import ExtractSettings, Query
from common.errors import SourceUnavailable
from common.runtime.telemetry import Telemetry
from common.samples.columns import Samples
from common.samples.rollup import Rollup
from common.state.keys import Keys
from common.state.ledger import Ledger
from common.state.windows import Feed, Window, WindowSet
from services.extractor.extract import Extractor, Outcome
from services.extractor.history import SourceHistory
from services.extractor.siblings import lease_siblings
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan
from tests.unit.services.extractor.replicas_world import (
    RAW,
    URLS,
    Server,
    World,
    scraped_throughout,
)

STEP_MS, BUCKET_MS, WINDOW_MS = 15_000, 60_000, 240_000
# In the second bucket of the window; the first replica has what lies before, the other the rest.
TURN_MS = 90_000


class Scraping(Server):
    """It scraped, and has a sample, at each step of some time."""

    def __init__(self, from_ms: int, to_ms: int) -> None:
        super().__init__(0)
        self.times_ms = np.arange(from_ms + STEP_MS, to_ms + 1, STEP_MS)

    def _between(self, start_ms: int, end_ms: int) -> npt.NDArray[np.int64]:
        return self.times_ms[(self.times_ms > start_ms) & (self.times_ms <= end_ms)]

    def count_samples(self, selector: str, start_ms: int, end_ms: int) -> int:
        return len(self._between(start_ms, end_ms))

    def has_throughout(self, selector: str, start_ms: int, end_ms: int, every_ms: int) -> bool:
        return scraped_throughout(self.times_ms.tolist(), start_ms, end_ms, every_ms)

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterator[Samples]:
        times_ms = self._between(start_ms, end_ms)
        if len(times_ms):
            series = (b'{"__name__":"load"}',)
            yield Samples(series, np.array([len(times_ms)]), times_ms, np.zeros(len(times_ms)))


class Tiers:
    """One query in some tiers, one window of each; what is committed of which replica."""

    def __init__(
        self, world: World, *tiers: str, start_ms: int = 0, end_ms: int = WINDOW_MS
    ) -> None:
        self.now_ms = 10**12
        redis, keys = FakeRedis(), Keys("t")
        self.ledger = Ledger(redis, keys)
        self.windows = WindowSet(redis, keys, now_ms=lambda: self.now_ms)
        self.noted: dict[str, dict[int, int]] = {tier: {} for tier in tiers}
        self.outcomes: list[Outcome] = []
        self.plans = [_plan(tier) for tier in tiers]
        for plan in self.plans:
            self.windows.plan(plan.feed, start_ms, end_ms)
        replicas = world.replicas
        self.extractor = Extractor(
            self.windows,
            replicas.read,
            SourceHistory(replicas, now_ms=lambda: WINDOW_MS),
            EntryBuilder(100),
            ExtractSettings(prometheus_url=URLS[0]),
            Telemetry("extractor", CollectorRegistry()),
            rng=random.Random(1),
            replica=replicas.last_read,
            note_replica=self._note,
            read_whole=replicas.read_whole,
        )

    def _note(self, feed: Feed, window: Window, url: str) -> None:
        steps_ms = range(window.start_ms + STEP_MS, window.end_ms + 1, STEP_MS)
        self.noted[feed.tier] |= dict.fromkeys(steps_ms, URLS.index(url))

    def extract(self) -> None:
        """Everything, a window of each tier in turn, with what the other has within it."""
        while any(self._extract(plan) for plan in self.plans):
            pass

    def _extract(self, plan: Plan) -> bool:
        window = self.windows.lease(plan.feed, "catchup", 0, WINDOW_MS)
        if window is None:
            return False
        siblings = lease_siblings(self.windows, plan, window, self.plans, lambda feed: 0)
        self.outcomes.append(self.extractor.run(plan, window, 0, siblings))
        return True


def _plan(tier: str) -> Plan:
    rollup = Rollup.of(BUCKET_MS, ["max"]) if tier == "warm" else None
    return Plan(
        Feed("raw", tier, "select", "f"),
        RAW,
        BUCKET_MS if rollup else STEP_MS,
        0,
        10**9,
        0,
        WINDOW_MS,
        rollup=rollup,
        head_step_ms=WINDOW_MS if rollup else STEP_MS,
    )


def turned(world: World) -> World:
    """What was read before is of the first up to a time, and of the other from then on."""
    world.loaded = [(0, TURN_MS, URLS[0]), (TURN_MS, WINDOW_MS, URLS[1])]
    return world


def whole_in_none() -> World:
    return World(Scraping(0, TURN_MS), Scraping(TURN_MS, WINDOW_MS))


def read_from_both() -> World:
    return turned(World(Scraping(0, WINDOW_MS), Scraping(0, WINDOW_MS)))


@pytest.mark.parametrize("order", [("hot", "warm"), ("warm", "hot")])
@pytest.mark.parametrize("world_of", [whole_in_none, read_from_both])
def test_no_tier_makes_another_take_what_only_the_other_replica_has(
    world_of: Callable[[], World], order: tuple[str, str]
) -> None:
    """Neither a window read beside it, nor one of the same bounds that was refused before it."""
    rig = Tiers(world_of(), *order)

    rig.extract()

    assert set(rig.outcomes) == {Outcome.SPLIT, Outcome.COMMITTED}
    steps = range(STEP_MS, WINDOW_MS + 1, STEP_MS)
    assert rig.noted["hot"] == {at: int(at > TURN_MS) for at in steps}
    assert sorted(rig.noted["warm"]) == list(steps)
    apart = [at for at in steps if not BUCKET_MS < at <= 2 * BUCKET_MS]
    assert [rig.noted["warm"][at] for at in apart] == [int(at > TURN_MS) for at in apart]
    lacks = 2 if world_of is whole_in_none else 0  # of the bucket, which cannot be split
    assert rig.ledger.audit().total.extracted == 2 * len(steps) - lacks


@pytest.mark.parametrize("world_of", [whole_in_none, read_from_both])
def test_what_cannot_be_split_takes_nothing_along_that_can_be(
    world_of: Callable[[], World],
) -> None:
    """A bucket is read from one replica, whoever has its samples in hot."""
    rig = Tiers(world_of(), "warm", "hot", start_ms=BUCKET_MS, end_ms=2 * BUCKET_MS)

    rig.extract()

    assert rig.outcomes[0] is Outcome.COMMITTED
    assert rig.noted["hot"] == {75_000: 0, 90_000: 0, 105_000: 1, 120_000: 1}
    assert len(set(rig.noted["warm"].values())) == 1


def test_a_step_that_waits_for_the_other_replica_keeps_nothing_else_waiting() -> None:
    """Neither what is newer nor what is older, which is leased after it.

    But the step after it: others of its targets may have missed a scrape in that.
    """
    first, second = Scraping(-STEP_MS, WINDOW_MS), Server(4)
    missed_ms = 11 * STEP_MS
    first.times_ms = first.times_ms[first.times_ms != missed_ms]
    second.error = SourceUnavailable("is away")
    rig = Tiers(World(first, second), "hot")

    rig.extract()

    steps = set(range(STEP_MS, WINDOW_MS + 1, STEP_MS))
    assert rig.noted["hot"].keys() == steps - {missed_ms, missed_ms + STEP_MS}


def test_what_redis_did_not_split_is_refused_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Tiers(whole_in_none(), "hot")

    def away(*_: object) -> bool:
        raise RedisConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(rig.windows, "split", away)
        with pytest.raises(RedisConnectionError):
            rig.extract()
    rig.now_ms += 10**6
    rig.extract()

    assert rig.outcomes[0] is Outcome.SPLIT
    assert rig.ledger.audit().total.extracted == WINDOW_MS // STEP_MS
    owners = [rig.noted["hot"][at] for at in sorted(rig.noted["hot"])]
    assert sum(before != after for before, after in pairwise(owners)) == 1
