"""Processes that are looked after: real ones, each a line of Python."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from common.exit_codes import ExitCode
from devtools.servers.waiting import wait_until
from etlctl.run.child import (
    DEATHS_IN_A_ROW,
    STEADY_SECONDS,
    YOUNG_SECONDS,
    Child,
    CrashLoop,
    Program,
)
from etlctl.run.journal import Journal
from etlctl.run.ports import HOST
from etlctl.run.supervisor import Order, Supervisor

# Ends on SIGTERM with the code that stands in front of it.
PATIENT = """\
import signal, sys, time
def end(*_):
    print("ending", flush=True)
    sys.exit({code})
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True: time.sleep(1)
"""
STUBBORN = """\
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True: time.sleep(1)
"""
# Says so on SIGHUP.
LISTENING = """\
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGHUP, lambda *_: print("reading again", flush=True))
print("up", flush=True)
while True: time.sleep(1)
"""


class Bench:
    """Children whose clock is the test's own, and what is said of them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stream = io.StringIO()
        self.journal = Journal(handler=logging.StreamHandler(self.stream))
        self.children: list[Child] = []

    def child(self, name: str, code: str, drain_seconds: float = 30.0) -> Child:
        program = Program(
            name, (sys.executable, "-c", code), dict(os.environ), HOST, 9, drain_seconds
        )
        self.children.append(Child(program, self.journal, clock=lambda: self.now))
        return self.children[-1]

    def until_said(self, text: str, times: int = 1) -> None:
        wait_until(
            lambda: self.said().count(text) >= times, deadline_seconds=60, what=f"{text} is said"
        )

    def said(self) -> str:
        return self.stream.getvalue()

    def supervisor(
        self, *stages: Child, in_flight: Callable[[], int | None], drain_seconds: float = 20.0
    ) -> Supervisor:
        source = self.child("extractor", PATIENT.format(code=0))
        server = self.child("redis", PATIENT.format(code=0))
        order = Order([source], stages, [server], in_flight, drain_seconds)
        return Supervisor(order, self.journal)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for child in made.children:
        child.kill()


def died(child: Child) -> None:
    wait_until(lambda: not child.running, deadline_seconds=60, what="it dies")


def test_what_dies_is_started_again_each_time_a_little_later(bench: Bench) -> None:
    child = bench.child("loader", "import sys; print('last words'); sys.exit(3)")
    child.start()
    for wait_seconds in (1, 2, 4):
        died(child)
        first = child.pid
        child.look_after()
        assert bench.said().rstrip().endswith(f"it is started again in {wait_seconds} s")
        bench.now += wait_seconds - 0.5
        child.look_after()
        assert child.pid == first
        bench.now += 0.5
        child.look_after()
        assert child.pid != first
    assert bench.said().count("last words") >= 3
    died(child)
    bench.now += STEADY_SECONDS
    child.look_after()
    assert (
        bench.said().rstrip().endswith("loader ended with exit code 3; it is started again in 1 s")
    )


def test_a_crash_loop_has_an_end(bench: Bench) -> None:
    child = bench.child("loader", "raise SystemExit(1)")
    child.start()
    for _ in range(DEATHS_IN_A_ROW - 1):
        died(child)
        child.look_after()
        bench.now += 30
        child.look_after()
    died(child)
    with pytest.raises(
        CrashLoop, match="loader ended with exit code 1, for the 8th time"
    ) as raised:
        child.look_after()
    assert raised.value.code == ExitCode.ERROR


def test_a_configuration_that_a_stage_cannot_use_is_not_tried_again(bench: Bench) -> None:
    child = bench.child("loader", "raise SystemExit(2)")
    child.start()
    died(child)
    with pytest.raises(CrashLoop, match="loader ended with exit code 2") as raised:
        child.look_after()
    assert raised.value.code == ExitCode.CONFIG


