"""The digest of a seal: of nothing but the points, and of every bit of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.samples import seal_columns
from common.samples.seal import Digest, digest_of_series, series_key
from common.samples.seal_columns import digest, digests_by_part
from common.samples.series import Identity, SeriesEncoder

KEYS = (b"m,host=a", b"m,host=b", b"n,host=a")
COUNTS = np.array([3, 2, 2], np.int64)
TIMES = np.array([15_000, 30_000, 45_000, 15_000, 30_000, 15_000, 30_000], np.int64)
VALUES = np.array([0.0, 1.5, -1.5, 1.5, 1.5, 5e-324, 1e308])


def of(
    keys: tuple[bytes, ...] = KEYS,
    counts: NDArray[np.int64] = COUNTS,
    times: NDArray[np.int64] = TIMES,
    values: NDArray[np.float64] = VALUES,
) -> Digest:
    return digest(keys, counts, times, values)


def test_it_is_what_it_was_when_the_first_seals_were_written() -> None:
    assert (of().points, of().text) == (7, "e752908a654e5e1bcceb86406ecd9d48")
    assert digest((), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)) == Digest()


def test_every_kind_of_damage_changes_it() -> None:
    swapped_values = VALUES[[3, 1, 2, 0, 4, 5, 6]]
    flipped = VALUES.view(np.uint64).copy()
    flipped[4] ^= np.uint64(1)
    found = {
        of(),
        of(times=TIMES + (np.arange(7) == 1)),  # a millisecond later
        of(values=flipped.view(np.float64)),
        of(values=np.where(VALUES == 0, -0.0, VALUES)),
        of(values=swapped_values),  # two series have each other's value
        of(keys=(b"m,host=a", b"m,host=c", b"n,host=a")),  # another tag
        of(keys=(KEYS[1], KEYS[0], KEYS[2]), counts=COUNTS),
        of(values=VALUES[[1, 0, 2, 3, 4, 5, 6]]),  # two points of a series swapped
        of(counts=np.array([2, 3, 2], np.int64)),  # a point belongs to the next series
    }
    assert len({each.text for each in found}) == 9
    assert all(each.points == 7 for each in found)


@given(st.data())
def test_it_is_the_sum_of_its_parts_in_whatever_order(data: st.DataObject) -> None:
    number = data.draw(st.integers(1, 40))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    counts = random.integers(0, 5, (number, 3))
    keys = [b"m,n=%d" % n for n in range(number)]
    points = int(counts.sum())
    times = random.integers(1, 2**42, points)
    values = random.integers(0, 2**64, points, dtype=np.uint64).view(np.float64)
    whole = digest(keys, counts.sum(axis=1), times, values)
    parts = digests_by_part(keys, counts, times, values)
    assert sum(parts, Digest()) == whole
    assert sum(reversed(parts), Digest()) == whole
    assert whole - parts[1] == parts[0] + parts[2]
    cells = np.split(np.arange(points), np.cumsum(counts.ravel())[:-1])
    for part, each in enumerate(parts):
        mine = np.concatenate(cells[part::3])
        assert each == digest(keys, counts[:, part], times[mine], values[mine])
    order = random.permutation(number)
    of_series = np.split(np.arange(points), np.cumsum(counts.sum(axis=1))[:-1])
    shuffled = np.concatenate([of_series[n] for n in order])
    assert whole == digest(
        [keys[n] for n in order], counts.sum(axis=1)[order], times[shuffled], values[shuffled]
    )


def test_as_text_and_back() -> None:
    assert Digest.parse(7, of().text) == of()
    small = Digest(1, (5, 0))
    assert Digest.parse(1, small.text) == small
    assert small - small - small == Digest(-1, (2**64 - 5, 0))
    for points, text in ((7, "0" * 31), (7, "G" * 32), (7, "0" * 33), (-1, "0" * 32), (7, "")):
        with pytest.raises(ValueError, match="is no digest"):
            Digest.parse(points, text)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@given(st.dictionaries(TEXT.filter(bool), TEXT, max_size=5))
def test_the_sink_gives_back_what_makes_the_series_key(labels: dict[str, str]) -> None:
    encoded = json.dumps({"__name__": "a,b =c", **labels}).encode()
    identity = SeriesEncoder().identity("select", "q", encoded)
    assert isinstance(identity, Identity)
    assert series_key(identity.measurement, reversed(identity.tags.items())) == identity.key


def test_series_that_were_forgotten_have_the_same_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [b"m,n=%d" % number for number in range(7)]
    before = seal_columns.series_factors(keys).tolist()
    monkeypatch.setattr(seal_columns, "_MOST_KEYS", 2)
    monkeypatch.setattr(seal_columns, "_KEY_HASHES", seal_columns._KeyHashes())

    twice = [[*one, *one] for one in before]
    assert seal_columns.series_factors([*keys, *keys]).tolist() == twice
    assert len(seal_columns._KEY_HASHES) <= 2


def test_of_long_keys_fewer_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal_columns, "_MOST_KEYS", 10)
    monkeypatch.setattr(seal_columns, "_KEY_HASHES", seal_columns._KeyHashes())

    seal_columns.series_factors([b"m,n=%d" % number for number in range(8)])
    assert len(seal_columns._KEY_HASHES) == 8
    for number in range(20):
        seal_columns.series_factors([b"m,n=%d%s" % (number, b"x" * 1000)])
        assert len(seal_columns._KEY_HASHES) <= 10
        assert sum(map(len, seal_columns._KEY_HASHES)) <= 10 * 300


@given(
    st.binary(max_size=20),
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats()), max_size=20),
)
def test_the_plain_form_is_that_of_columns(key: bytes, points: list[tuple[int, float]]) -> None:
    times = np.array([time_ms for time_ms, _ in points], np.int64)
    values = np.array([value for _, value in points], np.float64)
    columns = digest([key], np.array([len(points)], np.int64), times, values)
    assert digest_of_series(key, points) == columns
