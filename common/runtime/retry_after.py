"""Retry-After in both of its forms (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")


def retry_after_seconds(value: str | None, date: str | None, now_seconds: float) -> float | None:
    """Seconds to wait, or None if no wait is requested (absent, past, zero or unreadable).

    ``value`` is the header, ``date`` the response's ``Date``: how far off an
    instant is depends on the clock that named it, or on ``now_seconds`` (ours) where it has none.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        wait = float(value)
    else:
        until = http_date_seconds(value)
        if until is None:
            return None
        theirs = http_date_seconds(date) if date else None
        wait = until - (now_seconds if theirs is None else theirs)
    return wait if wait > 0 else None


def http_date_seconds(value: str) -> float | None:
    """An HTTP date in seconds since the epoch; None for what is none."""
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:  # "-0000": UTC, of an unknown zone
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
