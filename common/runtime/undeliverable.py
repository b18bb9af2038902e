"""Entries that no handler should see, and whole entries as dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError

from common.state.stream import ENTRY_SCHEMA
from common.state.verdict import PUSHED, DeadLetter, Entry, Retry, Settle, Verdict

# Why samples are dropped whose payload Redis lost, and whose window is extracted again.
PAYLOAD_LOST = "payload_lost"
_RETRY_SECONDS = 1.0


def decide(
    entry: Entry, poison_crashes: int, knows_window: Callable[[Entry], bool]
) -> Verdict | None:
    """What becomes of an entry before anybody works on it; None = hand it on.

    ``knows_window``: whether its window can be extracted again.
    """
    if entry.crashes >= poison_crashes:
        return whole_as_dead_letter(
            entry,
            "poison",
            f"{entry.crashes} workers died or failed with it, the last time alone",
        )
    if entry.payload_missing:
        return lost_payload(entry, knows_window)
    if entry.schema != ENTRY_SCHEMA:
        return whole_as_dead_letter(
            entry,
            "unknown_schema",
            f"entry has schema {entry.schema}, this worker reads schema {ENTRY_SCHEMA}",
        )
    return None


def without_pushed_letters(entry: Entry, verdict: Settle) -> Settle:
    """What is refused of pushed samples is dropped: the same samples, pulled, are dead letters."""
    if entry.window_id != PUSHED or not verdict.dead:
        return verdict
    drops = Counter(verdict.drops)
    for letter in verdict.dead:
        drops[letter.reason] += letter.samples
    return replace(verdict, drops=drops, dead=())


def about(entry: Entry) -> dict[str, Any]:
    """What a log line says of an entry."""
    return {"entry": entry.id, "query": entry.query, "samples": entry.samples}


def whole_as_dead_letter(entry: Entry, reason: str, detail: str) -> Settle:
    """The whole entry as one dead letter, with its own bytes (or fields, if it has no payload)."""
    payload = entry.payload
    if not payload and entry.fields:
        payload = b"\n".join(name + b"=" + value for name, value in sorted(entry.fields.items()))
    return Settle(dead=(DeadLetter(reason, detail, payload, entry.samples),))


def lost_payload(entry: Entry, knows_window: Callable[[Entry], bool]) -> Verdict:
    """An entry whose payload is gone: its window is extracted again, if Redis knows it.

    Only where the window is unknown a dead letter tells of the samples.
    """
    try:
        is_known = knows_window(entry)
    except RedisError as error:
        return Retry(_RETRY_SECONDS, f"its payload is lost, and Redis does not respond: {error}")
    if is_known:
        return Settle(drops={PAYLOAD_LOST: entry.samples}, again=True)
    return whole_as_dead_letter(entry, "payload_missing", f"no payload under {entry.payload_key!r}")
