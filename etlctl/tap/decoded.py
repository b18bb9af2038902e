"""Entries of a stream as samples or points, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from math import isfinite
from typing import Any

from common.errors import WireError
from common.promql.selector import NAME_LABEL
from common.samples.batch import SampleBatch
from common.samples.inflate import inflate, lines_bytes_max
from common.state.keys import RAW
from etlctl.dead_letters.payloads import printable, when
from etlctl.tap.flow import Tapped


@dataclass(frozen=True, slots=True)
class Decoded:
    """A sample, or a point: ``line`` for people, ``members`` for programs."""

    line: str
    members: dict[str, Any]


def decoded(stream: str, entry: Tapped) -> Iterator[Decoded]:
    """What an entry of ``stream`` holds.

    Raises :class:`WireError`, before the first, for what is neither.
    """
    return _samples(entry) if stream == RAW else _points(entry)


def _samples(entry: Tapped) -> Iterator[Decoded]:
    samples = SampleBatch.decode(entry.payload, entry.samples).samples
    return _of_series(
        entry,
        zip(samples.series, samples.counts.tolist(), strict=True),
        zip(samples.timestamps_ms.tolist(), samples.values.tolist(), strict=True),
    )


def _of_series(
    entry: Tapped, series: Iterator[tuple[bytes, int]], samples: Iterator[tuple[int, float]]
) -> Iterator[Decoded]:
    for text, count in series:
        labels = labels_of(text)
        name = printable(shown(labels))
        for _ in repeat(None, count):
            time_ms, value = next(samples)
            yield Decoded(
                f"{when(time_ms)} {name} {value!r}",
                {
                    "query": entry.query,
                    "tier": entry.tier,
                    "labels": labels,
                    "timestamp_ms": time_ms,
                    # JSON has neither NaN nor Inf.
                    "value": value if isfinite(value) else repr(value),
                },
            )


def _points(entry: Tapped) -> Iterator[Decoded]:
    text = inflate(entry.payload, lines_bytes_max(entry.samples)).decode("utf-8", "replace")
    # Only a line break ends a line; splitlines knows others, which a tag may hold.
    return (
        Decoded(printable(line), {"query": entry.query, "tier": entry.tier, "line": line})
        for line in text.split("\n")
        if line
    )


def labels_of(text: bytes) -> dict[str, str]:
    """The labels of a series as Prometheus wrote them. Raises :class:`WireError`."""
    try:
        return {str(name): str(value) for name, value in json.loads(text).items()}
    except (ValueError, AttributeError, RecursionError):
        raise WireError(f"no label set: {text[:80]!r}") from None


def shown(labels: dict[str, str]) -> str:
    """``name{label="value"}``."""
    rest = ",".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in sorted(labels.items())
        if name != NAME_LABEL
    )
    return labels.get(NAME_LABEL, "") + (f"{{{rest}}}" if rest or NAME_LABEL not in labels else "")
