"""The loader's small parts: payloads, circuit, gate, share, suspects, findings, letters."""

from __future__ import annotations

import gzip
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from common.errors import WireError
from common.runtime.telemetry import Telemetry
from common.state.verdict import Pause, Retry
from services.loader import lines as wire
from services.loader.breaker import Circuit, CircuitState
from services.loader.dead_letters import MAX_CAUSES, letters
from services.loader.gate import Gate
from services.loader.isolate import Lines, Refusal
from services.loader.isolation_cache import IsolationCache
from services.loader.rejected_share import RejectedShare
from services.loader.responses import Kind, Outcome
from services.loader.suspects import Suspects
from tests.doubles.loading import Clock, lines, payload

WRITTEN = Outcome(Kind.WRITTEN, "", status=204)
FAILED = Outcome(Kind.FAILED, "boom", "server_error", 500)
ASKED = Outcome(Kind.BUSY, "slow down", "busy", 429, retry_after_seconds=9.0)


# -- payloads -----------------------------------------------------------------------------------


def test_a_payload_is_its_lines_and_back() -> None:
    text = lines(100)
    assert wire.decode(payload(text), 100) == text
    assert wire.decode(wire.encode(text), 100) == text
    assert wire.decode(payload(text[:60]) + payload(text[60:]), 100) == text
    wire.check_shape(payload(text), 100)


