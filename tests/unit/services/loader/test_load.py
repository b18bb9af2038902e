"""The load handler: entries in, verdicts out, over a sink without a network."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Sequence

from common.config.load import Tier
from common.samples.gzip_join import join
from common.state.verdict import Pause, Retry, Settle, Verdict
from tests.doubles.influx_engine import Engine
from tests.doubles.loading import (
    BAD,
    BUCKET,
    DAY_SECONDS,
    FAILED,
    Bench,
    dead,
    entry,
    lines,
    old,
    tier,
)


def test_small_entries_of_a_bucket_are_one_post_of_one_gzip_member() -> None:
    bench = Bench()
    entries = [entry(str(i), lines(50, start=50 * i)) for i in range(4)]
    assert bench.handle(*entries) == [Settle(loaded=50)] * 4
    assert bench.sink.bodies == [join(one.payload for one in entries)]
    assert bench.points == 200, "the sink reads no further than the first member"
    assert bench.metric("etl_sink_posts_total", response="written") == 1
    assert bench.metric("etl_sink_posted_bytes_total") == len(bench.sink.bodies[0])
    assert bench.metric("etl_sink_post_duration_seconds_count") == 1


def test_an_entry_of_several_members_is_compressed_anew_and_goes_alone() -> None:
    """Written by an older transformer, or by hand: the sink would read the first and say 204."""
    bench = Bench()
    parts = [lines(50), lines(30, start=50)]
    foreign = entry(
        "0",
        parts[0] + parts[1],
        payload=b"".join(gzip.compress(b"\n".join([*part, b""])) for part in parts),
    )
    ours = [entry(str(number), lines(10, start=100 * number)) for number in (1, 2)]

    assert bench.handle(foreign, *ours) == [Settle(loaded=loaded) for loaded in (80, 10, 10)]

    assert bench.points == 100
    assert sorted(map(len, bench.sink.posted)) == [20, 80]


def test_groups_are_bounded_by_samples_and_by_bytes() -> None:
    entries = [entry(str(i), lines(50, start=50 * i)) for i in range(4)]
    by_samples = Bench(group_samples=100)
    by_samples.handle(*entries)
    assert [len(posted) for posted in by_samples.sink.posted] == [100, 100]
    by_bytes = Bench(group_bytes=max(len(one.payload) for one in entries))
    by_bytes.handle(*entries)
    assert [len(posted) for posted in by_bytes.sink.posted] == [50] * 4


def test_an_entry_larger_than_a_group_goes_alone_and_whole() -> None:
    bench = Bench(group_samples=10)
    assert bench.handle(entry("1", lines(50))) == [Settle(loaded=50)]
    assert len(bench.sink.bodies) == 1


def test_each_tier_is_posted_to_its_own_bucket() -> None:
    warm = {"bucket": "warm", "resolution": 60, "aggregates": ("avg",)}
    bench = Bench(Engine(BUCKET, "warm"), tiers={"warm": warm})
    text = lines(6)
    assert (
        bench.handle(entry("1", text[:2]), entry("2", text[2:4], tier="warm"), entry("3", text[4:]))
        == [Settle(loaded=2)] * 3
    )
    assert len(bench.sink.bodies) == 2
    assert {name: len(bucket.points) for name, bucket in bench.engine.buckets.items()} == {
        BUCKET: 4,
        "warm": 2,
    }


def test_an_entry_of_a_tier_without_a_bucket_waits_and_others_load() -> None:
    bench = Bench()
    waiting, loaded = bench.handle(entry("1", lines(3), tier="cold"), entry("2", lines(3)))
    assert waiting == Retry(30.0, "no bucket is configured for tier 'cold'")
    assert loaded == Settle(loaded=3)


def test_no_entries_no_posts() -> None:
    bench = Bench()
    assert bench.handle() == []
    assert bench.sink.bodies == []


def test_as_many_posts_are_under_way_as_there_are_connections() -> None:
    bench = Bench(connections=3, group_samples=10)
    together = threading.Barrier(3)

    def meet() -> None:
        together.wait(10)

    bench.sink.on_write = meet
    assert bench.handle(*(entry(str(i), lines(10)) for i in range(6))) == [Settle(loaded=10)] * 6


# -- age ---------------------------------------------------------------------------------------


def test_points_too_old_for_a_retention_that_nobody_configured_are_dead_letters() -> None:
    bench = Bench()
    bench.engine.buckets[BUCKET].retention_seconds = DAY_SECONDS
    text = [*lines(40, at_ms=old(3)), *lines(60)]
    first, second = bench.handle(entry("1", text), entry("2", lines(10, "k")))
    (letter,) = dead(first)
    assert (letter.reason, letter.payload.splitlines()) == ("beyond_retention", text[:40])
    assert "outside retention policy" in letter.detail
    assert second == Settle(loaded=10)
    assert bench.points == 70


def test_points_beyond_a_configured_retention_are_not_even_posted() -> None:
    bench = Bench(tiers={"hot": tier(retention_seconds=DAY_SECONDS)})
    text = [*lines(40, at_ms=old(3)), *lines(60)]
    assert bench.handle(
        entry("1", text), entry("2", lines(10, "k")), entry("3", lines(5, at_ms=old(2)))
    ) == [
        Settle(loaded=60, drops={"beyond_retention": 40}),
        Settle(loaded=10),
        Settle(drops={"beyond_retention": 5}),
    ]
    assert sorted(len(posted) for posted in bench.sink.posted) == [10, 60]


def test_old_points_that_hide_behind_young_ones_are_found_by_the_sink() -> None:
    bench = Bench(tiers={"hot": tier(retention_seconds=DAY_SECONDS)})
    bench.engine.buckets[BUCKET].retention_seconds = DAY_SECONDS
    (verdict,) = bench.handle(entry("1", [*lines(60), *lines(40, at_ms=old(3))]))
    assert verdict == Settle(loaded=60, drops={"beyond_retention": 40})


def test_a_sink_whose_clock_is_wrong_pauses_the_loader_until_it_is_right() -> None:
    bench = Bench(tiers={"hot": tier(retention_seconds=DAY_SECONDS)})
    bench.engine.buckets[BUCKET].retention_seconds = DAY_SECONDS
    right = bench.engine.clock
    bench.engine.clock = lambda: right() + 7 * DAY_SECONDS
    aged = [*lines(4, at_ms=old(3)), *lines(60)]

    first, second = bench.handle(entry("1", aged), entry("2", lines(10, "k")))

    assert isinstance(first, Pause)
    assert isinstance(second, Pause)
    assert "its clock" in first.reason
    assert bench.metric("etl_sink_paused") == 1
    bench.engine.clock = right
    bench.clock.pass_(60.0)
    assert bench.handle(entry("1", aged), entry("2", lines(10, "k"))) == [
        Settle(loaded=60, drops={"beyond_retention": 4}),
        Settle(loaded=10),
    ]
    assert bench.metric("etl_sink_paused") == 0


def test_a_retention_below_an_hour_is_what_the_configuration_says() -> None:
    bench = Bench(tiers={"hot": tier(retention_seconds=60)})
    bench.engine.buckets[BUCKET].retention_seconds = 60
    text = [*lines(40), *lines(3, at_ms=old(0.01))]
    assert bench.handle(entry("1", text)) == [Settle(loaded=40, drops={"beyond_retention": 3})]


def test_beyond_retention_is_no_rejection() -> None:
    bench = Bench(rejected_share_min_samples=1, max_rejected_share=0.01)
    bench.engine.buckets[BUCKET].retention_seconds = DAY_SECONDS
    (verdict,) = bench.handle(entry("1", lines(40, at_ms=old(3))))
    assert [(one.reason, one.samples) for one in dead(verdict)] == [("beyond_retention", 40)]


# -- size --------------------------------------------------------------------------------------


def test_a_body_too_large_is_halved_and_later_groups_are_smaller() -> None:
    bench = Bench()
    entries = [entry(str(i), lines(50, start=50 * i)) for i in range(4)]
    bench.engine.max_inflated_bytes = sum(len(line) + 1 for line in lines(110))
    assert bench.handle(*entries) == [Settle(loaded=50)] * 4
    assert len(bench.sink.bodies) == 3
    bench.handle(*entries)
    assert [len(posted) for posted in bench.sink.posted[3:]] == [100, 100]


def test_a_single_line_too_large_is_a_dead_letter() -> None:
    bench = Bench()
    long = b"m,t=%s value=1 1700000000000" % (b"x" * 3000)
    bench.engine.max_inflated_bytes = 2000
    (verdict,) = bench.handle(entry("1", [*lines(9), long]))
    assert isinstance(verdict, Settle)
    assert (verdict.loaded, [(one.reason, one.payload) for one in verdict.dead]) == (
        9,
        [("too_large", long + b"\n")],
    )


# -- interruptions -----------------------------------------------------------------------------


def test_a_search_that_is_interrupted_settles_nothing_and_goes_on_later() -> None:
    bench = Bench(circuit_failures=1000)
    bench.engine.say = lambda _: "points of bad taste"
    text = lines(512)
    text[100] = text[400] = BAD
    whole = entry("1", text)
    posts = []
    verdict: Verdict = Retry(0.0, "")
    while isinstance(verdict, Retry):
        before = len(bench.sink.bodies)
        bench.sink.script.extend([None] * 6 + [FAILED])
        (verdict,) = bench.handle(whole)
        bench.sink.script.clear()
        posts.append(len(bench.sink.bodies) - before)
    assert isinstance(verdict, Settle)
    assert (verdict.loaded, len(verdict.dead), verdict.dead[0].samples) == (510, 1, 2)
    assert len(posts) > 2
    assert sum(posts) < 2 * 2 * 11 + 3 * len(posts)
    assert bench.points == 510


def test_entries_of_a_group_that_are_done_are_settled_though_others_are_not() -> None:
    bench = Bench()
    good, bad = entry("1", lines(64)), entry("2", [*lines(63, "k"), BAD])
    bench.engine.say = lambda _: "points of bad taste"
    bench.sink.script.extend([None, None, FAILED])  # the group, its first half, its second half
    first, second = bench.handle(good, bad)
    assert first == Settle(loaded=64)
    assert isinstance(second, Retry)


def test_a_stopping_service_posts_nothing_more() -> None:
    stop = threading.Event()
    bench = Bench(stopping=stop.is_set)
    bench.engine.say = lambda _: "points of bad taste"
    text = lines(64)
    text[9] = BAD
    bench.sink.on_write = lambda: stop.set() if len(bench.sink.bodies) == 2 else None
    assert bench.handle(entry("1", text)) == [Retry(0.0, "stopping")]
    assert len(bench.sink.bodies) == 3
    assert bench.handle(entry("2", lines(5))) == [Retry(0.0, "stopping")]
    assert len(bench.sink.bodies) == 3


def test_nothing_is_posted_for_entries_whose_lease_is_lost() -> None:
    asked: list[list[str]] = []

    def ours(ids: Sequence[str]) -> bool:
        asked.append(list(ids))
        return "lost" not in ids

    bench = Bench(still_ours=ours, group_samples=5)
    assert bench.handle(entry("lost", lines(5)), entry("kept", lines(5))) == [
        Retry(0.0, "the lease was lost"),
        Settle(loaded=5),
    ]
    assert asked == [["lost"], ["kept"]]


def test_a_long_search_is_seen_to_be_alive_and_ends_in_time() -> None:
    ticks: list[int] = []
    bench = Bench(tick=lambda: ticks.append(1))
    bench.engine.say = lambda _: "points of bad taste"
    text = lines(1024)
    text[9] = BAD
    bench.sink.on_write = lambda: bench.clock.pass_(50.0)
    (verdict,) = bench.handle(entry("1", text))
    assert verdict == Retry(0.0, "the search goes on with the next delivery")
    assert len(ticks) == len(bench.sink.bodies) == 5
    while isinstance(verdict, Retry):
        (verdict,) = bench.handle(entry("1", text))
    assert isinstance(verdict, Settle)
    assert verdict.loaded == 1023


def test_it_closes_the_sink_last_and_once() -> None:
    bench = Bench()
    bench.handle(entry("1", lines(3)))
    bench.handler.close()
    assert bench.sink.closed == 1
    assert bench.handler.stage == "loader"


def test_an_unknown_retention_is_reported_once_for_each_time_it_begins() -> None:
    remarks: list[tuple[str, bool, str]] = []
    warm = Tier(bucket="warm", retention=60, resolution=60, aggregates=["avg"])
    tiers = {"hot": tier(), "warm": warm}
    bench = Bench(tiers=tiers, set_ready=lambda *remark: remarks.append(remark))
    for why in (None, "status 403: no", "status 403: no", None, "no answer"):
        bench.sink.retention_unknown = why
        bench.handle(entry("1", lines(2)))
    told = {"configured_seconds": {"warm": 60.0}, "not_configured": ["hot"]}
    assert bench.events("sink_retention_unknown") == [
        {"error": "status 403: no", **told},
        {"error": "no answer", **told},
    ]
    assert [(name, ok, bool(detail)) for name, ok, detail in remarks] == [
        ("sink_retention", True, True),
        ("sink_retention", True, False),
        ("sink_retention", True, True),
    ]
    for name, configured in (("hot", "false"), ("warm", "true")):
        assert bench.metric("etl_sink_retention_unknown", tier=name, configured=configured) == 1
