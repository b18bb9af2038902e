"""Freed memory is kept: blocks that are taken again and again cost no page faults."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
from common.runtime.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def take():
    blocks = [bytearray(1 << 20) for _ in range(8)]
take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    answer = subprocess.run(
        [sys.executable, "-c", _FAULTS, how], check=True, capture_output=True, text=True
    )
    return int(answer.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_what_was_freed_is_taken_again_without_the_kernel() -> None:
    assert faults("kept") * 5 < faults("by default")
