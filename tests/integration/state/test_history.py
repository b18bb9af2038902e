"""Which configurations were in force, as planning notes them in a real Redis."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from redis import Redis

import common.state.windows
from common.state.history import Change, changes_of
from common.state.keys import Keys
from common.state.windows import Feed, WindowSet

OLD, NEW = Feed("q", "hot", "select", "old"), Feed("q", "hot", "select", "new")


@pytest.fixture
def keys(redis_namespace: str) -> Keys:
    return Keys(redis_namespace)


@pytest.fixture
def windows(redis_client: Redis, keys: Keys) -> WindowSet:
    return WindowSet(redis_client, keys)


def test_a_change_knows_what_was_extracted_and_what_had_settled(
    redis_client: Redis, keys: Keys, windows: WindowSet
) -> None:
    windows.plan(OLD, 0, 300_000, adopt=True, configuration="first")
    for settled in (True, False):
        window = windows.lease(OLD, "live", 10**9, 60_000)
        assert window is not None
        staged = [] if settled else [windows.stage(b"x", 1, 60)]
        assert windows.commit(OLD, window, staged) == "committed"
    assert windows.lease(OLD, "live", 10**9, 60_000)  # open

    windows.plan(NEW, 0, 360_000, adopt=True, configuration="second")

    changes = changes_of(redis_client, keys, "q@hot")
    seconds, _ = redis_client.time()
    assert 0 < changes[0].at_ms <= changes[1].at_ms <= (seconds + 1) * 1000
    assert [replace(change, at_ms=0) for change in changes] == [
        Change("first", 0, [], []),
        Change("second", 300_000, [(0, 180_000)], [(180_000, 240_000)]),
    ]


def test_of_very_many_unsettled_windows_those_of_the_feed_are_taken_from_what_was_read(
    redis_client: Redis, keys: Keys, windows: WindowSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too much is noted rather than too little, and nothing that is still to be extracted."""
    monkeypatch.setattr(common.state.windows, "MOST_WINDOWS", 0)
    windows.plan(OLD, 0, 300_000, adopt=True, configuration="first")
    known = windows.status()["q@hot"]
    for _ in range(2):
        window = windows.lease(OLD, "live", 10**9, 60_000)
        assert window is not None
        windows.commit(OLD, window, [windows.stage(b"x", 1, 60)])
    read_before = [*known.backlog, (known.head_ms, 1 << 50)]

    windows.plan(NEW, 0, 360_000, adopt=True, configuration="second", may_be_unsettled=read_before)

    (_, change) = changes_of(redis_client, keys, "q@hot")
    assert (change.to_do, change.unsettled) == ([(0, 180_000)], [(180_000, 300_000)])


def test_what_stays_is_noted_once_and_what_comes_back_is_kept_once(
    redis_client: Redis, keys: Keys, windows: WindowSet
) -> None:
    for end_ms, text in enumerate(("a", "a", "b", "a", "a"), 1):
        windows.plan(OLD, 0, end_ms, adopt=True, configuration=text)
    windows.plan(OLD, 0, 10)
    noted = changes_of(redis_client, keys, "q@hot")
    assert [one.configuration for one in noted] == ["a", "b", "a"]
    assert [one.head_ms for one in noted] == [0, 2, 3]
    assert redis_client.hlen(keys.history("q@hot")) == 3


def test_who_does_not_own_the_feed_changes_nothing(
    redis_client: Redis, keys: Keys, windows: WindowSet
) -> None:
    windows.plan(NEW, 0, 1, adopt=True, configuration="new")
    assert not windows.plan(OLD, 0, 2, configuration="old")
    assert len(changes_of(redis_client, keys, "q@hot")) == 1


def test_of_very_many_changes_the_oldest_are_forgotten(
    redis_client: Redis, keys: Keys, windows: WindowSet
) -> None:
    for number in range(60):
        windows.plan(OLD, 0, number, adopt=True, configuration=str(number))
    noted = changes_of(redis_client, keys, "q@hot")
    assert [one.configuration for one in noted] == [str(n) for n in range(10, 60)]
    assert redis_client.hlen(keys.history("q@hot")) == 51


@pytest.mark.parametrize("foreign", ["no JSON", "5", '{"a":1}', "[1]"])
def test_what_somebody_else_wrote_there_stops_nothing(
    redis_client: Redis, keys: Keys, windows: WindowSet, foreign: str
) -> None:
    redis_client.hset(keys.history("q@hot"), "changes", foreign)
    assert changes_of(redis_client, keys, "q@hot") == []
    assert windows.plan(OLD, 0, 1, adopt=True, configuration="a")
    assert windows.plan(OLD, 0, 2, adopt=True, configuration="b")
    noted = changes_of(redis_client, keys, "q@hot")
    assert [one.configuration for one in noted][-2:] == ["a", "b"]


SELECT = {"kind": "select", "text": "up", "step_ms": 15_000}
EXPR = {"kind": "expr", "text": "up", "step_ms": 15_000}
LABELLED = {**EXPR, "labels": [["site", "a"], ["zone", "b"]]}
ROLLED = {**SELECT, "rollup": [300_000, "avg"]}


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (ROLLED, {**ROLLED, "rollup": [300_000, "avg", "last"]}, True),
        (SELECT, {**SELECT, "step_ms": 30_000}, True),
        (SELECT, {**SELECT, "text": "down"}, False),
        (EXPR, {**EXPR, "step_ms": 30_000}, False),
        (EXPR, SELECT, False),
        (LABELLED, {**LABELLED, "relabel": []}, True),
        (EXPR, LABELLED, False),
        (LABELLED, {**EXPR, "labels": [["site", "b"], ["zone", "b"]]}, False),
        (ROLLED, {**ROLLED, "rollup": [600_000, "avg"]}, False),
        (ROLLED, SELECT, False),
        ("damaged", SELECT, False),
    ],
)
def test_recounts_are_kept_where_the_same_is_read(
    windows: WindowSet, before: object, after: object, kept: bool
) -> None:
    windows.plan(OLD, 0, 60_000, adopt=True, configuration=json.dumps(before))
    window = windows.lease(OLD, "live", 10**9, 60_000)
    assert window is not None
    assert windows.commit(OLD, window, [], recheck_after_seconds=[0], source_samples=7)

    windows.plan(NEW, 0, 60_000, adopt=True, configuration=json.dumps(after))

    found = [(one.start_ms, one.end_ms, one.samples) for one in windows.due_rechecks(NEW, 10)]
    assert found == ([(0, 60_000, 7)] if kept else [])
