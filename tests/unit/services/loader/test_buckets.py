"""Entries go to the bucket that they are marked with, and one that is missing stops no other."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from common.samples.bucket_of_key import mark_of_bucket
from common.samples.gzip_join import marked
from common.state.verdict import Entry, Pause, Retry, Settle
from services.loader.loaded import digest_of_lines
from services.loader.responses import Kind, Outcome, classify
from tests.doubles.influx_engine import Bucket, Engine
from tests.doubles.loading import (
    BUCKET,
    FAILED,
    UNAUTHORIZED,
    WRITTEN,
    Bench,
    entry,
    lines,
    payload,
)

FROM = {"label": "team", "buckets": {"a": "one", "b": "two"}}


def for_bucket(name: str, id_: str, count: int = 10, **fields: Any) -> Entry:
    text = [b"m,team=%s,n=1 value=%d 1700000000000" % (name.encode(), i) for i in range(count)]
    text = [line[:-1] + str(i % 10).encode() for i, line in enumerate(text)]
    return entry(id_, text, payload=marked(payload(text), mark_of_bucket(name)), **fields)


@pytest.fixture
def bench() -> Bench:
    made = Bench(Engine(BUCKET, "one"), bucket_from=FROM)
    made.engine.clock = made.wall
    return made


def held(bench: Bench) -> dict[str, int]:
    return {name: len(bucket.points) for name, bucket in bench.engine.buckets.items()}


def test_each_entry_goes_to_its_bucket(bench: Bench) -> None:
    bench.engine.buckets["two"] = Bucket()
    entries = [
        entry("0", lines(5)),
        *(for_bucket(n, n) for n in ("one", "two")),
        entry("1", lines(3, "o")),
    ]
    assert bench.handle(*entries) == [Settle(loaded=one.samples) for one in entries]
    assert held(bench) == {BUCKET: 8, "one": 10, "two": 10}
    assert len(bench.sink.bodies) == 3, "those of one bucket together"


def test_what_is_for_a_bucket_that_is_missing_waits_alone() -> None:
    said: dict[str, tuple[bool, str]] = {}
    bench = Bench(
        Engine(BUCKET, "one"),
        bucket_from=FROM,
        set_ready=lambda name, ok, detail: said.__setitem__(name, (ok, detail)),
    )
    bench.engine.clock = bench.wall
    entries = [for_bucket("two", "2"), for_bucket("one", "1"), entry("0", lines(5))]
    for _ in range(2):
        verdicts = bench.handle(*entries)
        assert isinstance(verdicts[0], Retry) and "two" in verdicts[0].reason
        assert verdicts[1:] == [Settle(loaded=10), Settle(loaded=5)]
    assert bench.metric("etl_sink_paused") == 0
    assert bench.handler.check() is None
    ok, remark = said["sink_buckets"]
    assert ok and remark.startswith("what is for another bucket waits: InfluxDB does not know")
    assert "(bucket two, status 404)" in remark
    bench.engine.buckets["two"] = Bucket()
    for _ in FROM["buckets"]:
        assert bench.handler.check() is None
    assert said["sink_buckets"] == (True, "")
    assert bench.handle(entries[0]) == [Settle(loaded=10)]


def test_what_waits_for_a_bucket_is_not_posted_and_waits_longer_each_time(bench: Bench) -> None:
    waits = []
    for _ in range(8):
        (first,) = bench.handle(for_bucket("two", "1"))
        posts = len(bench.sink.bodies)
        (second,) = bench.handle(for_bucket("two", "2"))
        assert isinstance(first, Retry) and second == first, "at the same instant"
        assert len(bench.sink.bodies) == posts
        bench.clock.pass_(first.after_seconds)
        waits.append(first.after_seconds)
    assert len(bench.sink.bodies) == 8
    assert waits == sorted(waits) and len(set(waits)) > 2 and waits[-1] == 300
    bench.handle(for_bucket("two", "1"))
    bench.engine.buckets["two"] = Bucket()
    for _ in FROM["buckets"]:
        bench.handler.check()
    assert bench.handle(for_bucket("two", "2")) == [Settle(loaded=10)], "once it is there"


def test_at_a_limit_a_request_without_points_proves_nothing(bench: Bench) -> None:
    full = Outcome(Kind.CAPACITY, "full", "capacity", 400)
    bench.sink.judge = lambda text: full if b"team=two" in text[0] else None
    bench.engine.buckets["two"] = Bucket()
    (verdict,) = bench.handle(for_bucket("two", "1"))
    for _ in FROM["buckets"]:
        bench.handler.check()
    assert bench.handle(for_bucket("two", "1")) == [verdict]
    assert len(bench.sink.bodies) == 1


@pytest.mark.parametrize(
    "words",
    ["retention policy not found: rp", "engine: cache-max-memory-size exceeded: (9/9)"],
)
def test_what_1x_says_with_a_500_of_one_bucket_is_no_fault_of_its_entries(
    bench: Bench, words: str
) -> None:
    failed = classify(500, {}, json.dumps({"error": words}).encode(), now_seconds=0.0)
    bench.sink.judge = lambda text: failed if b"team=two" in text[0] else None
    for turn in range(30):
        waits, passes = bench.handle(for_bucket("two", "2"), for_bucket("one", f"1-{turn}"))
        assert passes == Settle(loaded=10)
        assert isinstance(waits, Retry)
        bench.clock.pass_(waits.after_seconds + 1)
    bench.sink.judge = None
    bench.engine.buckets["two"] = Bucket()
    assert bench.handle(for_bucket("two", "2")) == [Settle(loaded=10)], "once it is taken"


def test_while_the_sink_refuses_everything_no_entry_of_a_missing_bucket_is_the_probe() -> None:
    bench = Bench(Engine(BUCKET), bucket_from=FROM, refused_posts_in_a_row=2)
    refusal = Outcome(Kind.POINTS, "no", "points", 400)
    bench.sink.judge = lambda text: refusal if b"team" not in text[0] else None
    while bench.metric("etl_sink_paused") == 0:
        bench.handle(entry("0", lines(5)))
    bench.clock.pass_(300)
    waiting = [for_bucket("two", str(number)) for number in range(1, 8)]
    verdicts = [*bench.handle(waiting[0]), *bench.handle(*waiting[1:], entry("0", lines(5)))]
    assert all(isinstance(one, Retry) and one.after_seconds > 0 for one in verdicts[:-1])
    bench.sink.judge = None
    bench.clock.pass_(300)
    bench.handle(*waiting)
    assert bench.handle(*waiting, entry("0", lines(5)))[-1] == Settle(loaded=5)
    assert bench.metric("etl_sink_paused") == 0


@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.CAPACITY, Kind.MISSING, Kind.UNEXPECTED])
def test_whatever_another_bucket_refuses_us_for_stops_no_other(bench: Bench, kind: Kind) -> None:
    refusal = Outcome(kind, "not for you", kind.value, 403)
    bench.sink.judge = lambda text: refusal if b"team=two" in text[0] else None
    entries = [for_bucket("two", "2"), for_bucket("one", "1"), entry("0", lines(5))]
    for _ in range(2):
        first, *rest = bench.handle(*entries)
        assert isinstance(first, Retry) and "not for you" in first.reason
        assert rest == [Settle(loaded=10), Settle(loaded=5)]
    assert bench.metric("etl_sink_paused") == 0


def test_each_check_probes_one_other_bucket_and_says_whatever_is_wrong() -> None:
    said: dict[str, tuple[bool, str]] = {}
    bench = Bench(
        Engine(BUCKET, "one", "two"),
        bucket_from=FROM,
        set_ready=lambda name, ok, detail: said.__setitem__(name, (ok, detail)),
    )
    for outcome in (UNAUTHORIZED, FAILED, Outcome(Kind.RETENTION, "odd", "retention", 400)):
        bench.sink.probes = 0
        bench.sink.probe_script += [WRITTEN, outcome]
        assert bench.handler.check() is None
        assert bench.sink.probes == 2, "the tier's and one more"
        assert outcome.message in said["sink_buckets"][1]
    assert bench.metric("etl_sink_paused") == 0


def test_the_tier_s_own_bucket_still_pauses(bench: Bench) -> None:
    del bench.engine.buckets[BUCKET]
    (verdict,) = bench.handle(entry("0", lines(5)))
    assert isinstance(verdict, Pause)


def test_replayed_lines_go_where_their_label_says(bench: Bench) -> None:
    text = [b"m,team=a value=%d 1700000000000" % i for i in range(1)]
    replayed = entry("1", text, fields={b"replayed": b"x"})
    assert bench.handle(replayed) == [Settle(loaded=1)]
    assert held(bench)["one"] == 1
    # What was transformed before the setting was made goes where it was meant to.
    assert bench.handle(entry("2", text)) == [Settle(loaded=1)]
    assert held(bench)[BUCKET] == 1


def test_replayed_lines_of_several_buckets_go_each_to_its_own(bench: Bench) -> None:
    bench.engine.buckets["two"] = Bucket()
    text = [
        b"m,team=%s,n=%d value=%s 1700000000000" % (team, n, b"oops" if bad else b"1")
        for n, (team, bad) in enumerate([(b"a", 0), (b"b", 0), (b"c", 0), (b"a", 0), (b"b", 1)])
    ]
    replayed = entry("1", text, fields={b"replayed": b"x"})
    (verdict,) = bench.handle(replayed)
    assert isinstance(verdict, Settle)
    assert (verdict.loaded, [letter.samples for letter in verdict.dead]) == (4, [1])
    assert verdict.digest is None, "of a line that nobody digests"
    assert held(bench) == {BUCKET: 1, "one": 2, "two": 1}
    sound = entry("2", text[:4], fields={b"replayed": b"x"})
    (verdict,) = bench.handle(sound)
    assert isinstance(verdict, Settle) and verdict.digest == digest_of_lines(text[:4])


def test_replayed_lines_wait_as_one_for_a_bucket_that_is_missing(bench: Bench) -> None:
    text = [b"m,team=%s value=1 1700000000000" % team for team in (b"b", b"a")]
    replayed = entry("1", text, fields={b"replayed": b"x"})
    (verdict,) = bench.handle(replayed)
    assert isinstance(verdict, Retry) and "two" in verdict.reason
    assert held(bench) == {BUCKET: 0, "one": 1}, "what can be is written"
    bench.engine.buckets["two"] = Bucket()
    bench.clock.pass_(verdict.after_seconds)
    assert bench.handle(replayed) == [Settle(loaded=2)]
    assert held(bench) == {BUCKET: 0, "one": 1, "two": 1}


def test_a_replayed_line_of_any_length_goes_where_its_label_says(bench: Bench) -> None:
    long = os.urandom(32_700).hex().encode()  # which does not pack well
    text = [b"m,team=a,long=%s value=1.%s 1700000000000" % (long, b"0" * 200)]
    assert len(text[0]) > 64 * 1024
    assert bench.handle(entry("1", text, fields={b"replayed": b"x"})) == [Settle(loaded=1)]
    assert held(bench) == {BUCKET: 0, "one": 1}


def test_a_bucket_that_is_not_configured_any_more_is_the_tier_s(bench: Bench) -> None:
    assert bench.handle(for_bucket("gone", "1")) == [Settle(loaded=10)]
    assert held(bench) == {BUCKET: 10, "one": 0}


def test_what_is_replayed_to_one_bucket_ends_what_is_known_of_it_alone(bench: Bench) -> None:
    engine = bench.engine
    bench.handle(entry("0", lines(500, "others")))
    for name in (BUCKET, "one"):
        engine.buckets[name].types["m", "value"] = "string"
    text = [b"m,n=%d value=1 1700000000000" % n for n in range(10)]
    for number in range(4):
        bench.handle(for_bucket("one", f"1-{number}"), entry(f"0-{number}", text))
    del engine.buckets["one"].types["m", "value"]
    replayed = [b"m,team=a value=1 1700000000000"]
    assert bench.handle(entry("1", replayed, fields={b"replayed": b"x"})) == [Settle(loaded=1)]
    untried = bench.metric("etl_sink_untried_samples_total")
    assert bench.handle(for_bucket("one", "2")) == [Settle(loaded=10)]
    assert bench.metric("etl_sink_untried_samples_total") == untried
    (verdict,) = bench.handle(entry("3", text))
    assert isinstance(verdict, Settle) and verdict.loaded == 0
    assert bench.metric("etl_sink_untried_samples_total") > untried


def test_what_one_bucket_refuses_says_nothing_of_another(bench: Bench) -> None:
    """A field of another type there: its lines are set aside untried after three entries."""
    engine = bench.engine
    engine.buckets["two"] = Bucket()
    engine.buckets["one"].types["m", "value"] = "string"
    bench.handle(entry("0", lines(500, "others")))
    for number in range(6):
        (verdict,) = bench.handle(for_bucket("one", f"1-{number}"))
        assert isinstance(verdict, Settle)
        assert [letter.reason for letter in verdict.dead] == ["rejected"]
    assert bench.metric("etl_sink_untried_samples_total") > 0
    assert bench.handle(for_bucket("two", "2")) == [Settle(loaded=10)]


def test_the_control_goes_to_no_bucket_that_only_some_series_are_for(bench: Bench) -> None:
    """Nothing proves that such a bucket takes it: no check of reading is made there."""
    bench.handle(for_bucket("one", "1"))
    bad = set(lines(3, "k"))
    opaque = Outcome(Kind.POINTS, "no", "points", 400)
    bench.sink.judge = lambda text: opaque if bad.intersection(text) else None
    (verdict,) = bench.handle(entry("bad", lines(3, "k")))
    assert isinstance(verdict, Settle) and verdict.dead, "the control was taken"
    assert held(bench) == {BUCKET: 1, "one": 10}
