"""One part is found however the response is cut into chunks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from etlctl.backup.multipart import boundary_of, part_of

BODY = (
    b'--xyz\r\nContent-Disposition: attachment; name="kv"\r\n\r\n'
    b'bolt\r\n--xy\r\n\r\nname="buckets"\r\n--xyz\r\n'
    b'Content-Disposition: attachment; name="sql"\r\nContent-Type: a/b\r\n\r\n\r\n--xyz\r\n'
    b'Content-Disposition: attachment; name="buckets"\r\n\r\n[1,\r\n2]\r\n--xyz--\r\n'
)


def in_chunks(body: bytes, size: int) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_a_part_is_found_in_any_chunks(size: int) -> None:
    assert part_of(in_chunks(BODY, size), b"xyz", "buckets") == b"[1,\r\n2]"
    assert part_of(in_chunks(BODY, size), b"xyz", "sql") == b""
    assert part_of(in_chunks(BODY, size), b"xyz", "kv") == b'bolt\r\n--xy\r\n\r\nname="buckets"'


@pytest.mark.parametrize("size", [1, 10_000])
def test_what_is_cut_or_missing_is_no_part(size: int) -> None:
    assert part_of(in_chunks(BODY, size), b"xyz", "other") is None
    assert part_of(in_chunks(BODY[:-12], size), b"xyz", "buckets") is None
    assert part_of([b"x" * 100_000], b"xyz", "buckets") is None


def test_the_boundary_is_in_the_header() -> None:
    assert boundary_of("multipart/mixed; boundary=0f0f") == b"0f0f"
    assert boundary_of('multipart/mixed; charset=x; boundary="a b"') == b"a b"
    assert boundary_of("application/json") is None
