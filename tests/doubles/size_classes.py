"""What memory grows by: an allocator hands out blocks of certain sizes."""

from __future__ import annotations

_SMALLEST_BYTES = 16


def allocated_bytes(size_bytes: int) -> int:
    """The block that jemalloc, Redis' allocator, takes for so many bytes; up to a quarter more.

    Four sizes to each power of two (https://jemalloc.net/jemalloc.3.html, size classes). Its twin
    is ``allocated`` in ``common/state/lua/prelude.lua``.
    """
    if size_bytes <= _SMALLEST_BYTES:
        return _SMALLEST_BYTES
    step = max(_SMALLEST_BYTES, 1 << (size_bytes - 1).bit_length() - 3)
    return -(-size_bytes // step) * step
