"""The load handler where the sink refuses us, asks to wait or fails: pauses, waits, trials."""

from __future__ import annotations

import gc
import threading
import tracemalloc

import pytest

from common.state.verdict import Pause, Retry, Settle
from services.loader.responses import Kind, Outcome
from tests.doubles.influx_engine import Bucket
from tests.doubles.loading import (
    FAILED,
    UNAUTHORIZED,
    Bench,
    asked_to_wait,
    entry,
    lines,
)


def test_a_series_limit_pauses_the_loader_without_a_search_and_probed_until_it_is_lifted() -> None:
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
def test_a_sink_that_refuses_us_pauses_the_loader_until_a_check_succeeds(outcome: Outcome) -> None:
    bench = Bench(group_samples=10)
    entries = [entry(str(i), lines(10)) for i in range(3)]
    bench.sink.script.append(outcome)
    verdicts = bench.handle(*entries)
    assert all(isinstance(v, Pause) and outcome.message in v.reason for v in verdicts)
    assert len(bench.sink.bodies) == 1
    assert bench.metric("etl_sink_pauses_total", cause=outcome.cause) == 1
    bench.sink.probe_script.extend([outcome, outcome])
    for _ in range(2):
        reason = bench.handler.check()
        assert reason is not None
        assert outcome.message in reason
    assert bench.handler.check() is None
    assert bench.metric("etl_sink_paused") == 0
    assert bench.handle(*entries) == [Settle(loaded=10)] * 3


def test_a_check_probes_every_bucket_and_pauses_for_the_one_that_is_missing() -> None:
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


def test_a_check_of_a_sink_that_is_away_is_no_pause() -> None:
    bench = Bench()
    bench.sink.probe_script.append(Outcome(Kind.FAILED, "refused", "no_connection"))
    assert bench.handler.check() == "InfluxDB gave no response (no_connection): refused"
    assert bench.metric("etl_sink_paused") == 0


# -- waits -------------------------------------------------------------------------------------


def test_a_wait_that_the_sink_names_is_kept_for_everything() -> None:
    bench = Bench(group_samples=10)
    entries = [entry(str(i), lines(10)) for i in range(3)]
    bench.sink.script.append(asked_to_wait(20.0))
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
    bench.sink.script.append(asked_to_wait(86_400.0))
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


def test_the_lines_of_entries_that_are_searched_are_not_all_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = Outcome(Kind.POINTS, "no", "points", 400)
    bench = Bench(max_rejected_share=1, search_posts_per_minute=1, group_samples=5_000)
    monkeypatch.setattr(bench.sink, "write", lambda _bucket, _body: refused)
    entries = [entry(str(id_), lines(5_000, "a" * 150)) for id_ in range(8)]
    of_one_bytes = 5_000 * 200
    gc.collect()
    gc.disable()  # nothing may wait for it: what fills the memory is not what it counts
    tracemalloc.start()
    try:
        for _ in range(2):
            assert all(isinstance(one, Retry) for one in bench.handle(*entries))
            held_bytes, peak_bytes = tracemalloc.get_traced_memory()
            assert held_bytes < of_one_bytes
            assert peak_bytes < 5 * of_one_bytes
    finally:
        tracemalloc.stop()
        gc.enable()
