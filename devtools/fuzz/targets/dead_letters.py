"""Dead letters as they may lie in Redis, and everything that an operator does to read them."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any, cast

from redis import Redis

from common.errors import EtlError
from common.state.dead_letters.kept import DeadLetters
from common.state.dead_letters.payloads import with_payloads
from common.state.keys import Keys
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require
from devtools.fuzz.targets import samples
from devtools.fuzz.targets.points import payload_of
from etlctl.dead_letters.carry_out import Filters
from etlctl.dead_letters.export import document
from etlctl.dead_letters.payloads import batch_of, batch_summary, inflated
from etlctl.dead_letters.present import metadata_lines, payload_lines, table
from services.verifier.knowledge import points_of_lines

_IDS = ("1700000000000-0", "1-1", "7", "18446744073709551615-18446744073709551615")
_ID_TOKENS = ("-", "0", "9" * 20, "²", "٣", "+", "(", "*", "$", "\n", " ", "18446744073709551616")
# What Redis takes for an id in XRANGE; anything else is an error of the command.
_VALID_ID = re.compile(r"([0-9]+)(?:-([0-9]+))?")


class _Answers:
    """What a server would answer; only the reading of answers is under test here."""

    def __init__(self, fields: dict[bytes, bytes], payload: bytes | None) -> None:
        self._fields, self._payload = fields, payload

    def xrange(self, name: str, start: str, end: str, count: int) -> Any:
        if start.startswith("("):
            return []
        if start != "-":
            _require_id(start)
        return [(b"1-1", self._fields)]

    def get(self, name: str) -> bytes | None:
        return self._payload

    def mget(self, names: list[str]) -> list[bytes | None]:
        require(all(name.startswith("etl:payload:") for name in names), "asks for a foreign key")
        return [self._payload for _ in names]


def _require_id(text: str) -> None:
    match = _VALID_ID.fullmatch(text)
    parts = [part for part in match.groups() if part] if match else []
    valid = bool(parts) and all(len(part) <= 20 and int(part) < 2**64 for part in parts)
    require(valid, "Redis is asked for no id", text)


class StoredLetters(Target):
    """Any dead letter is listed, shown, exported: whole, on one line, no control characters."""

    name = "stored_letters"
    weight = 70

    def make(self, m: Mutator) -> tuple[dict[bytes, bytes], bytes | None, str]:
        """Fields, payload, and an id that an operator asks for."""
        fields = samples.entry_fields(m, b"etl:payload:ab12", 5)
        fields |= {
            b"stage": m.pick((b"loader", b"transformer", b"")),
            b"reason": m.pick((b"rejected", b"poison", b"payload_missing")),
            b"detail": m.word().encode("utf-8", "surrogatepass"),
            b"feed": b"q@hot",
            b"entry": b"1-1",
            b"at_ms": m.pick((b"1700000000000", b"0", b"999999999999999")),
        }
        fields = samples.damaged_fields(m, fields, m.below(4))
        kind = m.below(5)
        payload: bytes | None
        if kind == 0:
            payload = samples.batch_of(samples.series_list(m)).encode()
        elif kind == 1:
            payload = samples.with_checksum(m.bytes(samples.batch_of([]).encode()[:-4]))
        elif kind == 2:
            payload = m.bytes(b"m value=1 1\nm value=2 2\n", (b"\x1b[31m", b"\xff", b"\0", b"\n"))
        else:
            payload = payload_of(m)[0] if kind == 3 else None
        return fields, payload, m.text(m.pick(_IDS), _ID_TOKENS, rounds=m.below(3))

    def check(self, case: Any) -> bool:
        """Listed, looked up, inflated, shown, exported."""
        fields, payload, id_ = case
        redis = cast(Redis, _Answers(fields, payload))
        dead_letters = DeadLetters(redis, Keys("etl"))
        (letter,) = dead_letters
        Filters(reason="x").admit(letter)
        table([letter])
        for line in metadata_lines(letter):
            require(line.isprintable(), "a terminal would obey", line)
        ((_, read),) = with_payloads(redis, Keys("etl"), [letter])
        for line in payload_lines(read, letter.samples):
            require(line.isprintable(), "a terminal would obey", line)
        _check_exported(document(letter, read), read, letter.samples)
        if read is not None and (batch := batch_of(read, letter.samples)) is not None:
            json.dumps(batch_summary(batch), allow_nan=False)
        list(points_of_lines(read or b"", letter.samples))
        taken = True
        for attempt in (lambda: dead_letters.get(id_), lambda: dead_letters.payload(letter)):
            try:
                attempt()
            except EtlError:
                taken = False
        return taken


def _check_exported(exported: dict[str, object], payload: bytes | None, samples: int) -> None:
    line = json.dumps(exported, ensure_ascii=False).encode()
    require(b"\n" not in line, "more than one line")
    found = json.loads(line)
    if payload is None:
        require(found["payload"] is None, "a payload from nowhere")
    elif "payload" in found:
        require(found["payload"].encode() == inflated(payload, samples), "another text")
        if not payload.startswith(b"\x1f\x8b") or inflated(payload, samples) != payload:
            whole = payload if not payload.startswith(b"\x1f\x8b") else gzip.decompress(payload)
            require(found["payload"].encode() == whole, "not the whole text")
    else:
        require(base64.b64decode(found["payload_base64"]) == payload, "other bytes")
