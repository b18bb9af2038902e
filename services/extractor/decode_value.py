"""A query's answer that is one number, such as ``time()`` or ``sum(…)``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from common.errors import QueryRejected, SourceUnavailable
from services.extractor.body_text import BodyText
from services.extractor.envelope import Envelope, Notice
from services.extractor.source_errors import snippet


def decode_value(chunks: Iterable[bytes], notice: Notice = lambda text: None) -> float | None:
    """The value of a scalar, or of a vector of at most one series; None if that is empty.

    Raises :class:`QueryRejected` for results of another kind, and whatever
    :func:`~services.extractor.decode.decode` raises for answers that are no success.
    """
    body = BodyText(chunks)
    if body.peek() != b"{":
        body.fail_malformed()
    document = body.value()
    body.finish()
    data = document.get("data", {})
    if not isinstance(data, dict):
        raise SourceUnavailable(
            f"answered with JSON that is no query result: {snippet(repr(document))}"
        )
    envelope = Envelope(document, data)
    envelope.check_success()
    envelope.check_complete(notice)
    kind: str = data["resultType"]
    result: Any = data.get("result")
    if kind not in ("scalar", "vector"):
        raise QueryRejected(f"answered with a {kind}, not with one value")
    if kind == "vector" and not result:
        return None
    try:
        if kind == "vector":
            (series,) = result
            result = series["value"]
        _, value = result
        return float(value)
    except (TypeError, ValueError, KeyError):
        raise QueryRejected(
            f"answered with a {kind} that is not one value: {snippet(repr(result))}"
        ) from None
