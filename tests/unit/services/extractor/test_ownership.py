"""A feed is taken over at the start, and again only when its owner is gone."""

from __future__ import annotations

from dataclasses import replace

from common.state.windows import Feed, FeedStatus
from services.extractor.ownership import Ownership

FEED = Feed("q", "hot", "select", "ours")
OURS = FeedStatus("q", "hot", "ours", 0, 1000, [], [], [], 0, 0, 0)
THEIRS = replace(OURS, fingerprint="theirs")


class Rig:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.ownership = Ownership(120, lambda: self.seconds)

    def takes(self, known: FeedStatus | None, after_seconds: float = 0) -> bool:
        self.seconds += after_seconds
        return self.ownership.takes(FEED, known)


def test_a_process_takes_a_feed_over_once() -> None:
    rig = Rig()
    assert rig.takes(THEIRS)
    assert not rig.takes(replace(THEIRS, planned_ms=1))
    assert not rig.takes(OURS)
    assert not rig.takes(None)


def test_not_from_an_owner_that_plans() -> None:
    rig = Rig()
    rig.takes(None)
    for turn in range(100):
        assert not rig.takes(replace(THEIRS, planned_ms=turn), after_seconds=60)


def test_again_from_one_that_does_not_plan_any_more() -> None:
    """Whatever Redis' clock says: one that was rolled back has old times."""
    rig = Rig()
    rig.takes(None)
    assert not rig.takes(THEIRS)
    assert not rig.takes(THEIRS, after_seconds=119)
    assert rig.takes(THEIRS, after_seconds=1)
    assert not rig.takes(OURS)
    assert not rig.takes(THEIRS, after_seconds=1000), "counted anew"


def test_once_more_where_taking_it_over_failed_and_nobody_else_has_it_since() -> None:
    rig = Rig()
    assert rig.takes(THEIRS)
    rig.ownership.failed(FEED, THEIRS)
    assert rig.takes(THEIRS)
    assert not rig.takes(THEIRS)
    rig.ownership.failed(FEED, None)
    assert not rig.takes(OURS), "it was taken over, and only the reply was lost"
    assert not rig.takes(None)
    rig.ownership.failed(FEED, THEIRS)
    assert not rig.takes(replace(THEIRS, fingerprint="newer"))
