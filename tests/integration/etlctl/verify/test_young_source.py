"""``etlctl verify`` of a rule where the source's history begins: less than its reach ago."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.etlctl.verify.world import EXPR, World

Capture = pytest.CaptureFixture[str]

# Its look-back alone reaches before the history at these.
FIRST_MS, SECOND_MS = 30_000, 60_000


def rule(**changes: str) -> dict[str, Any]:
    return {**EXPR, **changes}


@pytest.mark.parametrize(
    "name", ["by_host", "slo:errors:ratio_rate30d"], ids=["plain", "like a duration"]
)
def test_what_the_source_gives_at_its_beginning_must_be_in_the_sink(
    world: World, capsys: Capture, name: str
) -> None:
    world.queries = [rule(name=name)]
    points = [((name, series[1]), t, v) for (series, t, v) in world.expected_by_host()]
    (gone, *_), (altered, *_) = (
        [point for point in points if point[1] == world.start_ms + after_ms]
        for after_ms in (FIRST_MS, SECOND_MS)
    )
    kept = [point for point in points if point not in (gone, altered)]
    world.write([*kept, (altered[0], altered[1], altered[2] + 1)])
    result = world.verify(capsys, "--json")
    query = result.query(name)
    assert result.code == 1
    assert (query["missing"], query["different"], query["unexplained"]) == (1, 1, 2)
    assert query["equal"] == len(points) - 2
    assert not any(query["explained"].values())


def test_what_it_does_not_give_there_may_be_what_it_no_longer_keeps(
    world: World, capsys: Capture
) -> None:
    """Within the look-back from its beginning, not beyond."""
    world.queries = [rule()]
    points = world.expected_by_host()
    series = points[0][0]
    other = (series[0], (("host", "other"),))
    world.write(points)
    world.write([(other, world.start_ms + FIRST_MS, 1.0), (other, world.start_ms + 600_000, 1.0)])
    result = world.verify(capsys, "--json")
    query = result.query("by_host")
    assert result.code == 1
    assert (query["extra"], query["unexplained"]) == (2, 1)
    assert query["explained"]["extra"] == {"source_expired": 1}
    assert [one["timestamp_ms"] for one in query["examples"]] == [world.start_ms + 600_000]
