"""The share of rejected samples, over the latest of them."""

from __future__ import annotations

import sys
import threading

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from common.runtime.telemetry import Telemetry
from common.state.verdict import DeadLetter, Pause, Settle
from services.loader.admission import Admission
from services.loader.batch import Batch
from services.loader.lines import CORRUPT
from services.loader.rejected_share import REJECTED_SHARE, RejectedShare
from tests.doubles.loading import entry, load_settings


class Bench:
    """A share with its admission and its metric."""

    def __init__(self, min_samples: int) -> None:
        settings = load_settings(max_rejected_share=0.5, rejected_share_min_samples=min_samples)
        self.registry = CollectorRegistry()
        telemetry = Telemetry("loader", self.registry)
        self.admission = Admission(settings, telemetry)
        self.share = RejectedShare(settings, self.admission, telemetry)

    def pauses_for(self, samples: int, rejected: int, *, probing: bool = False) -> bool:
        return isinstance(self.share.pause_for(batch(samples, rejected, probing)), Pause)

    def add(self, samples: int, rejected: int, *, probing: bool = False) -> None:
        self.share.add(batch(samples, rejected, probing))

    @property
    def value(self) -> float:
        return self.registry.get_sample_value("etl_sink_rejected_share") or 0.0


def batch(samples: int, rejected: int, probing: bool = False, reason: str = "rejected") -> Batch:
    """One entry of which so much was found bad, and would be settled."""
    made = Batch([entry("1", [], samples=samples)], probing=probing)
    made.add_bad(rejected)
    dead = (DeadLetter(reason, "", b"", rejected),) if rejected else ()
    made.verdicts["1"] = Settle(loaded=samples - rejected, dead=dead)
    return made


def test_the_share_is_of_the_latest_samples_and_needs_enough_of_them() -> None:
    bench = Bench(100)
    assert not bench.pauses_for(99, 99)
    assert bench.pauses_for(100, 51)
    assert not bench.pauses_for(100, 50)
    assert not bench.pauses_for(100, 0)
    assert bench.pauses_for(2, 2, probing=True)
    bench.add(60, 60)
    assert bench.pauses_for(40, 1)
    for _ in range(4):
        bench.add(50, 0)
    assert bench.value == 0.0, "what is older than the latest hundred no longer counts"
    assert not bench.pauses_for(50, 50)
    bench.add(50, 50)
    assert bench.value == 0.5


def test_a_probe_of_which_enough_is_taken_ends_the_pause_and_the_count_begins_anew() -> None:
    bench = Bench(100)
    bench.add(100, 50)
    assert bench.pauses_for(100, 100)
    assert bench.admission.paused_by == REJECTED_SHARE
    bench.add(5, 5, probing=True)
    assert bench.admission.paused_by == REJECTED_SHARE, "nothing of it was taken"
    bench.add(5, 1, probing=True)
    assert bench.admission.paused_by == ""
    assert bench.value == 0.2


def test_corrupt_payloads_are_not_rejected_by_the_sink() -> None:
    bench = Bench(10)
    bench.share.add(batch(50, 50, reason=CORRUPT))
    assert bench.value == 0.0


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=40))
def test_the_sliding_count_is_a_count(settled: list[tuple[int, int]]) -> None:
    bench = Bench(60)
    done = []
    for samples, rejected in settled:
        done.append((samples, min(samples, rejected)))
        bench.add(*done[-1])
    kept: list[tuple[int, int]] = []
    for one in reversed(done):
        if sum(samples for samples, _ in kept) >= 60:
            break
        kept.append(one)
    total = sum(samples for samples, _ in kept)
    assert bench.value == (sum(bad for _, bad in kept) / total if total else 0.0)


def test_what_other_threads_settle_meanwhile_does_no_harm() -> None:
    """It ended in an error of the handler, which counts as a crash against every entry."""
    bench = Bench(10**9)
    made = batch(2, 1)
    made.interrupted = True
    others = [str(number) for number in range(30_000)]

    def settle() -> None:
        for id_ in others:
            made.verdicts[id_] = Settle(loaded=1)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = threading.Thread(target=settle)
        thread.start()
        while thread.is_alive():
            assert bench.share.pause_for(made) is None
    finally:
        sys.setswitchinterval(before)
        thread.join()
