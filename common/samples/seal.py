"""The digest of a seal: 128 bits that tell whether the sink still holds exactly these points.

A seal is the number of points of one window and this digest of them. It is the same in whatever
order the points come, that of several parts is the sum of theirs, and a part can be taken away: two
sums modulo 2^64, each over all series of (a factor of the series key) times (the sum of a hash of
each point's millisecond and value bits). The hashes are those of a finalizer as in splitmix64
(Steele, Lea, Flood 2014), the factors odd halves of BLAKE2b of the series key. It finds damage; it
is no signature.

The series key is that of line protocol, escaped, with its tags in order, and the field behind it
where that is not ``value``: what :class:`common.samples.series.SeriesEncoder` gives. Digests are
kept for years: what is computed here must never change. A new digest needs a new name of the field
in the sink.

Here is the plain form, for a few points; :mod:`common.samples.seal_columns` has that for columns.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from common.samples.line_names import FIELD, escape_measurement, escape_tag, with_field

TIME_FACTOR = 0x9E3779B97F4A7C15
VALUE_FACTOR = 0xC2B2AE3D27D4EB4F
FIRST_FACTOR = 0xBF58476D1CE4E5B9
SECOND_FACTOR = 0x94D049BB133111EB
SHIFT = 32

_MODULUS = 2**64
_TEXT = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Digest:
    """Of ``points`` points: two sums, each modulo 2^64."""

    points: int = 0
    sums: tuple[int, int] = (0, 0)

    def __add__(self, other: Digest) -> Digest:
        first, second = (a + b for a, b in zip(self.sums, other.sums, strict=True))
        return Digest(self.points + other.points, (first % _MODULUS, second % _MODULUS))

    def __sub__(self, other: Digest) -> Digest:
        first, second = (a - b for a, b in zip(self.sums, other.sums, strict=True))
        return Digest(self.points - other.points, (first % _MODULUS, second % _MODULUS))

    @property
    def text(self) -> str:
        """The sums as 32 hexadecimal digits."""
        return f"{self.sums[0]:016x}{self.sums[1]:016x}"

    @classmethod
    def parse(cls, points: int, text: str) -> Digest:
        """The reverse of :attr:`text`. Raises :class:`ValueError`."""
        if points < 0 or not _TEXT.fullmatch(text):
            raise ValueError(f"{text!r:.80} of {points} points is no digest")
        return cls(points, (int(text[:16], 16), int(text[16:], 16)))


def digest_of_series(key: bytes, points: Iterable[tuple[int, float]]) -> Digest:
    """The digest of points (milliseconds since the epoch, value) of one series."""
    number, first_sum, second_sum = 0, 0, 0
    for time_ms, value in points:
        (bits,) = struct.unpack("<Q", struct.pack("<d", value))
        first = _mixed((time_ms * TIME_FACTOR + bits * VALUE_FACTOR) % _MODULUS)
        second = first * SECOND_FACTOR % _MODULUS
        number, first_sum = number + 1, first_sum + first
        second_sum += second ^ second >> SHIFT
    factors = struct.unpack("<QQ", key_hash(key))
    sums = ((first_sum, second_sum)[n] * (factors[n] | 1) % _MODULUS for n in (0, 1))
    return Digest(number, (next(sums), next(sums)))


def key_hash(key: bytes) -> bytes:
    """16 bytes: of a series key; its factors are their halves, made odd."""
    return blake2b(key, digest_size=16).digest()


def series_key(measurement: str, tags: Iterable[tuple[str, str]], field: str = FIELD) -> bytes:
    """The key of a measurement, its tags (in any order) and a field as a sink gives them back."""
    pairs = sorted((escape_tag(key), escape_tag(value)) for key, value in tags)
    key = ",".join((escape_measurement(measurement), *map("=".join, pairs))).encode()
    return key if field == FIELD else with_field(key, escape_tag(field).encode())


def _mixed(number: int) -> int:
    number = (number ^ number >> SHIFT) * FIRST_FACTOR % _MODULUS
    return number ^ number >> SHIFT
