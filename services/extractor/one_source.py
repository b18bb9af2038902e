"""One source, extracted by itself: its clock, limits, queues, readiness, and jobs.

A pipeline of several sources has as many of these, each with a worker and threads of its own: what
one of them does not answer is waited for by nobody else.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from redis import Redis

from common.config import ExtractSettings, Settings
from common.promql.selector import CLASSIC_SUFFIXES
from common.runtime.readiness.dependency_watch import Dependency, probe_every_seconds, watch
from common.runtime.service import Service
from common.samples.columns import Samples
from common.samples.series import SeriesEncoder
from common.source.remote_read.fallbacks import counted
from common.state.connection.redis_client import SOCKET_TIMEOUT_SECONDS
from common.state.history import ReplicasRead, Stretch
from common.state.keys import Keys, feed_of
from common.state.ranges import overlaps
from common.state.scripts import Scripts
from common.state.windows import Feed, Window, WindowSet
from services.extractor.extract import Extractor, SourceState
from services.extractor.history import LOWEST_TIMESTAMP_METRIC, NOT_REPORTED, SourceHistory
from services.extractor.jobs import Jobs
from services.extractor.planner import Planner
from services.extractor.planning_pace import PlanningPace
from services.extractor.pressure import BackPressure
from services.extractor.prometheus import PrometheusClient
from services.extractor.recheck import Rechecker
from services.extractor.replicas import Replicas, client_of
from services.extractor.scheduler import Scheduler
from services.extractor.server_watch import ServerWatch
from services.extractor.source.clock import SourceClock
from services.extractor.source.older_history import OlderHistory
from services.extractor.source.settling import SettleCheck
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan, plans_of

# A feed that nobody planned for so long belongs to no configuration that still runs.
CLOSE_AFTER_INTERVALS = 10
CLOSE_AFTER_AT_LEAST_SECONDS = 120.0
PLAN_AT_MOST_EVERY_SECONDS = 5.0
PLAN_AT_LEAST_EVERY_SECONDS = 0.25
# How long Prometheus may take to tell its clock until it counts as away.
WATCH_TIMEOUT_SECONDS = 5.0
# In the label set of every series with the name of a classic one; an escape may stand for anything.
_CLASSIC = re.compile(rf'(?:{"|".join(CLASSIC_SUFFIXES)})"|\\u'.encode())


class OneSource:
    """What extracts one source; ``settings`` are those of it alone.

    ``feeds``: those of all sources. ``tick``: to be called whenever its worker's loop goes round.
    """

    def __init__(
        self,
        service: Service,
        settings: Settings,
        redis: Redis,
        pressure: BackPressure,
        feeds: Collection[str],
        tick: Callable[[], None],
    ) -> None:
        pipeline, extract = settings.pipeline, settings.extract
        self.name, self._tick = extract.source, tick
        # Of its events, where there are several.
        self._named: dict[str, Any] = {"source": self.name} if self.name else {}
        self._service, self._settings, self._telemetry = service, settings, service.telemetry
        self._every_seconds = min(
            PLAN_AT_MOST_EVERY_SECONDS,
            max(PLAN_AT_LEAST_EVERY_SECONDS, pipeline.interval_seconds / 4),
        )
        self._record = record = ReplicasRead(redis, Keys(pipeline.redis_namespace))
        self._client = self._connected(extract, record)
        self._source_clock = clock = self._clock(redis)
        history = SourceHistory(
            self._client,
            lambda: self._on_remark(LOWEST_TIMESTAMP_METRIC, NOT_REPORTED),
            now_ms=clock.check,
            on_servers=self._on_servers,
            reconnect=self._client.close,
            older=OlderHistory(self._client.answers_at),
            cut_off=self._client.cut_off_behind_ms,
        )
        self.scheduler = Scheduler(redis, Keys(pipeline.redis_namespace), self.name)
        self.jobs = self._jobs(redis, history, clock, pressure, feeds)
        self._planning = threading.Thread(
            target=self.scheduler.plan_at_each_tick,
            args=(self._every_seconds, service.stop, self._telemetry, self._on_scheduled),
            kwargs={
                "wanted": self.jobs.pace.wanted,
                "sooner_seconds": self.jobs.pace.next_seconds,
            },
            name=self._of_source("planning-tick"),
            daemon=True,
        )

    def tick(self) -> None:
        """Its worker's loop goes round."""
        if isinstance(self._client, Replicas):
            self._client.tick()
        self._tick()

    def start(self) -> None:
        """Probe the source, and queue jobs that plan."""
        # Over a connection that no query keeps busy.
        extract = self._settings.extract
        timeout_seconds = min(extract.timeout_seconds, WATCH_TIMEOUT_SECONDS)
        client = client_of(extract.model_copy(update={"timeout": timeout_seconds}))
        watched = Dependency(
            self._of_source("prometheus"),
            client.clock_reading,
            2 * timeout_seconds,
            lambda: self._source_clock.read_at,
        )
        every_seconds = probe_every_seconds(self._settings.pipeline)
        watch(watched, every_seconds, self._service.stop, self._service.set_ready)
        self._set_ready("scheduler", False, "nothing was queued yet")
        self._planning.start()

    def _connected(
        self, extract: ExtractSettings, record: ReplicasRead
    ) -> PrometheusClient | Replicas:
        doubted = counted(self._telemetry)

        def read_before(query: str, tier: str) -> list[Stretch]:
            return record.of(feed_of(query, tier))

        def client_of_one(extract: ExtractSettings) -> PrometheusClient:
            return PrometheusClient(extract, on_remark=self._on_remark, on_doubt=doubted)

        return client_of(extract, client_of_one, self._on_replica, read_before, self._on_lack)

    def stop_reading(self) -> None:
        """End the request in hand, and every later one."""
        self._client.stop()

    def close(self, timeout_seconds: float) -> None:
        """Wait for its thread, and close its connections; the service stops."""
        self._planning.join(timeout=timeout_seconds)
        self._client.close()

    def _of_source(self, text: str) -> str:
        """The name of something that each source has."""
        return f"{text}@{self.name}" if self.name else text

    def _set_ready(self, check: str, ok: bool, detail: str, *valid_seconds: float) -> None:
        self._service.set_ready(self._of_source(check), ok, detail, *valid_seconds)

    def _on_scheduled(self, name: str, ok: bool, detail: str) -> None:
        self._set_ready(name, ok, detail, 3 * (self._every_seconds + SOCKET_TIMEOUT_SECONDS))

    def _on_source(self, state: SourceState) -> None:
        self._set_ready("extraction", state.ok, state.reason)

    def _on_replica(self, url: str, error: str) -> None:
        if error:
            self._telemetry.emit("replica_away", url=url, error=error, **self._named)
        else:
            self._telemetry.emit("replica_back", url=url, **self._named)

    def _on_lack(self, url: str, share: float) -> None:
        self._telemetry.set("etl_replica_lacks_ratio", share, source=self.name, replica=shown(url))

    def _on_remark(self, query: str, remark: str) -> None:
        self._telemetry.emit("query_remark", promql=query, remark=remark, **self._named)

    def _on_servers(self, servers: int) -> None:
        self._telemetry.set("etl_source_servers", servers, source=self.name)
        if servers > 1:
            self._telemetry.emit("source_alternates", servers=servers, **self._named)

    def _clock(self, redis: Redis) -> SourceClock:
        telemetry, name = self._telemetry, self.name
        named = self._named
        telemetry.set("etl_planning_held_back_seconds", 0, source=name)
        return SourceClock(
            self._client.clock_reading,
            others={"redis": Scripts(redis).now_ms},
            show=lambda clock, ahead_seconds: telemetry.set(
                "etl_source_clock_difference_seconds", ahead_seconds, clock=clock, source=name
            ),
            on_jump=lambda seconds: telemetry.emit(
                "source_clock_jumped", seconds=round(seconds, 3), **named
            ),
            tolerance_seconds=self._settings.extract.clock_tolerance_seconds,
            show_held_back=lambda seconds: telemetry.set(
                "etl_planning_held_back_seconds", seconds, source=name
            ),
            on_ahead=lambda source_ms, ahead_seconds: telemetry.emit(
                "source_clock_ahead",
                source_ms=source_ms,
                ahead_seconds=round(ahead_seconds, 3),
                **named,
            ),
        )

    def _jobs(
        self,
        redis: Redis,
        history: SourceHistory,
        clock: SourceClock,
        pressure: BackPressure,
        feeds: Collection[str],
    ) -> Jobs:
        settings, telemetry, client = self._settings, self._telemetry, self._client
        pipeline, extract = settings.pipeline, settings.extract
        windows, plans = windows_of(settings, redis), plans_of(settings)
        close_after_seconds = max(
            CLOSE_AFTER_AT_LEAST_SECONDS, CLOSE_AFTER_INTERVALS * pipeline.interval_seconds
        )
        planner = Planner(
            plans,
            windows,
            history,
            telemetry,
            close_after_seconds=close_after_seconds,
            on_check=SettleCheck(plans, client.scrape_settings, telemetry),
            configured=frozenset(feeds),
        )
        return Jobs(
            plans=plans,
            planner=planner,
            extractor=Extractor(
                windows,
                client.read,
                history,
                packer(settings),
                extract,
                telemetry,
                on_source=self._on_source,
                tick=self.tick,
                believed_ms=clock.believed_ms,
                **self._of_replicas(windows),
            ),
            rechecker=Rechecker(
                windows,
                self._count_again,
                self._read_again,
                history,
                telemetry,
                extract.recheck_after_seconds,
                planner.origin_ms,
                self._is_gone,
            ),
            server=ServerWatch(redis, telemetry, self._service.set_ready),
            windows=windows,
            scheduler=self.scheduler,
            pace=PlanningPace(plans, pipeline.interval_seconds, extract.recheck_after_seconds),
            pressure=pressure,
            telemetry=telemetry,
            stop=self._service.stop,
            tick=self.tick,
            on_source=self._on_source,
        )

    def _count_again(self, plan: Plan, start_ms: int, end_ms: int) -> int:
        """How many samples there are of what is loaded of a feed."""
        if isinstance(self._client, Replicas):
            return self._client.count_in(plan.query, start_ms, end_ms, plan.feed.tier)
        return self._client.count_in(plan.query, start_ms, end_ms)

    def _read_again(self, plan: Plan, start_ms: int, end_ms: int) -> Iterable[Samples]:
        """What is loaded of a feed, as it was read."""
        if isinstance(self._client, Replicas):
            return self._client.read_again(plan.query, start_ms, end_ms, plan.feed.tier)
        return self._client.read(plan.query, start_ms, end_ms)

    def _is_gone(self, plan: Plan, start_ms: int, end_ms: int) -> bool:
        """Whether what is loaded of a feed was read from a replica that lacks it by now, or that is
        not read any more, as where only one of them is left.
        """
        client = self._client
        if isinstance(client, Replicas):
            return client.is_gone(plan.query, start_ms, end_ms, plan.feed.tier)
        url = self._settings.extract.prometheus_url
        read = [one for one in self._record.of(plan.feed.name) if one[2] != url]
        return overlaps([one[:2] for one in read], start_ms, end_ms)

    def _of_replicas(self, windows: WindowSet) -> dict[str, Any]:
        """What the extractor has to tell of replicas, where there are any."""
        if not isinstance(self._client, Replicas):
            return {}
        record = ReplicasRead(windows.redis, windows.keys)

        def note(feed: Feed, window: Window, url: str) -> None:
            record.note(feed, window, url)
            self._telemetry.inc("etl_replica_windows_total", source=self.name, replica=shown(url))

        return {
            "replica": self._client.last_read,
            "note_replica": note,
            "read_whole": self._client.read_whole,
        }


