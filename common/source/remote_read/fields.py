"""Tags of fields of an answer (``prompb/remote.proto`` of Prometheus)."""

from __future__ import annotations

from common.source.protobuf import LENGTH

# ``ChunkedReadResponse.chunked_series``, ``ChunkedSeries.labels`` and ``.chunks``.
SERIES = LABEL = 1 << 3 | LENGTH
CHUNK = 2 << 3 | LENGTH
