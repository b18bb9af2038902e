"""The loop, on the stream in memory: verdicts, failures, poison, pauses and shutdown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from common.runtime.telemetry import Telemetry
from common.state.keys import RAW
from common.state.stream import Claimed
from common.state.verdict import PUSHED, DeadLetter, Entry, Output, Pause, Retry, Settle, Verdict
from tests.doubles.memory_stream import MemoryStream
from tests.support.captured_log import CapturedLog
from tests.support.stage_bench import LIMITS, Bench, all_loaded

AT_ONCE = replace(LIMITS, backoff_base_seconds=1e-9, backoff_max_seconds=1e-9)


def test_settles_and_counts_only_then() -> None:
    bench = Bench(
        lambda entry: Settle(
            outputs=[Output(b"o", 5)],
            drops={"nan": 2},
            dead=[DeadLetter("rejected", "why", b"x", 1)],
        )
    )
    bench.commit((b"a", 8))

    bench.stage.step()

    assert bench.value("etl_dropped_samples_total", reason="nan") == 2
    assert bench.value("etl_dead_letters_total", stage="transformer", reason="rejected") == 1
    assert bench.value("etl_records_total") == 8
    assert bench.balanced()


def test_what_is_refused_of_pushed_samples_is_dropped() -> None:
    letters = [DeadLetter("rejected", "why", b"x", 1), DeadLetter("rejected", "so", b"y", 2)]
    bench = Bench(lambda entry: Settle(loaded=4, drops={"nan": 1}, dead=letters))
    bench.broker.commit(RAW, "q", "hot", "select", PUSHED, ((b"a", 8),))

    bench.stage.step()

    dropped = {name: n for name, n in bench.broker.ledger.items() if "dropped" in name}
    assert dropped == {"q@hot|dropped|nan": 1, "q@hot|dropped|rejected": 3}
    assert bench.value("etl_dropped_samples_total", reason="rejected") == 3
    assert bench.broker.dead == []
    assert bench.value("etl_dead_letters_total", stage="transformer", reason="rejected") == 0
    assert bench.balanced()


def test_a_refused_settlement_counts_no_samples() -> None:
    bench = Bench(all_loaded)

    def stolen(entry: Entry) -> Verdict:
        bench.broker.state(RAW).pending[entry.id].consumer = "thief"
        return all_loaded(entry)

    bench.handler.judge = stolen
    bench.commit((b"a", 8))

    bench.stage.step()

    assert bench.value("etl_settlements_refused_total", stage="transformer") == 1
    assert bench.value("etl_loaded_samples_total") == 0
    assert bench.broker.ledger.get("q@hot|loaded") is None


@pytest.mark.parametrize(
    ("tier", "kind", "loaded", "doubted"),
    [
        ("hot", "expr", 8, True),
        ("warm", "select", 8, True),
        ("hot", "select", 8, False),  # raw samples are the same each time
        ("hot", "expr", 0, False),  # nothing was written
    ],
)
def test_what_was_written_after_the_lease_was_lost_is_compared_again(
    tier: str, kind: str, loaded: int, doubted: bool
) -> None:
    bench = Bench(all_loaded)

    def stolen(entry: Entry) -> Verdict:
        bench.broker.state(RAW).pending[entry.id].consumer = "thief"
        return Settle(loaded=loaded, drops={"nan": 8 - loaded})

    bench.handler.judge = stolen
    bench.broker.commit(RAW, "q", tier, kind, "w1", ((b"a", 8),))

    bench.stage.step()

    assert bench.value("etl_settlements_refused_total", stage="transformer") == 1
    assert bool(bench.broker.compared_again) == doubted


def test_a_retry_comes_back_after_its_time_without_a_crash() -> None:
    bench = Bench(lambda entry: Retry(5, "later"))
    bench.commit((b"a", 1))
    bench.stage.step()
    bench.handler.judge = all_loaded
    bench.stage.step()
    assert len(bench.handler.batches) == 1

    bench.now_ms += 5_000
    bench.stage.step()

    assert bench.broker.ledger["q@hot|loaded"] == 1
    assert bench.broker.state(RAW).crashes == {}


def test_a_pause_stops_taking_work_until_the_check_passes() -> None:
    bench = Bench(lambda entry: Pause("401 unauthorized"))
    bench.commit((b"a", 1))
    bench.stage.step()
    assert bench.ready["dependency"] == (False, "401 unauthorized")

    bench.handler.reason = "still 401"
    for _ in range(3):
        bench.stage.step()
    assert len(bench.handler.batches) == 1
    assert bench.ready["dependency"] == (False, "still 401")

    bench.handler.reason = None
    bench.handler.judge = all_loaded
    bench.stage.step()

    assert bench.ready["dependency"] == (True, "")
    assert bench.broker.ledger["q@hot|loaded"] == 1
    assert bench.broker.state(RAW).crashes == {}


def test_what_ends_a_pause_is_judged_by_the_oldest_entries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []
    claim = MemoryStream.claim

    def noted(stream: MemoryStream, count: int, *, from_head: bool = False) -> Claimed:
        asked.append(from_head)
        return claim(stream, count, from_head=from_head)

    monkeypatch.setattr(MemoryStream, "claim", noted)
    bench = Bench(lambda entry: Pause("too many rejections"))
    bench.commit((b"a", 1))
    for _ in range(3):
        bench.stage.step()
    assert asked == [True] * 3
    bench.handler.judge = lambda entry: Retry(0, "at once")
    asked.clear()
    while len(asked) < 4:
        bench.now_ms += 60_000
        bench.stage.step()
    assert asked == [True, False, True, False], "else the others have every second turn"


def test_nothing_is_taken_before_the_dependency_is_checked() -> None:
    bench = Bench(all_loaded)
    bench.handler.reason = "no connection"
    bench.commit((b"a", 1))

    bench.stage.step()

    assert bench.handler.batches == []
    assert bench.broker.state(RAW).pending == {}


def test_an_exception_makes_suspects_which_are_tried_alone_and_only_the_bad_one_dies() -> None:
    def judge(entry: Entry) -> Verdict:
        if entry.payload == b"bad":
            raise ValueError("defect")
        return all_loaded(entry)

    bench = Bench(judge)
    bench.commit((b"a", 1), (b"bad", 2), (b"c", 3))

    for _ in range(8):
        bench.stage.step()

    assert bench.handler.batches[0] == ["a", "bad", "c"]
    assert sorted(map(len, bench.handler.batches[1:])) == [1, 1, 1, 1]
    assert bench.broker.ledger["q@hot|loaded"] == 4
    (dead,) = bench.broker.dead
    assert (dead["reason"], dead["payload"], dead["samples"]) == ("poison", b"bad", 2)
    assert bench.balanced()


def test_workers_that_die_with_an_entry_poison_it() -> None:
    bench = Bench(all_loaded)
    bench.commit((b"bad", 2))
    bench.make_stream("dead0").read(1, 0)
    for number in (1, 2):
        bench.now_ms += 31_000
        bench.make_stream(f"dead{number}").claim(1)
    bench.now_ms += 31_000

    bench.stage.step()

    assert bench.handler.batches == []
    assert [dead["reason"] for dead in bench.broker.dead] == ["poison"]
    assert bench.balanced()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda bench, id_: bench.broker.payloads.clear(), "payload_missing"),
        (
            lambda bench, id_: (
                bench.broker.state(RAW).entries[id_].fields.update({b"schema": b"99"})
            ),
            "unknown_schema",
        ),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter(
    spoil: Callable[[Bench, str], None], reason: str
) -> None:
    bench = Bench(all_loaded)
    bench.commit((b"a", 3))
    spoil(bench, next(iter(bench.broker.state(RAW).entries)))

    bench.stage.step()

    assert bench.handler.batches == []
    (dead,) = bench.broker.dead
    assert dead["reason"] == reason
    assert dead["payload"]
    assert bench.broker.audit().accounts["q@hot"].dead_lettered == 3


def test_a_verdict_that_does_not_add_up_is_never_carried_out() -> None:
    bench = Bench(lambda entry: Settle(loaded=entry.samples - 1))
    bench.commit((b"a", 3))

    for _ in range(6):
        bench.stage.step()
        bench.now_ms += 1_000

    assert bench.value("etl_settlements_invalid_total", stage="transformer") == 3
    assert [dead["reason"] for dead in bench.broker.dead] == ["poison"]
    assert bench.balanced()


def refuse_bad(entry: Entry) -> Verdict:
    if entry.payload.startswith(b"bad"):
        return Settle(dead=[DeadLetter("rejected", "why", b"x", entry.samples)])
    return all_loaded(entry)


def test_full_dead_letters_hold_the_entries_that_need_them_and_no_other() -> None:
    bench = Bench(refuse_bad)
    bench.stage = bench.make_stage(bench.make_stream("w1", dead_max=0))
    for number in range(20):
        bench.commit((b"bad%d" % number, 3), (b"good", 5))

    for _ in range(20):
        bench.stage.step()
        bench.now_ms += 1_000

    assert bench.broker.ledger["q@hot|loaded"] == 100
    assert bench.broker.audit().accounts["q@hot"].in_flight == 60
    assert bench.ready["dependency"] == (True, "")
    assert bench.value("etl_dead_letters_held_total", stage="transformer") >= 20
    assert bench.broker.state(RAW).crashes == {}
    assert bench.balanced()


def test_entries_that_wait_and_come_back_do_not_keep_away_what_is_new() -> None:
    def judge(entry: Entry) -> Verdict:
        return all_loaded(entry) if entry.payload == b"new" else Retry(0.0, "its bucket is missing")

    bench = Bench(judge)
    bench.commit(*((b"old%d" % number, 1) for number in range(4 * LIMITS.read_entries)))
    for _ in range(6):
        bench.stage.step()
    bench.commit((b"new", 5))
    for _ in range(6):
        bench.stage.step()

    assert bench.broker.ledger["q@hot|loaded"] == 5


def test_held_entries_are_settled_when_there_is_room_again() -> None:
    bench = Bench(refuse_bad)
    bench.stage = bench.make_stage(bench.make_stream("w1", dead_max=0))
    bench.commit((b"bad", 3))
    bench.stage.step()
    assert bench.value("etl_records_total") == 0, "held is not done"

    bench.stage = bench.make_stage(bench.make_stream("w2", dead_max=1))
    bench.now_ms += int(LIMITS.check_every_seconds * 1000)
    bench.stage.step()

    assert [dead["samples"] for dead in bench.broker.dead] == [3]
    assert bench.balanced()


def test_a_pause_is_logged_once_and_then_once_a_minute_with_what_it_held() -> None:
    bench = Bench(lambda entry: Pause("circuit open for another 3.5 s"))
    seconds = [0.0]
    log = CapturedLog()

    def clock() -> float:
        seconds[0] += 0.0001
        return seconds[0]

    bench.registry = CollectorRegistry()
    bench.telemetry = Telemetry("transformer", bench.registry, logger=log)
    bench.stage = bench.make_stage(bench.stream, clock=clock, limits=AT_ONCE)
    bench.commit((b"a", 2), (b"b", 3))

    # The check passes each time, and the next post is refused: twice a second.
    for step in range(240):
        seconds[0] = step / 2
        bench.handler.judge = lambda entry, step=step: Pause(f"open for {step} s")  # type: ignore[misc]
        bench.stage.step()

    paused = [line for line in log.lines if line["event"] == "stage_paused"]
    assert [(line["times"], line["entries"], line["samples"]) for line in paused] == [
        (1, 2, 5),
        (120, 240, 600),
    ]
    assert bench.value("etl_pauses_total", stage="transformer") == 240
    assert log.events.count("dependency_ready") == 3
    bench.handler.reason = "another reason"
    bench.stage.step()
    assert log.lines[-1]["reason"] == "another reason"


def test_stopping_releases_what_is_in_hand_uncounted_and_closes_the_handler() -> None:
    bench = Bench(all_loaded)
    started, go_on = threading.Event(), threading.Event()

    def slow(entry: Entry) -> Verdict:
        started.set()
        assert go_on.wait(10)
        return all_loaded(entry)

    bench.handler.judge = slow
    bench.commit((b"a", 1))
    runner = threading.Thread(target=bench.stage.run)
    runner.start()
    assert started.wait(10)

    bench.stop.set()
    bench.stage.release_in_hand()  # what the service's watchdog does at the drain deadline
    other = bench.make_stream("other").claim(1).entries
    go_on.set()
    runner.join(10)

    assert [entry.crashes for entry in other] == [0]
    assert bench.handler.closed
    assert bench.value("etl_settlements_refused_total", stage="transformer") == 1


def test_a_batch_in_hand_is_finished_before_the_stop() -> None:
    bench = Bench(all_loaded)

    def stop_meanwhile(entry: Entry) -> Verdict:
        bench.stop.set()
        return all_loaded(entry)

    bench.handler.judge = stop_meanwhile
    bench.commit((b"a", 1), (b"b", 1))

    bench.stage.run()

    assert bench.broker.ledger["q@hot|loaded"] == 2


def test_what_others_left_behind_is_claimed_now_and_then() -> None:
    bench = Bench(all_loaded)
    now_seconds = 100.0
    limits = replace(LIMITS, claim_every_seconds=5.0)
    stage = bench.make_stage(bench.make_stream("w1"), limits=limits, clock=lambda: now_seconds)
    stage.step()
    bench.commit((b"left", 1), (b"left too", 1))
    taken = bench.stream.read(2, 0.0)
    bench.stream.release([entry.id for entry in taken])

    stage.step()
    assert bench.handler.batches == []

    now_seconds += 5.0
    stage.step()
    assert bench.handler.batches == [["left", "left too"]]

    # Where something was found, more may be.
    bench.commit((b"more", 1))
    bench.stream.release([entry.id for entry in bench.stream.read(1, 0.0)])
    stage.step()
    assert bench.handler.batches[1:] == [["more"]]
