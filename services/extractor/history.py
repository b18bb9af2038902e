"""How far back Prometheus still holds data, without fetching all of ``/metrics`` for each window.

Its lowest timestamp stands there and nowhere else. It is read in a planning turn and kept for some
of them. After a window was read it is read again only where the server may have deleted something
meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from common.config import Query
from common.durations import parse_duration_ms
from common.errors import SourceLacks, SourceUnavailable
from services.extractor.source.older_history import OlderHistory
from services.extractor.source.servers_seen import SAME_LIMIT_MS, ServersSeen

if TYPE_CHECKING:
    from services.extractor.prometheus import PrometheusClient
    from services.extractor.replicas import Replicas

LOWEST_TIMESTAMP_METRIC = "prometheus_tsdb_lowest_timestamp_seconds"
# The lowest timestamp of a server that holds nothing: later than any sample.
NO_SAMPLES_MS = 1 << 62
NOT_REPORTED = (
    "Prometheus' /metrics does not report its lowest timestamp: what it deletes before it was "
    "extracted cannot be declared as a gap"
)
# Prometheus checks every minute for blocks to delete: at most two such rounds pass before we check
# again.
KEPT_SECONDS = 60.0
# Planning reads it again before that: what was kept must hold for the windows of that turn, too.
READ_AGAIN_SECONDS = 2 / 3 * KEPT_SECONDS
# A server that reported its lowest timestamp is given so long to do so again.
REPORT_AGAIN_SECONDS = 60.0
# How often it must be reported again before anything is declared lost.
AGREEING_READINGS = 4
# So many times as long as it took, a failure to read it stands.
FAILURE_KEPT_TIMES = 4
# What is younger stands in no block yet, which could be deleted.
HEAD_MS = 3_600_000
# Blocks of the least and the greatest length that Prometheus makes (cmd/prometheus/main.go).
SHORTEST_BLOCK_MS = 2 * 3_600_000
LONGEST_BLOCK_MS = 31 * 86_400_000


@dataclass(frozen=True, slots=True)
class ServerRun:
    """One run of a server under one configuration; what it deletes depends on nothing else.

    ``retention`` is the server's own text, such as ``15d`` or ``15d or 5GiB``.
    """

    started: str
    configured: str
    retention: str


@dataclass(frozen=True, slots=True)
class SourceCheck:
    """What the server reported at one instant.

    ``deletable_until_ms``: nothing later is deleted within :data:`KEPT_SECONDS` by the same run.
    """

    now_ms: int
    run: ServerRun | None
    lowest_ms: int | None
    deletable_until_ms: int


@dataclass
class SourceHistory:
    """The server's clock and lowest timestamp, as they were checked last.

    ``on_silent`` is called once when the server does not report its lowest timestamp. ``now_ms``
    reads its clock as it is to be believed; without it the server is taken at its word.
    ``on_servers`` is called with how many servers answer at its address, whenever that changes.
    ``reconnect`` ends the connections, so that a balancer may choose another server. ``older``
    finds out whether samples before the lowest timestamp are served from elsewhere. ``cut_off``
    tells how far behind the server's clock the limit of a front lay, if what was read last as the
    lowest timestamp is one.
    """

    source: PrometheusClient | Replicas
    on_silent: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    now_ms: Callable[[], int] | None = None
    on_servers: Callable[[int], None] = lambda servers: None
    reconnect: Callable[[], None] = lambda: None
    older: OlderHistory = field(default_factory=OlderHistory)
    cut_off: Callable[[], int | None] = lambda: None
    _last: SourceCheck | None = field(default=None, init=False)
    _checked_at: float = field(default=float("-inf"), init=False)
    _reported_at: float = field(default=float("-inf"), init=False)
    _silent: bool = field(default=False, init=False)
    # Why it was not told when it was read last; empty where it was, or is refused.
    _failure: str = field(default="", init=False)
    _failing_since: float | None = field(default=None, init=False)
    _ask_again_at: float = field(default=float("-inf"), init=False)
    _servers: int = field(default=0, init=False)
    _agreed: int | None = field(default=None, init=False)
    _agreed_at: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._seen = ServersSeen(self.clock)

    def check(self) -> SourceCheck:
        """Request all of it anew.

        Raises :class:`common.errors.SourceError` when it does not respond.
        """
        checked_at = self.clock()
        now_ms = (self.now_ms or self.source.now_ms)()
        # Before /metrics, so that a restart between the two is noticed by the next comparison.
        run = self._run()
        lowest_ms = self._lowest_ms()
        until_ms = _deletable_until_ms(now_ms, lowest_ms or 0, run.retention if run else "")
        if lowest_ms is not None and self.is_cut_off():
            # It moves on with the clock.
            until_ms = max(until_ms, lowest_ms + round(2_000 * KEPT_SECONDS))
        self._last = SourceCheck(now_ms, run, lowest_ms, until_ms)
        self._checked_at = checked_at
        return self._last

    def check_run(self) -> SourceCheck:
        """The same for who needs no lowest timestamp of this moment: that of some moments ago will
        do, from the same run of the server.

        Raises :class:`common.errors.SourceError` when it does not respond.
        """
        last = self._last
        if (
            last is None
            or last.run is None
            or last.lowest_ms is None
            or self.is_cut_off()
            or self.clock() - self._checked_at > READ_AGAIN_SECONDS
        ):
            return self.check()
        now_ms = (self.now_ms or self.source.now_ms)()
        if self._run() != last.run:
            return self.check()
        self._last = replace(last, now_ms=now_ms)
        return self._last

    def lowest_ms(self, from_ms: int) -> int | None:
        """The lowest timestamp, as it matters to what was just read from ``from_ms`` on.

        ``None`` when the server does not report it.

        Raises :class:`SourceLacks` where its /metrics fail and it may have deleted some of that.
        """
        lowest_ms = self._lowest_ms_for(from_ms)
        if lowest_ms is None and self._failure and self._may_have_deleted(from_ms):
            # It says nothing of what was asked for.
            text = f"may have deleted some of it by now: {self._failure}"
            raise SourceLacks(text, away=True)
        return lowest_ms

    def _lowest_ms_for(self, from_ms: int) -> int | None:
        last = self._last
        if last is None or self.clock() - self._checked_at > KEPT_SECONDS:
            return self.check().lowest_ms
        if last.run is None:
            # A restart would go unnoticed. Without a lowest timestamp there is nothing to miss.
            return None if last.lowest_ms is None else self._lowest_ms()
        if last.lowest_ms is not None and from_ms < max(last.lowest_ms, last.deletable_until_ms):
            # An older value must never declare a gap: blocks may have been added since.
            return self._lowest_ms()
        return last.lowest_ms if self._run() == last.run else self.check().lowest_ms

    def agreed_lowest_ms(self, lowest_ms: int) -> int | None:
        """The least lowest timestamp of several readings, each over connections of its own.

        What is about to be declared lost by ``lowest_ms`` may be held by another server at the same
        address. What readings agreed on stands for a minute.
        """
        same_ms = SAME_LIMIT_MS if self.is_cut_off() else 0
        since_agreed = self.clock() - self._agreed_at
        if self._agreed is not None and since_agreed <= KEPT_SECONDS:
            # The limit of a front moves on with the clock.
            moved_ms = round(since_agreed * 1000) if same_ms else 0
            if abs(lowest_ms - moved_ms - self._agreed) <= same_ms:
                return lowest_ms
        readings = []
        for _ in range(AGREEING_READINGS):
            self.reconnect()
            readings.append(self._lowest_ms())
        known = [lowest_ms for lowest_ms in readings if lowest_ms is not None]
        if len(known) < len(readings):
            return None
        if max(*known, lowest_ms) - min(*known, lowest_ms) > same_ms:
            return min(known)
        self._agreed, self._agreed_at = lowest_ms, self.clock()
        return lowest_ms

    def reaches_back(self, query: Query, from_ms: int, lowest_ms: int) -> bool:
        """Whether samples of it from before the lowest timestamp are served from elsewhere.

        Before the limit of a front there are none; shortly before what it reports there are.
        """
        if self.is_cut_off():
            return False
        now_ms = self._last.now_ms if self._last is not None else self.check().now_ms
        return self.older.reaches_back(query, from_ms, lowest_ms, now_ms)

    def is_failing(self) -> bool:
        """Whether the lowest timestamp could not be read when it was asked for last."""
        return bool(self._failure)

    def is_cut_off(self) -> bool:
        """Whether the lowest timestamp that was read last is the limit of a front."""
        return self.cut_off() is not None

    def all_hold_from_ms(self) -> int | None:
        """Where the last of several servers begins to hold samples; None if there is one only."""
        return self._seen.all_hold_from_ms()

    def _may_have_deleted(self, from_ms: int) -> bool:
        """Whether anything from then on may be gone, for what the server says of its run.

        One that says nothing, and never reported its lowest timestamp, is not expected to.
        """
        run = self._run()
        if run is None:
            return self._reported_at > float("-inf")
        try:
            started = max(datetime.fromisoformat(one).timestamp() for one in run.started.split())
        except ValueError:
            return True
        try:
            kept_ms = max(HEAD_MS, parse_duration_ms(run.retention) - SHORTEST_BLOCK_MS)
        except ValueError:  # by size, too
            kept_ms = HEAD_MS
        now_ms = (self._last or self.check()).now_ms
        # It may have been started without its data.
        return from_ms < max(round(1000 * started), now_ms - kept_ms)

    def _run(self) -> ServerRun | None:
        run = self.source.run()
        self._saw(run.started if run else None, None)
        return run

    def _saw(self, started: str | None, lowest_ms: int | None) -> None:
        self._seen.see(started, lowest_ms)
        if self._seen.count != self._servers:
            self._servers = self._seen.count
            self.on_servers(self._servers)

    def _lowest_ms(self) -> int | None:
        asked_at = self.clock()
        try:
            if asked_at < self._ask_again_at:  # one that hangs took its whole time-out
                raise SourceUnavailable(self._failure)
            lowest_ms, self._failure = self.source.lowest_timestamp_ms(), ""
            self._failing_since = None
        except SourceUnavailable as error:
            if self._failing_since is None:
                self._failing_since = asked_at
            since = max(self._failing_since, self._reported_at)
            if self.clock() - since < REPORT_AGAIN_SECONDS:
                raise
            # All else may answer: what cannot have been deleted needs no lowest timestamp.
            lowest_ms, self._failure = None, str(error)
            if asked_at >= self._ask_again_at:
                took_seconds = self.clock() - asked_at
                self._ask_again_at = self.clock() + FAILURE_KEPT_TIMES * took_seconds
        # One that was started a moment ago holds nothing until it has read its own log.
        behind_ms = self.cut_off()
        if lowest_ms is not None and behind_ms is not None:
            self._seen.see_limit(lowest_ms, behind_ms)
            self._saw(None, None)
        else:
            self._saw(None, None if lowest_ms == NO_SAMPLES_MS else lowest_ms)
        if lowest_ms is not None:
            self._reported_at, self._silent = self.clock(), False
            return lowest_ms
        if self.clock() - self._reported_at < REPORT_AGAIN_SECONDS:
            raise SourceUnavailable("reported its lowest timestamp a moment ago, but not now")
        if not self._silent:
            self._silent = True
            self.on_silent()
        return None


def _deletable_until_ms(now_ms: int, lowest_ms: int, retention: str) -> int:
    """Up to where a server of this retention may delete until it is checked again.

    By time alone it deletes what is older than its retention, wherever its data begins. By size it
    deletes whole blocks, the oldest first: in each of two rounds one, as it makes at most one new
    one meanwhile. Its blocks are no longer than a tenth of its retention time.
    """
    time_kept, *size_kept = retention.split(" or ")
    try:
        kept_ms = parse_duration_ms(time_kept)
    except ValueError:
        return lowest_ms + 2 * LONGEST_BLOCK_MS
    if not size_kept:
        return now_ms - kept_ms + SHORTEST_BLOCK_MS
    block_ms = min(LONGEST_BLOCK_MS, max(SHORTEST_BLOCK_MS, kept_ms // 10))
    return lowest_ms + 2 * block_ms
