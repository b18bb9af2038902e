"""The load handler where points are refused: only they suffer, unless they are too many."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import replace

import pytest

from common.state.verdict import DeadLetter, Entry, Pause, Retry, Settle, Verdict
from services.loader.entry_history import HOPELESS_FAILURES, SUSPECT_FAILURES
from services.loader.lines import LineStatus
from services.loader.responses import Kind, Outcome
from tests.doubles.loading import (
    BAD,
    BUCKET,
    FAILED,
    Bench,
    dead,
    entry,
    lines,
    payload,
)


def test_only_the_bad_point_suffers_and_only_its_entry_says_so() -> None:
    bench = Bench()
    text = lines(1000)
    text[700] = BAD
    verdicts = bench.handle(
        entry("1", text[:500]), entry("2", text[500:]), entry("3", lines(5, "k"))
    )
    message = f"unable to parse '{BAD.decode()}': invalid boolean"
    assert verdicts == [
        Settle(loaded=500),
        Settle(loaded=499, dead=(DeadLetter("rejected", message, BAD + b"\n", 1, "m"),)),
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
    (dead_letter,) = dead(second)
    assert (dead_letter.reason, dead_letter.payload, dead_letter.samples) == ("corrupt", broken, 5)
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


def test_a_sink_that_cannot_read_what_is_sound_pauses_the_loader() -> None:
    bench = Bench()
    unreadable = Outcome(Kind.UNREADABLE, "gzip: invalid header", "unreadable", 400)
    bench.sink.judge = lambda _: unreadable
    (verdict,) = bench.handle(entry("1", lines(5)))
    assert isinstance(verdict, Pause)
    assert "gzip: invalid header" in verdict.reason
    assert len(bench.sink.bodies) == 1


def test_a_sink_that_cannot_read_what_was_made_here_pauses_the_loader() -> None:
    bench = Bench()
    unreadable = Outcome(Kind.UNREADABLE, "gzip: invalid header", "unreadable", 400)
    bench.sink.script.extend([None, unreadable])
    assert isinstance(bench.handle(entry("1", [*lines(5), BAD]))[0], Pause)


# -- what the server fails at ------------------------------------------------------------------


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
        dead=(DeadLetter("sink_failure", "boom", b"poison value=1 1700000000000\n", 1, "poison"),),
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


def test_a_search_counts_as_one_failure_while_others_pass_between_its_posts() -> None:
    bench = Bench(max_rejected_share=1)

    def judge(text: Sequence[bytes]) -> Outcome | None:
        bench.handler.suspects.passed()  # what another thread posted
        return poisoned(text)

    bench.sink.judge = judge
    bad = entry("bad", [b"poison,n=%d value=1 1700000000000" % i for i in range(2000)])
    waited_seconds = 0.0
    while isinstance(verdict := bench.handle(bad)[0], Retry):
        waited_seconds += verdict.after_seconds
        bench.clock.pass_(verdict.after_seconds)
    assert sum(letter.samples for letter in dead(verdict)) == 2000
    assert bench.metric("etl_sink_suspects_total") == HOPELESS_FAILURES - SUSPECT_FAILURES
    assert waited_seconds > 30, "a shard that fails for some seconds is not its fault"


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
        if bench.handler.suspects.is_suspect("bad"):
            bench.sink.judge = lambda _: FAILED
    verdict, _ = bench.handle(bad, good)
    assert isinstance(verdict, Retry)
    assert verdict.reason.endswith("boom")


# -- the share of rejected points --------------------------------------------------------------


def conflicting(bench: Bench, count: int, name: str = "1") -> Entry:
    bench.engine.buckets[BUCKET].types["typed", "value"] = "integer"
    return entry(name, [b"typed,n=%d value=1.5 1700000000000" % i for i in range(count)])


def test_too_large_a_share_of_rejected_points_pauses_the_loader_and_nothing_is_dead_lettered() -> (
    None
):
    bench = Bench(group_samples=100)
    loaded, paused = bench.handle(entry("2", lines(600)), conflicting(bench, 900))
    assert loaded == Settle(loaded=600)
    assert isinstance(paused, Pause)
    assert "more than 50%" in paused.reason
    assert bench.metric("etl_sink_pauses_total", cause="rejected_share") == 1
    assert bench.handler.check() is not None


def test_up_to_the_share_points_are_dead_lettered() -> None:
    bench = Bench()
    first, second = bench.handle(conflicting(bench, 500), entry("2", lines(500)))
    assert sum(dead_letter.samples for dead_letter in dead(first)) == 500
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


def test_a_pause_for_the_share_ends_when_the_head_of_the_stream_is_accepted() -> None:
    bench = Bench(group_samples=100)
    entries = [conflicting(bench, 1500), entry("2", lines(100))]
    assert isinstance(bench.handle(entries[0])[0], Pause)
    bench.clock.pass_(1.0)
    assert bench.handler.check() is None
    loaded, paused = bench.handle(*reversed(entries))
    assert loaded == Settle(loaded=100)
    assert isinstance(paused, Pause)
    assert bench.events("sink_resumed") == [], "a good neighbour does not end it"
    bench.engine.buckets[BUCKET].types.clear()
    bench.clock.pass_(2.0)
    assert bench.handler.check() is None
    assert bench.handle(entries[0]) == [Settle(loaded=1500)]
    assert bench.metric("etl_sink_paused") == 0
    assert bench.metric("etl_sink_rejected_share") == 0


def test_lines_that_waited_for_the_share_are_judged_anew() -> None:
    bench = Bench()
    bench.engine.say = lambda _: "points of bad taste"
    paused = conflicting(bench, 1500)
    assert isinstance(bench.handle(paused)[0], Pause)
    bench.engine.buckets[BUCKET].types.clear()
    bench.clock.pass_(1.0)
    assert bench.handle(paused) == [Settle(loaded=1500)]


def test_lines_found_bad_before_an_interruption_count_too() -> None:
    bench = Bench()
    bad = conflicting(bench, 600).payload
    text = lines(400)
    mixed = entry("1", [*gzip.decompress(bad).splitlines(), *text])
    bench.sink.script.extend([None, FAILED])
    assert isinstance(bench.handle(mixed)[0], Retry)
    found = bench.handler.isolation_cache.get(mixed)
    assert found is not None
    for index in range(600):
        found.status[index] = LineStatus.REJECTED
        found.messages[index] = "conflict"
    found.parts = []
    bench.handler.isolation_cache.put(mixed, found)
    assert isinstance(bench.handle(mixed)[0], Pause)


def test_an_id_given_again_does_not_inherit_what_was_found() -> None:
    """A Redis that fell back to an older state gives ids again, for other payloads."""
    bench = Bench()
    bad = gzip.decompress(conflicting(bench, 1).payload).splitlines()
    mixed = replace(entry("1", [*bad, *lines(400)]), payload_key="a")
    bench.sink.script.extend([None, FAILED])
    assert isinstance(bench.handle(mixed)[0], Retry)
    assert bench.handler.isolation_cache.get(mixed) is not None
    other = replace(entry("1", lines(401)), payload_key="b")
    assert bench.handle(other) == [Settle(loaded=401)]


def test_the_probe_of_a_pause_for_the_share_is_judged_alone_however_small() -> None:
    bench = Bench()
    bench.handle(conflicting(bench, 1500))
    bench.clock.pass_(1.0)
    small = conflicting(bench, 5, "2")
    assert isinstance(bench.handle(small)[0], Pause)
    bench.clock.pass_(2.0)
    paused, loaded = bench.handle(small, entry("3", lines(5)))
    assert dead(paused), "half of them is not more than half"
    assert loaded == Settle(loaded=5)
    assert bench.metric("etl_sink_paused") == 0


def test_a_probe_that_the_sink_never_saw_ends_no_pause() -> None:
    bench = Bench()
    bench.handle(conflicting(bench, 1500))
    bench.clock.pass_(1.0)
    (verdict,) = bench.handle(entry("2", lines(5), payload=b"junk"))
    assert dead(verdict)
    assert bench.metric("etl_sink_paused") == 1


def test_a_share_of_one_never_pauses() -> None:
    bench = Bench(max_rejected_share=1)
    (verdict,) = bench.handle(conflicting(bench, 3000))
    assert sum(dead_letter.samples for dead_letter in dead(verdict)) == 3000
