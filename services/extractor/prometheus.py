"""Asking Prometheus: one query over one window, its clock, and what it knows about itself.

The HTTP API is described at https://prometheus.io/docs/prometheus/latest/querying/api/.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol
from urllib.parse import urlsplit, urlunsplit

import requests

from common.errors import (
    QueryRejected,
    QueryTooLarge,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from common.promql.selector import NAME_LABEL, parse_selector
from common.samples.columns import Samples
from services.extractor.decode import decode, decode_value
from services.extractor.http_session import SourceAuth, source_session
from services.extractor.source_errors import snippet
from services.extractor.transport import AnswerTooSlow, Transport, read_all

PROBE_SECONDS = 2.0
INFO_BYTES = 64 << 10
METRICS_BYTES = 16 << 20
NAMES_BYTES = 16 << 20
# Metrics that are counted by one query: together they stay well below what a URL may have.
NAMES_A_QUERY = 10

LOWEST_TIMESTAMP_METRIC = b"prometheus_tsdb_lowest_timestamp_seconds "
# A database without samples reports the largest time there is, 9e15 seconds.
LATEST_SECONDS = 1e12
# Far above what any database holds, far below where floats lose whole numbers.
MOST_SAMPLES = 1e15
# What :meth:`PrometheusClient.lowest_timestamp_ms` makes of that: later than any sample.
NO_SAMPLES_MS = 1 << 62


class SourceSettings(Protocol):
    """What the client reads of ``ExtractSettings``."""

    @property
    def prometheus_url(self) -> str:
        """Base URL, with the path prefix if there is one."""

    @property
    def timeout_seconds(self) -> float:
        """How long Prometheus may take to answer one request."""

    @property
    def max_points_per_series(self) -> int:
        """Points of one series that may be asked for."""

    @property
    def auth(self) -> SourceAuth:
        """Credentials and certificates."""


class SourceQuery(Protocol):
    """What the client reads of ``Query``."""

    @property
    def kind(self) -> Literal["expr", "select"]:
        """Whether the query is evaluated on a grid or its raw samples are read."""

    @property
    def text(self) -> str:
        """The expression or the selector."""

    @property
    def step_ms(self) -> int:
        """Distance of the points of an ``expr``."""


class PrometheusClient:
    """One Prometheus server, or whatever speaks its query API. Not safe for several threads.

    Every method raises a :class:`~common.errors.SourceError` whose message names the URL, the query
    and what was answered. ``on_remark`` is told the query and what the query engine remarks about
    it (annotations such as "PromQL warning: …", which do not mean that an answer is incomplete).
    """

    def __init__(
        self,
        settings: SourceSettings,
        session_factory: Callable[[SourceAuth], requests.Session] = source_session,
        on_remark: Callable[[str, str], None] = lambda query, remark: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_seconds = settings.timeout_seconds
        self._max_points = settings.max_points_per_series
        self._on_remark = on_remark
        self._transport = Transport(
            _without_credentials(settings.prometheus_url), session_factory(settings.auth), monotonic
        )

    def read(self, query: SourceQuery, start_ms: int, end_ms: int) -> Iterator[Samples]:
        """The samples of ``query`` with ``start_ms < t <= end_ms``, in blocks as they arrive.

        An ``expr`` is evaluated at every multiple of its step in that range. The blocks are worth
        something only once the iterator has ended normally: it raises when the answer turns out to
        be broken or incomplete.

        Raises :class:`QueryTooLarge` when the window must be split, among others, before anything
        is asked, when it holds more than ``max_points_per_series`` points.
        """
        if not 0 <= start_ms < end_ms:
            raise ValueError(f"({start_ms}, {end_ms}] is no range of time")
        if query.kind == "select":
            ranged = _ranged(query.text, end_ms - start_ms)
            return self._blocks("query", {"query": ranged, "time": _seconds(end_ms)}, start_ms)
        step_ms = query.step_ms
        first_ms = start_ms // step_ms * step_ms + step_ms
        last_ms = end_ms // step_ms * step_ms
        points = (last_ms - first_ms) // step_ms + 1
        if points > self._max_points:
            raise QueryTooLarge(
                f"{points} points a series are more than {self._max_points} "
                f"(extract.max_points_per_series), asked for {snippet(query.text)}"
            )
        if points < 1:
            return iter(())
        grid = {"start": _seconds(first_ms), "end": _seconds(last_ms), "step": f"{step_ms}ms"}
        return self._blocks("query_range", {"query": query.text, **grid}, start_ms)

    def now_ms(self) -> int:
        """Prometheus' own time, milliseconds since the epoch."""
        return self._now_ms(self._timeout_seconds)

    def ready(self) -> str | None:
        """None when queries are answered, else why not, in a sentence."""
        try:
            self.now_ms()
        except SourceError as error:
            return str(error)
        return None

    def version(self) -> str | None:
        """The server's version such as ``2.42.0``, or None if it does not tell."""
        answer = self._document("api/v1/status/buildinfo", INFO_BYTES)
        try:
            return str(json.loads(answer)["data"]["version"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def lowest_timestamp_ms(self) -> int | None:
        """The oldest time that the server has data of, in whole seconds; None if it does not tell.

        From the server's own ``/metrics``: a front end such as Thanos does not tell.
        ``NO_SAMPLES_MS`` for a server that holds nothing at all.
        """
        for line in self._document("metrics", METRICS_BYTES).splitlines():
            if line.startswith(LOWEST_TIMESTAMP_METRIC):
                return _lowest_ms(line.removeprefix(LOWEST_TIMESTAMP_METRIC))
        return None

    def count_in(self, query: SourceQuery, start_ms: int, end_ms: int) -> int:
        """How many raw samples a ``select`` has now with ``start_ms < t <= end_ms``.

        Native histogram samples are counted too. The range must be longer than a millisecond.
        Counting drops the name, so a selector of several metrics may be refused ("vector cannot
        contain metrics with the same labelset"); each of them is counted by itself then.
        """
        range_ms = end_ms - start_ms
        if query.kind != "select" or start_ms < 0 or range_ms < 2:
            raise ValueError(f"no raw samples to count: {query.kind} in ({start_ms}, {end_ms}]")
        if not self.ranges_are_left_open():
            range_ms -= 1
        try:
            return self._count(f"sum(count_over_time({_ranged(query.text, range_ms)}))", end_ms)
        except QueryRejected:
            selector = parse_selector(query.text)
            if any(matcher.operator == "=" for matcher in selector.on(NAME_LABEL)):
                raise
        names = self._names(query.text, start_ms, end_ms)
        of_each = [
            f"(sum(count_over_time({selector.named(name)}[{range_ms}ms])) or vector(0))"
            for name in names
        ]
        return sum(
            self._count(" + ".join(of_each[first : first + NAMES_A_QUERY]), end_ms)
            for first in range(0, len(of_each), NAMES_A_QUERY)
        )

    def _names(self, selector: str, start_ms: int, end_ms: int) -> list[str]:
        """Every metric name that the selector may find in a range."""
        params = {"match[]": selector, "start": _seconds(start_ms), "end": _seconds(end_ms)}
        path = f"api/v1/label/{NAME_LABEL}/values"
        with self._transport.asking(path, params, self._timeout_seconds) as chunks:
            answer = read_all(chunks, NAMES_BYTES)
            try:
                return [str(name) for name in json.loads(answer)["data"]]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise SourceUnavailable(
                    f"answered with something else than names: {snippet(answer)}"
                ) from None

    def ranges_are_left_open(self) -> bool:
        """Whether a range leaves out a sample exactly at its beginning, as from Prometheus 3 on.

        Asked of the server itself, because others that speak its API report versions of their own:
        points every five seconds are counted over ten.
        """
        return self._count("count_over_time(vector(0)[10s:5s])", 1_000_000_000_000) == 2

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def _blocks(self, endpoint: str, params: Mapping[str, str], start_ms: int) -> Iterator[Samples]:
        with self._asking(endpoint, params) as chunks:
            for block in decode(chunks, self._remarks(params)):
                # A range that is closed on the left holds what the window before already had.
                wanted = block.after(start_ms)
                if wanted.series or wanted.histograms:
                    yield wanted

    def _count(self, query: str, time_ms: int) -> int:
        """What a query counts; 0 where it finds nothing to count."""
        params = {"query": query, "time": _seconds(time_ms)}
        with self._asking("query", params) as chunks:
            count = decode_value(chunks, self._remarks(params)) or 0.0
            if not 0 <= count < MOST_SAMPLES:
                raise SourceUnavailable(f"answered {count} where a number of samples belongs")
            return round(count)

    def _now_ms(self, timeout_seconds: float) -> int:
        params = {"query": "time()", "timeout": _timeout(timeout_seconds)}
        with self._transport.asking("api/v1/query", params, timeout_seconds) as chunks:
            seconds = decode_value(chunks)
            if seconds is None or not 0 < seconds < LATEST_SECONDS:
                raise SourceUnavailable(f"answered {seconds} where its own time belongs")
            return round(seconds * 1000)

    def _document(self, path: str, limit_bytes: int) -> bytes:
        """What the server says about itself at ``path``; empty if there is no such path."""
        try:
            with self._transport.asking(path, {}, self._timeout_seconds) as chunks:
                return read_all(chunks, limit_bytes)
        except SourceRefused:
            return b""

    @contextmanager
    def _asking(self, endpoint: str, params: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
        timed = {**params, "timeout": _timeout(self._timeout_seconds)}
        try:
            with self._transport.asking(
                f"api/v1/{endpoint}", timed, self._timeout_seconds
            ) as chunks:
                yield chunks
        except AnswerTooSlow as slow:
            # If it answers a trivial question meanwhile, this one was too large.
            if self._is_there():
                raise QueryTooLarge(str(slow)) from None
            raise

    def _is_there(self) -> bool:
        try:
            self._now_ms(min(PROBE_SECONDS, self._timeout_seconds))
        except SourceError:
            return False
        return True

    def _remarks(self, params: Mapping[str, str]) -> Callable[[str], None]:
        return lambda remark: self._on_remark(params["query"], remark)


def _lowest_ms(text: bytes) -> int | None:
    """A time in seconds, as ``/metrics`` shows it, in ms; None for what is no time."""
    try:
        seconds = float(text.split()[0])
    except (ValueError, IndexError):
        return None
    if not math.isfinite(seconds):
        return None
    return round(seconds * 1000) if abs(seconds) < LATEST_SECONDS else NO_SAMPLES_MS


def _timeout(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def _ranged(selector: str, range_ms: int) -> str:
    # A comment would swallow the range.
    gap = "\n" if "#" in selector else ""
    return f"{selector}{gap}[{range_ms}ms]"


def _seconds(time_ms: int) -> str:
    """Seconds with all their milliseconds: Prometheus reads three decimals exactly."""
    return f"{time_ms // 1000}.{time_ms % 1000:03d}"


def _without_credentials(url: str) -> str:
    """The URL as it may be shown; credentials come from ``extract.auth`` alone."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
