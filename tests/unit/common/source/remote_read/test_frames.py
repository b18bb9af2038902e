"""Taking streamed answers apart: whole ones, and each way in which one can be damaged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.source.remote_read.doubt import Doubt
from common.source.remote_read.frames import read_frames
from tests.support.remote_write import of_bytes, of_int
from tests.unit.common.source.remote_read import answers
from tests.unit.common.source.remote_read.answers import (
    answer,
    chunk,
    frame,
    labels_of,
    series,
)

CHUNK = chunk([(1_700_000_000_000 + 15_000 * n, n) for n in range(120)])
LABELS = [{"__name__": "x", "n": str(number), "long": "v" * number} for number in range(200)]
WHOLE = answer(series(labels, CHUNK, CHUNK) for labels in LABELS)


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[begin : begin + size] for begin in range(0, len(content), size))


def chunks_by_labels(
    content: bytes, piece: int, block_bytes: int
) -> list[tuple[bytes, list[bytes]]]:
    found: list[tuple[bytes, list[bytes]]] = []
    for block in read_frames(pieces(content, piece), block_bytes):
        spans = iter(zip(block.starts, block.ends, strict=True))
        for labels, chunks in zip(block.labels, block.chunks, strict=True):
            data = [block.content[slice(*next(spans))] for _ in range(chunks)]
            if found and found[-1][0] == labels:
                found[-1][1].extend(data)
            else:
                found.append((labels, data))
        assert next(spans, None) is None
    return found


@pytest.mark.parametrize("piece", [7, 1000, 1 << 20])
@pytest.mark.parametrize("block_bytes", [100, 5000, 1 << 20])
def test_series_come_with_their_chunks(piece: int, block_bytes: int) -> None:
    data = CHUNK[-(len(CHUNK) - CHUNK.index(b"\x22") - 3) :]
    found = chunks_by_labels(WHOLE, piece, block_bytes)
    assert [labels for labels, _ in found] == [labels_of(labels) for labels in LABELS]
    assert all(len(chunks) == 2 and data.endswith(chunks[0]) for _, chunks in found)


def test_a_series_in_several_frames_is_one() -> None:
    content = answer([series(LABELS[1], CHUNK), series(LABELS[1], CHUNK), series(LABELS[2], CHUNK)])
    found = chunks_by_labels(content, 1 << 20, 1 << 20)
    assert [(labels, len(chunks)) for labels, chunks in found] == [
        (labels_of(LABELS[1]), 2),
        (labels_of(LABELS[2]), 1),
    ]


def test_nothing_is_no_series() -> None:
    assert list(read_frames([])) == []


def reason_of(content: bytes) -> str:
    with pytest.raises(Doubt) as raised:
        list(read_frames(pieces(content, 1000)))
    return raised.value.reason


@pytest.mark.parametrize("cut_bytes", [1, 2, 100, 500])
def test_a_frame_that_is_cut_off(cut_bytes: int) -> None:
    assert reason_of(WHOLE[:-cut_bytes]) == "frame"


@pytest.mark.parametrize(
    "text", [b"a", b"error: context deadline exceeded\n", b"x" * 300, b"\x00", b"\xff" * 20]
)
def test_text_after_good_frames(text: bytes) -> None:
    assert reason_of(WHOLE + text) in ("frame", "checksum")


@pytest.mark.parametrize("at", [5, 6, 30, 100, -1])
def test_a_byte_that_changed(at: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[at] ^= 1
    assert reason_of(bytes(damaged)) == "checksum"


@pytest.mark.parametrize("kind", [0, answers.HISTOGRAM, 3, answers.UNKNOWN])
def test_chunks_of_another_type(kind: int) -> None:
    other = chunk([(1, 1)], kind)
    assert reason_of(answer([series(LABELS[0], CHUNK), series(LABELS[1], CHUNK, other)])) == (
        "chunk_type"
    )


@pytest.mark.parametrize(
    "message",
    [
        of_bytes(3, b"x"),
        of_bytes(1, of_bytes(3, b"x")),
        of_bytes(1, of_bytes(2, of_bytes(7, b"x"))),
        of_bytes(1, b"\x0a\x05ab"),
        of_bytes(1, b"\x12\x05\x18\x01"),
        of_bytes(1, b"\x12\x04\x18\x01\x22\x05"),
        b"\x0a\x7f",
        b"\x0a",
        b"\x0a" + b"\xff" * 12,
    ],
)
def test_messages_of_another_shape(message: bytes) -> None:
    assert reason_of(frame(message)) == "frame"


def test_the_index_of_the_query_is_passed() -> None:
    content = frame(series(LABELS[0], CHUNK) + of_int(2, 1))
    assert len(chunks_by_labels(content, 1000, 1000)) == 1


@given(st.binary(max_size=80))
def test_any_message_is_read_or_doubtful(message: bytes) -> None:
    try:
        for block in read_frames([frame(message)] if message else []):
            assert sum(block.chunks) == len(block.starts) == len(block.ends)
    except Doubt:
        pass
