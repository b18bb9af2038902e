"""One server that starts anew is one; two that answer in turn are two."""

from __future__ import annotations

import pytest

from common.source.cut_off import STEP_MS
from services.extractor.source.servers_seen import SEEN_SECONDS, ServersSeen


class Rig:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.servers = ServersSeen(lambda: self.seconds)

    def see(self, *reports: tuple[str | None, int | None]) -> int:
        for started, lowest_ms in reports:
            self.seconds += 1
            self.servers.see(started, lowest_ms)
        return self.servers.count


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_server_that_starts_anew_is_one(rig: Rig) -> None:
    reports = [("a", 10), ("a", 10), ("b", 500), ("b", 500), ("c", 600), ("c", 700)]
    assert rig.see(*reports) == 1
    assert rig.servers.all_hold_from_ms() is None


def test_one_that_reads_its_own_log_may_report_another_lowest_timestamp_meanwhile(
    rig: Rig,
) -> None:
    assert rig.see((None, 10), (None, 900), (None, 10), (None, 10)) == 1


def test_a_start_that_comes_back_is_another_server(rig: Rig) -> None:
    assert rig.see(("a", None), ("b", None)) == 1
    assert rig.see(("a", None)) == 2


def test_a_lowest_timestamp_that_goes_back_and_forth_is_two_servers(rig: Rig) -> None:
    """Behind a front end that reports no start."""
    assert rig.see((None, 10), (None, 900), (None, 10), (None, 900)) == 2
    assert rig.servers.all_hold_from_ms() == 900


def test_a_limit_of_fronts_that_goes_back_and_forth_is_two_of_them(rig: Rig) -> None:
    now_ms, day_ms = 1_700_000_000_000, 86_400_000
    for behind_ms in (2 * day_ms, day_ms) * 2:
        rig.seconds += 60
        now_ms += 60_000
        rig.servers.see_limit(now_ms - behind_ms, behind_ms)
    assert rig.servers.count == 2
    assert rig.servers.all_hold_from_ms() == now_ms - day_ms


def test_a_limit_that_is_found_to_within_some_seconds_is_one(rig: Rig) -> None:
    for number in range(50):
        behind_ms = 86_400_000 + number % 4 * STEP_MS
        rig.servers.see_limit(1_700_000_000_000 - behind_ms, behind_ms)
    assert rig.servers.count == 1


def test_once_the_balancer_is_pinned_there_is_one(rig: Rig) -> None:
    assert rig.see(("a", 10), ("b", 900), ("a", 10), ("b", 900)) == 2
    rig.seconds += SEEN_SECONDS
    assert rig.see(("a", 10)) == 1
    assert rig.servers.all_hold_from_ms() is None
