"""Makes the write-ahead log of an influxd 1.x whole before it starts.

A kill within a write leaves a torn record at the end of a segment. influxd cuts it away, but has
opened the segment for writing at its end before: what it takes from then on lies behind a hole, is
acknowledged and can be read, and is lost at the start after that, for which the log ends at the
hole. No fault of the pipeline; so the stand-ins begin with a log that ends with a whole record.

Only the standard library: a container needs nothing else to run it.
``python -m devtools.servers.influx_wal FOLDER``
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

# What kind of record it is, and how many bytes of it follow.
_HEAD = struct.Struct(">BI")
# Write, delete, delete a range.
_KINDS = (1, 2, 3)


def cut_torn_records(folder: Path) -> list[Path]:
    """Cut a torn record off the end of each segment below ``folder``; the segments that had one."""
    torn = []
    for segment in sorted(folder.rglob("*.wal")):
        whole_bytes = _whole_bytes(segment)
        if whole_bytes < segment.stat().st_size:
            os.truncate(segment, whole_bytes)
            torn.append(segment)
    return torn


def _whole_bytes(segment: Path) -> int:
    """How much of a segment is whole records; all of it where something else is in between."""
    size_bytes, end = segment.stat().st_size, 0
    with segment.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            kind, length = _HEAD.unpack(head)
            if kind not in _KINDS:
                return size_bytes
            next_ = end + _HEAD.size + length
            if next_ > size_bytes:
                break
            end = next_
            file.seek(end)
    return end


if __name__ == "__main__":
    for found in cut_torn_records(Path(sys.argv[1])):
        print(f"influx_wal: {found} had a torn record at its end, which is cut away")
