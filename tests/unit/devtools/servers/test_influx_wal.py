"""Only a torn record at the end of a segment is cut away."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from devtools.servers.influx_wal import cut_torn_records


def record(kind: int, content: bytes) -> bytes:
    return struct.pack(">BI", kind, len(content)) + content


WHOLE = record(1, b"points") + record(2, b"")


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (b"", b""),
        (WHOLE, WHOLE),
        (WHOLE + b"\x01\x00", WHOLE),
        (WHOLE + record(1, b"more points")[:-1], WHOLE),
        (record(1, b"points")[:-1], b""),
        # What is no torn record is left to influxd.
        (WHOLE + bytes(100), WHOLE + bytes(100)),
        (WHOLE + b"rubbish", WHOLE + b"rubbish"),
    ],
)
def test_a_torn_record_is_cut_away(tmp_path: Path, content: bytes, left: bytes) -> None:
    segment = tmp_path / "db" / "autogen" / "1" / "_00001.wal"
    segment.parent.mkdir(parents=True)
    segment.write_bytes(content)

    torn = cut_torn_records(tmp_path)

    assert segment.read_bytes() == left
    assert torn == ([segment] if left != content else [])


def test_a_server_that_never_ran_has_no_log(tmp_path: Path) -> None:
    assert cut_torn_records(tmp_path / "wal") == []
