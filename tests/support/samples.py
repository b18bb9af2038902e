"""Batches for the tests of the transformer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from common.state.verdict import Entry

NOW_MS = 1_700_000_000_000

# Floats that a formatter gets wrong, if any: signs of zero, subnormals, the ends of the range,
# where the notation changes, what lies next to a whole number, more digits than a double has.
HARD_FLOATS = (
    *(0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 2.2250738585072014e-308, 2.225073858507201e-308),
    *(1.7976931348623157e308, -1.7976931348623157e308, 1e21, 1e22, 1e23, 9.999999999999999e22),
    *(2.0**53, 2.0**53 - 1, 2.0**53 + 2, -(2.0**53), 2.0**63, -(2.0**63), 2.0**64, 1e15, 1e16),
    *(1e17, 123456789012345680.0, 0.1, 0.2, 0.1 + 0.2, 1 / 3, 1e-4, 1e-5, 1e-6, 1e-7, 4.35, 1e300),
    *(9007199254740993.0, 4503599627370496.5, 0.5, 1.5, 1e-300, 8.41e21, 9.5e-323),
)


def batch_of(
    series: Sequence[tuple[Mapping[str, str] | bytes, Sequence[tuple[int, float]]]],
    *,
    kind: str = "select",
    query: str = "q",
) -> SampleBatch:
    """A batch of label sets (or raw JSON), each with its (milliseconds, value) pairs."""
    samples = [sample for _, samples in series for sample in samples]
    return SampleBatch(
        Origin(query, kind, "hot", "w1", 0, NOW_MS),
        Samples(
            tuple(
                labels if isinstance(labels, bytes) else json.dumps(labels).encode()
                for labels, _ in series
            ),
            np.array([len(samples) for _, samples in series], np.int64),
            np.array([milliseconds for milliseconds, _ in samples], np.int64),
            np.array([value for _, value in samples], np.float64),
        ),
    )


def entry_of(batch: SampleBatch, **changes: object) -> Entry:
    """The stream entry that carries a batch."""
    origin = batch.origin
    fields: dict[str, object] = {
        "id": "1-1",
        "schema": 1,
        "query": origin.query,
        "tier": origin.tier,
        "kind": origin.kind,
        "window_id": origin.window_id,
        "samples": len(batch),
        "payload": batch.encode(),
    }
    return Entry(**(fields | changes))  # type: ignore[arg-type]
