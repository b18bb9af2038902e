"""Frames that are taken apart side by side hold what they hold when each is taken apart alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.source.remote_read import frames
from common.source.remote_read.frames import SeriesChunks, read_frames
from common.source.remote_read.side_by_side import LEAST_FRAMES, MOST_ROUNDS, usual_spans
from tests.support.remote_write import of_int
from tests.unit.common.source.remote_read.answers import answer, chunk, frame, labels_of, series

FIRST_MS = 1_700_000_000_000


def chunk_of(number: int, first_ms: int = FIRST_MS) -> bytes:
    """One whose length depends on ``number``: of one, two or three bytes as a varint."""
    return chunk(
        [(first_ms + 15_000 * n, n * number * 0x9E3779B97F4A7C15 % 2**64) for n in range(number)]
    )


def labels(number: int, more: int = 0) -> dict[str, str]:
    return {"__name__": f"x{number}"} | {
        f"label_{n}": "v" * (n * number % 150) for n in range(more)
    }


def usual(count: int = LEAST_FRAMES) -> list[bytes]:
    return [
        series(labels(n, n % 5), *(chunk_of(1 + (n * k * 7) % 200) for k in range(n % 4)))
        for n in range(count)
    ]


def frames_of(content: bytes) -> list[tuple[int, int]]:
    found, end = frames._whole_frames(content)
    assert end == len(content)
    return found


def read(content: bytes) -> SeriesChunks:
    (found,) = read_frames([content])
    return found


def by_hand(content: bytes, monkeypatch: pytest.MonkeyPatch) -> SeriesChunks:
    with monkeypatch.context() as patched:
        patched.setattr(frames, "usual_spans", lambda content, frames: None)
        return read(content)


def assert_alike(one: SeriesChunks, other: SeriesChunks) -> None:
    assert one.labels == other.labels
    for name in ("chunks", "starts", "ends"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
        assert getattr(one, name).dtype == np.int64


def test_what_is_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    content = answer(usual())
    assert usual_spans(content, frames_of(content)) is not None
    assert_alike(read(content), by_hand(content, monkeypatch))


def test_series_without_any_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    content = answer(series(labels(n)) for n in range(LEAST_FRAMES))
    assert usual_spans(content, frames_of(content)) is not None
    assert_alike(read(content), by_hand(content, monkeypatch))


SERIES = {
    "times_of_fewer_bytes": series(labels(1), chunk_of(3, 1_000)),
    "times_before_1970": series(labels(1), chunk_of(3, -FIRST_MS)),
    "many_labels": series(labels(1, MOST_ROUNDS + 1), chunk_of(2)),
    "many_chunks": series(labels(1), *(chunk_of(2) for _ in range(MOST_ROUNDS + 1))),
    "no_labels": series({}, chunk_of(2)),
}


@pytest.mark.parametrize("odd", SERIES)
@pytest.mark.parametrize("place", [0, 30, LEAST_FRAMES])
def test_what_is_written_otherwise_is_read_all_the_same(
    odd: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_series = usual()
    all_series.insert(place, SERIES[odd])
    content = answer(all_series)
    found = read(content)
    assert_alike(found, by_hand(content, monkeypatch))
    assert len(found.labels) == LEAST_FRAMES + 1


def joined(messages: Iterable[bytes]) -> bytes:
    return b"".join(map(frame, messages))


def test_one_series_in_several_frames_and_the_index_of_the_query() -> None:
    parts = [series(labels(1), chunk_of(2)), series(labels(1), chunk_of(3))]
    found = read(answer([*usual(), *parts]))
    assert found.labels.count(labels_of(labels(1))) == 1
    assert found.chunks[-1] == 2
    indexed = joined(part + of_int(2, 1) for part in usual())
    assert len(read(indexed).labels) == LEAST_FRAMES


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 30), st.binary(max_size=40)), min_size=1, max_size=4))
def test_damaged_messages_are_judged_as_by_hand(changes: list[tuple[int, bytes]]) -> None:
    """Whatever a message holds: the same series, or the same doubt."""
    messages = usual()
    for number, text in changes:
        messages[number] = messages[number][: len(text)] + text + messages[number][len(text) + 3 :]
    content = joined(messages)
    spans = usual_spans(content, frames_of(content))
    if spans is not None:
        with pytest.MonkeyPatch.context() as patched:
            assert_alike(SeriesChunks(content, *spans), by_hand(content, patched))
