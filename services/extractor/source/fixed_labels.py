"""Labels that each series of the source gets which does not have them: ``extract.labels``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from common.samples.columns import Samples


def labelled(blocks: Iterator[Samples], labels: Mapping[str, str]) -> Iterator[Samples]:
    """``blocks`` whose series have ``labels`` too, before their own, which win.

    The rest of each label set stays byte for byte as the source wrote it.
    """
    if not labels:
        return blocks
    # As the source would write the name, and the start of a set with all of the labels.
    names = {name: f'"{name}":'.encode() for name in labels}
    all_of_them = _start(labels)

    def of_series(series: bytes) -> bytes:
        start = all_of_them
        if any(name in series for name in names.values()):  # or a value looks like it
            own = json.loads(series)
            start = _start({name: text for name, text in labels.items() if name not in own})
        rest = series[1:]
        return start + rest if rest == b"}" or len(start) == 1 else start + b"," + rest

    return (
        replace(block, series=tuple(map(of_series, block.series))) if block.series else block
        for block in blocks
    )


def _start(labels: Mapping[str, str]) -> bytes:
    """A JSON object without its end."""
    return json.dumps(dict(labels), ensure_ascii=False, separators=(",", ":"))[:-1].encode()
