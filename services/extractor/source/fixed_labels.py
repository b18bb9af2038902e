"""Labels that each series of the source gets, in the place of its own: ``extract.labels``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from common.samples.columns import Samples


def labelled(blocks: Iterator[Samples], labels: Mapping[str, str]) -> Iterator[Samples]:
    """``blocks`` whose series have ``labels``, before what they have beside them.

    A label set that has none of them stays byte for byte as the source wrote it.
    """
    if not labels:
        return blocks
    start = _packed(labels)[:-1]
    names = [f'"{name}":'.encode() for name in labels]

    def of_series(series: bytes) -> bytes:
        own = series
        if any(name in series for name in names):  # or a value looks like one
            found = json.loads(series)
            if not labels.keys().isdisjoint(found):
                own = _packed({name: text for name, text in found.items() if name not in labels})
        return start + (b"}" if own == b"{}" else b"," + own[1:])

    return (
        replace(block, series=tuple(map(of_series, block.series))) if block.series else block
        for block in blocks
    )


def _packed(labels: Mapping[str, str]) -> bytes:
    return json.dumps(dict(labels), ensure_ascii=False, separators=(",", ":")).encode()
