"""Payloads of the points stream: gzip members of lines."""

from __future__ import annotations

import gzip
from typing import Any

from common.errors import WireError
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require
from services.loader import payload as wire
from services.loader.lines import REASONS, Lines, dead_letters
from services.loader.messages import quoted_lines

LINES = (
    b"m value=1 1700000000000",
    b"m,job=a,le=0.5 value=-0 1700000000015",
    b"a\\ b,t\\=x=y\\,z value=1.5e-300 1",
    "größe,k=é🙂 value=5e-324 9223372036854".encode(),
    b"# comment",
    b"",
    b"m value=1",
    b"m value=1 99999999999999999999999",
    b"m value=1 -5",
    "m value=1 ٣".encode(),
    b"\xff\xfe value=1 1",
    b"m,t=" + b"x" * 400 + b" value=1 1",
)
_TOKENS = (b"\n", b"\r\n", b" ", b"\\", b",", b"=", b"1700000000000", b"\x1f\x8b\x08", b"\x00")
_PEEK_BYTES = 60_000


def payload_of(m: Mutator) -> tuple[bytes, int]:
    """A payload and how many lines it has, before it was damaged."""
    lines = [m.pick(LINES) for _ in range(m.between(0, 12))]
    text = b"".join(line + b"\n" for line in lines)
    if m.chance(0.3):
        text = m.bytes(text, _TOKENS)
    cut = m.below(len(text) + 1) if m.chance(0.3) else 0
    parts = [text[:cut], text[cut:]] if cut else [text]
    payload = b"".join(gzip.compress(part, 1, mtime=0) for part in parts)
    if m.chance(0.4):
        payload = m.bytes(payload, (b"\x1f\x8b\x08", b"\x00\x00\x00\x00", b"\xff\xff"))
    return payload, len(lines)


class PointsPayloads(Target):
    """Lines or :class:`WireError`; lines put together again are the text that was inflated."""

    name = "points_payloads"
    weight = 80

    def make(self, m: Mutator) -> tuple[bytes, int, str]:
        """A payload, the samples that its entry claims, and words of a sink about it."""
        payload, lines = payload_of(m)
        words = m.text("unable to parse 'm value=1': bad timestamp dropped=1", ("': ", "'", "\n"))
        return payload, lines if m.chance(0.7) else m.below(15), words

    def check(self, case: Any) -> bool:
        """Shape, lines, timestamps, letters of some of the lines."""
        payload, samples, words = case
        try:
            wire.check_shape(payload, samples)
            shaped = True
        except WireError:
            shaped = False
        first = wire.first_timestamp_ms(payload)
        require(first is None or abs(first) < 10**20, "impossible first timestamp", first)
        quoted_lines(words)
        try:
            lines = wire.decode(payload, samples)
        except WireError:
            return False
        require(len(lines) == samples, "other number of lines", lines)
        require(wire.text(lines) == gzip.decompress(payload), "other lines")
        require(wire.decode(wire.encode(lines), samples) == lines, "other lines the second time")
        if int.from_bytes(payload[-4:], "little") >= wire.MIN_LINE_BYTES * samples:
            require(shaped, "whole, but not of the right shape")
        if lines and len(lines[0]) < _PEEK_BYTES and _one_member(payload):
            known = first in (None, wire.timestamp_ms(lines[0]))
            require(known, "other first timestamp", first)
        self._check_letters(lines, words)
        return True

    def _check_letters(self, lines: list[bytes], words: str) -> None:
        refused = Lines(lines)
        for index in range(0, len(lines), 2):
            refused.status[index] = tuple(REASONS)[index % 3]
            refused.messages[index] = words + str(index % 5)
        found = dead_letters(refused)
        kept_lines = sum(one.samples for one in found)
        require(kept_lines == len(refused.messages), "dead letters lose lines")
        kept = sorted(line for one in found for line in one.payload.split(b"\n")[:-1])
        meant = sorted(lines[index] for index in refused.messages)
        require(kept == meant, "dead letters hold other lines")


def _one_member(payload: bytes) -> bool:
    return payload.count(b"\x1f\x8b\x08") == 1
