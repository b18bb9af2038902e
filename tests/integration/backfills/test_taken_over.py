"""A backfill whose query was changed, on real Redis."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis import Redis

from tests.integration.backfills.rig import ALL, HEAD_MS, ORIGIN_MS, Rig
from tests.integration.state.worlds import FEED, bounds, must


@pytest.fixture
def rig(redis_client: Redis) -> Rig:
    return Rig(redis_client)


def test_what_could_not_be_read_under_another_configuration_says_nothing_of_this_one(
    rig: Rig,
) -> None:
    id_ = rig.begin()
    for _ in range(4):
        assert rig.windows.defer(replace(FEED, backfill=id_), must(rig.lease(id_)), 10, 60)
    assert rig.part(id_).attempts == 4
    changed = replace(FEED, fingerprint="f2")

    rig.windows.plan(changed, ORIGIN_MS, HEAD_MS, adopt=True, backfills=[id_])

    part = rig.part(id_)
    assert (part.coming, part.attempts) == ([ALL], 0)
    tried = must(rig.lease(id_, feed=changed))
    assert rig.windows.defer(replace(changed, backfill=id_), tried, 10, 60)
    rig.clock.advance(11)
    assert bounds(must(rig.lease(id_, feed=changed))) == bounds(tried), "the first wait is short"
