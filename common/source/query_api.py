"""The query API: every query with a time-out, and what it means that its response does not come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from common.errors import QueryTooLarge, SourceError
from common.source.transport import (
    BodyBounds,
    BodyTooLong,
    ResponseTooSlow,
    Transport,
    read_all,
)

PROBE_SECONDS = 2.0
PROBE_BYTES = 64 << 10
# What these answer must be whole.
WHOLE_ENDPOINTS = ("query", "query_range")


class QueryApi:
    """Asks through ``transport``, which raises the errors that are not raised here."""

    def __init__(self, transport: Transport, timeout_seconds: float) -> None:
        self._transport = transport
        self._timeout_seconds = timeout_seconds

    @contextmanager
    def stream(
        self,
        endpoint: str,
        params: Mapping[str, str],
        bounds: BodyBounds | None = None,
        timeout_seconds: float | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """The response of ``/api/v1/{endpoint}`` in chunks; only inside the context.

        Raises :class:`QueryTooLarge` where none comes, or none that ends, and the server answers a
        trivial query meanwhile.
        """
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        timed = {**params, "timeout": f"{max(1, round(seconds * 1000))}ms"}
        if endpoint in WHOLE_ENDPOINTS:
            # Thanos' own parameter, unknown to others: what some of its stores do not answer is an
            # error then. By default it is a warning, which its older fronts leave out.
            timed["partial_response"] = "false"
        try:
            with self._transport.stream(f"api/v1/{endpoint}", timed, seconds, bounds) as chunks:
                yield chunks
        except (BodyTooLong, ResponseTooSlow) as slow:
            if timeout_seconds is None and self._is_there():
                raise QueryTooLarge(str(slow)) from None
            raise

    def _is_there(self) -> bool:
        try:
            with self.stream("query", {"query": "time()"}, None, PROBE_SECONDS) as chunks:
                answered: bool = json.loads(read_all(chunks, PROBE_BYTES))["status"] == "success"
                return answered
        except (SourceError, ValueError, KeyError, TypeError, RecursionError):
            return False
