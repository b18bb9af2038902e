"""What is waited for after a reload, and what is said of who does not have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from common.state.workers import WorkerReport
from etlctl.reload import Outcome, wait

WANTED, OLD = "new", "old"


def worker(
    name: str, config: str = WANTED, read: str | None = None, refused: str = ""
) -> WorkerReport:
    service = name.split("-", maxsplit=1)[0]
    return WorkerReport(
        name, service, 0, True, {}, config=config, read=read or config, refused=refused
    )


class Time:
    def __init__(self, *readings: Sequence[WorkerReport]) -> None:
        self.readings, self.now, self.asked = list(readings), 0.0, 0

    def alive(self) -> Sequence[WorkerReport]:
        self.asked += 1
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, timeout_seconds: float, **before: int) -> Outcome:
        return wait(
            self.alive,
            WANTED,
            Counter(before),
            timeout_seconds,
            clock=lambda: self.now,
            sleep=self.sleep,
        )


def test_workers_that_have_it_are_not_waited_for() -> None:
    time = Time([worker("loader-1"), worker("extractor-1")])
    outcome = time.wait(60, loader=1, extractor=1)
    assert (outcome.problems(), time.now) == ([], 0)
    assert outcome.document()["reloaded"]


def test_it_waits_for_who_comes_back_under_another_name() -> None:
    time = Time([worker("loader-1", OLD)], [], [worker("loader-2")])
    outcome = time.wait(60, loader=1)
    assert (outcome.problems(), time.asked) == ([], 3)


def test_one_of_two_that_does_not_come_back_is_missed() -> None:
    outcome = Time([worker("loader-3")]).wait(5, loader=2, transformer=1)
    assert outcome.problems() == [
        "loader: 1 that should run is not heard of (etlctl status)",
        "transformer: 1 that should run is not heard of (etlctl status)",
    ]
    assert outcome.document()["missing"] == {"loader": 1, "transformer": 1}
    assert not outcome.document()["reloaded"]


def test_who_refuses_it_is_said_at_once() -> None:
    refusing = worker("loader-1", OLD, WANTED, "etl.yaml:1: a\netl.yaml:2: b")
    time = Time([refusing, worker("transformer-1")])
    outcome = time.wait(60, loader=1, transformer=1)
    assert outcome.problems() == ["loader-1 refuses it: etl.yaml:1: a; etl.yaml:2: b"]
    assert time.now == 0
    assert [one["state"] for one in outcome.document()["workers"]] == ["in_force", "refused"]


def test_a_refusal_of_an_earlier_file_is_not_the_answer() -> None:
    time = Time([worker("loader-1", OLD, "earlier", "a")], [worker("loader-2")])
    assert time.wait(60, loader=1).problems() == []


def test_who_does_not_have_it_in_time_is_said() -> None:
    time = Time([worker("loader-1", OLD)])
    outcome = time.wait(5, loader=1)
    assert [one.partition(":")[0] for one in outcome.problems()] == [
        "loader-1 has another file yet"
    ]
    assert time.now >= 5


def test_a_worker_that_came_meanwhile_is_waited_for_too() -> None:
    time = Time([worker("loader-1"), worker("loader-2", OLD)], [worker("loader-1")] * 2)
    assert time.wait(60, loader=1).problems() == []
