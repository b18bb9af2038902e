"""Asking Prometheus: one query over one window, its clock, and what it knows about itself.

The HTTP API is described at https://prometheus.io/docs/prometheus/latest/querying/api/.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container, Iterator, Mapping

import requests

from common.config import ExtractSettings, Query
from common.errors import QueryRejected, QueryTooLarge, SourceError, SourceUnavailable
from common.promql.selector import NAME_LABEL, parse_selector
from common.samples.columns import Samples
from common.source.cut_off import CutOff
from common.source.errors import snippet
from common.source.http_session import source_session
from common.source.query_api import QueryApi
from common.source.remote_read.choice import Choice
from common.source.remote_read.doubt import Doubt
from common.source.transport import BUSY_STATUSES, BodyBounds, Transport
from services.extractor.history import ServerRun
from services.extractor.remote_read.read import RemoteReader
from services.extractor.remote_read.two_ways import TwoWays
from services.extractor.source.clock import ClockReading
from services.extractor.source.decode import decode, decode_value
from services.extractor.source.fixed_labels import labelled
from services.extractor.source.lowest_timestamp import LATEST_SECONDS, LowestTimestamp
from services.extractor.source.metric_types import MetricTypes
from services.extractor.source.scrape_settings import ScrapeSettings

INFO_BYTES = 64 << 10
METRICS_BYTES = 16 << 20
# What says that /metrics fail, and not that they are refused: 501 has them not implemented.
METRICS_FAIL_STATUSES = {429, *range(500, 600)} - {501}
# Of a window, whatever is in it: some 60 million samples of long series.
WINDOW_BYTES = 2 << 30
# How long a window may be read for, in time-outs: decoding and staging it is not its server's time.
WINDOW_TIMEOUTS = 3
# Metrics that are counted by one query: together they stay well below what a URL may have.
NAMES_A_QUERY = 10
# How often in a time it is looked at whether that passed without a sample.
LOOKS = 5

# Far above what any database holds, far below where floats lose whole numbers.
MOST_SAMPLES = 1e15


class PrometheusClient:
    """One Prometheus server, or whatever speaks its query API. Not safe for several threads.

    Every method raises a :class:`~common.errors.SourceError` whose message names the URL, the query
    and the response. ``on_remark`` is called with the query and what the query engine remarks about
    it (annotations such as "PromQL warning: …", which do not mean that a response is incomplete).

    Only with ``on_doubt`` are raw samples read by remote read, too: it is called with the query's
    name and why one of its windows is read by JSON instead.
    """

    def __init__(
        self,
        settings: ExtractSettings,
        session_factory: Callable[[ExtractSettings], requests.Session] = source_session,
        on_remark: Callable[[str, str], None] = lambda query, remark: None,
        monotonic: Callable[[], float] = time.monotonic,
        on_doubt: Callable[[str, Doubt], None] | None = None,
    ) -> None:
        self._timeout_seconds = settings.timeout_seconds
        self._max_points = settings.max_points_per_series
        self._on_remark = on_remark
        self._max_samples = settings.max_window_samples
        self._bounds = BodyBounds(
            self._timeout_seconds, WINDOW_TIMEOUTS * self._timeout_seconds, WINDOW_BYTES
        )
        self._transport = Transport(settings.prometheus_url, session_factory(settings), monotonic)
        self._api = QueryApi(self._transport, self._timeout_seconds)
        self._reader = RemoteReader(self._transport, self._timeout_seconds, self._bounds)
        self._lowest = LowestTimestamp(
            lambda: self._document("metrics", METRICS_BYTES, METRICS_FAIL_STATUSES),
            CutOff(self._api, self.now_ms, monotonic),
            monotonic,
        )
        self._two_ways = None
        # Remote read knows no parameters: it would answer as if there were none.
        if on_doubt is not None and settings.remote_read == "auto" and not settings.params:
            choice = Choice(self.run, self.config)
            self._two_ways = TwoWays(self._chunks, choice, on_doubt)

    def read(self, query: Query, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """The samples of ``query`` with ``start_ms < t <= end_ms``, in blocks as they arrive.

        Its series have the labels that the settings add to them.

        An ``expr`` is evaluated at every multiple of its step in that range. The blocks count
        only once the iterator has ended normally: it raises when the response turns out to be
        broken or incomplete.

        Raises :class:`QueryTooLarge` when the window must be split: before anything is requested
        when it holds more than ``max_points_per_series`` points, and once the response holds more
        than ``max_window_samples`` samples, or has no end in time.

        Raises :class:`Doubt` where blocks that were handed out must be discarded, and the window
        read again.
        """
        if not 0 <= start_ms < end_ms:
            raise ValueError(f"({start_ms}, {end_ms}] is no range of time")
        if query.kind == "select":
            ranged = _ranged(query.text, end_ms - start_ms)
            params = {"query": ranged, "time": _seconds(end_ms)}

            def by_json() -> Iterator[Samples]:
                return self._blocks("query", params, start_ms, end_ms, query.carried_kind)

            blocks = by_json()
            # Histograms are carried from JSON alone.
            if self._two_ways is not None and not query.carries_histograms:
                blocks = self._two_ways.read(query, start_ms, end_ms, by_json)
            return labelled(blocks, query.labels)
        step_ms = query.step_ms
        first_ms = start_ms // step_ms * step_ms + step_ms
        last_ms = end_ms // step_ms * step_ms
        points = (last_ms - first_ms) // step_ms + 1
        if points > self._max_points:
            raise QueryTooLarge(
                f"{points} points a series are more than {self._max_points} "
                f"(extract.max_points_per_series), query {snippet(query.text)}"
            )
        if points < 1:
            return iter(())
        grid = {"start": _seconds(first_ms), "end": _seconds(last_ms), "step": f"{step_ms}ms"}
        params = {"query": query.text, **grid}
        blocks = self._blocks("query_range", params, start_ms, end_ms, query.carried_kind)
        return labelled(blocks, query.labels)

    def now_ms(self) -> int:
        """Prometheus' own time, milliseconds since the epoch."""
        return self.clock_reading().now_ms

    def clock_reading(self) -> ClockReading:
        """Prometheus' own time, with the ``Date`` of the response."""
        params, seconds = {"query": "time()"}, self._timeout_seconds
        with self._api.stream("query", params, timeout_seconds=seconds) as chunks:
            now_seconds = decode_value(chunks)
            if now_seconds is None or not 0 < now_seconds < LATEST_SECONDS:
                raise SourceUnavailable(f"answered {now_seconds} where its own time belongs")
            dated = self._transport.last_date_seconds
            return ClockReading(
                round(now_seconds * 1000), None if dated is None else round(dated * 1000)
            )

    def run(self) -> ServerRun | None:
        """Since when the server runs, and under which configuration; None if it does not report it.

        Others that speak the query API, and Prometheus before 2.14, do not.
        """
        body = self._document("api/v1/status/runtimeinfo", INFO_BYTES)
        try:
            data = json.loads(body)["data"]
            return ServerRun(
                str(data["startTime"]), str(data["lastConfigTime"]), str(data["storageRetention"])
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def config(self) -> bytes:
        """The body of ``/api/v1/status/config``; empty if the server refuses that."""
        return self._document("api/v1/status/config", METRICS_BYTES)

    def scrape_settings(self) -> ScrapeSettings:
        """How the server scrapes and evaluates, as far as it reports it."""
        return ScrapeSettings.parse(
            self._document("api/v1/targets?state=active", METRICS_BYTES),
            self.config(),
            self._document("api/v1/rules", METRICS_BYTES),
            self._document("api/v1/status/flags", METRICS_BYTES),
        )

    def metric_types(self) -> MetricTypes:
        """The types of metrics, as far as the server knows them."""
        return MetricTypes.parse(self._document("api/v1/metadata", METRICS_BYTES))

    def lowest_timestamp_ms(self) -> int | None:
        """The oldest time that the server has data of, in whole seconds.

        From the server's own ``/metrics``; where they do not report it, as those of a front, since
        when that answers. None if neither is known. ``NO_SAMPLES_MS`` for a server that holds
        nothing at all.

        Raises :class:`SourceUnavailable` where /metrics alone fail, too.
        """
        return self._lowest.read_ms()

    def cut_off_behind_ms(self) -> int | None:
        """How far behind its clock a front begins to answer, if that is what was given last.

        By :meth:`lowest_timestamp_ms`; None where the server itself reported it, or nobody did.
        """
        return self._lowest.cut_off_behind_ms

    def count_in(self, query: Query, start_ms: int, end_ms: int) -> int:
        """How many raw samples a ``select`` has now with ``start_ms < t <= end_ms``.

        Native histogram samples are counted too. The range must be longer than a millisecond.
        Counting drops the name, so a selector of several metrics may be refused ("vector cannot
        contain metrics with the same labelset"); each of them is counted by itself then.
        """
        if query.kind != "select":
            raise ValueError(f"no raw samples to count: {query.name} is no select")
        return self.count_samples(query.text, start_ms, end_ms)

    def count_samples(self, selector: str, start_ms: int, end_ms: int) -> int:
        """The same for any selector."""
        range_ms = end_ms - start_ms
        if start_ms < 0 or range_ms < 2:
            raise ValueError(f"no raw samples to count in ({start_ms}, {end_ms}]")
        if not self.ranges_are_left_open(end_ms):
            range_ms -= 1
        try:
            return self._count(f"sum(count_over_time({_ranged(selector, range_ms)}))", end_ms)
        except QueryRejected:
            parsed = parse_selector(selector)
            if any(matcher.operator == "=" for matcher in parsed.on(NAME_LABEL)):
                raise
        names = self._values(NAME_LABEL, _ranged(selector, range_ms), end_ms)
        of_each = [
            f"(sum(count_over_time({parsed.named(name)}[{range_ms}ms])) or vector(0))"
            for name in names
        ]
        return sum(
            self._count(" + ".join(of_each[first : first + NAMES_A_QUERY]), end_ms)
            for first in range(0, len(of_each), NAMES_A_QUERY)
        )

    def has_throughout(self, selector: str, start_ms: int, end_ms: int, every_ms: int) -> bool:
        """Whether there was a sample every so often in ``(start_ms, end_ms]``, of any series.

        It is looked back so far at times that are :data:`LOOKS` to that, the multiples of a step.
        """
        if not self.count_samples(selector, max(0, start_ms - every_ms), end_ms):
            return False
        # A subquery is evaluated there.
        step_ms = max(1, every_ms // LOOKS)
        times = end_ms // step_ms - start_ms // step_ms
        range_ms = end_ms - start_ms - 1
        present = f"count(present_over_time({_ranged(selector, every_ms)}))"
        found = self._count(f"count_over_time(({present})[{range_ms}ms:{step_ms}ms])", end_ms)
        return found >= times

    def series_at(self, query: Query, time_ms: int) -> int:
        """How many series it has at that time."""
        return self._count(f"count({query.text}\n)", time_ms)

    def answers_at(self, query: Query, time_ms: int) -> bool:
        """Whether it has any samples at that time: of a ``select``, or ``up`` in an expr's place.

        A rule may give a value where there is no sample at all.
        """
        probed = query.text if query.kind == "select" else "up"
        try:
            return self._count(f"count({probed}\n)", time_ms) > 0
        except QueryTooLarge:
            return True
        except QueryRejected:
            return False

    def values_of(self, label: str, query: Query, start_ms: int, end_ms: int) -> list[str]:
        """What values a label has in the series of a ``select`` in ``(start_ms, end_ms]``."""
        return self._values(label, _ranged(query.text, end_ms - start_ms), end_ms)

    def _values(self, label: str, ranged: str, end_ms: int) -> list[str]:
        """The values of a label in all series that a range selector finds and that have it.

        By a query, because the list of a label's values is not served by POST, and a long selector
        does not fit into a URL.
        """
        query = f"group by ({label}) (last_over_time({ranged}))"
        at = _seconds(end_ms)
        # Evaluated once, as a range of one point: that is what the decoder reads.
        params = {"query": query, "start": at, "end": at, "step": "1"}
        found = (
            json.loads(series).get(label)
            for block in self._blocks("query_range", params, end_ms - 1, end_ms, "")
            for series in block.series
        )
        return [value for value in found if value is not None]

    def ranges_are_left_open(self, near_ms: int) -> bool:
        """Whether a range leaves out a sample exactly at its beginning, as from Prometheus 3 on.

        The server evaluates it itself, because others that speak its API report versions of their
        own: points every five seconds are counted over ten. At a time ``near_ms``, because a front
        may not answer for others.
        """
        return self._count("count_over_time(vector(0)[10s:5s])", near_ms // 5_000 * 5_000) == 2

    @property
    def received_bytes(self) -> int:
        """How much of the last response has arrived."""
        return self._transport.received_bytes

    def close(self) -> None:
        """Close all connections; the next request opens one anew, perhaps to another server."""
        self._transport.close()
        self._lowest.expire()

    def stop(self) -> None:
        """End the request that is under way, and every later one; from any thread."""
        self._transport.stop()

    def _blocks(
        self, endpoint: str, params: Mapping[str, str], start_ms: int, end_ms: int, classic: str
    ) -> Iterator[Samples]:
        try:
            with self._api.stream(endpoint, params, self._bounds) as chunks:
                decoded = decode(chunks, self._remarks(params), classic=classic)
                for block in self._bounded(decoded):
                    # A range that is closed on the left holds what the window before already had.
                    wanted = block.after(start_ms)
                    if wanted.series or len(wanted.histograms_ms):
                        yield wanted
        except SourceError as error:
            error.args = (f"{error}, window ({start_ms}, {end_ms}] ms",)
            raise

    def _chunks(self, selector: str, start_ms: int, end_ms: int) -> Iterator[Samples]:
        try:
            yield from self._bounded(self._reader.read(selector, start_ms, end_ms))
        except QueryTooLarge as error:
            error.args = (
                f"Prometheus at {self._transport.base_url} {error}, query {snippet(selector, 400)}"
                f", window ({start_ms}, {end_ms}] ms",
            )
            raise

    def _bounded(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        """``blocks``, as long as they do not hold too many samples."""
        samples = 0
        for block in blocks:
            samples += len(block) + len(block.histograms_ms)
            if samples > self._max_samples:
                raise QueryTooLarge(
                    f"sent {self._transport.received_bytes} bytes with more than "
                    f"{self._max_samples} samples (extract.max_window_samples)"
                )
            yield block

    def _count(self, query: str, time_ms: int) -> int:
        """What a query counts; 0 where it finds nothing to count."""
        params = {"query": query, "time": _seconds(time_ms)}
        with self._api.stream("query", params) as chunks:
            count = decode_value(chunks, self._remarks(params)) or 0.0
            if not 0 <= count < MOST_SAMPLES:
                raise SourceUnavailable(f"answered {count} where a number of samples belongs")
            return round(count)

    def _document(self, path: str, limit_bytes: int, busy: Container[int] = BUSY_STATUSES) -> bytes:
        """What the server reports of itself at ``path``; empty if it refuses that."""
        return self._transport.document(path, self._timeout_seconds, limit_bytes, busy) or b""

    def _remarks(self, params: Mapping[str, str]) -> Callable[[str], None]:
        return lambda remark: self._on_remark(params["query"], remark)


def _ranged(selector: str, range_ms: int) -> str:
    # A comment would swallow the range.
    gap = "\n" if "#" in selector else ""
    return f"{selector}{gap}[{range_ms}ms]"


def _seconds(time_ms: int) -> str:
    """Seconds with all their milliseconds: Prometheus reads three decimals exactly."""
    return f"{time_ms // 1000}.{time_ms % 1000:03d}"
