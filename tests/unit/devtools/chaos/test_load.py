"""The load exporter's page: steady, deterministic, no two samples alike."""

from __future__ import annotations

from itertools import pairwise

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devtools.chaos.load import COUNTER, FRESH, METRICS, ODD, LoadPage


def samples(page: bytes) -> dict[tuple[str, str], float]:
    """Value by metric and series (or shard, where there is no series label)."""
    return {
        (sample.name, sample.labels.get("series", sample.labels["shard"])): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_every_series_is_there_and_the_metrics_share_them_evenly() -> None:
    found = samples(LoadPage(100).render())

    assert len(found) == 100
    assert {
        metric: sum(name == metric for name, _ in found) for metric in METRICS
    } == dict.fromkeys(METRICS, 25)


def test_no_value_comes_twice_in_a_run() -> None:
    page = LoadPage(50)

    values = [value for _ in range(30) for value in samples(page.render()).values()]

    assert len(set(values)) == len(values) == 50 * 30


def test_two_exporters_say_the_same_at_the_same_scrape() -> None:
    one, other = LoadPage(20), LoadPage(20)

    assert [one.render() for _ in range(3)] == [other.render() for _ in range(3)]


def test_a_value_tells_its_series_and_scrape() -> None:
    page = LoadPage(20)
    page.render()

    assert samples(page.render())[METRICS[17 % 4], "00017"] == 17.000002
    assert page.scrapes == 2


@pytest.mark.parametrize("scrapes", [1, 3])
def test_guests_appear_in_as_many_scrapes_as_asked_for(scrapes: int) -> None:
    page = LoadPage(5)
    page.invite(ODD, first=7, count=2, scrapes=scrapes)

    names = [{name for name, _ in samples(page.render())} for _ in range(scrapes + 1)]

    guests = {f"{ODD}_000007", f"{ODD}_000008"}
    assert all(guests <= found for found in names[:scrapes])
    assert not guests & names[scrapes]


def test_guests_of_several_invitations_come_together() -> None:
    page = LoadPage(5)
    page.invite(ODD, first=1, count=1, scrapes=1)
    page.invite(FRESH, first=1, count=3, scrapes=2)

    assert len(samples(page.render())) == 9
    assert len(samples(page.render())) == 8
    assert len(samples(page.render())) == 5


def test_counters_stand_beside_the_series_grow_and_begin_anew() -> None:
    page = LoadPage(4, counters=3)

    pages = [samples(page.render()) for _ in range(500)]

    assert all(len(found) == 4 + 3 for found in pages)
    values = [found[COUNTER, "00002"] for found in pages]
    assert values[0] < values[1] < values[2]
    assert sum(after < before for before, after in pairwise(values)) == 1
