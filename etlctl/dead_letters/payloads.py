"""Payloads of dead letters, made readable."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from common.errors import WireError
from common.samples.batch import SampleBatch
from common.samples.inflate import GZIP_MAGIC, inflate, lines_bytes_max
from etlctl.times import rfc3339

_HEX_COLUMNS = 16
_SHOWN_BYTES = 512
_SHOWN_SERIES = 10


def inflated(payload: bytes, samples: int) -> bytes:
    """Lines as text; what is not gzip, is broken or is too much for its samples, as it is."""
    if not payload.startswith(GZIP_MAGIC):
        return payload
    try:
        return inflate(payload, lines_bytes_max(samples))
    except WireError:
        return payload


def as_members(payload: bytes | None, samples: int) -> dict[str, str | None]:
    """The payload as a member of a JSON object.

    ``payload`` is text (lines are inflated), or None where there is none; what is no UTF-8 is
    ``payload_base64``, byte for byte as it is kept.
    """
    if payload is None:
        return {"payload": None}
    try:
        return {"payload": inflated(payload, samples).decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(payload).decode()}


def batch_of(payload: bytes, samples: int) -> SampleBatch | None:
    """The samples in a payload that was never transformed; None for any other payload."""
    try:
        return SampleBatch.decode(payload, samples)
    except (WireError, RecursionError):
        return None


def batch_summary(batch: SampleBatch) -> dict[str, Any]:
    """What a batch holds, as plain data: numbers, times in ms, the first few series."""
    origin, samples = batch.origin, batch.samples
    times_ms = samples.timestamps_ms
    return {
        "query": origin.query,
        "kind": origin.kind,
        "tier": origin.tier,
        "window_id": origin.window_id,
        "start_ms": origin.start_ms,
        "end_ms": origin.end_ms,
        "series": len(samples.series),
        "samples": len(batch),
        "first_ms": int(times_ms.min()) if len(batch) else None,
        "last_ms": int(times_ms.max()) if len(batch) else None,
        "first_series": [
            {
                "labels": labels.decode("utf-8", "replace"),
                "samples": int(count),
                # Text: JSON has no NaN, and NaN is a likely guest here.
                "first_values": [
                    repr(value) for value in samples.values[begin : begin + 3].tolist()
                ],
            }
            for labels, count, begin in zip(
                samples.series[:_SHOWN_SERIES],
                samples.counts[:_SHOWN_SERIES].tolist(),
                samples.starts[:_SHOWN_SERIES].tolist(),
                strict=True,
            )
        ],
    }


def batch_lines(batch: SampleBatch) -> Iterator[str]:
    """The same for people."""
    summary = batch_summary(batch)
    yield (
        f"{summary['samples']} samples of {summary['series']} series, never transformed:"
        f" {printable('{kind} {query}@{tier}, window {window_id}'.format(**summary))}"
        f" ({when(summary['start_ms'])} to {when(summary['end_ms'])}]"
    )
    if summary["samples"]:
        yield f"timestamps {when(summary['first_ms'])} to {when(summary['last_ms'])}"
    for series in summary["first_series"]:
        values = ", ".join(series["first_values"])
        more = ", …" if series["samples"] > len(series["first_values"]) else ""
        yield f"  {printable(series['labels'])}: {series['samples']} samples: {values}{more}"
    if (hidden := summary["series"] - len(summary["first_series"])) > 0:
        yield f"  … and {hidden} more series"


def hex_lines(payload: bytes) -> Iterator[str]:
    """The beginning of bytes that are nothing known."""
    yield f"{len(payload)} bytes that are neither text nor samples:"
    for start in range(0, min(len(payload), _SHOWN_BYTES), _HEX_COLUMNS):
        row = payload[start : start + _HEX_COLUMNS]
        plain = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<{3 * _HEX_COLUMNS}} {plain}"
    if len(payload) > _SHOWN_BYTES:
        yield "…"


def printable(text: str) -> str:
    """``text`` on one line, without anything that a terminal would execute."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def when(ms: int) -> str:
    """A time for people; one that no calendar has is the bare number."""
    try:
        return rfc3339(ms)
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
