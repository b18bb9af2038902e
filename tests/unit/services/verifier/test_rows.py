"""Numbers of a response, read as one list, have the bits that ``float`` gives them."""

from __future__ import annotations

import json
import math
import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.verifier.rows import number_rows, source_body, source_columns
from services.verifier.sink.rows import json_columns, packed_columns, packed_documents

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.integers(min_value=-(2**52), max_value=2**52)
# As Go prints floats: whole numbers without a point.
WRITTEN = st.one_of(
    FINITE.map(repr),
    FINITE.map(lambda value: f"{value:.17e}"),
    st.integers(min_value=-(2**70), max_value=2**70).map(str),
    st.sampled_from(["-0", "0", "-0.0", "-0e0", "5e-324", "1e-0", "1.7976931348623157e+308"]),
)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


@given(st.lists(st.tuples(TIMES, WRITTEN), min_size=1), st.booleans())
def test_every_bit_is_kept(rows: list[tuple[int, str]], quoted: bool) -> None:
    quote = '"' if quoted else ""
    text = ",".join(f"[{time},{quote}{value}{quote}]" for time, value in rows)
    numbers = number_rows(f"[{text}]".encode())
    assert numbers is not None
    assert numbers[:, 0].tolist() == [float(time) for time, _ in rows]
    assert [bits(value) for value in numbers[:, 1].tolist()] == [bits(float(v)) for _, v in rows]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "",
        "[[]]",
        "[[1]]",
        "[[1,2,3]]",
        "[[1,2,3],[4]]",
        "[[1,2],[3]]",
        "[1,2]",
        "[[[1,2]]]",
        '[[1,"NaN"]]',
        '[[1,"+Inf"]]',
        "[[1,null]]",
        "[[1,true]]",
        "[[1,1e400]]",
        "[[1,1.]]",
        "[[1,--1]]",
        '[["1",2]]',
        '[[1,"2],[3"]]',
        '[[1,""2]]',
        '[[1,"2"],[3,4]]',
        '[[1,"2\\"]]',
        "[[1, 2]]",
        "[[1,2],]",
    ],
)
def test_anything_else_is_left_to_the_plain_parser(text: str) -> None:
    assert number_rows(text.encode()) is None


def test_samples_that_are_no_numbers_are_read_plainly() -> None:
    times, values = source_columns(b'[[1.001,"NaN"],[2,"+Inf"],[3.5,"-Inf"],[4,"-0"]]')
    assert times.tolist() == [1_001, 2_000, 3_500, 4_000]
    assert [repr(value) for value in values.tolist()] == ["nan", "inf", "-inf", "-0.0"]


@pytest.mark.parametrize("seconds", ["1e300", "9e18", "-1e19"])
def test_times_that_no_point_can_have_are_refused(seconds: str) -> None:
    with pytest.raises(OverflowError):
        source_columns(f'[[1,"1"],[{seconds},"1"]]'.encode())


@given(st.integers(min_value=0, max_value=2**42))
def test_milliseconds_are_those_of_the_plain_way(time_ms: int) -> None:
    text = f'[[{time_ms // 1000}.{time_ms % 1000:03d},"1"]]'
    times, _ = source_columns(text.encode())
    assert times.tolist() == [time_ms]


def test_a_body_with_more_than_numbers_is_read_plainly() -> None:
    series = {"metric": {}, "values": [[1, "2"]], "histograms": [[1, {}]]}
    body = {"status": "success", "data": {"resultType": "matrix", "result": [series]}}
    assert source_body(json.dumps(body).encode()) == body
    with pytest.raises(ValueError, match="line 1 column"):
        source_body(b'{"status": "succ')


@given(st.lists(st.tuples(TIMES, FINITE)))
def test_packed_rows_keep_every_bit(rows: list[tuple[int, float]]) -> None:
    (column,) = packed_columns([msgspec.msgpack.encode(rows)], 1)
    assert column.timestamps_ms.tolist() == [time for time, _ in rows]
    found = column.values[:, 0].tolist()
    assert [bits(value) for value in found] == [bits(value) for _, value in rows]


@pytest.mark.parametrize("width", [2, 14, 15, 200])
def test_values_side_by_side_keep_every_bit(width: int) -> None:
    """A list of more than 15 has another head."""
    values = [[-0.0, 5e-324, *(n / 7 for n in range(width - 2))] for _ in range(3)]
    rows = [[1_700_000_000_000 + n, *one] for n, one in enumerate(values)]
    (packed,) = packed_columns([msgspec.msgpack.encode(rows)], width)
    (plain,) = json_columns([json.dumps(rows).encode()], width)
    for column in (packed, plain):
        assert column.timestamps_ms.tolist() == [row[0] for row in rows]
        assert column.values.tobytes() == np.array(values).tobytes()


@pytest.mark.parametrize("value", ["1", True])
def test_a_value_that_is_no_number_equals_none(value: object) -> None:
    """Nor is it one that is not there."""
    rows = [[1_700_000_000_000, 1.5, 2.5], [1_700_000_000_001, value, None]]
    (packed,) = packed_columns([msgspec.msgpack.encode(rows)], 2)
    (plain,) = json_columns([json.dumps(rows).encode()], 2)
    for column in (packed, plain):
        assert column.values[0].tolist() == [1.5, 2.5]
        assert math.isinf(column.values[1, 0]) and math.isnan(column.values[1, 1])


def test_long_and_short_lists_are_told_apart() -> None:
    lists = [
        [[1_700_000_000_000 + n, n / 7] for n in range(count)] for count in (0, 1, 15, 16, 70_000)
    ]
    columns = packed_columns([msgspec.msgpack.encode(rows) for rows in lists], 1)
    assert [column.values.tolist() for column in columns] == [[[v] for _, v in r] for r in lists]


def test_packed_documents_are_divided_or_left() -> None:
    series = {"name": "m", "tags": {"a": "x"}, "columns": ["time", "value"], "values": [[1, 1.0]]}
    one = msgspec.msgpack.encode({"results": [{"statement_id": 0, "series": [series]}]})
    found = packed_documents(one + one)
    assert found is not None
    assert [document.results[0].series[0].tags for document in found if document.results] == [
        {"a": "x"}
    ] * 2
    assert packed_documents(one + one[:-1]) is None
    assert packed_documents(one + b"\x81\xa7results\x91") is None
    # What looks like the beginning of a document within one.
    assert packed_documents(one.replace(b"\xa1x", b"\xaa\x81\xa7results\x91")) is None
