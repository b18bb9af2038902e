"""When the lowest timestamp is read, and when the one that is known will do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import pytest

from common.errors import SourceLacks, SourceUnavailable
from common.source.cut_off import STEP_MS
from services.extractor.history import (
    AGREEING_READINGS,
    FAILURE_KEPT_TIMES,
    KEPT_SECONDS,
    LONGEST_BLOCK_MS,
    NO_SAMPLES_MS,
    READ_AGAIN_SECONDS,
    REPORT_AGAIN_SECONDS,
    SHORTEST_BLOCK_MS,
    ServerRun,
    SourceHistory,
)
from services.extractor.prometheus import PrometheusClient

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_700_000_000_000
LOWEST = NOW - 15 * DAY


def _text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()


class Source:
    """Reports what the test wants, and counts how often /metrics is read."""

    def __init__(self, retention: str = "15d") -> None:
        self.server_run: ServerRun | None = ServerRun("started", "configured", retention)
        self.lowest: int | SourceUnavailable | None = LOWEST
        self.metrics_requests = 0

    def now_ms(self) -> int:
        return NOW

    def run(self) -> ServerRun | None:
        return self.server_run

    def lowest_timestamp_ms(self) -> int | None:
        self.metrics_requests += 1
        if isinstance(self.lowest, SourceUnavailable):
            raise self.lowest
        return self.lowest


class Rig:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.seconds = 0.0
        self.silent = 0
        self.history = SourceHistory(
            cast(PrometheusClient, source), self._on_silent, lambda: self.seconds
        )

    def _on_silent(self) -> None:
        self.silent += 1


@pytest.fixture
def rig() -> Rig:
    return Rig(Source())


def test_many_windows_share_one_look_at_the_metrics(rig: Rig) -> None:
    rig.history.check()
    for number in range(100):
        assert rig.history.lowest_ms(NOW - number * HOUR) == LOWEST
    assert rig.source.metrics_requests == 1


def test_what_is_known_is_kept_for_a_minute_at_most(rig: Rig) -> None:
    """An extractor need not be the one that plans."""
    assert rig.history.lowest_ms(NOW) == LOWEST
    rig.seconds += KEPT_SECONDS
    rig.history.lowest_ms(NOW)
    assert rig.source.metrics_requests == 1
    rig.seconds += 1
    rig.history.lowest_ms(NOW)
    assert rig.source.metrics_requests == 2


@pytest.mark.parametrize(
    ("retention", "deletable_until_ms"),
    [
        # By time alone: what is older than that, wherever the data begins.
        ("15d", NOW - 15 * DAY + SHORTEST_BLOCK_MS),
        ("1h", NOW + HOUR),
        ("1y", LOWEST),
        # By size too: the oldest blocks, each a tenth of the retention time at most.
        ("15d or 5GiB", LOWEST + 3 * DAY),
        ("2h or 5GiB", LOWEST + 2 * SHORTEST_BLOCK_MS),
        ("10y or 5GiB", LOWEST + 2 * LONGEST_BLOCK_MS),
        ("5GiB", LOWEST + 2 * LONGEST_BLOCK_MS),
        ("", LOWEST + 2 * LONGEST_BLOCK_MS),
    ],
)
def test_the_metrics_are_read_again_where_the_server_may_delete(
    retention: str, deletable_until_ms: int
) -> None:
    rig = Rig(Source(retention))
    rig.history.check()

    rig.history.lowest_ms(deletable_until_ms)
    assert rig.source.metrics_requests == 1

    rig.source.lowest = LOWEST + HOUR
    assert rig.history.lowest_ms(deletable_until_ms - 1) == LOWEST + HOUR
    assert rig.source.metrics_requests == 2


@pytest.mark.parametrize(
    "after",
    [
        ServerRun("started anew", "configured", "15d"),
        ServerRun("started", "configured anew", "15d"),
        ServerRun("started", "configured", "1d"),
        None,
    ],
)
def test_another_run_of_the_server_is_noticed(rig: Rig, after: ServerRun | None) -> None:
    rig.history.check()
    rig.source.server_run, rig.source.lowest = after, NO_SAMPLES_MS
    assert rig.history.lowest_ms(NOW) == NO_SAMPLES_MS


@pytest.mark.parametrize("known_ms", [NO_SAMPLES_MS, NOW - DAY])
def test_what_is_known_declares_no_gap_by_itself(rig: Rig, known_ms: int) -> None:
    """A server's first scrape, or blocks added to it, came after the check."""
    rig.source.lowest = known_ms
    rig.history.check()
    rig.source.lowest = LOWEST
    assert rig.history.lowest_ms(NOW - 2 * DAY) == LOWEST


