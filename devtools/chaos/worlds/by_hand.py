"""Samples that are pushed by hand, and what must become of them.

What Prometheus pushes proves little: if it is lost, it is pulled a moment later, and to count it
twice changes no point. So some samples are pushed while nobody else pushes, and are looked for
before they can have been pulled.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from common.source.protobuf import message, written_uvarint
from services.verifier.points import Points, bits
from services.verifier.source import SourceSeries

HEADERS = {"Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
# Of Snappy's block format: a literal whose length, less one, stands in the four bytes behind it.
_LITERAL = bytes([63 << 2])


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of a request that was answered 204, in samples.

    ``at_once``: by how many the ledger's account had grown when the answer had come. ``recorded``
    and ``loaded``: by how many it has at the end. ``found``: how many of them the sink has.
    """

    samples: int
    at_once: int
    recorded: int
    loaded: int
    found: int

    def problems(self) -> list[str]:
        """Where this is not what a 204 says."""
        problems = []
        if self.at_once < self.samples:
            problems.append(
                f"204 was answered when {self.at_once} of {self.samples} pushed samples"
                " were committed"
            )
        if {self.recorded, self.loaded} != {self.samples}:
            problems.append(
                f"of {self.samples} pushed samples the ledger recorded {self.recorded},"
                f" and {self.loaded} as loaded"
            )
        if self.found != self.samples:
            problems.append(
                f"the sink has {self.found} of {self.samples} pushed samples with nothing in flight"
            )
        return problems


def request_of(series: Sequence[SourceSeries]) -> bytes:
    """The body of a request of remote write 1.0."""
    content = b"".join(message(1, _labels(one) + _samples(one)) for one in series)
    size = len(content)
    return written_uvarint(size) + _LITERAL + (size - 1).to_bytes(4, "little") + content


def found_of(expected: Points, found: Points) -> int:
    """How many of the expected points were found, with all bits of their values."""
    return len(_rows(expected) & _rows(found))


def _labels(series: SourceSeries) -> bytes:
    return b"".join(
        message(1, message(1, name.encode()) + message(2, value.encode()))
        for name, value in sorted(series.labels.items())
    )


def _samples(series: SourceSeries) -> bytes:
    pairs = zip(series.timestamps_ms.tolist(), series.values.tolist(), strict=True)
    return b"".join(
        message(2, b"\x09" + struct.pack("<d", value) + b"\x10" + written_uvarint(time_ms))
        for time_ms, value in pairs
    )


def _rows(points: Points) -> set[tuple[object, int, int]]:
    return {
        (key, time_ms, value)
        for key, column in points.items()
        for time_ms, value in zip(
            column.timestamps_ms.tolist(), bits(column.values).tolist(), strict=True
        )
    }
