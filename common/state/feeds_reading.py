"""Reads the state of all feeds, in steps that hold Redis up for milliseconds.

Few feeds are read at one instant. Of many, some at a time are, and after them the windows that are
committed and not settled. In this order nothing is overlooked: a window that is committed in
between was open when its feed was read, and one that is gone by then has been settled. So a loaded
watermark that follows from both was reached, at the latest, when the reading ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from redis import Redis

from common.state.fields import text_of
from common.state.keys import Keys
from common.state.scripts import Scripts

# What one step looks at: some milliseconds of Redis' time.
MOST_FEEDS = 200
MOST_WINDOWS = 2_000

_COMMITTED = re.compile(r"(\S+) (\d{1,15}) (\d{1,15})", re.ASCII)


def read_feeds(
    redis: Redis,
    scripts: Scripts,
    keys: Keys,
    names_key: str,
    *,
    most_feeds: int = MOST_FEEDS,
    most_windows: int = MOST_WINDOWS,
) -> Mapping[str, Mapping[str, Any]]:
    """What ``feeds.lua`` says of each feed, or part of a backfill, that the set ``names_key`` has.

    Raises :class:`redis.exceptions.RedisError` when the server cannot be reached.
    """
    prefixes = keys.of_feed("")

    def step(**args: Any) -> Any:
        return scripts.read("feeds", [names_key, keys.committed], prefixes=prefixes, **args)

    whole: bytes | None = step(most_feeds=most_feeds, most_windows=most_windows)
    if whole is not None:
        return dict(json.loads(text_of(whole)))
    names: Any = redis.smembers(names_key)
    wanted = sorted(text_of(name) for name in names)
    found: dict[str, dict[str, Any]] = {}
    for first in range(0, len(wanted), most_feeds):
        found |= dict(json.loads(text_of(step(names=wanted[first : first + most_feeds]))))
    unsettled: dict[str, list[tuple[str, str]]] = {name: [] for name in found}
    committed = redis.hscan_iter(keys.committed, count=most_windows)
    for value in dict(committed).values():  # which may name one twice
        window = _COMMITTED.fullmatch(text_of(value))
        if window is not None and window[1] in unsettled:
            unsettled[window[1]].append((window[2], window[3]))
    return {name: one | {"unsettled": unsettled[name]} for name, one in found.items()}
