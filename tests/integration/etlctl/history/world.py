"""Feeds in a real Redis, history in a real Prometheus, and ``etlctl backfill`` on them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from common.config import load_settings
from common.state.backfills import Backfill, Backfills
from common.state.feeds import Range
from common.state.keys import Keys
from common.state.ranges import merged
from common.state.windows import WindowSet
from common.state.workers import Workers
from etlctl.__main__ import main
from services.extractor.windows import Plan, plans_of

STEP_MS = 15_000
HOUR_MS = 3_600_000
SERIES = 3
QUERIES: list[dict[str, Any]] = [
    {"name": "raw", "select": "load"},
    {"name": "mean", "expr": "avg(load)", "step": "15s"},
]
SINK = {"url": "http://127.0.0.1:9", "token": "t", "org": "o", "bucket": "b"}
WARM = {"bucket": "w", "resolution": "5m", "aggregates": ["max", "count"]}
NOWHERE = "http://127.0.0.1:9"


def history_of(start_ms: int, end_ms: int) -> str:
    """OpenMetrics text: ``SERIES`` series with a sample every step of ``(start_ms, end_ms]``."""
    lines = ["# TYPE load gauge"]
    for number in range(SERIES):
        lines += [
            f'load{{i="{number}"}} {time_ms % 977} {time_ms / 1000}'
            for time_ms in range(start_ms + STEP_MS, end_ms + 1, STEP_MS)
        ]
    return "\n".join([*lines, "# EOF", ""])


@dataclass(frozen=True)
class Result:
    """What the command left behind."""

    code: int
    out: str
    err: str


@dataclass
class World:
    """Feeds that begin at ``origin_ms``; the source has ``(first_ms, origin_ms]``."""

    redis: Redis
    redis_url: str
    namespace: str
    directory: Path
    capsys: pytest.CaptureFixture[str]
    source_url: str
    first_ms: int
    origin_ms: int
    tiers: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = Keys(self.namespace)
        self.windows = WindowSet(self.redis, self.keys)
        self.backfills = Backfills(self.redis, self.keys)

    @property
    def config(self) -> Path:
        document = {
            "extract": {"prometheus_url": self.source_url, "queries": QUERIES},
            "load": {"influxdb": SINK, **({"tiers": self.tiers} if self.tiers else {})},
            "pipeline": {"redis_url": self.redis_url, "redis_namespace": self.namespace},
        }
        file = self.directory / "etl.yaml"
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        return file

    def plans(self) -> list[Plan]:
        return plans_of(load_settings(self.config))

    def plan_feeds(self, *names: str, reconciled: bool = True) -> None:
        """Begin the feeds, or those of these names; an extractor runs."""
        Workers(self.redis, self.keys).report("extractor-1", "extractor", True, {})
        for plan in self.plans():
            feed = plan.feed
            if names and feed.name not in names:
                continue
            assert self.windows.plan(feed, self.origin_ms, self.origin_ms + 300_000)
            if reconciled:
                self.windows.set_reconciled(feed)

    def run(self, *arguments: str) -> Result:
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--config", str(self.config)])
        said = self.capsys.readouterr()
        return Result(int(caught.value.code or 0), said.out, said.err)

    def backfill(self, *options: str) -> Result:
        return self.run("backfill", *options)

    def refused(self, *options: str) -> str:
        """What a refused backfill says; nothing is begun."""
        before = self.backfills.all()
        result = self.backfill(*options)
        assert result.code != 0
        assert "Traceback" not in result.err
        assert self.backfills.all() == before
        return result.err

    def begun(self) -> Backfill:
        (found,) = self.backfills.all()
        return found

    def coming(self, feed: str) -> list[Range]:
        """What backfills are still to extract of a feed."""
        parts = [part for part in self.backfills.parts() if part.feed == feed]
        return merged(range_ for part in parts for range_ in part.coming)

    def extract(self, most: int = 1 << 30, plans: Sequence[Plan] = ()) -> int:
        """Extract that many windows of all backfills, without samples; how many there were."""
        done = 0
        for plan in plans or self.plans():
            for part in [one for one in self.backfills.parts() if one.feed == plan.feed.name]:
                feed = part.of(plan.feed)
                while done < most and (
                    window := self.windows.lease(feed, "catchup", 0, plan.catchup_ms)
                ):
                    assert self.windows.commit(feed, window, []) == "committed"
                    done += 1
        return done

    @contextmanager
    def meanwhile(self, work: Callable[[], object]) -> Iterator[None]:
        """Call ``work`` again and again."""
        stop = threading.Event()

        def go_on() -> None:
            while not stop.wait(0.02):
                work()

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    @contextmanager
    def working(self) -> Iterator[None]:
        """What runs is extracted meanwhile."""
        plans = self.plans()
        with self.meanwhile(lambda: self.extract(plans=plans)):
            yield

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("backfill", "list", "--json").out)[
            "backfills"
        ]
        return found
