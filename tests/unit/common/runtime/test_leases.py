"""A lease is renewed while the work lasts, while it is ours, and only for so long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import chain, repeat

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from common.runtime.leases import LeaseRenewal

WAIT_SECONDS = 10.0


class Renew:
    """Gives the outcomes one after the other, then only True; ``enough`` is set at call ``n``."""

    def __init__(self, *outcomes: bool | Exception, n: int = 1) -> None:
        self._outcomes = chain(outcomes, repeat(True))
        self._n = n
        self.calls = 0
        self.enough = threading.Event()

    def __call__(self) -> bool:
        self.calls += 1
        if self.calls >= self._n:
            self.enough.set()
        outcome = next(self._outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def ended() -> bool:
    return all(thread.name != "lease-renewal" for thread in threading.enumerate())


def wait_until(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(1000):
        if condition():
            return
        done.wait(WAIT_SECONDS / 1000)
    raise AssertionError("did not happen in time")


def test_renews_until_the_work_is_done() -> None:
    renew = Renew(n=3)

    with LeaseRenewal(renew, 0.003) as lease:
        assert renew.enough.wait(WAIT_SECONDS)
        assert not lease.lost

    assert ended()


def test_a_renewal_that_has_no_thread_at_first_gets_one_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    renew, start, refused = Renew(n=1), threading.Thread.start, threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def start_second(thread: threading.Thread) -> None:
        if thread.name == "lease-renewal" and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_second)
    with LeaseRenewal(renew, 0.003):
        assert renew.enough.wait(WAIT_SECONDS)
    assert refused.is_set() and ended()


def test_a_lost_lease_is_reported_and_not_renewed_again() -> None:
    renew = Renew(True, False)

    with LeaseRenewal(renew, 0.003) as lease:
        wait_until(lambda: lease.lost)
        wait_until(ended)

    assert renew.calls == 2


def test_an_unreachable_redis_does_not_end_the_renewal() -> None:
    renew = Renew(RedisConnectionError("refused"), n=3)

    with LeaseRenewal(renew, 0.003) as lease:
        assert renew.enough.wait(WAIT_SECONDS)
        assert not lease.lost


def test_work_that_hangs_loses_its_lease() -> None:
    now_seconds = 0.0
    renew = Renew()

    with LeaseRenewal(renew, 0.003, max_seconds=600, clock=lambda: now_seconds) as lease:
        assert renew.enough.wait(WAIT_SECONDS)
        now_seconds = 601.0
        wait_until(ended)
        assert not lease.lost


def test_short_work_renews_nothing() -> None:
    renew = Renew()

    with LeaseRenewal(renew, 3600):
        assert ended(), "nor does it start a thread"

    assert renew.calls == 0
