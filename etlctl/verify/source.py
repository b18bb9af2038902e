"""Read Prometheus again, the plain way.

This reader shares no code with the extractor on purpose: an error in the fast decoder must show up
as a difference, not be made twice.

Source of the format: Prometheus' HTTP API (``/api/v1/query``, ``/api/v1/query_range``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import requests
from numpy.typing import NDArray

from common.errors import QueryRejected, QueryTooLarge, SourceRefused, SourceUnavailable
from etlctl.verify.points import known_shape
from etlctl.verify.rows import source_body, source_columns

# Prometheus refuses a range query of more points per series than 11,000.
MAX_STEPS = 10_000


class SourceSeries(NamedTuple):
    """Samples of one series: its labels as Prometheus wrote them, times in ms, values."""

    labels: dict[str, str]
    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]


class Source:
    """One Prometheus. Not safe for use by several threads."""

    def __init__(self, url: str, session: requests.Session, timeout_seconds: float = 60.0) -> None:
        self._url = url.rstrip("/")
        self._where = f"Prometheus at {self._url}"
        self._session = session
        self._timeout_seconds = timeout_seconds

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def now_ms(self) -> int:
        """Prometheus' clock, in milliseconds since the epoch."""
        data = self._query("/api/v1/query", {"query": "time()"})
        with known_shape(self._where, SourceUnavailable):
            return round(float(data["result"][1]) * 1_000)

    def metric_names(self, selector: str) -> list[str]:
        """Names of all metrics that ever matched ``selector``, as far as Prometheus keeps them."""
        names = self._query("/api/v1/label/__name__/values", {"match[]": selector}, method="GET")
        with known_shape(self._where, SourceUnavailable):
            return [str(name) for name in names]

    def oldest_ms(self) -> int:
        """The oldest time that Prometheus keeps, 0 where its own metrics do not report it."""
        name = "prometheus_tsdb_lowest_timestamp_seconds "
        try:
            response = self._session.get(f"{self._url}/metrics", timeout=self._timeout_seconds)
            lines = response.text.splitlines() if response.status_code == 200 else []
            return max(
                (round(float(x[len(name) :]) * 1_000) for x in lines if x.startswith(name)),
                default=0,
            )
        except (requests.RequestException, ValueError, OverflowError):
            return 0

    def read_select(self, selector: str, start_ms: int, end_ms: int) -> list[SourceSeries]:
        """Raw samples with their own timestamps, in ``(start_ms, end_ms]``.

        Raises a :class:`~common.errors.SourceError`; a range that Prometheus finds too large is
        halved as long as it can be.
        """
        if end_ms <= start_ms:
            return []
        try:
            data = self._query(
                "/api/v1/query",
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
            data = self._query(
                "/api/v1/query_range",
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

    def _query(self, path: str, form: dict[str, str], method: str = "POST") -> Any:
        """The ``data`` member of the response."""
        where = self._where
        try:
            response = self._session.request(
                method,
                self._url + path,
                headers={"Accept-Encoding": "identity"},
                timeout=self._timeout_seconds,
                params=form if method == "GET" else None,
                data=form if method == "POST" else None,
            )
        except requests.RequestException as error:
            raise SourceUnavailable(f"{where} cannot be reached: {error}") from None
        if response.status_code in (401, 403):
            raise SourceRefused(f"{where} refuses the credentials ({response.status_code})")
        try:
            body = source_body(response.content)
            status = body["status"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise SourceUnavailable(
                f"{where} answered {response.status_code} with something that is not its JSON:"
                f" {response.text[:80]!r}"
            ) from None
        if status == "success":
            with known_shape(self._where, SourceUnavailable):
                if why := _why_incomplete(body):
                    raise SourceUnavailable(f"{where} answered incompletely: {why:.400}")
                return body["data"]
        message = f"{form.get('query', path)}: {body.get('error', 'no reason given')!s:.400}"
        if _too_large(str(body.get("errorType")), message):
            raise QueryTooLarge(f"{where} finds the range too large: {message}")
        if response.status_code >= 500 or response.status_code == 429:
            raise SourceUnavailable(
                f"{where} cannot execute the query ({response.status_code}): {message}"
            )
        raise QueryRejected(f"{where} rejects the query: {message}")


def _why_incomplete(body: dict[str, Any]) -> str | None:
    warnings = body.get("warnings") or []
    for warning in map(str, warnings if isinstance(warnings, list) else [warnings]):
        if not warning.startswith(("PromQL warning", "PromQL info")):
            return warning
    # VictoriaMetrics marks a response so when some of its storage did not take part.
    return "isPartial" if body.get("isPartial") else None


def _too_large(error_type: str, message: str) -> bool:
    return (
        error_type == "timeout"
        or "too many samples" in message
        or "maximum resolution of 11,000 points" in message
    )


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
        yield SourceSeries(entry["metric"], times[inside], values[inside])
