"""The request: what it asks for, and how it is packed."""

from __future__ import annotations

import pytest

from common.source.remote_read.request import read_request
from tests.support.remote_write import of_bytes, of_int, varint


def unpacked(packed: bytes) -> bytes:
    """Snappy that has literals of two bytes of length only."""
    content, position = b"", 0
    while packed[position] & 0x80:
        position += 1
    head, position = packed[: position + 1], position + 1
    while position < len(packed):
        assert packed[position] == 61 << 2
        size = int.from_bytes(packed[position + 1 : position + 3], "little") + 1
        content += packed[position + 3 : position + 3 + size]
        position += 3 + size
    assert head == varint(len(content))
    return content


def matcher(kind: int, name: str, value: str) -> bytes:
    content = of_int(1, kind) + of_bytes(2, name.encode()) + of_bytes(3, value.encode())
    return of_bytes(3, content)


def test_each_matcher_and_both_bounds() -> None:
    found = unpacked(read_request('x{a="b",c!="é\\n",d=~"e|f",g!~"h.*"}', 1_000, 61_000))
    matchers = {
        matcher(0, "__name__", "x"),
        matcher(0, "a", "b"),
        matcher(1, "c", "é\n"),
        matcher(2, "d", "e|f"),
        matcher(3, "g", "h.*"),
    }
    times = of_int(1, 1_001) + of_int(2, 61_000)
    query_bytes = len(times) + sum(map(len, matchers))
    assert found.startswith(b"\x0a" + varint(query_bytes) + times)
    assert found.endswith(of_int(2, 1))
    assert all(one in found for one in matchers)


@pytest.mark.parametrize("size", [1, 65_000, 65_536, 200_000])
def test_long_selectors_are_packed(size: int) -> None:
    value = "v" * size
    assert matcher(0, "a", value) in unpacked(read_request(f'x{{a="{value}"}}', 0, 1))