def test_a_restart_during_the_check_is_noticed_after_it(rig: Rig) -> None:
    old = rig.source.server_run

    def read() -> int | None:
        rig.source.server_run = ServerRun("started anew", "configured", "15d")
        return LOWEST

    rig.source.lowest_timestamp_ms = read  # type: ignore[method-assign]
    assert rig.history.check().run == old
    rig.source.lowest_timestamp_ms = lambda: NO_SAMPLES_MS  # type: ignore[method-assign]
    assert rig.history.lowest_ms(NOW) == NO_SAMPLES_MS


def test_a_server_that_does_not_report_its_run_is_read_each_time(rig: Rig) -> None:
    rig.source.server_run = None
    for _ in range(3):
        assert rig.history.lowest_ms(NOW) == LOWEST
    assert rig.source.metrics_requests == 3


@pytest.mark.parametrize("run", [None, ServerRun("started", "configured", "15d")])
def test_a_server_that_does_not_report_it_stops_nothing_and_is_reported_once(
    run: ServerRun | None,
) -> None:
    rig = Rig(Source())
    rig.source.server_run, rig.source.lowest = run, None
    for _ in range(5):
        assert rig.history.check().lowest_ms is None
        assert rig.history.lowest_ms(0) is None
    assert rig.source.metrics_requests == 5
    assert rig.silent == 1
    rig.source.lowest = LOWEST
    assert rig.history.check().lowest_ms == LOWEST


def test_one_that_reported_it_is_given_a_moment_to_do_so_again(rig: Rig) -> None:
    rig.history.check()
    rig.source.lowest = None
    rig.seconds += REPORT_AGAIN_SECONDS - 1
    with pytest.raises(SourceUnavailable, match="but not now"):
        rig.history.check()
    assert rig.silent == 0
    rig.seconds += 1
    assert rig.history.check().lowest_ms is None
    assert rig.silent == 1


START = NOW - 20 * DAY
HALF_HOUR = HOUR // 2


@pytest.mark.parametrize(
    ("run", "reported", "from_ms", "waits"),
    [
        # By time alone it deletes what is older, with its data all that was before its start.
        (ServerRun(_text(START), "c", "15d"), True, NOW - 15 * DAY + 2 * HOUR, False),
        (ServerRun(_text(START), "c", "15d"), True, NOW - 15 * DAY + HOUR, True),
        (ServerRun(_text(START), "c", "15d"), False, NOW - DAY, False),
        (ServerRun(_text(NOW - HOUR), "c", "15d"), True, NOW - HOUR, False),
        (ServerRun(_text(NOW - HOUR), "c", "15d"), False, NOW - HOUR - 1, True),
        (ServerRun(f"{_text(START)} {_text(NOW - HOUR)}", "c", "15d"), True, NOW - DAY, True),
        # By size it deletes blocks.
        (ServerRun(_text(START), "c", "15d or 5GiB"), True, NOW - HALF_HOUR, False),
        (ServerRun(_text(START), "c", "5GiB"), True, NOW - DAY, True),
        # What is in no block yet is not deleted, however little it keeps.
        (ServerRun(_text(START), "c", "1h"), True, NOW - HALF_HOUR, False),
        # Nothing is known of it.
        (ServerRun("some time", "c", "15d"), True, NOW, True),
        (ServerRun("", "c", "15d"), True, NOW, True),
        (None, True, NOW, True),
        # One that never said anything is not expected to.
        (None, False, 0, False),
    ],
)
def test_what_may_have_been_deleted_while_the_metrics_fail_waits(
    rig: Rig, run: ServerRun | None, from_ms: int, *, reported: bool, waits: bool
) -> None:
    rig.source.server_run = run
    if reported:
        rig.history.check()
    rig.source.lowest = SourceUnavailable("/metrics answered 502")
    rig.seconds += REPORT_AGAIN_SECONDS  # since it was read last: that alone is no failure yet
    with pytest.raises(SourceUnavailable, match="502"):
        rig.history.check()
    rig.seconds += REPORT_AGAIN_SECONDS
    for _ in range(2):
        assert rig.history.check().lowest_ms is None
        if waits:
            with pytest.raises(SourceLacks, match="502"):
                rig.history.lowest_ms(from_ms)
        else:
            assert rig.history.lowest_ms(from_ms) is None
    rig.source.lowest = LOWEST
    rig.history.check()
    assert rig.history.lowest_ms(from_ms) == LOWEST


