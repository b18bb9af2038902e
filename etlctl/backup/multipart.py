"""One part of a multipart response (RFC 2046), read as it arrives; the others are thrown away."""

from __future__ import annotations

import re
from collections.abc import Iterable

_HEAD_MAX_BYTES = 16 << 10
_NAME = re.compile(rb'\bname="?([^";\r\n]*)"?', re.IGNORECASE)


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that the header names; None where it is of another type."""
    found = re.match(r'multipart/[^;]*;.*\bboundary="?([^";]+)"?', content_type, re.IGNORECASE)
    return found[1].encode() if found else None


def part_of(chunks: Iterable[bytes], boundary: bytes, name: str) -> bytes | None:
    """The body of the part of that name, or None where there is no whole one."""
    end = b"\r\n--" + boundary
    held, wanted, in_body = b"\r\n", False, True
    found: list[bytes] = []
    for chunk in chunks:
        held += chunk
        while True:
            if in_body:
                at = held.find(end)
                if wanted:
                    found.append(held[: at if at >= 0 else max(0, len(held) - len(end))])
                if at < 0:
                    held = held[max(0, len(held) - len(end)) :]
                    break
                if wanted:
                    return b"".join(found)
                held, in_body = held[at + len(end) :], False
            head, blank, rest = held.partition(b"\r\n\r\n")
            if not blank:
                if len(held) > _HEAD_MAX_BYTES:
                    return None
                break
            match = _NAME.search(head)
            wanted = match is not None and match[1] == name.encode()
            # The delimiter of an empty body begins with the blank line's end.
            held, in_body = b"\r\n" + rest, True
            if wanted:
                held = rest
    return None