@pytest.mark.parametrize(
    ("body", "samples", "words"),
    [
        (b"", 1, "not gzip"),
        (b"m value=1 1\n", 1, "not gzip"),
        (gzip.compress(b""), 1, "too few"),
        (gzip.compress(b"m v=1 0\n" * 9), 10, "too few"),
    ],
)
def test_a_payload_that_cannot_be_what_it_should_be_is_found_without_inflating(
    body: bytes, samples: int, words: str
) -> None:
    with pytest.raises(WireError, match=words):
        wire.check_shape(body, samples)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (payload(lines(5))[:-9], "inflated"),
        (payload(lines(5))[:-8] + b"\0" * 8, "inflated"),
        (payload(lines(5)) + b"tail", "inflated"),
        (b"\x1f\x8b\x08" + b"\0" * 40, "inflated"),
        (payload(lines(4)), "holds 4 lines, its entry says 5"),
        (payload([*lines(5), b""]), "holds 6 lines"),
        (gzip.compress(b"m v=1 0"), "line break"),
    ],
)
def test_a_corrupt_payload_is_told_apart(body: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        wire.decode(body, 5)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_payload_does_worse_than_a_wire_error(body: bytes, samples: int) -> None:
    for candidate in (body, b"\x1f\x8b\x08" + body, payload(lines(3))[: len(body)]):
        try:
            wire.check_shape(candidate, samples)
            assert len(wire.decode(candidate, samples)) == samples
        except WireError:
            pass
        wire.first_timestamp_ms(candidate)


@pytest.mark.parametrize(
    ("line", "stamp"),
    [
        (b"m value=1 1700000000000", 1_700_000_000_000),
        (b"m value=1 -5", -5),
        (b'm,a=b\\ c s="x y" 7', 7),
        (b"m value=1", None),
        (b"m value=1 12x", None),
        (b"m value=1 ", None),
        (b"m value=1 " + b"9" * 30, None),
        (b"", None),
    ],
)
def test_the_timestamp_of_a_line(line: bytes, stamp: int | None) -> None:
    assert wire.timestamp_ms(line) == stamp
    assert wire.first_timestamp_ms(payload([line, b"m value=1 2"])) == stamp


# -- circuit ------------------------------------------------------------------------------------


class Breaker:
    def __init__(self) -> None:
        self.clock = Clock()
        self.states: list[CircuitState] = []
        self.circuit = Circuit(
            failures=3, open_seconds=10.0, changed=self.states.append, clock=self.clock
        )
        self.posts = 0

    def post(self, outcome: Outcome) -> Outcome | None:
        def made() -> Outcome:
            self.posts += 1
            return outcome

        return self.circuit.call(made)


def test_the_circuit_opens_after_failures_in_a_row_and_closes_by_a_trial() -> None:
    bench = Breaker()
    for outcome in (FAILED, FAILED, WRITTEN, FAILED, FAILED, FAILED):
        assert bench.post(outcome) is outcome
    assert bench.states == [CircuitState.OPEN]
    assert bench.circuit.seconds_left == 10.0
    assert bench.post(WRITTEN) is None
    assert bench.posts == 6
    bench.clock.pass_(9.9)
    assert bench.post(WRITTEN) is None
    bench.clock.pass_(0.2)
    assert bench.circuit.seconds_left == 0.0
    assert bench.post(WRITTEN) is WRITTEN
    assert bench.states == [CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED]
    assert bench.circuit.state is CircuitState.CLOSED


def test_a_failed_trial_opens_the_circuit_again() -> None:
    bench = Breaker()
    for _ in range(3):
        bench.post(FAILED)
    bench.clock.pass_(10.1)
    assert bench.post(FAILED) is FAILED
    assert bench.circuit.state is CircuitState.OPEN
    assert bench.circuit.seconds_left == pytest.approx(10.0)
    assert bench.post(WRITTEN) is None


@pytest.mark.parametrize("kind", [Kind.POINTS, Kind.REFUSED, Kind.CAPACITY])
def test_answers_of_a_sink_that_works_do_not_open_the_circuit(kind: Kind) -> None:
    bench = Breaker()
    for outcome in (FAILED, FAILED, Outcome(kind, "no"), FAILED, FAILED, ASKED, ASKED, ASKED):
        bench.post(outcome)
    assert bench.circuit.state is CircuitState.CLOSED


def test_the_circuit_counts_failures_of_several_threads() -> None:
    bench = Breaker()
    together = threading.Barrier(3)

    def fail() -> Outcome:
        together.wait(10)  # all three are under way at once: no post waits for another
        return FAILED

    threads = [threading.Thread(target=bench.circuit.call, args=(fail,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.circuit.state is CircuitState.OPEN


# -- gate ---------------------------------------------------------------------------------------


class Gates:
    def __init__(self) -> None:
        self.clock = Clock()
        self.registry = CollectorRegistry()
        self.log: list[str] = []
        log = self

        class Log:
            def __getattr__(self, _: str) -> Any:
                return lambda event, **fields: log.log.append(event)

        self.gate = Gate(
            Telemetry("loader", self.registry, logger=Log()),
            base_seconds=1.0,
            max_seconds=8.0,
            wait_max_seconds=300.0,
            clock=self.clock,
        )

    @property
    def held(self) -> float | None:
        return self.registry.get_sample_value("etl_sink_paused")


def test_a_hold_ends_by_a_probe_and_its_waits_double() -> None:
    bench = Gates()
    gate, clock = bench.gate, bench.clock
    assert gate.blocked() is None
    waits = []
    for _ in range(6):
        gate.hold("capacity", "full", by_request=False)
        assert bench.held == 1
        began = clock.now
        while gate.blocked() is not None:
            assert gate.blocked() == Pause("full")
            clock.pass_(0.5)
        waits.append(clock.now - began)
        assert gate.probing
    assert waits == [1, 2, 4, 8, 8, 8]
    assert bench.log == ["sink_paused"]
    gate.passed(with_points=False)
    assert gate.probing, "only points can tell that there is room again"
    gate.passed()
    assert (gate.probing, gate.blocked(), gate.cause, bench.held) == (False, None, "", 0)
    assert bench.log == ["sink_paused", "sink_resumed"]
    gate.hold("capacity", "full", by_request=False)
    clock.pass_(1.0)
    assert gate.blocked() is None, "the waits begin anew"


def test_threads_that_come_to_the_same_end_count_as_one() -> None:
    bench = Gates()
    for _ in range(5):
        bench.gate.hold("refused", "401", by_request=True)
    bench.clock.pass_(1.0)
    assert bench.gate.blocked() is None
    bench.gate.passed(with_points=False)
    assert not bench.gate.probing


def test_a_wait_is_kept_by_everybody_and_capped() -> None:
    bench = Gates()
    assert bench.gate.wait(20.0, "slow") == Retry(20.0, "the sink asked to wait 20.0 s: slow")
    bench.clock.pass_(5.0)
    assert bench.gate.blocked() == Pause("the sink asked to wait 15.0 s: slow")
    bench.gate.wait(1.0, "a shorter wait does not shorten it")
    bench.clock.pass_(14.0)
    assert isinstance(bench.gate.blocked(), Pause)
    bench.clock.pass_(1.0)
    assert bench.gate.blocked() is None
    assert bench.gate.wait(1e6, "for ever").after_seconds == 300.0


# -- share, suspects, findings ------------------------------------------------------------------


def test_the_share_is_of_the_latest_samples_and_needs_enough_of_them() -> None:
    share = RejectedShare(max_share=0.5, min_samples=100)
    assert share.value == 0.0
    assert not share.exceeded_by(99, 99)
    assert share.exceeded_by(100, 51)
    assert not share.exceeded_by(100, 50)
    assert not share.exceeded_by(100, 0)
    assert share.exceeded_by(2, 2, alone=True)
    share.add(60, 60)
    assert share.exceeded_by(40, 1)
    for _ in range(4):
        share.add(50, 0)
    assert share.value == 0.0, "what is older than the latest hundred is forgotten"
    assert not share.exceeded_by(50, 50)
    share.add(50, 50)
    assert share.value == 0.5
    share.forget()
    assert share.value == 0.0


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=40))
def test_the_sliding_count_is_a_count(settled: list[tuple[int, int]]) -> None:
    share = RejectedShare(max_share=0.5, min_samples=60)
    done = []
    for samples, rejected in settled:
        done.append((samples, min(samples, rejected)))
        share.add(*done[-1])
    kept: list[tuple[int, int]] = []
    for one in reversed(done):
        if sum(samples for samples, _ in kept) >= 60:
            break
        kept.append(one)
    total = sum(samples for samples, _ in kept)
    assert share.value == (sum(bad for _, bad in kept) / total if total else 0.0)


def test_only_who_fails_while_others_pass_is_suspect() -> None:
    suspects = Suspects(failures=3)
    for _ in range(9):  # an outage
        suspects.failed(["a", "b"])
    assert (suspects.failures("a"), suspects.is_suspect("a")) == (1, False)
    for _ in range(2):
        suspects.passed()
        suspects.failed(["a"])
    assert suspects.is_suspect("a")
    assert not suspects.is_suspect("b")
    suspects.forget("a")
    assert suspects.failures("a") == 0


def test_suspects_are_not_remembered_without_bound() -> None:
    suspects = Suspects(failures=3)
    suspects.failed(["first"])
    suspects.failed(str(number) for number in range(10_000))
    assert suspects.failures("first") == 0
    assert suspects.failures("9999") == 1


def test_findings_grow_old_and_give_way() -> None:
    clock = Clock()
    findings = IsolationCache(entries=2, seconds=60.0, clock=clock)
    found = [Lines([b"x"]) for _ in range(3)]
    for name, one in zip("abc", found, strict=True):
        findings.put(name, one)
    assert findings.get("a") is None
    assert findings.get("b") is found[1]
    clock.pass_(61.0)
    assert findings.get("b") is None
    findings.put("b", found[1])
    findings.forget("b")
    assert findings.get("b") is None


# -- dead letters -------------------------------------------------------------------------------


def test_lines_refused_for_one_cause_share_a_letter() -> None:
    found = Lines([b"a 1", b"b 2", b"c 3", b"d 4", b"e 5", b"f 6"])
    for index, fate, words in (
        (0, Refusal.REJECTED, "unable to parse 'a 1': missing fields"),
        (1, Refusal.REJECTED, "partial write: conflict on m dropped=17"),
        (2, Refusal.REJECTED, "unable to parse 'c 3': missing fields"),
        (3, Refusal.TOO_LARGE, "too large"),
        (4, Refusal.REJECTED, "partial write: conflict on m dropped=1"),
        (5, Refusal.FAILED, "boom"),
    ):
        found.fate[index] = fate
        found.words[index] = words
    made = [(one.reason, one.detail, one.payload, one.samples) for one in letters(found)]
    assert made == [
        ("rejected", "unable to parse '…': missing fields", b"a 1\nc 3\n", 2),
        ("rejected", "partial write: conflict on m", b"b 2\ne 5\n", 2),
        ("too_large", "too large", b"d 4\n", 1),
        ("sink_failure", "boom", b"f 6\n", 1),
    ]


def test_a_line_refused_alone_has_its_words_whole() -> None:
    found = Lines(
        [b"a 1"], bytearray([Refusal.REJECTED]), {0: "unable to parse 'a 1': no dropped=0"}
    )
    assert [one.detail for one in letters(found)] == ["unable to parse 'a 1': no dropped=0"]


def test_a_thousand_causes_do_not_make_a_thousand_letters() -> None:
    count = 1000
    found = Lines(
        [b"%d" % i for i in range(count)],
        bytearray([Refusal.REJECTED] * count),
        {i: f"cause {i} " + "x" * 5000 for i in range(count)},
    )
    made = letters(found)
    assert len(made) == MAX_CAUSES
    assert sum(one.samples for one in made) == count
    assert b"".join(one.payload for one in made) == wire.text(found.text)
    assert max(len(one.detail) for one in made) == 2000
