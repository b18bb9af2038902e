"""Structured mutation: inputs that are nearly right, so that they get past the first check.

Every choice is read off some bytes, which hypothesis draws and shrinks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Any, AnyStr, TypeVar

T = TypeVar("T")

# Where number parsers disagree: signs, ends of ranges, other notations, other digits, too long.
NUMBER_TEXTS = (
    *("0", "-0", "1", "-1", "+1", "00", "007", "1.", ".5", "-.5", "1.0", "0.1", "1e5", "1E5"),
    *("1e", "1e+", "e5", ".", "-", "+", "", " ", " 1", "1 ", "1_000", "1,5", "0x10", "0b1"),
    "1e1e1",
    *("nan", "NaN", "-nan", "inf", "Inf", "+Inf", "-Inf", "Infinity", "-infinity", "infin", "null"),
    *("1e308", "1.7976931348623157e308", "1.7976931348623159e308", "1e309", "-1e309", "1e400"),
    *("5e-324", "2e-324", "2.4703282292062327e-324", "1e-400", "2.2250738585072011e-308"),
    *("9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808"),
    *("18446744073709551615", "18446744073709551616", "340282366920938463463374607431768211456"),
    *("0.1000000000000000055511151231257827021181583404541015625", "4503599627370496.5"),
    *("1700000000", "1700000000.123", "1700000000.0005", "1e12", "253402300800", "99999999999999"),
    *("٣", "１２", "²", "1\u00a0", "−1", "1e١"),
    *("9" * 40, "9" * 400, "9" * 5000, "0." + "0" * 400 + "1", "1" + "0" * 400 + "e-400"),
)
INTEGERS = (
    *(0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 100_000),
    *(2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**32, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**63),
    *(-(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 1_700_000_000_000, 9_223_372_036_854, 10**30),
)
FLOATS = (
    *(0.0, -0.0, 1.0, -1.0, 0.1, 1 / 3, 1e15, 1e16, 1e17, 1e21, 1e22, 1e-5, 1e-7, 2.0**53, 2.0**63),
    *(5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308),
    *(4503599627370496.5, 9007199254740991.0, 9.5e-323, float("nan"), float("inf"), float("-inf")),
)
# Characters that mean something to somebody on the way, and some that are easily broken.
SPECIAL_TEXTS = (
    *(
        "",
        " ",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\x1b[31m",
        "\x7f",
        "\\",
        "\\\\",
        '"',
        "'",
        "`",
        "$",
        "$1",
    ),
    *("${1}", "$$", "${", "#", ",", "=", ";", ":", "|", "*", ".*", "(", ")", "[", "]", "{", "}"),
    *("<<", "&a", "*a", "!!", "%", "%s", "{0}", "é", "e\u0301", "漢", "🙂", "\u2028", "\ufeff"),
    *("\ufffd", "\u0130", "ß", "\ud800", "\udfff", "\U0010ffff", "٣", "\u240a", "a" * 300, "/" * 9),
)
INTERESTING_BYTES = bytes((0, 1, 9, 10, 13, 31, 32, 34, 35, 44, 45, 46, 48, 57, 58, 61, 91, 92))
INTERESTING_BYTES += bytes((93, 101, 123, 125, 127, 128, 192, 195, 224, 237, 240, 244, 254, 255))

_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")
_NUMBER_IN_TEXT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")
_MOST = 1 << 16  # bytes or characters of an input


class Mutator:
    """Draws and damages, as ``entropy`` says: zeros choose what comes first, and do least.

    Behind its end a generator that is seeded with it goes on.
    """

    def __init__(self, entropy: bytes) -> None:
        self._entropy = entropy
        self._at = 0
        self._generator: Random | None = None

    # -- drawing ------------------------------------------------------------------------------

    def bits(self, count: int = 16) -> int:
        """A number of so many bits."""
        start = self._at
        self._at = end = start + (count + 7) // 8
        if end <= len(self._entropy):
            return int.from_bytes(self._entropy[start:end], "little") & ((1 << count) - 1)
        if self._generator is None:
            self._generator = Random(self._entropy)
        return self._generator.getrandbits(count)

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit - 1``."""
        return self.bits() * limit >> 16

    def between(self, low: int, high: int) -> int:
        """A number from ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)

    def chance(self, share: float) -> bool:
        """True in that share of cases."""
        return self.bits() >= 65536 * (1 - share)

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.below(len(options))]

    def some(self, options: Sequence[T], most: int) -> list[T]:
        """Up to ``most`` of them, with repetition."""
        return [self.pick(options) for _ in range(self.below(most + 1))]

    def few(self) -> int:
        """1, often; 2, 3, … more and more rarely."""
        count = 1
        while count < 8 and self.chance(0.45):
            count += 1
        return count

    def number_text(self) -> str:
        """A number, or nearly, as text."""
        if not self.chance(0.5):
            return self.pick(NUMBER_TEXTS)
        if not self.chance(0.5):
            return repr(self.float())
        return self.text(self.pick(NUMBER_TEXTS), rounds=1)

    def integer(self) -> int:
        """A number at or near the end of some range, or any."""
        if not self.chance(0.3):
            return self.pick(INTEGERS) + (self.between(-1, 1) if self.chance(0.3) else 0)
        return self.bits(self.between(1, 70)) * (-1 if self.chance(0.3) else 1)

    def float(self) -> float:
        """A float that is hard to write, or any bits."""
        if not self.chance(0.4):
            return self.pick(FLOATS)
        return (self.bits(53) / 2**52 - 1) * 10.0 ** self.between(-300, 300)

    def word(self) -> str:
        """A short text, rarely a plain one."""
        parts = ("a", "job", "value", "time", "__name__", "le", *SPECIAL_TEXTS)
        return "".join(self.pick(parts) for _ in range(self.between(1, 3)))

    # -- damaging -----------------------------------------------------------------------------

    def bytes(
        self, data: bytes, tokens: Sequence[bytes] = (), *, rounds: int | None = None
    ) -> bytes:
        """``data`` with a few changes; ``tokens`` are what its format is made of."""
        for _ in range(self.few() if rounds is None else rounds):
            data = self.pick(_BYTE_OPERATIONS)(self, data, tokens)
        return data[:_MOST]

    def text(self, text: str, tokens: Sequence[str] = (), *, rounds: int | None = None) -> str:
        """The same for text; characters stay whole."""
        for _ in range(self.few() if rounds is None else rounds):
            text = self.pick(_OPERATIONS)(self, text, tokens)
        return text[:_MOST]

    def document(self, value: Any, *, rounds: int | None = None) -> Any:
        """Plain data with a few of its parts replaced, removed, doubled or moved."""
        for _ in range(self.few() if rounds is None else rounds):
            value = self._changed(value, 0)
        return value

    def plain(self, depth: int = 0) -> Any:
        """Any plain data."""
        kind = self.below(9 if depth < 3 else 7)
        if kind == 0:
            return self.pick((None, True, False))
        if kind == 1:
            return self.integer()
        if kind == 2:
            return self.float()
        if kind in (3, 4):
            return self.number_text()
        if kind in (5, 6):
            return self.word()
        if kind == 7:
            return [self.plain(depth + 1) for _ in range(self.below(4))]
        return {self.word(): self.plain(depth + 1) for _ in range(self.below(4))}

    def _changed(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict) and value and not self.chance(0.15):
            return self._changed_dict(dict(value), depth)
        if isinstance(value, list) and value and not self.chance(0.15):
            return self._changed_list(list(value), depth)
        if isinstance(value, str) and not self.chance(0.5):
            return self.text(value, rounds=1)
        return self.plain(depth)

    def _changed_dict(self, value: dict[Any, Any], depth: int) -> Any:
        key = self.pick(list(value))
        what = self.below(8)
        if what == 0:
            del value[key]
        elif what == 1:
            value[self.text(key, rounds=1) if isinstance(key, str) else self.word()] = value[key]
        elif what == 2:
            value[self.word()] = self.plain(depth + 1)
        else:
            value[key] = self._changed(value[key], depth + 1)
        return value

    def _changed_list(self, value: list[Any], depth: int) -> Any:
        at = self.below(len(value))
        what = self.below(8)
        if what == 0:
            del value[at]
        elif what == 1:
            value.insert(at, value[self.below(len(value))])
        elif what == 2:
            value.insert(at, self.plain(depth + 1))
        else:
            value[at] = self._changed(value[at], depth + 1)
        return value

    def span(self, length: int) -> tuple[int, int]:
        """A place in something of that length: start and end, mostly near each other."""
        start = self.below(length + 1)
        longest = length - start
        end = start + self.below(min(longest, longest if self.chance(0.3) else 8) + 1)
        return start, end


# -- operations; ``tokens`` are what the format is made of --------------------------------------


def _flip_bit(m: Mutator, data: bytes, tokens: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = m.below(len(data))
    return data[:at] + bytes((data[at] ^ (1 << m.below(8)),)) + data[at + 1 :]


def _set_byte(m: Mutator, data: bytes, tokens: Sequence[bytes]) -> bytes:
    at = m.below(len(data) + 1)
    return data[:at] + bytes((m.pick(INTERESTING_BYTES),)) + data[at + 1 :]


def _remove(m: Mutator, data: AnyStr, tokens: Sequence[AnyStr]) -> AnyStr:
    start, end = m.span(len(data))
    return data[:start] + data[end:]


def _double(m: Mutator, data: AnyStr, tokens: Sequence[AnyStr]) -> AnyStr:
    start, end = m.span(len(data))
    times = m.between(100, 2000) if m.chance(0.1) else m.between(1, 3)
    return data[:end] + data[start:end] * min(times, _MOST // (end - start + 1)) + data[end:]


def _insert(m: Mutator, data: AnyStr, tokens: Sequence[AnyStr]) -> AnyStr:
    at = m.below(len(data) + 1)
    return data[:at] + _new(m, data, tokens) + data[at:]


def _replace(m: Mutator, data: AnyStr, tokens: Sequence[AnyStr]) -> AnyStr:
    start, end = m.span(len(data))
    return data[:start] + _new(m, data, tokens) + data[end:]


def _cut_short(m: Mutator, data: AnyStr, tokens: Sequence[AnyStr]) -> AnyStr:
    return data[: m.below(len(data) + 1)]


def _move(m: Mutator, data: AnyStr, tokens: Sequence[AnyStr]) -> AnyStr:
    start, end = m.span(len(data))
    rest = data[:start] + data[end:]
    at = m.below(len(rest) + 1)
    return rest[:at] + data[start:end] + rest[at:]


def _other_number(m: Mutator, data: AnyStr, tokens: Sequence[AnyStr]) -> AnyStr:
    number = _NUMBER if isinstance(data, bytes) else _NUMBER_IN_TEXT
    found = number.search(data, m.below(len(data) + 1)) or number.search(data)
    if not found:
        return _insert(m, data, tokens)
    return data[: found.start()] + _same_kind(data, m.number_text()) + data[found.end() :]


def _swap_token(m: Mutator, data: AnyStr, tokens: Sequence[AnyStr]) -> AnyStr:
    token = m.pick(tokens) if tokens else data[:0]
    at = data.find(token, m.below(len(data) + 1)) if token else -1
    if at < 0:
        return _insert(m, data, tokens)
    new = data[:0] if m.chance(0.3) else m.pick(tokens)
    return data[:at] + new + data[at + len(token) :]


def _new(m: Mutator, data: AnyStr, tokens: Sequence[AnyStr]) -> AnyStr:
    if tokens and m.chance(0.75):
        return m.pick(tokens)
    if isinstance(data, bytes):
        return bytes(m.pick(INTERESTING_BYTES) for _ in range(m.few()))
    return m.pick(SPECIAL_TEXTS)


def _same_kind(data: AnyStr, text: str) -> AnyStr:
    return text.encode("utf-8", "replace") if isinstance(data, bytes) else text


_OPERATIONS: tuple[Any, ...] = (
    *(_remove, _double, _insert, _insert, _replace, _cut_short, _move),
    *(_other_number, _other_number, _swap_token, _swap_token),
)
_BYTE_OPERATIONS = (*_OPERATIONS, _flip_bit, _set_byte)