class JointTick:
    """The service's loop goes round when that of each of its sources has."""

    def __init__(self, sources: Iterable[str], tick: Callable[[], None]) -> None:
        self._sources = frozenset(sources)
        self._tick = tick
        self._ticked = set[str]()
        self._lock = threading.Lock()

    def of(self, source: str) -> Callable[[], None]:
        """What a source calls."""

        def tick() -> None:
            with self._lock:
                self._ticked.add(source)
                if self._ticked >= self._sources:
                    self._ticked.clear()
                    self._tick()

        return tick


def windows_of(settings: Settings, redis: Redis) -> WindowSet:
    """The windows of the pipeline, as the extractor leases them."""
    return WindowSet(
        redis,
        Keys(settings.pipeline.redis_namespace),
        lease_seconds=settings.extract.window_lease_seconds,
        max_open=settings.extract.max_open_windows,
    )


def packer(settings: Settings) -> EntryBuilder:
    """How blocks become entries: colliding series meet, where labels can make any collide."""
    extract = settings.extract
    may_collide = bool(settings.transform.relabel or extract.labels)
    carrying = frozenset(query.name for query in extract.queries if query.carries_histograms)
    if not may_collide and not carrying:
        return EntryBuilder(extract.entry_samples)
    encoder = SeriesEncoder.from_settings(settings)
    if may_collide:
        return EntryBuilder(extract.entry_samples, encoder.keys)

    def of_classic(kind: str, query: str, series: Sequence[bytes]) -> list[object]:
        # Classic series of a native histogram may be scraped as such, too; others cannot collide.
        return [encoder.key(kind, query, one) if _CLASSIC.search(one) else None for one in series]

    return EntryBuilder(extract.entry_samples, of_classic, joined=carrying)


def shown(url: str) -> str:
    """How metrics name a replica: by what of its URL is not the same for all."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path.rstrip("/")
