"""Native histograms in a real Prometheus: dropped or carried, and the same at each recount."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from common.config import Query
from common.state.ledger import Account, Ledger
from devtools.servers.prometheus_server import PrometheusServer
from tests.integration.extractor.pushed_world import KEYS, STEP_MS, STEPS, Rig
from tests.support.remote_write import histogram, push, sample, series

QUERIES = (
    pytest.param(Query(name="rule", expr="x", step=1), id="expr"),
    pytest.param(Query(name="raw", select="x").bound(1, {}), id="select"),
)
FLAGS = ("--web.enable-remote-write-receiver", "--enable-feature=native-histograms")


@pytest.mark.parametrize("query", QUERIES)
def test_each_is_a_sample_that_is_dropped(
    redis_client: Redis, make_prometheus: Callable[..., PrometheusServer], query: Query
) -> None:
    server = make_prometheus(flags=FLAGS)
    rig = Rig(redis_client, server, query)
    origin_ms = rig.now_ms - STEPS * STEP_MS
    # Their very times are the bounds of windows.
    times = [origin_ms + step * STEP_MS for step in range(1, STEPS + 1)]
    push(
        server,
        series({"__name__": "x", "n": "1"}, [sample(ms, 3) for ms in times]),
        series({"__name__": "x", "n": "2"}, [histogram(ms, 7) for ms in times]),
    )

    def account() -> Account:
        audit = Ledger(redis_client, KEYS).audit()
        assert audit.imbalance_samples == 0
        return audit.accounts[rig.plan.feed.name]

    assert len(rig.extract()) == STEPS
    before = account()
    assert (before.extracted, before.dropped) == (2 * STEPS, {"native_histogram": STEPS})
    rig.redis_ms += round(rig.after_seconds[0] * 1000)
    assert rig.rechecker.run(rig.plan) == 0, "nothing has changed"

    # Half a minute late: ten steps of one window.
    late = times[30:40]
    push(server, series({"__name__": "x", "n": "3"}, [histogram(ms, 9) for ms in late]))
    rig.redis_ms += round(rig.after_seconds[1] * 1000)
    assert rig.rechecker.run(rig.plan) > 0
    rig.extract()

    found = account()
    repeated = found.extracted - found.dropped["native_histogram"] - STEPS
    assert found.dropped["native_histogram"] - before.dropped["native_histogram"] > repeated
    rig.redis_ms += round(rig.after_seconds[2] * 1000)
    assert rig.rechecker.run(rig.plan) == 0
    assert rig.windows.status()[rig.plan.feed.name].empty_ms == 0


@pytest.mark.parametrize("query", QUERIES)
def test_carried_ones_are_counted_as_the_points_that_they_become(
    redis_client: Redis, make_prometheus: Callable[..., PrometheusServer], query: Query
) -> None:
    server = make_prometheus(flags=FLAGS)
    query = query.model_copy(update={"native_histograms": "classic"})
    rig = Rig(redis_client, server, query)
    origin_ms = rig.now_ms - STEPS * STEP_MS
    times = [origin_ms + step * STEP_MS for step in range(1, STEPS + 1)]
    push(
        server,
        series({"__name__": "x", "n": "1"}, [sample(ms, 3) for ms in times]),
        series({"__name__": "x", "n": "2"}, [histogram(ms, 7) for ms in times]),
    )
    # Count, sum, three bounds of two buckets, and +Inf.
    points = 6

    def extracted() -> int:
        audit = Ledger(redis_client, KEYS).audit()
        assert audit.imbalance_samples == 0
        account = audit.accounts[rig.plan.feed.name]
        assert account.dropped == {}
        return account.extracted

    rig.extract()
    assert extracted() == (1 + points) * STEPS
    rig.redis_ms += round(rig.after_seconds[0] * 1000)
    assert rig.rechecker.run(rig.plan) == 0, "nothing has changed"

    push(server, series({"__name__": "x", "n": "3"}, [histogram(ms, 9) for ms in times[30:40]]))
    rig.redis_ms += round(rig.after_seconds[1] * 1000)
    assert rig.rechecker.run(rig.plan) > 0
    rig.extract()
    assert extracted() > (1 + points) * STEPS + 10 * points
    rig.redis_ms += round(rig.after_seconds[2] * 1000)
    assert rig.rechecker.run(rig.plan) == 0
