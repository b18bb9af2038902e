"""Which of several pipelines a query belongs to, where one Redis is not enough for all of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from common.config.fields import invalid
from common.config.query import Query

MOST_SHARDS = 1000
_SHARD = re.compile(r"([1-9]\d{0,3})/([1-9]\d{0,3})", re.ASCII)


def queries_of(shard: str, queries: Sequence[Query]) -> tuple[Query, ...]:
    """Those that the shard, as the configuration names it, extracts."""
    number, of = _parsed(shard)
    return tuple(query for query in queries if _number_of(query.name, of) == number)


def _number_of(name: str, shards: int) -> int:
    """The shard of a query: of all, the one whose hash with its name is the largest.

    So a query that is added or removed moves no other one, and of a shard more every other one
    gives up only as much as the new one gets.
    """

    def weight(number: int) -> bytes:
        return hashlib.blake2b(f"{number} {name}".encode(), digest_size=8).digest()

    return max(range(1, shards + 1), key=weight)


def _parsed(text: str) -> tuple[int, int]:
    found = _SHARD.fullmatch(text)
    number, of = (int(part) for part in found.groups()) if found else (0, 0)
    if not 1 <= number <= of <= MOST_SHARDS:
        raise invalid(
            f"must be a number and how many there are, such as 2/8, up to "
            f"{MOST_SHARDS}/{MOST_SHARDS}, not {text!r:.60}"
        )
    return number, of


def _check(text: str) -> str:
    _parsed(text)
    return text


ShardName = Annotated[str, AfterValidator(_check)]
