"""Backfills on real Redis in any order of events."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from redis import Redis

from common.state.backfills import history
from common.state.feeds import Feed, Range
from common.state.keys import RAW
from common.state.ranges import length_ms, merged, without
from common.state.windows import Window
from tests.integration.backfills.rig import HEAD_MS, ORIGIN_MS, Rig
from tests.integration.state.worlds import FEED, STEP_MS, bounds, commit

VERBS = (
    "begin lease lease lease commit commit commit fail split defer gap settle settle join join"
    " pause resume resume cancel take_over tick"
).split()


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_events(redis_client: Redis, seed: int) -> None:
    """No time is lost, and the watermark never goes back."""
    rng = random.Random(seed)
    rig = Rig(redis_client)
    feed, leased, ids = FEED, dict[str, tuple[Feed, Window]](), list[str]()
    loaded, settled = list[Range](), list[Range]()
    before = rig.feed
    for _ in range(200):
        verb, at, much = rng.choice(VERBS), rng.randrange(100), rng.randint(1, 40)
        id_ = ids[at % len(ids)] if ids else ""
        found = leased.get(id_)
        part = replace(feed, backfill=id_)
        if verb == "begin" and len(ids) < 4:
            start_ms = at * STEP_MS
            end_ms = start_ms + much * STEP_MS if at % 2 else ORIGIN_MS
            ids.append(rig.begin((start_ms, end_ms), feed=feed))
        elif verb == "lease" and id_:
            if window := rig.lease(id_, much, feed):
                leased[id_] = part, window
        elif verb == "settle":
            rig.settle()
            settled += loaded
        elif verb == "join":
            rig.join()
        elif verb in ("pause", "resume", "cancel") and id_ and (verb != "cancel" or at < 20):
            state = {"pause": "paused", "resume": "running", "cancel": "cancelled"}[verb]
            rig.backfills.change(id_, state)  # type: ignore[arg-type]
        elif verb == "take_over" and at < 20:
            feed = replace(feed, fingerprint=f"f{at}-{much}")
            rig.windows.plan(feed, 0, HEAD_MS, adopt=True, backfills=ids)
        elif verb == "tick":
            rig.clock.advance(much)
        elif found is not None:
            ours, window = found
            if verb == "commit":
                if commit(rig.windows, window, at % 3, ours) == "committed":
                    (loaded if at % 3 else settled).append(bounds(window))
                del leased[id_]
            elif verb == "fail":
                rig.windows.fail(ours, window, 1, 10)
            elif verb == "defer":
                rig.windows.defer(ours, window, 1, 10)
            elif verb == "split":
                middle_ms = window.start_ms + STEP_MS * (much % 10)
                rig.windows.split(ours, window, middle_ms)
            elif verb == "gap":
                rig.windows.declare_gap(ours, window, window.start_ms + STEP_MS, "deleted")
        now = rig.feed
        assert now.loaded_watermark_ms >= before.loaded_watermark_ms
        assert now.origin_ms <= before.origin_ms
        before = now
        parts = rig.backfills.parts()
        for part_ in parts:
            own = [*part_.coming, *part_.extracted, *part_.left_out]
            assert merged(own) == [(part_.start_ms, part_.end_ms)]
            assert length_ms(own) == part_.end_ms - part_.start_ms
        known = [*history(now, parts), (now.origin_ms, ORIGIN_MS)]
        assert without(known, settled) == [], "what is known as loaded is loaded"
        assert without(now.below, loaded) == []
        coming = [range_ for part_ in parts for range_ in part_.coming]
        assert without(coming, [(0, now.origin_ms)]) == [], "nothing of the feed is in a backfill"
    assert rig.world.audit().imbalance_samples == 0
    assert int(redis_client.xlen(rig.keys.stream(RAW))) >= 0
