"""A pipeline on three hosts whose network fails: nothing is lost, and nothing counts twice.

Source and sink are on a fourth. What runs on a host that is cut off goes on running there.
"""

from __future__ import annotations

import time

import pytest

from devtools.servers.waiting import wait_until
from tests.hosts.spread_pipeline import SERVERS, SpreadPipeline

pytestmark = pytest.mark.timeout(600)

# A post may not take longer than the pipeline's time-out, so an entry is held for long only by
# somebody who waits for the sink.
HELD_MS = (150, 1200)
ATTEMPTS = 6


def test_a_host_that_is_cut_off_is_done_without(spread: SpreadPipeline) -> None:
    pipeline, host = spread.pipeline, spread.host_without_master()
    began = time.monotonic()
    with spread.most_in_flight() as most:
        spread.network.cut(host)
        # What the host's stages had in hand passes to others when its lease has run out.
        reached = pipeline.now_ms()
        pipeline.until_loaded_up_to(reached)
    print(f"all that was under way is loaded {time.monotonic() - began:.1f} s after the cut")
    print(f"{most[0]} samples in flight at most")
    assert all(one.running for one in pipeline.all_processes())
    spread.heal()

    spread.prove()


@pytest.mark.hosts
def test_a_master_whose_host_is_cut_off_loses_nothing(spread: SpreadPipeline) -> None:
    pipeline, old = spread.pipeline, spread.pipeline.failover.master()
    host = spread.host_of(old)
    with spread.most_in_flight() as most:
        spread.network.cut(host)
        pipeline.fail_over_from(old, all_ready=False)
    print(f"{most[0]} samples in flight at most")
    assert old.running
    spread.heal()

    spread.prove()


@pytest.mark.hosts
def test_a_loader_that_cannot_settle_does_not_settle_late(spread: SpreadPipeline) -> None:
    """It posts, and then its packets to Redis are dropped: another loads its entries once more."""
    pipeline, network = spread.pipeline, spread.network
    host = spread.host_without_master()
    loader, sink = spread.on(host, "loader"), pipeline.stack.influx.front
    others = [one for one in pipeline.stack.services["loader"] if one is not loader]
    masters_host = network.address(spread.host_of(pipeline.failover.master()))

    def in_a_post() -> list[str]:
        low, high = HELD_MS
        return [entry for entry, ms in spread.held_by(loader).items() if low < ms < high]

    def cut_off_in_a_post() -> set[str]:
        """The entries whose settlement was refused, after others had settled them."""
        before = len(spread.events_of(loader, "settlement_refused"))
        for server in (*others, sink):
            server.pause()
        try:
            wait_until(in_a_post, deadline_seconds=30, what="the loader posts")
            network.drop_sent(host, "-d", masters_host)
            held = spread.held_by(loader).keys()
        finally:
            for server in (sink, *others):
                server.resume()
        pipeline.until(lambda: not held & spread.held_by(loader).keys(), "others have its entries")
        pipeline.until_flowing()
        network.heal()
        pipeline.until(lambda: loader.probe() is None, "the loader is ready again")
        refused = spread.events_of(loader, "settlement_refused")[before:]
        return held & {event["entry"] for event in refused}

    refused = next(filter(None, (cut_off_in_a_post() for _ in range(ATTEMPTS))), None)
    assert refused, "the loader never had a settlement refused"
    print(f"{len(refused)} settlements of the loader were refused")

    spread.prove()


@pytest.mark.hosts
def test_responses_that_are_lost_lose_nothing(spread: SpreadPipeline) -> None:
    """The sink writes what it is sent, and nobody learns of it: all is written again."""
    pipeline, front = spread.pipeline, spread.pipeline.stack.influx.front
    spread.network.drop_sent(SERVERS, "-p", "tcp", "--sport", str(front.port))
    loaders = pipeline.stack.services["loader"]
    pipeline.until(lambda: all(one.probe() for one in loaders), "no loader is ready")
    spread.heal()

    spread.prove()


@pytest.mark.hosts
def test_half_of_the_packets_lost_loses_nothing(spread: SpreadPipeline) -> None:
    pipeline, host = spread.pipeline, spread.host_without_master()
    spread.network.lose_half(host)
    began, before = time.monotonic(), pipeline.loaded()
    pipeline.until_flowing(2000)
    seconds = time.monotonic() - began
    print(f"{(pipeline.loaded() - before) / seconds:.0f} samples a second were loaded meanwhile")
    spread.heal()

    spread.prove()