def asked(supervisor: Supervisor, bench: Bench, when: str, times: int = 1) -> None:
    """Have the test's own process get a signal once something is said."""

    def ask() -> None:
        bench.until_said(when, times)
        os.kill(os.getpid(), signal.SIGTERM)

    supervisor.take_signals()
    threading.Thread(target=ask, daemon=True).start()


@pytest.fixture
def signals() -> Iterator[None]:
    """The handlers of the test's process, put back at its end."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    kept[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
def test_a_stop_goes_with_the_stream_and_waits_for_what_is_in_flight(bench: Bench) -> None:
    waiting = [3, 2, 0]
    stages = [bench.child(name, PATIENT.format(code=0)) for name in ("transformer", "loader")]
    supervisor = bench.supervisor(*stages, in_flight=lambda: waiting.pop(0) if waiting else 0)
    asked(supervisor, bench, "up", times=4)
    assert supervisor.run() == ExitCode.OK
    assert waiting == []
    ends = [line.split()[1] for line in bench.said().splitlines() if line.endswith("ending")]
    assert ends == ["extractor", "transformer", "loader", "redis"]
    assert bench.said().rstrip().endswith("stopped")


@pytest.mark.usefixtures("signals")
def test_what_cannot_be_loaded_in_time_is_said(bench: Bench) -> None:
    stage = bench.child("loader", PATIENT.format(code=0))
    supervisor = bench.supervisor(stage, in_flight=lambda: 5, drain_seconds=0.3)
    asked(supervisor, bench, "up", times=3)
    assert supervisor.run() == ExitCode.OK
    assert "5 entries are still in flight: they stay in Redis" in bench.said()


@pytest.mark.usefixtures("signals")
def test_a_second_request_ends_what_does_not_end(bench: Bench) -> None:
    stage = bench.child("loader", STUBBORN)
    supervisor = bench.supervisor(stage, in_flight=lambda: 0)
    asked(supervisor, bench, "up", times=3)
    asked(supervisor, bench, "extractor           ending")
    assert supervisor.run() == ExitCode.FORCED
    assert not any(child.running for child in bench.children)


@pytest.mark.usefixtures("signals")
def test_a_stage_that_does_not_finish_is_killed_and_said(bench: Bench) -> None:
    stage = bench.child("loader", STUBBORN, drain_seconds=-4.5)
    supervisor = bench.supervisor(stage, in_flight=lambda: None)
    asked(supervisor, bench, "up", times=3)
    assert supervisor.run() == ExitCode.DRAIN_DEADLINE
    assert "loader did not end in time, and is killed" in bench.said()


def test_a_stage_that_cannot_be_run_stops_the_others(bench: Bench) -> None:
    stage = bench.child("loader", "raise SystemExit(2)")
    supervisor = bench.supervisor(stage, in_flight=lambda: 1 // 0)
    assert supervisor.run() == ExitCode.CONFIG
    assert not any(child.running for child in bench.children)
    assert "loader ended with exit code 2: see its lines above; stopping" in bench.said()


@pytest.mark.usefixtures("signals")
def test_a_hang_up_is_for_the_stages(bench: Bench) -> None:
    stage = bench.child("loader", LISTENING)
    supervisor = bench.supervisor(stage, in_flight=lambda: 0)
    # These would end by it.
    source, server = bench.children[1:]
    source.program = replace(source.program, command=(sys.executable, "-c", LISTENING))
    supervisor.take_signals()

    def ask() -> None:
        bench.until_said("up", 3)
        os.kill(os.getpid(), signal.SIGHUP)
        bench.until_said("the stages read the configuration again (SIGHUP)", 1)
        bench.now += YOUNG_SECONDS  # what has just begun was left alone
        os.kill(os.getpid(), signal.SIGHUP)
        bench.until_said("reading again", 2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    assert supervisor.run() == ExitCode.OK
    assert bench.said().count("reading again") == 2
    assert "ended by SIGHUP" not in bench.said()
    assert server.exit_code() == ExitCode.OK
