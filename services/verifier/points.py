"""What both readers share: points (series by identity, each with two columns), and one error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.errors import EtlError
from common.samples.layout import NAME_TAG, Place
from common.samples.line_names import FIELD

# What taking JSON apart can raise when it is not laid out as expected.
_ODD = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)


class SeriesKey(NamedTuple):
    """What makes a series of the sink one: measurement, field and sorted tags, none of them empty.

    ``field`` is that of the samples, also where a tier holds aggregates of them.
    """

    measurement: str
    tags: tuple[tuple[str, str], ...]
    field: str = FIELD

    @classmethod
    def of(cls, measurement: str, tags: Mapping[str, str], field: str = FIELD) -> SeriesKey:
        """The key of a measurement and its tags; a tag without a value is no tag."""
        return cls(measurement, tuple(sorted((k, v) for k, v in tags.items() if v)), field)

    @property
    def place(self) -> Place:
        """Where it is held besides its labels."""
        return Place(self.measurement, self.field, dict(self.tags).get(NAME_TAG, ""))

    def __str__(self) -> str:
        inside = ",".join(f"{name}={value!r}" for name, value in self.tags)
        field = "" if self.field == FIELD else f" {self.field}"
        return f"{self.measurement}{{{inside}}}{field}"


class Column(NamedTuple):
    """Points of one series: strictly rising ``timestamps_ms`` (int64[N]) and their ``values``.

    float64[N]; of rollups float64[N, F], with the aggregates side by side. One that a point does
    not have is NaN: no point can hold that.
    """

    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Column:
        """The points where a mask is true, or at some indices."""
        return Column(self.timestamps_ms[which], self.values[which])


Points = Mapping[SeriesKey, Column]


def bits(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """The 64 bits of each value: distinguishes -0.0 from 0.0, and makes a NaN equal to itself."""
    return np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)


def equal(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points have the same bits, of a rollup in all of their fields."""
    if not len(one) or not len(other):
        return np.zeros(0, np.bool_)
    same: NDArray[np.bool_] = (bits(one) == bits(other)).reshape(len(one), -1).all(axis=1)
    return same


NOTHING = Column(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64))


def join(parts: Iterable[Column]) -> tuple[Column, Column]:
    """Several columns of one series as one, and what had to give way.

    The first is sorted by time; of several points with one timestamp the last in order stays, the
    others are the second (sorted by time, timestamps may repeat).
    """
    columns = list(parts)
    if len(columns) == 1 and bool(
        (columns[0].timestamps_ms[1:] > columns[0].timestamps_ms[:-1]).all()
    ):
        return columns[0], NOTHING
    times = np.concatenate([column.timestamps_ms for column in columns])
    values = np.concatenate([column.values for column in columns])
    if bool((np.diff(times) > 0).all()):
        return Column(times, values), NOTHING
    order = np.argsort(times, kind="stable")
    both = Column(times[order], values[order])
    stays = np.append(both.timestamps_ms[1:] != both.timestamps_ms[:-1], True)
    return both.take(stays), both.take(~stays)


@contextmanager
def known_shape(where: str, error: type[EtlError]) -> Iterator[None]:
    """Inside, JSON from ``where`` is taken apart; raises ``error`` if it has another shape."""
    try:
        yield
    except _ODD as odd:
        raise error(f"{where} sent JSON of an unknown shape: {odd!r:.200}") from None
