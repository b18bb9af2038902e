"""The stages of a pipeline in the test's own process, on real servers, a turn at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry
from redis import Redis

from common.config import Settings, load_settings
from common.runtime.telemetry import Telemetry
from common.state.dead_letters.kept import DeadLetters
from common.state.keys import POINTS, RAW, Keys
from common.state.ledger import Account, Ledger
from common.state.seals import Seals
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import Settle, Verdict
from common.state.windows import WindowSet
from services.extractor.extract import Extractor, Outcome
from services.extractor.history import SourceHistory
from services.extractor.one_source import packer
from services.extractor.prometheus import PrometheusClient
from services.extractor.windows import Plan, plans_of
from services.loader.influx import InfluxSink
from services.loader.load import LoadHandler
from services.loader.sealing.configurations import Configurations
from services.loader.sealing.seals import SealKeeper
from services.transformer.transform import TransformHandler
from tests.integration.etlctl.verify.world import World


def warm_tier(world: World, **changes: Any) -> str:
    """Add a warm tier with a database of its own to the configuration; its name."""
    database = f"{world.database}_warm"
    tier = {
        "bucket": database,
        "resolution": "1m",
        "window": "10m",
        "aggregates": ["avg", "max", "count", "increase"],
    }
    world.changes["load.tiers"] = {"warm": tier | changes}
    return database


@dataclass
class Stages:
    """Extractor, transformer and loader of one feed with the world's configuration as it is now."""

    world: World
    redis: Redis
    tier: str = "warm"
    dead_letters_sample: int = 0
    settings: Settings = field(init=False)
    plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        self.keys = Keys(self.world.namespace)
        self.windows = WindowSet(self.redis, self.keys)
        self.telemetry = Telemetry("loader", CollectorRegistry())
        self.reload()

    def reload(self) -> None:
        """Every stage starts anew."""
        self.settings = load_settings(self.world.config())
        (self.plan,) = (one for one in plans_of(self.settings) if one.feed.tier == self.tier)
        self.raw, self.points = self._stream(RAW, POINTS), self._stream(POINTS, None)

    @property
    def origin_ms(self) -> int:
        """Where a new feed of a rollup begins: the source's first bucket is not whole."""
        return self.world.start_ms + self.plan.step_ms

    @property
    def letters(self) -> DeadLetters:
        return DeadLetters(self.redis, self.keys)

    def account(self) -> Account:
        """The feed's ledger, after checking that the whole ledger balances."""
        audit = Ledger(self.redis, self.keys).audit()
        assert (audit.imbalance_samples, audit.lost_samples) == (0, 0)
        return audit.accounts[self.plan.feed.name]

    def extract(self, head_ms: int | None = None) -> None:
        """Everything up to ``head_ms``, or else all of the history's whole buckets."""
        plan, extract = self.plan, self.settings.extract
        source = PrometheusClient(extract)
        extractor = Extractor(
            self.windows,
            source.read,
            SourceHistory(source),
            packer(self.settings),
            extract,
            Telemetry("extractor", CollectorRegistry()),
        )
        head_ms = head_ms or self.world.end_ms // plan.step_ms * plan.step_ms
        assert self.windows.plan(
            plan.feed, self.origin_ms, head_ms, adopt=True, configuration=plan.configuration
        )
        while window := self.windows.lease(
            plan.feed, "catchup", plan.live_ms, plan.longest_ms("catchup")
        ):
            assert extractor.run(plan, window, self.origin_ms) is Outcome.COMMITTED
        source.close()

    def transform(self) -> None:
        """Everything that was extracted."""
        handler = TransformHandler.from_settings(self.settings)
        self._settle(self.raw, handler.handle, "transformer")

    def load(self) -> None:
        """Everything that was transformed."""
        load = self.settings.load
        sink = InfluxSink(load.influxdb, connections=1)
        handler = LoadHandler(load, sink, self.telemetry)
        self._settle(self.points, handler.handle, "loader")
        sink.close()

    def seal(self) -> None:
        """Every window that is loaded."""
        load = self.settings.load
        sink = InfluxSink(load.influxdb, connections=1)
        SealKeeper(
            Seals(self.redis, self.keys),
            Configurations(self.redis, self.keys),
            sink,
            self.world.namespace,
            {name: one.bucket for name, one in load.tiers.items()},
            self.telemetry,
            threading.Event(),
            every_seconds=1,
            holder="the only one",
        ).turn()
        sink.close()

    def run(self, head_ms: int | None = None) -> None:
        """One stage after the other, and the seals."""
        self.extract(head_ms)
        self.transform()
        self.load()
        self.seal()

    def _stream(self, name: str, outbound: str | None) -> RedisStream:
        stream = RedisStream(
            self.redis,
            self.keys,
            name,
            "w",
            outbound=outbound,
            dead_letters_sample=self.dead_letters_sample,
        )
        stream.ensure()
        return stream

    def _settle(self, stream: RedisStream, handle: Any, stage: str) -> None:
        while entries := stream.read(100, 0.01):
            verdicts: Sequence[Verdict] = handle(entries)
            for entry, verdict in zip(entries, verdicts, strict=True):
                assert isinstance(verdict, Settle), verdict
                assert stream.settle(entry, verdict, stage) is SettleResult.OK


def windows_of(query: Mapping[str, Any]) -> dict[str, int]:
    """Of a query of ``verify --sealed --json`` how many windows are what."""
    return {kind: number for kind, number in query["windows"].items() if number}
