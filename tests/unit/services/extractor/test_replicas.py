"""Which of several replicas a window is read from, and what happens while one is away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from common.config import ExtractSettings
from common.errors import QueryTooLarge, SourceUnavailable
from services.extractor.history import NO_SAMPLES_MS
from services.extractor.one_source import OneSource, shown
from services.extractor.replicas import AWAY_SECONDS, Replicas, client_of
from services.extractor.source.replica_lack import KEPT_SECONDS
from services.extractor.source.scrape_settings import ScrapeSettings, Target, joint_settings
from tests.unit.services.extractor.replicas_world import RATE, RAW, URLS, Server, World


@pytest.mark.parametrize(("counts", "read"), [((4, 4), 0), ((4, 5), 1), ((0, 0), 0), ((5, 4), 0)])
def test_a_window_is_read_from_the_fullest_and_of_equals_from_the_first(
    counts: tuple[int, int], read: int
) -> None:
    world = World(*map(Server, counts))
    assert world.read() == read
    reads = [[one for one in server.asked if one[0] == "read"] for server in world.servers]
    assert [len(one) for one in reads] == [int(read == 0), int(read == 1)]
    assert world.replicas.count_in(RAW, 0, 60_000) == max(counts)


def test_an_expression_is_read_where_most_was_scraped_of_what_it_looks_at() -> None:
    world = World(Server(4), Server(4))
    world.servers[1].scrapes = 2
    assert world.read(RATE, 600_000, 660_000) == 1
    assert world.servers[0].asked == [("up", 300_000, 660_000)]


def test_one_that_is_away_is_left_alone_for_a_while_and_told_once() -> None:
    first, second = servers = Server(4), Server(4)
    world = World(*servers)
    first.error = SourceUnavailable("is away")
    assert [world.read(), world.read()] == [1, 1]
    assert len(first.asked) == 1
    assert world.told == [(URLS[0], "is away")]
    world.now_seconds += AWAY_SECONDS + 1
    first.error = None
    assert world.read() == 0
    assert world.told[1:] == [(URLS[0], "")]
    second.error = SourceUnavailable("is away")
    assert world.read() == 0


def test_one_that_fails_while_it_is_read_is_not_read_again_at_once() -> None:
    first, second = servers = Server(5), Server(4)
    world = World(*servers)
    blocks = world.replicas.read(RAW, 60_000, 120_000)
    first.error = SourceUnavailable("died")
    with pytest.raises(SourceUnavailable, match="died"):
        next(blocks)
    assert world.read() == 1
    assert [one[0] for one in second.asked].count("read") == 1


def test_all_that_are_away_are_asked_each_time() -> None:
    servers = Server(4), Server(4)
    world = World(*servers)
    for server in servers:
        server.error = SourceUnavailable("is away")
    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            world.read()
    assert [len(server.asked) for server in servers] == [2, 2]
    servers[1].error = None
    assert world.read() == 1


@pytest.mark.parametrize(
    ("lowest_ms", "fails"), [(30_000, False), (90_000, True), (NO_SAMPLES_MS, True)]
)
def test_what_one_has_deleted_waits_for_one_that_is_away(lowest_ms: int, *, fails: bool) -> None:
    """Neither is it read as empty, nor is it a gap."""
    first, second = servers = Server(0, lowest_ms), Server(4, 1_000)
    world = World(*servers)
    assert world.replicas.lowest_timestamp_ms() == 1_000
    second.error = SourceUnavailable("is away")
    world.replicas.lowest_timestamp_ms()
    if fails:
        with pytest.raises(SourceUnavailable, match="may hold what others do not"):
            world.read()
    else:
        assert world.read() == 0
    assert world.replicas.lowest_timestamp_ms() == 1_000, "as it was known last"
    assert first.lowest_ms == lowest_ms


@pytest.mark.parametrize(
    ("lowest_ms", "behind_ms"), [((30_000, 40_000), 7), ((40_000, 30_000), None), ((None, 1), None)]
)
def test_the_least_lowest_timestamp_may_be_the_limit_of_a_front(
    lowest_ms: tuple[int | None, int], behind_ms: int | None
) -> None:
    """Of the first replica alone."""
    servers = [Server(4, one) for one in lowest_ms]
    servers[0].behind_ms = 7
    world = World(*servers)
    assert world.replicas.cut_off_behind_ms() is None
    world.replicas.lowest_timestamp_ms()
    assert world.replicas.cut_off_behind_ms() == behind_ms


@pytest.mark.parametrize("known", [True, False])
def test_one_whose_metrics_alone_fail_is_not_away_and_leaves_the_lowest_open(
    *, known: bool
) -> None:
    """It may have deleted what it had, or hold what the other has not."""
    first, second = servers = Server(4, 30_000), Server(4, 1_000)
    world = World(*servers)
    if known:
        world.replicas.lowest_timestamp_ms()
    second.metrics_error = SourceUnavailable("/metrics answered 502")
    first.lowest_ms = 40_000
    with pytest.raises(SourceUnavailable, match="502"):
        world.replicas.lowest_timestamp_ms()
    assert world.told == []
    second.error = SourceUnavailable("is away")
    assert world.replicas.lowest_timestamp_ms() == (1_000 if known else 40_000)
    assert world.told == [(URLS[1], "is away")]


@pytest.mark.parametrize(
    ("scrapes", "interval_seconds", "fails"), [(0, 15.0, True), (1, 15.0, False), (0, 0.0, False)]
)
def test_what_one_has_not_scraped_waits_for_one_that_is_away(
    scrapes: int, interval_seconds: float, *, fails: bool
) -> None:
    """Where it says how it scrapes."""
    first, second = servers = Server(0), Server(4)
    first.scrapes, first.interval_seconds = scrapes, interval_seconds
    world = World(*servers)
    second.error = SourceUnavailable("is away")
    if fails:
        with pytest.raises(SourceUnavailable, match="may hold what others do not"):
            world.read()
    else:
        assert world.read() == 0
    if interval_seconds:
        assert first.asked[1] == ("up", 60_000, 136_500, 16_500)
    world.now_seconds += AWAY_SECONDS + 1
    second.error = None
    assert world.read() == 1


# As soon as its samples settle with a time-out of 10 s, and long after.
@pytest.mark.parametrize("after_ms", [12_000, 900_000])
@pytest.mark.parametrize("missed", [1, 2, 4])
@pytest.mark.parametrize("window_ms", [15_000, 60_000, 300_000])
def test_no_window_in_which_one_was_down_is_read_from_it(
    window_ms: int, missed: int, after_ms: int
) -> None:
    """Wherever its scrapes end and begin again: the last one may lie right before a window."""
    missed_ms = range(705_000, 705_000 + missed * 15_000, 15_000)
    for shift_ms in range(0, 15_000, 1_500):
        first, second = servers = Server(4), Server(4)
        first.up_ms = [one for one in range(0, 1_500_000, 15_000) if one not in missed_ms]
        world = World(*servers)
        second.error = SourceUnavailable("is away")
        for start_ms in range(300_000 + shift_ms, 900_000, window_ms):
            end_ms = start_ms + window_ms
            first.now = end_ms + after_ms
            if any(start_ms < one <= end_ms for one in missed_ms):
                with pytest.raises(SourceUnavailable, match="may hold what others do not"):
                    world.read(RAW, start_ms, end_ms)
            elif end_ms < missed_ms[0] - 15_000 or start_ms >= missed_ms[-1] + 15_000:
                assert world.read(RAW, start_ms, end_ms) == 0


def test_what_is_not_scraped_yet_is_not_missing() -> None:
    first, second = servers = Server(4), Server(4)
    first.up_ms, first.now = list(range(0, 2_000_000, 15_000)), 135_000
    world = World(*servers)
    second.error = SourceUnavailable("is away")
    assert world.read() == 0


@pytest.mark.parametrize(
    ("more", "scraped_ms", "fails"),
    [
        (Target("none", 1, 1), range(0), False),
        # Whatever the server lists of it now: it may have been started a moment ago.
        (Target("none", 1, 1), range(100_000, 100_001), True),
        (Target("none", 1, 1), range(1, 2), True),
        (Target("none", 1, 1), range(3_700_000, 3_700_001), True),
        (Target("none", 1, 1), range(3_720_001, 3_720_002), False),
        # Its series may have any job.
        (Target("none", 1, 1, any_job=True), range(0), True),
        (Target('no"ne', 1, 1), range(0), True),
    ],
)
def test_a_job_that_is_not_scraped_does_not_say_how_often_there_are_scrapes(
    more: Target, scraped_ms: range, *, fails: bool
) -> None:
    first, second = servers = Server(4), Server(4)
    world = World(*servers)
    first.more, first.scraped_ms = (more,), {more.job: scraped_ms}
    second.error = SourceUnavailable("is away")
    for _ in range(2):
        if fails:
            with pytest.raises(SourceUnavailable, match="may hold what others do not"):
                world.read()
        else:
            assert world.read() == 0
    first.was_down = True
    with pytest.raises(SourceUnavailable, match="may hold what others do not"):
        world.read()


def test_what_is_whole_is_read_around_what_waits_for_one_that_is_away() -> None:
    """A window in which a single scrape was missed keeps nothing else waiting."""
    first, second = servers = Server(4), Server(4)
    world = World(*servers)
    second.error = SourceUnavailable("is away")
    for _ in range(2):
        first.was_down = True
        with pytest.raises(QueryTooLarge, match="whole in none that answers"):
            world.read_whole()
        with pytest.raises(SourceUnavailable, match="may hold what others do not"):
            world.read(RAW, 105_000, 120_000)
        first.was_down = False
        assert world.read_whole(RAW, 60_000, 90_000) == 0


def test_what_nobody_scraped_waits_unsplit_for_one_that_is_away() -> None:
    first, second = servers = Server(4), Server(4)
    world = World(*servers)
    second.error = SourceUnavailable("is away")
    first.scrapes = 0
    with pytest.raises(SourceUnavailable, match="may hold what others do not"):
        world.read_whole()


def test_the_run_of_one_that_is_away_is_the_last_that_was_known() -> None:
    servers = Server(1), Server(2)
    world = World(*servers)
    both = world.replicas.run()
    assert both is not None
    assert both.started == "started 1 started 2"
    servers[0].error = SourceUnavailable("is away")
    assert world.replicas.run() == both


def test_series_are_counted_where_the_first_is_away() -> None:
    world = World(Server(7), Server(5))
    world.servers[0].error = SourceUnavailable("refused")
    assert world.replicas.series_at(RAW, 60_000) == 5
    assert world.replicas.count_in(RAW, 0, 60_000) == 5


def test_what_is_too_large_is_no_reason_to_read_another() -> None:
    servers = Server(4), Server(4)
    world = World(*servers)
    servers[0].error = QueryTooLarge("too large")
    with pytest.raises(QueryTooLarge):
        world.read()
    assert world.told == []


def test_one_server_has_no_replicas() -> None:
    settings = ExtractSettings.model_validate({"replicas": URLS[:1]})
    assert isinstance(client_of(settings), Replicas)
    plain = ExtractSettings.model_validate({"prometheus_url": URLS[0]})
    assert not isinstance(client_of(plain), Replicas)


def test_what_each_lacks_of_the_newest_samples_is_told() -> None:
    first, second = servers = Server(4), Server(8)
    world = World(*servers)
    world.read()
    assert world.lack == {URLS[0]: 0.5, URLS[1]: 0.0}
    first.samples = 0
    world.read(start_ms=0, end_ms=60_000)
    assert world.lack[URLS[0]] == 0.5, "of the past it may lack what it likes"
    second.samples = 0
    world.read()
    assert world.lack == {URLS[0]: 0.5, URLS[1]: 0.0}, "of what nobody has nothing is known"
    second.error = SourceUnavailable("is away")
    world.read()
    assert world.lack == {URLS[0]: 0.5, URLS[1]: 1.0}
    world.now_seconds += AWAY_SECONDS + 1
    first.samples = second.samples = 4
    second.error = None
    world.read()
    assert world.lack == {URLS[0]: 0.0, URLS[1]: 0.0}


def test_what_one_lacks_is_told_of_the_query_of_which_it_lacks_most() -> None:
    """Queries are read in turn, and an expression is compared by scrapes."""
    first, second = Server(4), Server(8)
    world = World(first, second)
    world.read()
    world.read(RATE, 60_000, 180_000)
    assert world.lack == {URLS[0]: 0.5, URLS[1]: 0.0}
    first.samples = 6
    world.read()
    assert world.lack[URLS[0]] == 0.25, "a query has a newest window of its own"


def test_what_one_lacked_is_not_told_for_ever() -> None:
    """Another extractor may read all windows from then on."""
    first, second = Server(4), Server(8)
    world = World(first, second)
    ticks: list[int] = []
    stand_in: Any = SimpleNamespace(_client=world.replicas, _tick=lambda: ticks.append(1))
    world.read()
    second.error = SourceUnavailable("is away")
    world.replicas.run()
    assert world.lack == {URLS[0]: 0.5, URLS[1]: 1.0}
    world.now_seconds += KEPT_SECONDS - 1
    OneSource.tick(stand_in)
    assert world.lack == {URLS[0]: 0.5, URLS[1]: 1.0}
    world.now_seconds += 2
    world.lack.clear()
    OneSource.tick(stand_in)
    assert world.lack == {URLS[0]: 0.0, URLS[1]: 0.0}
    world.lack.clear()
    OneSource.tick(stand_in)
    assert world.lack == {}
    assert len(ticks) == 3


def test_samples_settle_for_as_long_as_any_of_them_needs() -> None:
    """Whichever is read; one that is away has told before."""
    first, second = servers = Server(4), Server(4)
    second.interval_seconds, first.evaluation_seconds = 60.0, 30.0
    world = World(*servers)
    for _ in range(2):
        scrapes = world.replicas.scrape_settings()
        assert {target.interval_seconds for target in scrapes.targets} == {15.0, 60.0}
        assert scrapes.evaluation_seconds == 30.0
        assert scrapes.needed_seconds(RATE) == pytest.approx(66.0)
        second.error = SourceUnavailable("is away")
    first.error = SourceUnavailable("is away")
    with pytest.raises(SourceUnavailable):
        world.replicas.scrape_settings()


@pytest.mark.parametrize(
    ("rules", "others", "joint"),
    [
        (({"a": 5.0}, {"a": 9.0, "b": 1.0}), ("", ""), ({"a": 9.0, "b": 1.0}, "")),
        (({"a": 5.0}, None), ("", "pushed"), (None, "pushed")),
    ],
)
def test_what_one_does_not_say_is_not_known_of_the_pair(
    rules: tuple[Any, Any], others: tuple[str, str], joint: tuple[Any, str]
) -> None:
    each = [ScrapeSettings((), None, *of_one) for of_one in zip(rules, others, strict=True)]
    found = joint_settings(each)
    assert (found.rules, found.others) == joint


def test_metrics_name_a_replica_without_what_is_secret() -> None:
    assert (
        shown("https://me:secret@a.example.com:9090/prometheus/") == "a.example.com:9090/prometheus"
    )
