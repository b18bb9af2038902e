"""Has time of a feed extracted again, as a part of another script: what that is given for it.

What lies before the feed's origin, which a backfill has loaded, becomes another backfill.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from common.state.feeds import Range
from common.state.keys import Keys, part_of


def again(
    keys: Keys, feed: str, bounds: Range, rounds: int = 0
) -> tuple[list[str], dict[str, Any]]:
    """Keys and argument for ranges of a feed within ``bounds``, after so many recounts."""
    id_ = backfill_id()
    part = part_of(feed, id_)
    names = [
        keys.feed(feed),
        keys.windows(feed),
        keys.history(feed),
        *keys.of_backfill(id_, part),
    ]
    fields = backfill_fields([feed], *bounds)
    return names, {"feed": feed, "id": id_, "part": part, "fields": fields, "round": rounds}


def backfill_id() -> str:
    """An id of a backfill."""
    return uuid.uuid4().hex[:8]


def backfill_fields(
    feeds: Sequence[str], from_ms: int, to_ms: int, order: str = "newest", rate: float = 0.0
) -> list[str]:
    """Of a backfill that begins: its fields in Redis, names and values."""
    fields = {
        "state": "running",
        "from_ms": from_ms,
        "to_ms": to_ms,
        "order": order,
        "rate": rate,
        "feeds": json.dumps(feeds),
    }
    return [str(one) for pair in fields.items() for one in pair]
