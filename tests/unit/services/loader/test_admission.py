"""Whether anything may be posted: the circuit, waits, pauses and what ends them."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from common.runtime.telemetry import Telemetry
from common.sink.addresses import Addresses
from common.state.verdict import Pause, Retry
from services.loader.admission import Admission, NotNow, Proof
from services.loader.responses import Kind, Outcome
from tests.doubles.loading import (
    BUCKET,
    FAILED,
    UNAUTHORIZED,
    WRITTEN,
    Clock,
    asked_to_wait,
    load_settings,
)

REFUSED_POINTS = Outcome(Kind.POINTS, "no", "points", 400)
FULL = Outcome(Kind.CAPACITY, "full", "capacity", 400)


class Bench:
    """An admission with its clock, its metrics and its log; of a sink with these URLs."""

    def __init__(self, *urls: str) -> None:
        self.addresses = Addresses(urls or ("http://a",))
        self.clock = Clock()
        self.registry = CollectorRegistry()
        self.log: list[tuple[str, dict[str, Any]]] = []
        log = self.log

        class Log:
            def __getattr__(self, _: str) -> Any:
                return lambda event, **fields: log.append((event, fields))

        settings = load_settings(
            circuit_failures=3,
            circuit_open_seconds=10,
            backoff_base_seconds=1,
            backoff_max_seconds=8,
            retry_after_max_seconds=300,
        )
        self.admission = Admission(
            settings,
            Telemetry("loader", self.registry, logger=Log()),
            clock=self.clock,
            rng=random.Random(1),
            addresses=self.addresses,
        )

    def post(self, outcome: Outcome, **options: bool) -> NotNow | None:
        """What is said to a post: before it, or of its outcome."""
        before = self.admission.ask()
        return before or self.admission.report(outcome, BUCKET, **options)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.log]

    @property
    def states(self) -> list[str]:
        return [fields["state"] for event, fields in self.log if event == "sink_circuit_changed"]


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- circuit ------------------------------------------------------------------------------------


def test_the_circuit_opens_after_failures_in_a_row_and_closes_by_a_trial(bench: Bench) -> None:
    for outcome in (FAILED, FAILED, WRITTEN, FAILED, FAILED, FAILED):
        assert isinstance(bench.post(outcome), Retry) == (outcome is FAILED)
    assert bench.states == ["open"]
    assert bench.admission.in_doubt
    bench.clock.pass_(9.9)
    pause = bench.post(WRITTEN)
    assert isinstance(pause, Pause)
    assert pause.reason.startswith("circuit open for another 0.1 s: InfluxDB failed")
    bench.clock.pass_(0.2)
    assert bench.admission.ask(with_points=False) is None
    assert bench.states == ["open"], "a request without points is no trial"
    assert bench.post(WRITTEN) is None
    assert bench.states == ["open", "half_open", "closed"]
    assert bench.metric("etl_circuit_changes_total", state="open") == 1
    assert not bench.admission.in_doubt


def test_a_failed_trial_opens_the_circuit_again(bench: Bench) -> None:
    for _ in range(3):
        bench.post(FAILED)
    bench.clock.pass_(10.1)
    assert isinstance(bench.post(FAILED), Retry)
    assert bench.metric("etl_circuit_state") == 2
    bench.clock.pass_(9.9)
    assert isinstance(bench.post(WRITTEN), Pause)


@pytest.mark.parametrize("outcome", [REFUSED_POINTS, UNAUTHORIZED, FULL])
def test_responses_of_a_sink_that_works_do_not_open_the_circuit(
    bench: Bench, outcome: Outcome
) -> None:
    for one in (FAILED, FAILED, outcome, FAILED, FAILED, *[asked_to_wait(9.0)] * 3):
        bench.admission.report(one, BUCKET)
    assert bench.states == []


def test_failures_of_several_threads_count(bench: Bench) -> None:
    together = threading.Barrier(3)

    def fail() -> None:
        assert bench.admission.ask() is None
        together.wait(10)  # all three are under way at once: no post waits for another
        bench.admission.report(FAILED, BUCKET)

    threads = [threading.Thread(target=fail) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.states == ["open"]


def test_a_post_that_was_under_way_when_the_circuit_opened_does_not_close_it(bench: Bench) -> None:
    for _ in range(3):
        bench.post(FAILED)
    assert bench.admission.report(WRITTEN, BUCKET) is None
    assert bench.metric("etl_circuit_state") == 2


def test_failures_of_a_suspect_count_against_it_and_not_against_the_sink(bench: Bench) -> None:
    for _ in range(9):
        assert bench.post(FAILED, suspect=True) is None, "the outcome is about its points"
    assert bench.states == []
    for _ in range(3):
        bench.post(FAILED)
    bench.clock.pass_(10.1)
    bench.post(FAILED, suspect=True)
    assert bench.states == ["open", "half_open", "open"], "but its post may be the trial"


# -- waits --------------------------------------------------------------------------------------


def test_another_url_takes_over_instead_of_an_open_circuit() -> None:
    bench = Bench("http://a", "http://b")
    under_way = replace(FAILED, url="http://a")
    for _ in range(3):
        assert bench.addresses.url == "http://a"
        bench.post(under_way)
    assert bench.addresses.url == "http://b"
    assert bench.states == ["half_open"]
    assert bench.admission.in_doubt  # one post tries it alone

    bench.post(under_way)  # of another thread: it says nothing of b
    assert bench.addresses.url == "http://b"
    assert bench.states == ["half_open"]

    assert bench.post(replace(WRITTEN, url="http://b")) is None
    assert bench.states == ["half_open", "closed"]
    assert bench.addresses.url == "http://b"


def test_the_circuit_opens_when_every_url_has_failed() -> None:
    bench = Bench("http://a", "http://b")
    for _ in range(3):
        bench.post(replace(FAILED, url="http://a"))
    bench.post(replace(FAILED, url="http://b"))
    assert bench.states == ["half_open", "open"]
    assert isinstance(bench.post(WRITTEN), Pause)

    bench.clock.pass_(10)
    bench.post(replace(FAILED, url="http://a"))
    assert bench.states == ["half_open", "open", "half_open"]
    assert bench.addresses.url == "http://b"
    bench.post(replace(WRITTEN, url="http://b"))
    assert bench.states[-1] == "closed"


def test_a_refusal_is_no_reason_for_another_url() -> None:
    bench = Bench("http://a", "http://b")
    for _ in range(10):
        bench.post(replace(UNAUTHORIZED, url="http://a"))
        bench.post(replace(REFUSED_POINTS, url="http://a"))
        bench.clock.pass_(10)
    assert bench.addresses.url == "http://a"


def test_failed_entries_wait_longer_with_every_failure_in_a_row(bench: Bench) -> None:
    waits = []
    for _ in range(200):
        drawn = [bench.admission.report(FAILED, BUCKET) for _ in range(6)]
        waits.append([verdict.after_seconds for verdict in drawn if isinstance(verdict, Retry)])
        bench.admission.report(WRITTEN, BUCKET)
    for drawn_seconds, bound in zip(zip(*waits, strict=True), (1, 2, 4, 8, 8, 8), strict=True):
        assert 0 <= min(drawn_seconds) < 0.1 * bound
        assert 0.9 * bound < max(drawn_seconds) <= bound


def test_a_wait_is_for_everybody_and_capped(bench: Bench) -> None:
    reason = "the sink asked to wait 20.0 s: slow down"
    assert bench.post(asked_to_wait(20.0)) == Retry(20.0, reason)
    bench.clock.pass_(5.0)
    assert bench.admission.ask() == Pause("the sink asked to wait 15.0 s: slow down")
    bench.admission.report(asked_to_wait(1.0), BUCKET)
    bench.clock.pass_(14.0)
    assert isinstance(bench.admission.ask(), Pause), "a shorter wait does not shorten it"
    bench.clock.pass_(1.0)
    capped = bench.post(asked_to_wait(1e6))
    assert isinstance(capped, Retry)
    assert capped.after_seconds == 300.0
    assert bench.metric("etl_sink_waits_total") == 3


# -- pauses -------------------------------------------------------------------------------------


def test_a_pause_ends_by_a_probe_and_its_waits_double(bench: Bench) -> None:
    admission, clock = bench.admission, bench.clock
    waits = []
    for _ in range(6):
        assert isinstance(bench.post(FULL), Pause)
        assert bench.metric("etl_sink_paused") == 1
        began = clock.now
        while (pause := admission.ask()) is not None:
            assert pause.reason.endswith("full")
            clock.pass_(0.5)
        waits.append(clock.now - began)
        assert admission.in_doubt
    assert waits == [1, 2, 4, 8, 8, 8]
    assert bench.events == ["sink_paused"]
    assert bench.post(REFUSED_POINTS) is None
    assert admission.paused_by == "capacity", "only points can show that there is room again"
    assert bench.post(WRITTEN) is None
    assert (admission.in_doubt, admission.paused_by) == (False, "")
    assert bench.metric("etl_sink_paused") == 0
    assert bench.events == ["sink_paused", "sink_resumed"]
    bench.post(FULL)
    clock.pass_(1.0)
    assert admission.ask() is None, "the waits begin anew"


def test_threads_that_come_to_the_same_end_count_as_one(bench: Bench) -> None:
    for _ in range(5):
        bench.admission.report(UNAUTHORIZED, BUCKET)
    assert bench.metric("etl_sink_paused") == 1
    bench.clock.pass_(1.0)
    assert bench.admission.ask() is None


@pytest.mark.parametrize("ends_by", Proof)
@pytest.mark.parametrize("proof", Proof)
def test_a_pause_ends_by_its_proof_or_a_stronger_one(
    bench: Bench, ends_by: Proof, proof: Proof
) -> None:
    bench.admission.pause("why", "because", ends_by)
    assert (bench.admission.ask(with_points=False) is None) == (ends_by is Proof.REQUEST)
    bench.admission.resume(proof)
    assert bench.admission.in_doubt == (proof < ends_by)


def test_a_change_of_cause_is_a_pause_of_its_own(bench: Bench) -> None:
    for outcome in (UNAUTHORIZED, FULL, FULL, UNAUTHORIZED):
        bench.admission.report(outcome, BUCKET)
    causes = [fields["cause"] for event, fields in bench.log if event == "sink_paused"]
    assert causes == ["refused", "capacity", "refused"]


def test_a_check_asks_for_nothing_while_the_circuit_is_open_or_the_sink_asked_to_wait(
    bench: Bench,
) -> None:
    probed: list[str] = []

    def probe(bucket: str) -> Outcome:
        probed.append(bucket)
        return WRITTEN

    bench.post(asked_to_wait(5.0))
    reason = bench.admission.check(probe)
    assert reason is not None
    assert "slow down" in reason
    bench.clock.pass_(5.0)
    for _ in range(3):
        bench.post(FAILED)
    reason = bench.admission.check(probe)
    assert reason is not None
    assert "circuit open" in reason
    assert probed == []
    bench.clock.pass_(10.1)
    assert bench.admission.check(probe) is None
    assert probed == [BUCKET]
