"""Verdicts on entries that no handler can read."""

from __future__ import annotations

from collections.abc import Callable

from redis.exceptions import RedisError

from common.state.verdict import DeadLetter, Entry, Retry, Settle, Verdict

# Why samples are dropped whose payload Redis lost, and whose window is extracted again.
PAYLOAD_LOST = "payload_lost"
_RETRY_SECONDS = 1.0


def whole_as_dead_letter(entry: Entry, reason: str, detail: str) -> Settle:
    """The whole entry as one dead letter, with its own bytes (or fields, if it has no payload)."""
    payload = entry.payload
    if not payload and entry.fields:
        payload = b"\n".join(name + b"=" + value for name, value in sorted(entry.fields.items()))
    return Settle(dead=(DeadLetter(reason, detail, payload, entry.samples),))


def lost_payload(entry: Entry, reopen_window: Callable[[Entry], bool]) -> Verdict:
    """An entry whose payload is gone: its window is extracted again, if Redis knows it.

    The window is opened before the entry is settled, so that a death in between costs no more than
    to do it twice. Only where the window is unknown a dead letter tells of the samples.
    """
    try:
        reopened = reopen_window(entry)
    except RedisError as error:
        return Retry(_RETRY_SECONDS, f"its payload is lost, and Redis does not respond: {error}")
    if reopened:
        return Settle(drops={PAYLOAD_LOST: entry.samples})
    return whole_as_dead_letter(entry, "payload_missing", f"no payload under {entry.payload_key!r}")
