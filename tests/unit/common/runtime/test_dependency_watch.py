"""A dependency's own thread: whatever happens to the probe, the check is not left as it was."""

from __future__ import annotations

import threading
import time

import pytest

from common.runtime.readiness.dependency_watch import Dependency, watch
from common.runtime.readiness.health import Health
from devtools.servers.waiting import wait_until


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("a defect"), KeyError()])
def test_a_probe_that_fails_in_any_way_fails_the_check_and_goes_on(error: Exception) -> None:
    health, stop, failing = Health(60), threading.Event(), threading.Event()

    def probe() -> None:
        if failing.is_set():
            raise error

    thread = watch(Dependency("redis", probe, 1.0), 0.01, stop, health.set_ready)
    wait_until(health.ready, deadline_seconds=5, what="ready")
    failing.set()
    wait_until(lambda: not health.ready(), deadline_seconds=5, what="not ready")
    assert health.checks()["redis"].detail
    failing.clear()
    wait_until(health.ready, deadline_seconds=5, what="ready again")
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_a_probe_that_hangs_fails_the_check() -> None:
    health, stop, hang = Health(60), threading.Event(), threading.Event()
    hang.set()

    def probe() -> None:
        hang.wait(30)

    thread = watch(Dependency("redis", probe, 0.05), 0.01, stop, health.set_ready)
    wait_until(health.ready, deadline_seconds=5, what="ready")
    hang.clear()
    wait_until(lambda: not health.ready(), deadline_seconds=5, what="not ready")
    assert "longer than usual" in health.checks()["redis"].detail
    stop.set()
    hang.set()
    thread.join(5)


def test_what_has_just_served_is_not_probed_until_that_is_a_while_ago() -> None:
    health, stop, probes = Health(60), threading.Event(), []
    serves = threading.Event()
    serves.set()
    dependency = Dependency(
        "prometheus",
        lambda: probes.append(1),
        1.0,
        lambda: time.monotonic() if serves.is_set() else time.monotonic() - 1,
    )

    thread = watch(dependency, 0.01, stop, health.set_ready)
    wait_until(health.ready, deadline_seconds=5, what="ready by what it served")
    assert not probes
    serves.clear()
    wait_until(lambda: probes, deadline_seconds=5, what="a probe")
    stop.set()
    thread.join(5)
