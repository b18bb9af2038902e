"""A verifier whose turns the test makes, on real servers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry
from redis import Redis

from common.config import load_settings
from common.runtime.readiness.identity_guard import IdentityGuard
from common.runtime.stage import Lifecycle
from common.runtime.telemetry import Telemetry
from common.state.keys import Keys
from common.state.proven import ProofRecord
from common.state.windows import Feed, Window, WindowSet
from services.verifier.proving.budget import CpuBudget
from services.verifier.proving.prove import LEASE_SECONDS, Prover
from tests.integration.etlctl.verify.world import World
from tests.support.captured_log import CapturedLog

FEED = Feed("raw", "hot", "select", "f")


@dataclass
class Rig:
    """A verifier whose turns the test makes, and an extractor that commits what the test says."""

    world: World
    redis: Redis
    token: str = "one"
    ready: dict[str, tuple[bool, str]] = field(default_factory=dict)
    now_seconds: float = 1e9

    def __post_init__(self) -> None:
        self.keys = Keys(self.world.namespace)
        self.windows = WindowSet(self.redis, self.keys)
        self.registry = CollectorRegistry()
        self.log = CapturedLog()
        self.telemetry = Telemetry("verifier", self.registry, logger=self.log)
        self.stop = threading.Event()
        self.prover = self.new_prover()

    def new_prover(self) -> Prover:
        """Another process: what it knows is in Redis."""
        settings = load_settings(self.world.config())

        def set_ready(name: str, ok: bool, detail: str) -> None:
            self.ready[name] = ok, detail

        return Prover(
            settings,
            Lifecycle(self.stop, lambda: None, set_ready),
            self.telemetry,
            ProofRecord(self.redis, self.keys, self.token, LEASE_SECONDS),
            IdentityGuard(self.redis, settings, self.telemetry),
            # A core of its own: these tests are about what is compared.
            budget=CpuBudget(1.0, cpu=lambda: 0.0),
            wall_clock=lambda: self.now_seconds,
        )

    def lease(self, longest_ms: int = 10**9, feed: Feed | None = None) -> Window:
        window = self.windows.lease(feed or FEED, "live", 10**12, longest_ms)
        assert window is not None
        return window

    def load_up_to(
        self, end_ms: int, rechecks: tuple[float, ...] = (), feed: Feed | None = None
    ) -> None:
        """The feed's time up to there is extracted and settled."""
        feed = feed or FEED
        self.windows.plan(feed, self.world.start_ms, end_ms, adopt=True)
        window = self.lease(feed=feed)
        done = self.windows.commit(feed, window, [], recheck_after_seconds=rechecks)
        assert done == "committed"

    def turn(self) -> None:
        """One turn, due or not."""
        self.prover._begin_at = 0
        self.prover.turn()

    def value(self, name: str, **labels: str) -> float | None:
        if not labels:
            labels = {"query": "raw", "tier": "hot"}
        return self.registry.get_sample_value(name, labels)

    @property
    def verified_ms(self) -> int:
        return round((self.value("etl_verified_timestamp_seconds") or 0) * 1000)

    @property
    def differing(self) -> float | None:
        return self.value("etl_verify_differing_points")

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log.lines if line["event"] == name]
