"""Dead letters that were only counted: of one cause there are enough to look at already.

What is refused again and again for the same reason would fill Redis with copies of what one sample
shows. Its payload is not kept; it is counted, by window, so that the ledger stays exact and those
windows can be extracted again once the cause is mended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from common.errors import EtlError
from common.state.again import again
from common.state.fields import text_of
from common.state.keys import Keys
from common.state.scripts import Scripts
from common.state.windows import MOST_RECOUNTS

ID_PREFIX = "counted-"
PURGED, EXTRACTED_AGAIN = "purged", "extracted_again"


@dataclass(frozen=True, slots=True)
class CountedDeadLetters:
    """What was counted of one stage, reason, feed and measurement (empty: several).

    ``windows`` are ``(start_ms, end_ms, samples)``, oldest first; the first may be several that
    were made one. ``letters`` is how many dead letters they would be, ``detail`` the message about
    the newest, ``at_ms`` its time. ``group`` is their field in Redis.
    """

    id: str
    stage: str
    reason: str
    feed: str
    measurement: str
    query: str
    tier: str
    kind: str
    detail: str
    samples: int
    letters: int
    at_ms: int
    windows: Sequence[tuple[int, int, int]]
    group: str


def counted(redis: Redis, keys: Keys) -> Iterator[CountedDeadLetters]:
    """All of them; one that somebody else wrote is passed over."""
    found: Any = redis.hgetall(keys.dead_counted)
    for group, record in sorted(found.items()):
        try:
            yield _parsed(text_of(group), json.loads(text_of(record)))
        except (ValueError, LookupError, TypeError):
            continue


def give_up(
    redis: Redis,
    keys: Keys,
    letters: CountedDeadLetters,
    reason: str,
    more_keys: Sequence[str] = (),
    **args: Any,
) -> bool:
    """Count the samples as dropped for ``reason``; False when there are none any more.

    Raises :class:`EtlError` if more were counted since ``letters`` was read. ``more_keys`` and
    ``args`` are more of the script's.
    """
    reply = Scripts(redis).call(
        "dead_letters/give_up_counted",
        [keys.dead_counted, keys.dead_records, keys.ledger, keys.dead_purged, *more_keys],
        group=letters.group,
        samples=letters.samples,
        reason=reason,
        **args,
    )
    if reply == b"closed":
        raise EtlError(f"dead letters {letters.id}: the query {letters.query} is planned no more")
    if reply == b"changed":
        raise EtlError(f"dead letters {letters.id}: more were counted meanwhile: try again")
    if reply == b"wrong_type":
        raise EtlError(f"dead letters {letters.id}: a key of the pipeline holds something else")
    return bool(reply == b"ok")


def extract_again(redis: Redis, keys: Keys, letters: CountedDeadLetters) -> bool:
    """Put their windows back into the backlog, and take them out of the count, in one step.

    Raises :class:`EtlError` as :func:`give_up`, and when nobody plans the feed any more: then it
    cannot be extracted.
    """
    start_ms = min((start for start, _, _ in letters.windows), default=0)
    end_ms = max((end for _, end, _ in letters.windows), default=0)
    names, args = again(keys, letters.feed, (start_ms, end_ms), MOST_RECOUNTS)
    return give_up(redis, keys, letters, EXTRACTED_AGAIN, names, again=args)


def _parsed(group: str, record: dict[str, Any]) -> CountedDeadLetters:
    stage, reason, feed, measurement = map(str, json.loads(group))
    return CountedDeadLetters(
        id=ID_PREFIX + hashlib.blake2s(group.encode(), digest_size=6).hexdigest(),
        stage=stage,
        reason=reason,
        feed=feed,
        measurement=measurement,
        query=str(record["query"]),
        tier=str(record["tier"]),
        kind=str(record["kind"]),
        detail=str(record["detail"]),
        samples=int(record["samples"]),
        letters=int(record["letters"]),
        at_ms=int(record["at_ms"]),
        windows=[(int(s), int(e), int(n)) for s, e, n in record["windows"]],
        group=group,
    )
