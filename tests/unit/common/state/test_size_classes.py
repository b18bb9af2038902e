"""What Redis' memory grows by, against jemalloc's own table and the server's own word."""

from __future__ import annotations

import pytest

from tests.doubles.size_classes import allocated_bytes


@pytest.mark.parametrize(
    ("size_bytes", "block_bytes"),
    [
        (0, 16),
        (16, 16),
        (17, 32),
        (128, 128),
        (129, 160),
        (1_025, 1_280),
        (16_385, 20_480),
        (300_000, 327_680),
        (564_000, 655_360),
        (655_360, 655_360),
        (655_361, 786_432),
    ],
)
def test_blocks_are_those_of_jemalloc(size_bytes: int, block_bytes: int) -> None:
    assert allocated_bytes(size_bytes) == block_bytes
