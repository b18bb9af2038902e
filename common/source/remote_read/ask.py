"""A request by remote read, and the series of its answer as they arrive.

``POST /api/v1/read`` with streamed chunks is described at
https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/, which does not call it
stable: whatever is not as expected is a :class:`Doubt`.
"""

from __future__ import annotations

from collections.abc import Iterator

from common.errors import QueryRejected, QueryTooLarge, SourceError, SourceRefused
from common.source.errors import snippet
from common.source.remote_read.doubt import Doubt, Reason
from common.source.remote_read.frames import SeriesChunks, read_frames
from common.source.remote_read.request import ANSWER_TYPE, HEADERS, read_request
from common.source.transport import BodyBounds, Message, Transport

# What Prometheus writes where a series ends (``model/value/value.go``); queries do not show it.
STALE_BITS = 0x7FF0_0000_0000_0002


def ask(
    transport: Transport,
    selector: str,
    window_ms: tuple[int, int],
    timeout_seconds: float,
    bounds: BodyBounds,
) -> Iterator[SeriesChunks]:
    """The series that ``selector`` finds after the first and up to the second of ``window_ms``.

    Their chunks may hold more. Raises :class:`Doubt`, after some perhaps, and a source error only
    once ``transport`` was stopped.
    """
    message = Message(read_request(selector, *window_ms), HEADERS)
    has_begun = False
    try:
        with transport.post("api/v1/read", message, timeout_seconds, bounds) as (headers, pieces):
            has_begun = True
            kind = headers.get("Content-Type", "")
            if not kind.startswith(ANSWER_TYPE):
                raise Doubt("not_streamed", f"answered with {snippet(kind)}, not with chunks")
            yield from read_frames(pieces)
    except SourceError as error:
        if transport.stopped:
            raise
        raise Doubt("broken_off" if has_begun else _reason(error), str(error)) from None


def _reason(error: SourceError) -> Reason:
    """Why there was no answer."""
    refusals = (SourceRefused, QueryRejected, QueryTooLarge)
    return "refused" if isinstance(error, refusals) else "no_answer"
