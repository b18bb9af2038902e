"""The share of rejected samples, over the latest of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.loader.rejected_share import RejectedShare


def test_the_share_is_of_the_latest_samples_and_needs_enough_of_them() -> None:
    share = RejectedShare(max_share=0.5, min_samples=100)
    assert share.value == 0.0
    assert not share.exceeded_by(99, 99)
    assert share.exceeded_by(100, 51)
    assert not share.exceeded_by(100, 50)
    assert not share.exceeded_by(100, 0)
    assert share.exceeded_by(2, 2, alone=True)
    share.add(60, 60)
    assert share.exceeded_by(40, 1)
    for _ in range(4):
        share.add(50, 0)
    assert share.value == 0.0, "what is older than the latest hundred no longer counts"
    assert not share.exceeded_by(50, 50)
    share.add(50, 50)
    assert share.value == 0.5
    share.forget()
    assert share.value == 0.0


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=40))
def test_the_sliding_count_is_a_count(settled: list[tuple[int, int]]) -> None:
    share = RejectedShare(max_share=0.5, min_samples=60)
    done = []
    for samples, rejected in settled:
        done.append((samples, min(samples, rejected)))
        share.add(*done[-1])
    kept: list[tuple[int, int]] = []
    for one in reversed(done):
        if sum(samples for samples, _ in kept) >= 60:
            break
        kept.append(one)
    total = sum(samples for samples, _ in kept)
    assert share.value == (sum(bad for _, bad in kept) / total if total else 0.0)
