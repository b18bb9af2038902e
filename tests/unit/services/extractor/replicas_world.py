"""Two replicas in memory, and what reads them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from common.config import ExtractSettings, Query
from common.errors import SourceError
from common.samples.columns import Samples
from services.extractor.history import ServerRun
from services.extractor.prometheus import LOOKS
from services.extractor.replicas import Replicas
from services.extractor.source.one_replica import SCRAPES
from services.extractor.source.scrape_settings import LATE_SHARE, ScrapeSettings, Target

RAW = Query(name="raw", select="load")
RATE = Query(name="rate", expr="rate(up[5m])", step=15)
URLS = ("http://a:1", "http://b:2")


def scraped_throughout(up_ms: Sequence[int], start_ms: int, end_ms: int, every_ms: int) -> bool:
    """As a server finds it that scraped at these times: at the multiples of a step."""

    def has(from_ms: int, to_ms: int) -> bool:
        return bisect_right(up_ms, from_ms) < bisect_right(up_ms, to_ms)

    step_ms = every_ms // LOOKS
    times_ms = range(start_ms // step_ms * step_ms + step_ms, end_ms + 1, step_ms)
    return has(start_ms - every_ms, end_ms) and all(has(one - every_ms, one) for one in times_ms)


class Server:
    """A replica that has ``samples`` of every window, from ``lowest_ms`` on."""

    def __init__(self, samples: int, lowest_ms: int | None = 0) -> None:
        self.samples, self.lowest_ms = samples, lowest_ms
        self.behind_ms: int | None = None
        self.error: SourceError | None = None
        # Of its /metrics alone.
        self.metrics_error: SourceError | None = None
        self.scrapes, self.interval_seconds = 1, 15.0
        # Jobs that are configured beside that.
        self.more: tuple[Target, ...] = ()
        # When a job was scraped; others are "job", with all scrapes.
        self.scraped_ms: dict[str, range] = {}
        self.was_down = False
        # When it scraped, where that is not told by these.
        self.up_ms: list[int] = []
        self.evaluation_seconds: float | None = None
        self.now = 1_700_000_000_000
        self.asked: list[tuple[Any, ...]] = []

    def _answer(self, found: Any) -> Any:
        if self.error is not None:
            raise self.error
        return found

    def count_samples(self, selector: str, start_ms: int, end_ms: int) -> int:
        self.asked.append((selector, start_ms, end_ms))
        for job, scraped_ms in self.scraped_ms.items():
            if selector == f'up{{job="{job}"}}':
                return sum(start_ms < one <= end_ms for one in scraped_ms)
        found: int = self._answer(self.scrapes if selector == SCRAPES else self.samples)
        return found

    def series_at(self, query: Query, time_ms: int) -> int:
        found: int = self._answer(self.samples)
        return found

    def has_throughout(self, selector: str, start_ms: int, end_ms: int, every_ms: int) -> bool:
        self.asked.append((selector, start_ms, end_ms, every_ms))
        if self.up_ms:
            seen = [one for one in self.up_ms if one <= self.now]
            return scraped_throughout(seen, start_ms, end_ms, every_ms)
        often = every_ms >= LATE_SHARE * self.interval_seconds * 1000
        return self.scrapes > 0 and often and not self.was_down

    def scrape_settings(self) -> ScrapeSettings:
        targets = (Target("job", self.interval_seconds, 10.0),) if self.interval_seconds else ()
        known = ScrapeSettings((*targets, *self.more), self.evaluation_seconds)
        found: ScrapeSettings = self._answer(known)
        return found

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterator[Samples]:
        self.asked.append(("read", start_ms, end_ms))
        self._answer(None)
        yield from ()

    def run(self) -> Any:
        return self._answer(ServerRun(f"started {self.samples}", "c", "15d"))

    def lowest_timestamp_ms(self) -> Any:
        if self.metrics_error is not None:
            raise self.metrics_error
        return self._answer(self.lowest_ms)

    def now_ms(self) -> Any:
        return self._answer(self.now)

    def cut_off_behind_ms(self) -> int | None:
        return self.behind_ms


class World:
    def __init__(self, *servers: Server) -> None:
        self.servers, self.now_seconds = servers, 0.0
        self.told: list[tuple[str, str]] = []
        self.loaded: list[tuple[int, int, str]] = []
        self.tier = "hot"
        self.lack: dict[str, float] = {}
        settings = ExtractSettings.model_validate({"replicas": URLS})
        found: Any = dict(zip(URLS, servers, strict=True))
        self.replicas = Replicas(
            settings.each_replica,
            lambda one: found[one.prometheus_url],
            lambda url, error: self.told.append((url, error)),
            lambda query, tier: self.loaded if tier == self.tier else (),
            monotonic=lambda: self.now_seconds,
            on_lack=self.lack.__setitem__,
        )

    def read(self, query: Query = RAW, start_ms: int = 60_000, end_ms: int = 120_000) -> int:
        """The number of the replica that a window is read from."""
        return self._read(self.replicas.read, query, start_ms, end_ms)

    def read_whole(self, query: Query = RAW, start_ms: int = 60_000, end_ms: int = 120_000) -> int:
        """The same of a window that can be split."""
        return self._read(self.replicas.read_whole, query, start_ms, end_ms)

    def _read(self, read: Callable[..., Iterator[Samples]], *asked: Any) -> int:
        for _ in read(*asked):
            pass
        return URLS.index(self.replicas.last_read())
