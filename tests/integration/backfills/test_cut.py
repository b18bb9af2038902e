"""What ``etlctl backfill --dry-run`` counts is what is leased, on real Redis."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from common.state.backfills import Order
from common.state.feeds import Range
from common.state.ranges import cut, merged
from tests.integration.backfills.rig import ORIGIN_MS, Rig
from tests.integration.state.worlds import STEP_MS

RANGES = st.lists(
    st.tuples(st.integers(0, 99), st.integers(1, 40)).map(
        lambda one: (one[0] * STEP_MS, min((one[0] + one[1]) * STEP_MS, ORIGIN_MS))
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("order", ["newest", "oldest"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ranges=RANGES, steps=st.integers(1, 30))
def test_windows_are_cut_as_they_are_counted(
    redis_client: Redis, order: Order, ranges: list[Range], steps: int
) -> None:
    redis_client.flushdb()
    rig, planned = Rig(redis_client), merged(ranges)
    id_ = rig.begin(*planned, order=order)
    leased = []
    while rig.part(id_).coming:
        leased.append(rig.extract(id_, steps, samples=0))
    expected = list(cut(planned, steps * STEP_MS))
    assert leased == (expected if order == "oldest" else expected[::-1])
