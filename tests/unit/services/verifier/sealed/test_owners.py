"""A query that may have been one of several is, as one, whatever each of them is."""

from __future__ import annotations

import numpy as np

from common.samples.layout import Place
from services.verifier.points import Column, SeriesKey
from services.verifier.sealed.candidates import Candidates
from services.verifier.sealed.owners import Owner

EU = Candidates(frozenset({Place("load")}), tags={"cluster": "eu", "job": "app", "zone": ""})
US = Candidates(frozenset({Place("up")}), tags={"cluster": "us", "job": "app"}, certain=False)


def test_one_alone() -> None:
    one = Owner([EU])
    assert (one.places, one.certain) == (frozenset({Place("load")}), True)
    assert one.tags == {"cluster": "eu", "job": "app"}, "a tag that none has is no condition"
    assert one.owns(SeriesKey.of("load", {"cluster": "eu", "job": "app"}))
    assert not one.owns(SeriesKey.of("load", {"cluster": "us", "job": "app"}))


def test_both_as_one() -> None:
    both = Owner([EU, US])
    assert (both.places, both.certain) == (frozenset({Place("load"), Place("up")}), False)
    assert both.tags == {"job": "app"}
    assert both.owns(SeriesKey.of("load", {"cluster": "eu", "job": "app"}))
    assert both.owns(SeriesKey.of("up", {"cluster": "us", "job": "app"}))
    assert not both.owns(SeriesKey.of("up", {"cluster": "eu", "job": "app"}))


def test_points_of_an_earlier_resolution_between_its_own_are_not_its() -> None:
    """A time that is no multiple of either is somebody else's point, and stays to be found."""
    owner = Owner([EU], ("max",), resolutions_ms=(600,), earlier_ms=(300, 600))
    times = np.array([300, 600, 700, 900, 1200])
    kept = owner.without_earlier(Column(times, times.astype(float)[:, None]))
    assert kept.timestamps_ms.tolist() == [600, 700, 1200]
    assert kept.values[:, 0].tolist() == [600, 700, 1200]
    never_changed = Owner([EU], ("max",), resolutions_ms=(600,))
    assert never_changed.without_earlier(kept) is kept
