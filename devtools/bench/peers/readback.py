"""What source and sink hold, read by JSON alone: no code of the pipeline is asked about itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray

from common.errors import StackError
from devtools.bench.data import BLOCK_MS, SELECTOR

_SECONDS = 300
# VictoriaMetrics keeps decimals, not floats: it rounds what has more digits than these hold.
_ROUNDING = 1e-11

Labels = frozenset[tuple[str, str]]
Columns = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Points of the source that the sink lacks or holds with another value, and points only there.

    ``rounded_points`` are those that are off by no more than the sink itself rounds.
    """

    missing_points: int = 0
    different_points: int = 0
    rounded_points: int = 0
    unexpected_points: int = 0

    def as_figures(self) -> dict[str, float]:
        """The counts by their names."""
        return {name: float(count) for name, count in asdict(self).items()}


def of_prometheus(url: str, start_ms: int, end_ms: int) -> dict[Labels, Columns]:
    """Each series with ``start_ms < t <= end_ms``."""
    parts: dict[Labels, list[Columns]] = {}
    with requests.Session() as session:
        session.trust_env = False
        for until_ms in range(end_ms, start_ms, -BLOCK_MS):
            length_ms = min(BLOCK_MS, until_ms - start_ms)
            parameters = {"query": f"{SELECTOR}[{length_ms}ms]", "time": f"{until_ms / 1000:.3f}"}
            response = session.get(f"{url}/api/v1/query", params=parameters, timeout=_SECONDS)
            for series in _checked(response).json()["data"]["result"]:
                samples = series["values"]
                times = np.array([round(sample[0] * 1000) for sample in samples], np.int64)
                values = np.array([float(sample[1]) for sample in samples], np.float64)
                # Prometheus 2 returns what lies on the range's start too.
                late = times > until_ms - length_ms
                found = times[late], values[late]
                parts.setdefault(frozenset(series["metric"].items()), []).append(found)
    return {labels: _joined(reversed(columns)) for labels, columns in parts.items()}


def of_victoria_metrics(
    url: str, start_ms: int, end_ms: int, name_suffix: str = ""
) -> dict[Labels, Columns]:
    """Each series of the benchmark with ``start_ms < t <= end_ms``, by its labels at the source.

    What came as line protocol has its field at the end of its name: ``name_suffix``.
    """
    with requests.Session() as session:
        session.trust_env = False
        # What was posted a moment ago is not yet to be found.
        _checked(session.get(f"{url}/internal/force_flush", timeout=_SECONDS))
        parameters: dict[str, str] = {
            "match[]": SELECTOR,
            "start": f"{(start_ms + 1) / 1000:.3f}",
            "end": f"{end_ms / 1000:.3f}",
        }
        with session.get(
            f"{url}/api/v1/export", params=parameters, timeout=_SECONDS, stream=True
        ) as response:
            return dict(exported(_checked(response).iter_lines(1 << 20), name_suffix))


def exported(lines: Iterable[bytes], name_suffix: str = "") -> Iterator[tuple[Labels, Columns]]:
    """Each line of an export as labels and columns."""
    for line in lines:
        series: Mapping[str, Any] = json.loads(line)
        labels = dict(series["metric"])
        labels["__name__"] = labels["__name__"].removesuffix(name_suffix)
        times = np.array(series["timestamps"], np.int64)
        values = np.array(series["values"], np.float64)
        yield frozenset(labels.items()), _joined([(times, values)])


def compared(source: Mapping[Labels, Columns], sink: Mapping[Labels, Columns]) -> Difference:
    """What the two have not in common."""
    missing = different = rounded = unexpected = 0
    for labels, (times, values) in source.items():
        if labels not in sink:
            missing += len(times)
            continue
        there, held = sink[labels]
        common, ours, theirs = np.intersect1d(times, there, return_indices=True)
        missing += len(times) - len(common)
        unexpected += len(there) - len(common)
        first, second = values[ours], held[theirs]
        unequal = (first != second) & ~(np.isnan(first) & np.isnan(second))
        close = np.isclose(first, second, rtol=_ROUNDING, atol=0.0)
        different += int(np.count_nonzero(unequal & ~close))
        rounded += int(np.count_nonzero(unequal & close))
    unexpected += sum(len(times) for labels, (times, _) in sink.items() if labels not in source)
    return Difference(missing, different, rounded, unexpected)


def _joined(parts: Iterable[Columns]) -> Columns:
    columns = list(parts)
    times = np.concatenate([times for times, _ in columns])
    values = np.concatenate([values for _, values in columns])
    order = np.argsort(times, kind="stable")
    return times[order], values[order]


def _checked(response: requests.Response) -> requests.Response:
    if response.status_code >= 300:
        raise StackError(
            f"{response.url.partition('?')[0]} responds {response.status_code}:"
            f" {response.text[:300]}"
        )
    return response
