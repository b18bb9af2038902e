"""Read Prometheus again, the plain way.

This reader shares no code with the extractor on purpose: an error in the fast decoder must show up
as a difference, not be made twice.

What is shared is how the server is asked, and what its errors mean (:mod:`common.source`): where
the extractor can read, this can. Long ranges of raw samples may be read by remote read, as there,
and are decoded by :mod:`services.verifier.chunks`.

Source of the format: Prometheus' HTTP API (``/api/v1/query``, ``/api/v1/query_range``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import requests
from numpy.typing import NDArray

from common.errors import QueryRejected, QueryTooLarge, SourceRefused, SourceUnavailable
from common.source.cut_off import CutOff
from common.source.errors import remarks_of, reported_error, snippet
from common.source.query_api import QueryApi
from common.source.remote_read.choice import Choice, Density, Known
from common.source.remote_read.doubt import Doubt
from common.source.transport import BodyBounds, Transport, read_all
from services.verifier.chunks.read import read_chunks
from services.verifier.points import known_shape
from services.verifier.rows import source_body, source_columns

# Prometheus refuses a range query of more points per series than 11,000.
MAX_STEPS = 10_000
# Of one response: as objects it takes some ten times as much. A range with more is halved.
BODY_BYTES = 256 << 20
# How long one may be read for, in time-outs.
BODY_TIMEOUTS = 3
METRICS_BYTES = 16 << 20
# A database without samples reports the largest time there is, 9e15 seconds.
LATEST_SECONDS = 1e12


class SourceSeries(NamedTuple):
    """Samples of one series: its labels as Prometheus wrote them, times in ms, values.

    ``histograms``: how many native histogram samples it has beside them; ``raw_histograms``: the
    same, each with its time in ms, as in the response.
    """

    labels: dict[str, str]
    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    histograms: int = 0
    raw_histograms: Sequence[tuple[int, Any]] = ()


@dataclass(frozen=True, slots=True)
class ChunkReading:
    """That raw samples are read by remote read, too, where that is cheaper and safe.

    ``on_doubt`` is called with the selector and why a range of it is read by JSON instead.
    ``known`` is what is remembered of selectors.
    """

    on_doubt: Callable[[str, Doubt], None]
    known: Known = field(default_factory=Known)


class Source:
    """One Prometheus, or whatever speaks its query API. Not safe for use by several threads.

    ``tick`` is called before each request: any of them may take its whole time-out.
    """

    def __init__(
        self,
        url: str,
        session: requests.Session,
        timeout_seconds: float = 60.0,
        chunks: ChunkReading | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.url = url
        self._tick = tick
        self._timeout_seconds = timeout_seconds
        self._bounds = BodyBounds(timeout_seconds, BODY_TIMEOUTS * timeout_seconds, BODY_BYTES)
        self._transport = Transport(url, session)
        self._api = QueryApi(self._transport, timeout_seconds)
        self._cut_off = CutOff(self._api, self.now_ms)
        self._where = f"Prometheus at {self._transport.base_url}"
        self._chunks = chunks
        self._choice = Choice(self._run, self._config, known=chunks.known if chunks else Known())

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def replica(self, url: str) -> Source:
        """Itself: it has no replicas."""
        return self

    def now_ms(self) -> int:
        """Prometheus' clock, in milliseconds since the epoch."""
        data = self._data("query", {"query": "time()"})
        with known_shape(self._where, SourceUnavailable):
            result = data["result"]
            # VictoriaMetrics has no scalars: it answers a vector of one.
            if data["resultType"] == "vector":
                (series,) = result
                result = series["value"]
            return round(float(result[1]) * 1_000)

    def metric_names(self, selector: str) -> list[str]:
        """Names of all metrics that ever matched ``selector``, as far as Prometheus keeps them.

        Where the labels' values are not served, those that match it now.
        """
        try:
            # From the first second on: without a start, or with 0, VictoriaMetrics lists those of
            # the last five minutes (app/vmselect/prometheus/prometheus.go).
            names = self._data(
                "label/__name__/values", {"match[]": selector, "start": "1"}, is_whole=False
            )
        except (QueryRejected, SourceRefused):
            now = self._data("query", {"query": f"group by (__name__) ({selector}\n)"})
            with known_shape(self._where, SourceUnavailable):
                names = [series["metric"]["__name__"] for series in now["result"]]
        with known_shape(self._where, SourceUnavailable):
            return [str(name) for name in names]

    def oldest_ms(self) -> int:
        """The oldest time that Prometheus keeps, or since when the front before it answers.

        0 where neither is known.
        One that holds nothing keeps no time, so that is not known either.
        """
        name = "prometheus_tsdb_lowest_timestamp_seconds "
        for line in self._document("metrics").decode("utf-8", "replace").splitlines():
            if line.startswith(name):
                try:
                    seconds = float(line[len(name) :].split()[0])
                except (ValueError, IndexError):
                    continue
                if 0 < seconds < LATEST_SECONDS:
                    return round(seconds * 1_000)
                return 0
        return self._cut_off.from_ms() or 0

    def read_select(self, selector: str, start_ms: int, end_ms: int) -> list[SourceSeries]:
        """Raw samples with their own timestamps, in ``(start_ms, end_ms]``.

        Raises a :class:`~common.errors.SourceError`; a range that Prometheus finds too large is
        halved as long as it can be.
        """
        if end_ms <= start_ms:
            return []
        series = self._by_chunks(selector, start_ms, end_ms)
        if series is None:
            series = self._by_json(selector, start_ms, end_ms)
        samples = sum(len(one.values) for one in series)
        self._choice.held(selector, Density(len(series), samples, end_ms - start_ms))
        return series

    def distrust_chunks(self, selector: str) -> None:
        """Have a selector read by JSON for a while: what that says counts as right."""
        self._choice.by_json(selector)

    def _by_chunks(self, selector: str, start_ms: int, end_ms: int) -> list[SourceSeries] | None:
        """None where the range is to be read by JSON."""
        if self._chunks is None or not self._choice.by_chunks(selector, end_ms - start_ms):
            return None
        window_ms = start_ms, end_ms
        self._tick()
        try:
            found = read_chunks(
                self._transport, selector, window_ms, self._timeout_seconds, self._bounds
            )
            self._choice.check_same_run()
        except Doubt as doubt:
            self._choice.doubted(selector, doubt)
            self._chunks.on_doubt(selector, doubt)
            return None
        return [SourceSeries(*one) for one in found]

    def _by_json(self, selector: str, start_ms: int, end_ms: int) -> list[SourceSeries]:
        try:
            data = self._data(
                "query",
                # On a line of its own: the selector may end in a comment.
                {"query": f"{selector}\n[{end_ms - start_ms}ms]", "time": _seconds(end_ms)},
            )
        except QueryTooLarge:
            if end_ms - start_ms < 2:
                raise
            middle_ms = (start_ms + end_ms) // 2
            return [
                *self.read_select(selector, start_ms, middle_ms),
                *self.read_select(selector, middle_ms, end_ms),
            ]
        with known_shape(self._where, SourceUnavailable):
            return list(_matrix(data, start_ms, end_ms))

    def read_expr(self, expr: str, step_ms: int, start_ms: int, end_ms: int) -> list[SourceSeries]:
        """``expr`` evaluated at every multiple of ``step_ms`` in ``(start_ms, end_ms]``.

        Raises a :class:`~common.errors.SourceError`; a range that Prometheus finds too large is
        halved as long as it can be.
        """
        first = start_ms // step_ms + 1
        last = end_ms // step_ms
        if last < first:
            return []
        middle_ms = (first + last) // 2 * step_ms
        try:
            if last - first >= MAX_STEPS:
                raise QueryTooLarge(f"{last - first + 1} steps")
            data = self._data(
                "query_range",
                {
                    "query": expr,
                    "start": _seconds(first * step_ms),
                    "end": _seconds(last * step_ms),
                    "step": _seconds(step_ms),
                },
            )
        except QueryTooLarge:
            if last == first:
                raise
            return [
                *self.read_expr(expr, step_ms, start_ms, middle_ms),
                *self.read_expr(expr, step_ms, middle_ms, end_ms),
            ]
        with known_shape(self._where, SourceUnavailable):
            return list(_matrix(data, start_ms, end_ms))

    def _run(self) -> object | None:
        """What is another after a restart or a reload of the configuration."""
        body = self._document("api/v1/status/runtimeinfo")
        try:
            data = json.loads(body)["data"]
            return str(data["startTime"]), str(data["lastConfigTime"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def _config(self) -> bytes:
        return self._document("api/v1/status/config")

    def _document(self, path: str) -> bytes:
        """What the server reports of itself at ``path``; empty if it refuses that."""
        self._tick()
        return self._transport.document(path, self._timeout_seconds, METRICS_BYTES) or b""

    def _data(self, endpoint: str, form: dict[str, str], is_whole: bool = True) -> Any:
        """The ``data`` member of the response.

        ``is_whole``: whether a response that says that a part is missing is an error.
        """
        self._tick()
        with self._api.stream(endpoint, form, self._bounds) as chunks:
            raw = read_all(chunks, BODY_BYTES)
            try:
                body = source_body(raw)
                status = body["status"]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise SourceUnavailable(
                    f"answered with something that is not its JSON: {snippet(raw[:200], 80)}"
                ) from None
            if status != "success":
                raise reported_error(str(body.get("errorType", "")), str(body.get("error", "")))
            if is_whole:
                remarks_of(body)
        with known_shape(self._where, SourceUnavailable):
            return body["data"]


def _seconds(ms: int) -> str:
    return f"{ms // 1_000}.{ms % 1_000:03d}"


def _matrix(data: Any, start_ms: int, end_ms: int) -> Iterator[SourceSeries]:
    if data.get("resultType") != "matrix":
        raise QueryRejected(
            f"the query gives a {data.get('resultType')}, only range vectors can be compared"
        )
    for entry in data["result"]:
        times, values = source_columns(entry.get("values", []))
        # Prometheus 2 closes ranges on the left, Prometheus 3 opens them: windows are (start, end].
        inside = (times > start_ms) & (times <= end_ms)
        found = [(round(row[0] * 1_000), row[1]) for row in entry.get("histograms", [])]
        histograms = [one for one in found if start_ms < one[0] <= end_ms]
        yield SourceSeries(
            entry["metric"], times[inside], values[inside], len(histograms), histograms
        )
