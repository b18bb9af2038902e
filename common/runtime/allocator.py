"""What the C library does with memory that was freed: keep it.

By default glibc gives large blocks back to the kernel as soon as they are freed. A stage frees and
takes blocks of the same size with every entry, and each time the kernel has to map and clear pages
anew: it was a quarter of the extractor's time.
"""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3), glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

# Larger blocks come from the kernel and go back to it: an exceptional window leaves nothing behind.
_MAPPED_FROM_BYTES = 32 << 20
# So much freed memory at the top of the heap is kept.
_KEPT_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Keep up to 64 MiB of freed memory for what comes next; False where the C library cannot."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library: slower, and right all the same
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    kept = (mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES), mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
    return all(kept)
