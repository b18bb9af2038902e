"""Entries that no handler should see, and whole entries as dead letters."""

from __future__ import annotations

from common.state.stream import ENTRY_SCHEMA
from common.state.verdict import DeadLetter, Entry, Settle


def decide(entry: Entry, poison_crashes: int) -> Settle | None:
    """The dead letter that an entry is to become before anybody works on it; None = hand it on."""
    if entry.crashes >= poison_crashes:
        return whole_as_dead_letter(
            entry,
            "poison",
            f"{entry.crashes} workers died or failed with it, the last time alone",
        )
    if entry.payload_missing:
        return whole_as_dead_letter(
            entry, "payload_missing", f"no payload under {entry.payload_key!r}"
        )
    if entry.schema != ENTRY_SCHEMA:
        return whole_as_dead_letter(
            entry,
            "unknown_schema",
            f"entry has schema {entry.schema}, this worker reads schema {ENTRY_SCHEMA}",
        )
    return None


def whole_as_dead_letter(entry: Entry, reason: str, detail: str) -> Settle:
    """The whole entry as one dead letter, with its own bytes (or fields, if it has no payload)."""
    payload = entry.payload
    if not payload and entry.fields:
        payload = b"\n".join(name + b"=" + value for name, value in sorted(entry.fields.items()))
    return Settle(dead=(DeadLetter(reason, detail, payload, entry.samples),))
