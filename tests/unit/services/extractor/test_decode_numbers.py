"""Samples' text to columns: exact, and nothing taken for a sample that is none."""

from __future__ import annotations

import json
import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.extractor.source.decode_columns import NotColumns, read_numbers

Sample = tuple[float, str]


def texts(series: list[list[tuple[str, str]]]) -> list[bytes]:
    return [
        '"],['.join(f'{seconds},"{value}' for seconds, value in samples).encode()
        for samples in series
    ]


def plainly(parts: list[bytes]) -> list[list[Sample]] | None:
    """What Python's parser reads, or None if these are no series of samples."""
    found = []
    for part in parts:
        try:
            samples = json.loads(b"[[" + part + b'"]]')
            found.append([(float(seconds), str(value)) for seconds, value in samples])
        except (ValueError, TypeError):
            return None
        if not all(isinstance(s, int | float) and isinstance(v, str) for s, v in samples):
            return None
    return found


def same(left: float, right: float) -> bool:
    return np.float64(left).tobytes() == np.float64(right).tobytes() or (
        math.isnan(left) and math.isnan(right)
    )


VALUES = st.one_of(
    st.floats().map(lambda value: str(value).replace("nan", "NaN").replace("inf", "Inf")),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: f"{value:f}"),
    st.integers(-(10**25), 10**25).map(str),
    st.sampled_from(["NaN", "+Inf", "-Inf", "-0", "0", "-0.0", "4.4160981834126e-276"]),
    st.sampled_from(["18446744073709551615", "18446744073709552000", "-9223372036854775809"]),
)
TIMES = st.one_of(
    st.integers(0, 10**10).map(str), st.integers(0, 10**13).map(lambda ms: f"{ms / 1000:.3f}")
)
SERIES = st.lists(
    st.lists(st.tuples(TIMES, VALUES), min_size=1, max_size=5), min_size=1, max_size=5
)


@given(SERIES)
def test_numbers_are_those_of_float_bit_for_bit(series: list[list[tuple[str, str]]]) -> None:
    try:
        counts, numbers = read_numbers(texts(series))
    except NotColumns:
        # Python writes infinity without its sign, and a stand-in may be met by itself.
        values = {value for samples in series for _, value in samples}
        assert "Inf" in values or "4.4160981834126e-276" in values
        return

    assert counts.tolist() == [len(samples) for samples in series]
    for (seconds, value), (time_text, text) in zip(numbers, chain(*series), strict=True):
        assert seconds == float(time_text)
        assert same(value, float(text))


@pytest.mark.parametrize(
    "value", ["NaN", "+Inf", "-Inf", "-0", "18446744073709552000", "-123456789012345678901"]
)
def test_what_json_has_no_number_for_is_read_all_the_same(value: str) -> None:
    counts, numbers = read_numbers([f'1,"5"],[2,"{value}'.encode(), b'3,"7'])

    assert counts.tolist() == [2, 1]
    assert numbers[:, 0].tolist() == [1, 2, 3]
    assert same(numbers[1, 1], float(value))


def test_a_number_that_stands_for_another_is_told_from_it() -> None:
    with pytest.raises(NotColumns):
        read_numbers([b'1,"NaN"],[2,"4.4160981834126e-276'])
    _, numbers = read_numbers([b'1,"5"],[2,"4.4160981834126e-276'])
    assert numbers[1, 1] == 4.4160981834126e-276


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"1"],
        [b'"1'],
        [b',"1'],
        [b'1,"'],
        [b'1,"2 '],
        [b'1,"2"],[3,4'],
        [b'5"],[1,"2,"3'],  # one number here, three there
        [b'1,"2,3"],[4,"5'],
        [b'1,"2"],[3"],[4,"5,"6'],
        [b'[1],"2'],
        [b'1,"[2]'],
        [b'1,"2"],"[3,"4'],
        [b'1,"2"]],[[3,"4'],  # two series where one was asked for
        [b'1,"2"]]],[[[3,"4'],
        [b'1,"2","3'],
        [b'1"2,"3'],
        [b'1,"2"],[1"3,"4'],
        [b'1,"true'],
        [b'null,"1'],
        [b'{},"1'],
        [b'1,"0x10'],
        [b'1,"1_0'],
        [b'1,"01'],
        [b'1,"1.'],
        [b'1,"infinity'],
        [b'1,"\xff'],
        [b'1,"2\x00'],
        [b"[" * 5000 + b'1,"2'],
        [b'1,"2', b""],
        [b'1,"2', b'3"],[4,"5,"6'],
        [b'1,"1e999'],
    ],
)
def test_anything_else_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(NotColumns):
        read_numbers(parts)


@given(
    SERIES,
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.integers(0, 4),
            st.text('",[]{}0123.e-+ NaI\\', max_size=4).map(str.encode),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_what_is_accepted_of_broken_text_is_what_json_says(
    series: list[list[tuple[str, str]]], edits: list[tuple[int, int, bytes]]
) -> None:
    parts = texts(series)
    for place, length, new in edits:
        index = place % len(parts)
        at = place % (len(parts[index]) + 1)
        parts[index] = parts[index][:at] + new + parts[index][at + length :]
    try:
        counts, numbers = read_numbers(parts)
    except NotColumns:
        return

    plain = plainly(parts)
    assert plain is not None
    assert counts.tolist() == [len(samples) for samples in plain]
    for (seconds, value), (wanted_seconds, text) in zip(numbers, chain(*plain), strict=True):
        assert seconds == wanted_seconds
        assert same(value, float(text))