@pytest.mark.parametrize("reported", [True, False])
def test_metrics_that_fail_are_given_a_moment_not_to(rig: Rig, *, reported: bool) -> None:
    """Also by a process that has just started: a feed would begin where the source does not."""
    if reported:
        rig.history.check()
    rig.source.lowest = SourceUnavailable("/metrics answered 502")
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="502"):
            rig.history.check()
        rig.seconds += REPORT_AGAIN_SECONDS - 1
    rig.source.lowest = LOWEST
    assert rig.history.check().lowest_ms == LOWEST
    rig.source.lowest = SourceUnavailable("/metrics answered 502")
    with pytest.raises(SourceUnavailable, match="502"):
        rig.history.check()


def test_metrics_that_hang_do_not_take_their_time_in_each_turn(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs() -> None:
        rig.source.metrics_requests += 1
        rig.seconds += 32
        raise SourceUnavailable("/metrics did not answer within 32 s")

    monkeypatch.setattr(rig.source, "lowest_timestamp_ms", hangs)
    with pytest.raises(SourceUnavailable, match="32 s"):
        rig.history.check()
    assert rig.history.check().lowest_ms is None
    asked, began = rig.source.metrics_requests, rig.seconds
    while rig.seconds < began + FAILURE_KEPT_TIMES * 32:
        assert rig.history.check().lowest_ms is None
        with pytest.raises(SourceLacks, match="32 s"):
            rig.history.lowest_ms(0)
        rig.seconds += 10
    assert rig.source.metrics_requests == asked
    rig.history.check()
    assert rig.source.metrics_requests == asked + 1


@pytest.mark.parametrize(("others_ms", "agree"), [(0, True), (-DAY, False)])
def test_readings_of_a_limit_agree_though_it_moves_on(others_ms: int, *, agree: bool) -> None:
    """With those of another front behind the same balancer they do not."""
    source = Source()
    readings: list[int] = []
    history = SourceHistory(
        cast(PrometheusClient, source),
        clock=lambda: 5.0 * len(readings),
        reconnect=lambda: readings.append(LOWEST),
        cut_off=lambda: NOW - LOWEST,
    )

    def moved() -> int:
        return LOWEST + 5_000 * len(readings) // STEP_MS * STEP_MS + len(readings) % 2 * others_ms

    source.lowest_timestamp_ms = moved  # type: ignore[method-assign]
    lowest_ms = moved()
    assert (history.agreed_lowest_ms(lowest_ms) == lowest_ms) is agree
    assert len(readings) == AGREEING_READINGS
    # Where they have agreed they need not do so again at once.
    assert (history.agreed_lowest_ms(LOWEST + 2 * STEP_MS) == LOWEST + 2 * STEP_MS) is agree
    assert len(readings) == (1 if agree else 2) * AGREEING_READINGS


def test_planning_reads_the_metrics_again_before_what_is_kept_is_too_old(rig: Rig) -> None:
    first = rig.history.check_run()
    rig.seconds += READ_AGAIN_SECONDS
    assert rig.history.check_run() == first
    assert rig.source.metrics_requests == 1
    rig.seconds += 1
    rig.history.check_run()
    assert rig.source.metrics_requests == 2


def test_looking_at_the_run_alone_does_not_lengthen_how_long_what_is_known_is_kept(
    rig: Rig,
) -> None:
    rig.history.check()
    rig.seconds += READ_AGAIN_SECONDS
    rig.history.check_run()
    rig.seconds += KEPT_SECONDS - READ_AGAIN_SECONDS + 1
    rig.history.lowest_ms(NOW)
    assert rig.source.metrics_requests == 2


def test_planning_reads_the_metrics_of_another_run_at_once(rig: Rig) -> None:
    rig.history.check()
    rig.source.server_run, rig.source.lowest = ServerRun("later", "configured", "1h"), NOW - HOUR
    assert rig.history.check_run().lowest_ms == NOW - HOUR


@pytest.mark.parametrize("unknown", ["server_run", "lowest"])
def test_planning_reads_the_metrics_each_time_where_something_is_not_reported(
    rig: Rig, unknown: str
) -> None:
    setattr(rig.source, unknown, None)
    for _ in range(3):
        rig.history.check_run()
    assert rig.source.metrics_requests == 3
