"""The load handler: entries in, verdicts out, over a sink without a network."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.state.verdict import DeadLetter, Entry, Pause, Retry, Settle, Verdict
from services.loader.isolate import Refusal
from services.loader.isolation_cache import known_as
from services.loader.responses import Kind, Outcome
from tests.doubles.influxdb2 import Bucket, Engine
from tests.doubles.loading import BUCKET, NOW_MS, Bench, entry, lines, payload, tier

BAD = b"m,n=1 value=oops 1700000000000"
CONFLICT = b"typed value=1.5 1700000000000"
DAY_SECONDS = 86_400
FAILED = Outcome(Kind.FAILED, "boom", "server_error", 500)
UNAUTHORIZED = Outcome(Kind.REFUSED, "unauthorized access", "refused", 401)


def dead(verdict: Verdict) -> Sequence[DeadLetter]:
    assert isinstance(verdict, Settle)
    return verdict.dead


def old(days: float) -> int:
    return int(NOW_MS - days * DAY_SECONDS * 1000)


# -- what is accepted ---------------------------------------------------------------------------


def test_small_entries_of_a_bucket_are_one_post_of_their_bytes_as_they_are() -> None:
    bench = Bench()
    entries = [entry(str(i), lines(50, start=50 * i)) for i in range(4)]
    assert bench.handle(*entries) == [Settle(loaded=50)] * 4
    assert bench.sink.bodies == [b"".join(one.payload for one in entries)]
    assert bench.points == 200
    assert bench.metric("etl_sink_posts_total", response="written") == 1
    assert bench.metric("etl_sink_posted_bytes_total") == len(bench.sink.bodies[0])
    assert bench.metric("etl_sink_post_duration_seconds_count") == 1


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


# -- bad points ---------------------------------------------------------------------------------


def test_only_the_bad_point_suffers_and_only_its_entry_says_so() -> None:
    bench = Bench()
    text = lines(1000)
    text[700] = BAD
    verdicts = bench.handle(
        entry("1", text[:500]), entry("2", text[500:]), entry("3", lines(5, "k"))
    )
    words = f"unable to parse '{BAD.decode()}': invalid number"
    assert verdicts == [
        Settle(loaded=500),
        Settle(loaded=499, dead=(DeadLetter("rejected", words, BAD + b"\n", 1),)),
        Settle(loaded=5),
    ]
    assert bench.points == 1004
    assert bench.metric("etl_sink_isolations_total") == 1
    assert bench.events("sink_points_isolated")[0]["rejected"] == 1


def test_a_field_type_conflict_rejects_the_lines_of_the_other_type() -> None:
    bench = Bench()
    bench.handle(entry("0", [b"typed value=1i 1700000000000"]))
    text = [*lines(90), *(b"typed,n=%d value=1.5 1700000000000" % i for i in range(10))]
    (verdict,) = bench.handle(entry("1", text))
    assert isinstance(verdict, Settle)
    assert verdict.loaded == 90
    assert [(one.reason, one.samples, one.payload) for one in verdict.dead] == [
        ("rejected", 10, b"".join(line + b"\n" for line in text[90:]))
    ]
    assert "already exists as type integer" in verdict.dead[0].detail


@pytest.mark.parametrize(
    "broken",
    [
        payload(lines(5))[:-9],
        payload(lines(5))[:-8] + b"\0\0\0\0" + payload(lines(5))[-4:],
        payload(lines(5))[:30] + b"\xff\xff\xff" + payload(lines(5))[33:],
    ],
    ids=["truncated", "wrong checksum", "garbled"],
)
def test_a_corrupt_payload_is_a_dead_letter_with_its_bytes_and_its_neighbours_load(
    broken: bytes,
) -> None:
    bench = Bench()
    first, second, third = bench.handle(
        entry("1", lines(3)), entry("2", lines(5), payload=broken), entry("3", lines(4, "k"))
    )
    assert (first, third) == (Settle(loaded=3), Settle(loaded=4))
    (letter,) = dead(second)
    assert (letter.reason, letter.payload, letter.samples) == ("corrupt", broken, 5)
    assert bench.points == 7


@pytest.mark.parametrize("empty", [b"", payload([]), b"m value=1 1\n"])
def test_a_payload_that_the_sink_would_take_for_nothing_is_never_posted(empty: bytes) -> None:
    bench = Bench()
    (verdict,) = bench.handle(entry("1", lines(5), payload=empty))
    assert [(one.reason, one.payload) for one in dead(verdict)] == [("corrupt", empty)]
    assert bench.sink.bodies == []


def test_a_payload_without_all_its_lines_is_corrupt() -> None:
    bench = Bench()
    (verdict,) = bench.handle(entry("1", [*lines(5), BAD], samples=7))
    assert [(one.reason, one.samples) for one in dead(verdict)] == [("corrupt", 7)]


def test_corrupt_payloads_do_not_count_as_rejected_by_the_sink() -> None:
    bench = Bench(rejected_share_min_samples=1, max_rejected_share=0.1)
    verdicts = bench.handle(*(entry(str(i), lines(5), payload=b"junk") for i in range(9)))
    assert all(dead(verdict) for verdict in verdicts)


def test_a_sink_that_cannot_read_what_is_sound_is_held() -> None:
    bench = Bench()
    unreadable = Outcome(Kind.UNREADABLE, "gzip: invalid header", "unreadable", 400)
    bench.sink.judge = lambda _: unreadable
    (verdict,) = bench.handle(entry("1", lines(5)))
    assert isinstance(verdict, Pause)
    assert "gzip: invalid header" in verdict.reason
    assert len(bench.sink.bodies) == 1


def test_a_sink_that_cannot_read_what_was_made_here_is_held() -> None:
    bench = Bench()
    unreadable = Outcome(Kind.UNREADABLE, "gzip: invalid header", "unreadable", 400)
    bench.sink.script.extend([None, unreadable])
    assert isinstance(bench.handle(entry("1", [*lines(5), BAD]))[0], Pause)


# -- age ----------------------------------------------------------------------------------------


def test_points_beyond_a_retention_that_is_not_configured_are_dropped_at_the_sinks_word() -> None:
    bench = Bench()
    bench.engine.buckets[BUCKET].retention_seconds = DAY_SECONDS
    text = [*lines(40, at_ms=old(3)), *lines(60)]
    assert bench.handle(entry("1", text), entry("2", lines(10, "k"))) == [
        Settle(loaded=60, drops={"beyond_retention": 40}),
        Settle(loaded=10),
    ]
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


def test_a_sink_whose_clock_is_wrong_is_held_until_it_is_right() -> None:
    bench = Bench()
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
    assert bench.handle(entry("1", lines(40, at_ms=old(3)))) == [
        Settle(drops={"beyond_retention": 40})
    ]


# -- size ---------------------------------------------------------------------------------------


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


# -- holds --------------------------------------------------------------------------------------


def test_a_series_limit_is_held_without_a_search_and_probed_until_it_is_lifted() -> None:
    bench = Bench(group_samples=10)
    bench.engine.max_series = 1
    text = [b"m,n=%d value=1 1700000000000" % i for i in range(20)]
    entries = [entry("1", text[:10]), entry("2", text[10:])]
    verdicts = bench.handle(*entries)
    assert all(isinstance(v, Pause) and "max-series-per-database" in v.reason for v in verdicts)
    assert len(bench.sink.bodies) == 1, "the second group was not even posted"
    assert bench.metric("etl_sink_pauses_total", cause="capacity") == 1
    assert bench.metric("etl_sink_paused") == 1
    assert bench.handler.check() is not None
    assert bench.handle(*entries) == verdicts
    assert len(bench.sink.bodies) == 1, "nothing is posted while it lasts"
    bench.clock.pass_(1.0)
    assert bench.handler.check() is None, "time for a probe"
    assert bench.metric("etl_sink_paused") == 1, "an empty write says nothing about capacity"
    assert all(isinstance(verdict, Pause) for verdict in bench.handle(*entries))
    assert len(bench.sink.bodies) == 2
    bench.engine.max_series = None
    bench.clock.pass_(2.0)
    assert bench.handler.check() is None
    assert bench.handle(*entries) == [Settle(loaded=10)] * 2
    assert bench.metric("etl_sink_paused") == 0
    assert len(bench.events("sink_resumed")) == 1


@pytest.mark.parametrize(
    "outcome",
    [
        UNAUTHORIZED,
        Outcome(Kind.REFUSED, "forbidden", "refused", 403),
        Outcome(Kind.MISSING, 'bucket "hot" not found', "missing", 404),
        Outcome(Kind.UNEXPECTED, "<html>log in</html>", "unexpected", 200),
        Outcome(Kind.REFUSED, "CERTIFICATE_VERIFY_FAILED", "certificate"),
    ],
    ids=["401", "403", "404", "captive portal", "certificate"],
)
def test_a_sink_that_refuses_us_is_held_until_a_check_succeeds(outcome: Outcome) -> None:
    bench = Bench(group_samples=10)
    entries = [entry(str(i), lines(10)) for i in range(3)]
    bench.sink.script.append(outcome)
    verdicts = bench.handle(*entries)
    assert all(isinstance(v, Pause) and outcome.words in v.reason for v in verdicts)
    assert len(bench.sink.bodies) == 1
    assert bench.metric("etl_sink_pauses_total", cause=outcome.cause) == 1
    bench.sink.probe_script.extend([outcome, outcome])
    for _ in range(2):
        reason = bench.handler.check()
        assert reason is not None
        assert outcome.words in reason
    assert bench.handler.check() is None
    assert bench.metric("etl_sink_paused") == 0
    assert bench.handle(*entries) == [Settle(loaded=10)] * 3


def test_a_check_asks_for_every_bucket_and_holds_for_the_one_that_is_missing() -> None:
    warm = {"bucket": "warm", "resolution": 60, "aggregates": ("avg",)}
    bench = Bench(tiers={"warm": warm})
    reason = bench.handler.check()
    assert reason is not None
    assert "warm" in reason
    assert bench.metric("etl_sink_pauses_total", cause="missing") == 1
    bench.engine.buckets["warm"] = Bucket()
    bench.sink.probes = 0
    assert bench.handler.check() is None
    assert bench.sink.probes == 2
    assert bench.points == 0


def test_a_check_of_a_sink_that_is_away_is_no_hold() -> None:
    bench = Bench()
    bench.sink.probe_script.append(Outcome(Kind.FAILED, "refused", "no_connection"))
    assert bench.handler.check() == "InfluxDB gave no answer (no_connection): refused"
    assert bench.metric("etl_sink_paused") == 0


# -- waits --------------------------------------------------------------------------------------


def asked(seconds: float) -> Outcome:
    return Outcome(Kind.BUSY, "slow down", "busy", 429, retry_after_seconds=seconds)


def test_a_wait_that_the_sink_names_is_kept_for_everything() -> None:
    bench = Bench(group_samples=10)
    entries = [entry(str(i), lines(10)) for i in range(3)]
    bench.sink.script.append(asked(20.0))
    wait = "the sink asked to wait 20.0 s: slow down"
    assert bench.handle(*entries) == [Retry(20.0, wait), Pause(wait), Pause(wait)]
    assert len(bench.sink.bodies) == 1
    reason = bench.handler.check()
    assert reason is not None
    assert "slow down" in reason
    bench.clock.pass_(12.0)
    assert bench.handle(entries[0]) == [Pause("the sink asked to wait 8.0 s: slow down")]
    assert len(bench.sink.bodies) == 1
    bench.clock.pass_(8.0)
    assert bench.handler.check() is None
    assert bench.handle(*entries) == [Settle(loaded=10)] * 3
    assert bench.metric("etl_sink_waits_total") == 1


def test_a_wait_is_capped() -> None:
    bench = Bench(retry_after_max_seconds=60)
    bench.sink.script.append(asked(86_400.0))
    assert bench.handle(entry("1", lines(1))) == [
        Retry(60.0, "the sink asked to wait 60.0 s: slow down")
    ]


def test_failures_back_off_with_full_jitter() -> None:
    bench = Bench(circuit_failures=1000, backoff_base_seconds=1, backoff_max_seconds=16)
    waits: dict[int, list[float]] = {}
    for _ in range(200):
        for attempt in range(1, 8):
            bench.sink.script.append(FAILED)
            (verdict,) = bench.handle(entry(f"e{len(waits)}-{attempt}-{_}", lines(1)))
            assert isinstance(verdict, Retry)
            waits.setdefault(attempt, []).append(verdict.after_seconds)
        bench.handle(entry("good", lines(1)))
    for attempt, drawn in waits.items():
        bound = min(16, 2 ** (attempt - 1))
        assert 0 <= min(drawn) < 0.1 * bound
        assert 0.9 * bound < max(drawn) <= bound
    assert bench.metric("etl_sink_failures_total", cause="server_error") == 1400


def test_a_trial_is_one_post_even_with_several_connections() -> None:
    bench = Bench(circuit_failures=1, circuit_open_seconds=10, group_samples=10, connections=3)
    entries = [entry(str(i), lines(10)) for i in range(4)]
    bench.sink.script.append(FAILED)
    bench.handle(entries[0])
    bench.clock.pass_(10.5)
    bench.sink.judge = lambda _: FAILED
    begun = threading.Semaphore(0)
    joined: list[bool] = []

    def look_for_company() -> None:
        begun.release()
        begun.acquire()
        joined.append(begun.acquire(timeout=0.3))

    bench.sink.on_write = look_for_company
    bench.handle(*entries)
    assert joined == [False]


def test_an_open_circuit_touches_the_sink_no_more_until_one_post_has_passed() -> None:
    bench = Bench(circuit_failures=2, circuit_open_seconds=10, group_samples=10)
    entries = [entry(str(i), lines(10)) for i in range(4)]
    bench.sink.script.extend([FAILED] * 2)
    verdicts = bench.handle(*entries)
    assert len(bench.sink.bodies) == 2
    assert [isinstance(v, Pause) and "circuit open" in v.reason for v in verdicts] == [
        False, False, True, True,
    ]  # fmt: skip
    assert bench.metric("etl_circuit_state") == 2
    reason = bench.handler.check()
    assert reason is not None
    assert "circuit open for another 10.0 s" in reason
    assert "boom" in reason
    assert bench.sink.probes == 0
    bench.clock.pass_(10.5)
    assert bench.handler.check() is None
    bench.sink.script.append(FAILED)
    bench.handle(*entries)
    assert len(bench.sink.bodies) == 3, "the trial failed, nothing followed it"
    bench.clock.pass_(10.5)
    assert bench.handle(*entries) == [Settle(loaded=10)] * 4
    assert bench.metric("etl_circuit_state") == 0
    states = [fields["state"] for fields in bench.events("sink_circuit_changed")]
    assert states == ["open", "half_open", "open", "half_open", "closed"]


# -- what the server fails at -------------------------------------------------------------------


def poisoned(text: Sequence[bytes]) -> Outcome | None:
    return FAILED if any(b"poison" in line for line in text) else None


def test_an_entry_that_fails_while_others_pass_is_searched() -> None:
    bench = Bench()
    bench.sink.judge = poisoned
    text = [*lines(30), b"poison value=1 1700000000000", *lines(30, start=30)]
    entries = [entry("bad", text), *(entry(str(i), lines(5, f"k{i}")) for i in range(3))]
    verdicts = bench.handle(*entries)
    assert all(isinstance(verdict, Retry) for verdict in verdicts), "they went together"
    for _ in range(5):
        verdict, *others = bench.handle(*entries)
        assert others == [Settle(loaded=5)] * 3, "each alone, they pass"
        if not isinstance(verdict, Retry):
            break
    assert verdict == Settle(
        loaded=60,
        dead=(DeadLetter("sink_failure", "boom", b"poison value=1 1700000000000\n", 1),),
    )
    assert bench.metric("etl_circuit_state") == 0
    assert bench.metric("etl_sink_suspects_total") == 1


def test_an_entry_of_which_nothing_is_ever_taken_is_a_dead_letter_at_last() -> None:
    bench = Bench()
    bench.sink.judge = poisoned
    bad = entry("bad", [b"poison,n=%d value=1 1700000000000" % i for i in range(20)])
    others = 0
    verdict: Verdict = Retry(0.0, "")
    while isinstance(verdict, Retry):
        verdict, loaded = bench.handle(bad, entry(f"good{others}", lines(100)))
        others += isinstance(loaded, Settle)
    assert isinstance(verdict, Settle)
    assert [(one.reason, one.samples, one.detail) for one in verdict.dead] == [
        ("sink_failure", 20, "boom")
    ]
    assert others >= 9, "each time others passed"


def test_an_outage_makes_nobody_suspect() -> None:
    bench = Bench(circuit_failures=1000)
    bench.sink.judge = lambda _: FAILED
    entries = [entry(str(i), lines(20)) for i in range(3)]
    for _ in range(20):
        assert all(isinstance(verdict, Retry) for verdict in bench.handle(*entries))
    assert bench.metric("etl_sink_suspects_total") == 0
    bench.sink.judge = None
    assert bench.handle(*entries) == [Settle(loaded=20)] * 3


def test_a_search_that_finds_the_sink_down_gives_the_entry_back() -> None:
    bench = Bench()
    bench.sink.judge = poisoned
    bad, good = entry("bad", [b"poison value=1 1", *lines(40)]), entry("good", lines(5))
    for _ in range(4):
        bench.handle(bad, good)
        if bench.metric("etl_sink_suspects_total"):
            break
        if bench.handler._poster.suspects.is_suspect("bad"):
            bench.sink.judge = lambda _: FAILED
    verdict, _ = bench.handle(bad, good)
    assert isinstance(verdict, Retry)
    assert verdict.reason.endswith("boom")


# -- interruptions ------------------------------------------------------------------------------


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


# -- the share of rejected points ---------------------------------------------------------------


def conflicting(bench: Bench, count: int, name: str = "1") -> Entry:
    bench.engine.buckets[BUCKET].types["typed", "value"] = "integer"
    return entry(name, [b"typed,n=%d value=1.5 1700000000000" % i for i in range(count)])


def test_too_large_a_share_of_rejected_points_is_held_and_nothing_is_dead_lettered() -> None:
    bench = Bench(group_samples=100)
    loaded, held = bench.handle(entry("2", lines(600)), conflicting(bench, 900))
    assert loaded == Settle(loaded=600)
    assert isinstance(held, Pause)
    assert "more than 50%" in held.reason
    assert bench.metric("etl_sink_pauses_total", cause="rejected_share") == 1
    assert bench.handler.check() is not None


def test_up_to_the_share_points_are_dead_lettered() -> None:
    bench = Bench()
    first, second = bench.handle(conflicting(bench, 500), entry("2", lines(500)))
    assert sum(letter.samples for letter in dead(first)) == 500
    assert second == Settle(loaded=500)
    assert bench.metric("etl_sink_rejected_share") == 0.5


def test_a_few_points_prove_nothing() -> None:
    bench = Bench()
    for number in range(9):
        (verdict,) = bench.handle(conflicting(bench, 100, str(number)))
        assert dead(verdict)
    (verdict,) = bench.handle(conflicting(bench, 100, "9"))
    assert isinstance(verdict, Pause), "a thousand do"


def test_the_search_ends_as_soon_as_there_are_too_many() -> None:
    bench = Bench()
    bench.engine.say = lambda _: "points of bad taste"
    text = [BAD + b"%d" % i for i in range(2000)]
    (verdict,) = bench.handle(entry("1", text))
    assert isinstance(verdict, Pause)
    assert len(bench.sink.bodies) < 2 * 1001 + 12


def test_a_hold_for_the_share_ends_when_the_head_of_the_stream_is_accepted() -> None:
    bench = Bench(group_samples=100)
    entries = [conflicting(bench, 1500), entry("2", lines(100))]
    assert isinstance(bench.handle(entries[0])[0], Pause)
    bench.clock.pass_(1.0)
    assert bench.handler.check() is None
    loaded, held = bench.handle(*reversed(entries))
    assert loaded == Settle(loaded=100)
    assert isinstance(held, Pause)
    assert bench.events("sink_resumed") == [], "a good neighbour does not end it"
    bench.engine.buckets[BUCKET].types.clear()
    bench.clock.pass_(2.0)
    assert bench.handler.check() is None
    assert bench.handle(entries[0]) == [Settle(loaded=1500)]
    assert bench.metric("etl_sink_paused") == 0
    assert bench.metric("etl_sink_rejected_share") == 0


def test_lines_that_were_held_for_the_share_are_judged_anew() -> None:
    bench = Bench()
    bench.engine.say = lambda _: "points of bad taste"
    held = conflicting(bench, 1500)
    assert isinstance(bench.handle(held)[0], Pause)
    bench.engine.buckets[BUCKET].types.clear()
    bench.clock.pass_(1.0)
    assert bench.handle(held) == [Settle(loaded=1500)]


def test_lines_found_bad_before_an_interruption_count_too() -> None:
    bench = Bench()
    bad = conflicting(bench, 600).payload
    text = lines(400)
    mixed = entry("1", [*gzip.decompress(bad).splitlines(), *text])
    bench.sink.script.extend([None, FAILED])
    assert isinstance(bench.handle(mixed)[0], Retry)
    found = bench.handler._findings.get(known_as(mixed))
    assert found is not None
    for index in range(600):
        found.fate[index] = Refusal.REJECTED
        found.words[index] = "conflict"
    found.parts = []
    assert isinstance(bench.handle(mixed)[0], Pause)


def test_an_id_given_again_does_not_inherit_what_was_found() -> None:
    """A Redis that fell back to an older state gives ids again, for other payloads."""
    bench = Bench()
    bad = gzip.decompress(conflicting(bench, 1).payload).splitlines()
    mixed = replace(entry("1", [*bad, *lines(400)]), payload_key="a")
    bench.sink.script.extend([None, FAILED])
    assert isinstance(bench.handle(mixed)[0], Retry)
    assert bench.handler._findings.get(known_as(mixed)) is not None
    other = replace(entry("1", lines(401)), payload_key="b")
    assert bench.handle(other) == [Settle(loaded=401)]


def test_the_probe_of_a_hold_for_the_share_is_judged_alone_however_small() -> None:
    bench = Bench()
    bench.handle(conflicting(bench, 1500))
    bench.clock.pass_(1.0)
    small = conflicting(bench, 5, "2")
    assert isinstance(bench.handle(small)[0], Pause)
    bench.clock.pass_(2.0)
    held, loaded = bench.handle(small, entry("3", lines(5)))
    assert dead(held), "half of them is not more than half"
    assert loaded == Settle(loaded=5)
    assert bench.metric("etl_sink_paused") == 0


def test_a_probe_that_the_sink_never_saw_ends_no_hold() -> None:
    bench = Bench()
    bench.handle(conflicting(bench, 1500))
    bench.clock.pass_(1.0)
    (verdict,) = bench.handle(entry("2", lines(5), payload=b"junk"))
    assert dead(verdict)
    assert bench.metric("etl_sink_paused") == 1


def test_a_share_of_one_never_holds() -> None:
    bench = Bench(max_rejected_share=1)
    (verdict,) = bench.handle(conflicting(bench, 3000))
    assert sum(letter.samples for letter in dead(verdict)) == 3000


# -- all of it together -------------------------------------------------------------------------

KINDS = st.sampled_from(["good"] * 12 + ["bad", "old", "long", "conflict"])


@settings(max_examples=80, deadline=None)
@given(
    batches=st.lists(st.lists(st.lists(KINDS, min_size=1, max_size=40), min_size=1, max_size=4),
                     min_size=1, max_size=3),
    words=st.sampled_from(["own", "none"]),
    connections=st.integers(1, 3),
    group_samples=st.sampled_from([1, 30, 1000]),
    faults=st.lists(st.sampled_from([None, None, None, FAILED, asked(1.0), UNAUTHORIZED]),
                    max_size=30),
)  # fmt: skip
def test_whatever_happens_every_sample_is_accounted_for_once(
    batches: list[list[list[str]]],
    words: str,
    connections: int,
    group_samples: int,
    faults: list[Outcome | None],
) -> None:
    bench = Bench(
        connections=connections, group_samples=group_samples, max_rejected_share=1,
        circuit_open_seconds=1,
    )  # fmt: skip
    engine = bench.engine
    engine.buckets[BUCKET].retention_seconds = DAY_SECONDS
    engine.buckets[BUCKET].types["typed", "value"] = "integer"
    engine.max_inflated_bytes = 3000
    if words == "none":
        engine.say = lambda message: message if "retention" in message else "bad taste"
    bench.sink.script.extend(faults)
    number, wanted, refused = 0, set(), set()
    waiting: list[tuple[Entry, list[tuple[str, bytes]]]] = []
    for batch_number, batch in enumerate(batches):
        for entry_number, kinds in enumerate(batch):
            text = []
            for kind in kinds:
                number += 1
                name = b"x" * 4000 if kind == "long" else b"%d" % number
                at_ms = old(2) if kind == "old" else NOW_MS
                measurement = b"typed" if kind == "conflict" else b"m"
                value = b"oops" if kind == "bad" else b"1.5"
                line = b"%s,n=%s,i=%d value=%s %d" % (measurement, name, number, value, at_ms)
                text.append((kind, line))
                if kind == "good":
                    wanted.add(("m", (("i", str(number)), ("n", str(number))), "value", NOW_MS))
                elif kind != "old":
                    refused.add(line)
            id_ = f"{batch_number}-{entry_number}"
            waiting.append((entry(id_, [line for _, line in text]), text))
    dead_lines: list[bytes] = []
    for _ in range(200):
        if not waiting:
            break
        bench.clock.pass_(40.0)
        if bench.handler.check() is not None:
            continue
        verdicts = bench.handle(*(one for one, _ in waiting))
        still = []
        for (one, text), verdict in zip(waiting, verdicts, strict=True):
            if not isinstance(verdict, Settle):
                still.append((one, text))
                continue
            kinds = [kind for kind, _ in text]
            assert verdict.loaded == kinds.count("good")
            assert sum(verdict.drops.values()) == kinds.count("old")
            for letter in verdict.dead:
                dead_lines += letter.payload.splitlines()
        waiting = still
    assert not waiting
    assert set(engine.buckets[BUCKET].points) == wanted
    assert sorted(dead_lines) == sorted(refused)


def test_it_closes_the_sink_last_and_once() -> None:
    bench = Bench()
    bench.handle(entry("1", lines(3)))
    bench.handler.close()
    assert bench.sink.closed == 1
    assert bench.handler.stage == "loader"
