"""What comes late to a real Prometheus is loaded, and so is what an expression makes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from common.config import Query
from common.state.ledger import Ledger
from devtools.servers.prometheus_server import PrometheusServer
from tests.integration.extractor.pushed_world import KEYS, STEP_MS, STEPS, Rig
from tests.support.remote_write import push, sample, series

QUERIES = (
    pytest.param(Query(name="sum", expr="sum(x)", step=1), [(30, 30, 5.0)], id="expr"),
    pytest.param(Query(name="raw", select="x").bound(1, {}), [(30, 1, 2.0)], id="select"),
)


@pytest.mark.parametrize(("query", "expected"), QUERIES)
def test_what_came_late_is_loaded_at_the_recount_that_follows(
    redis_client: Redis,
    make_prometheus: Callable[..., PrometheusServer],
    query: Query,
    expected: list[tuple[int, int, float]],
) -> None:
    server = make_prometheus(flags=("--web.enable-remote-write-receiver",))
    rig = Rig(redis_client, server, query)
    origin_ms = rig.now_ms - STEPS * STEP_MS
    times = [origin_ms + step * STEP_MS for step in range(1, STEPS + 1)]
    push(server, series({"__name__": "x", "n": "1"}, [sample(ms, 3) for ms in times]))
    assert set(rig.extract().values()) == {3.0}
    rig.redis_ms += round(rig.after_seconds[0] * 1000)
    assert rig.rechecker.run(rig.plan) == 0
    # After the first recount a series arrives, half a minute late.
    push(server, series({"__name__": "x", "n": "2"}, [sample(times[30], 2)]))

    rig.redis_ms += round(rig.after_seconds[1] * 1000)
    assert rig.rechecker.run(rig.plan) == 1
    again = rig.extract()

    ((first, steps, value),) = expected
    changed = {step for step, found in again.items() if found == value}
    assert changed <= set(range(first + 1, first + 1 + steps))
    assert len(changed) == steps
    rig.redis_ms += round(rig.after_seconds[2] * 1000)
    assert rig.rechecker.run(rig.plan) == 0
    assert redis_client.zcard(KEYS.rechecks(rig.plan.feed.name)) == 0
    assert Ledger(redis_client, KEYS).audit().imbalance_samples == 0
