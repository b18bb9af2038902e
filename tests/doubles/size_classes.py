"""What Redis' memory grows by; the scripts in ``common/state/lua`` count the same."""

from __future__ import annotations

# The twin of the constant in ``prelude.lua``.
ENTRY_OVERHEAD_BYTES = 512
_SMALLEST_BYTES = 16


def allocated_bytes(size_bytes: int) -> int:
    """The block that jemalloc, Redis' allocator, takes for so many bytes; up to a quarter more.

    Four sizes to each power of two (https://jemalloc.net/jemalloc.3.html, size classes). Its twin
    is ``allocated`` in ``common/state/lua/pressure.lua``.
    """
    if size_bytes <= _SMALLEST_BYTES:
        return _SMALLEST_BYTES
    step = max(_SMALLEST_BYTES, 1 << (size_bytes - 1).bit_length() - 3)
    return -(-size_bytes // step) * step
