"""Repairs by hand against bad input, and servers that are away or go away in the midst."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from common.config import load_settings
from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from tests.integration.etlctl.verify.test_ranges_and_refusals import closed_port
from tests.integration.etlctl.verify.world import STEP_MS, Result, World

Capture = pytest.CaptureFixture[str]


def report(start_ms: Any, end_ms: Any, unloaded: Any = (), **of_query: Any) -> dict[str, Any]:
    query = {"query": "raw", "tier": "hot", "unloaded_ms": unloaded, **of_query}
    return {"tiers": {"hot": {"from_ms": start_ms, "to_ms": end_ms}}, "queries": [query]}


def repair(world: World, capsys: Capture, folder: Path, found: Any, *options: str) -> Result:
    file = folder / "report.json"
    file.write_text(json.dumps(found), encoding="utf-8")
    return world.run(capsys, "repair", str(file), *options)


def one_line(result: Result) -> bool:
    return "Traceback" not in result.err and len(result.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (report(1, 10**30), "is no report of"),
        (report(1, 253_402_300_800_000), "is no report of"),
        (report(1, float("nan")), "is no report of"),
        (report(1, 2, [[1, 10**19]]), "is no report of"),
        (report(1, 2, [[2, 1]]), "is no report of"),
        (report(1, 2, [[1]]), "is no report of"),
        (report(1, 2, "ab"), "is no report of"),
        (report(1, 2, from_ms="1"), "is no report of"),
        (report(1, 2, query="nope"), "no such query"),
        (report(1, 2, tier="cold"), "is no report of"),
        (
            {
                "tiers": {"icy": {"from_ms": 1, "to_ms": 2}},
                "queries": [{"query": "raw", "tier": "icy", "unloaded_ms": []}],
            },
            "no such tier",
        ),
        ({"tiers": {"hot": {"from_ms": 1, "to_ms": 2}}, "queries": []}, "nothing was compared"),
        ([1], "is no report of"),
    ],
)
def test_a_report_that_is_none_is_refused(
    world: World, capsys: Capture, tmp_path: Path, found: Any, said: str
) -> None:
    result = repair(world, capsys, tmp_path, found)
    assert (result.code, said in result.err) == (2, True), result.err
    assert one_line(result)


def test_each_query_is_compared_from_where_the_report_compared_it(
    world: World, capsys: Capture, tmp_path: Path
) -> None:
    """Before that its expression looks at what the source no longer has, for example."""
    begin_ms, end_ms = world.start_ms + 10 * STEP_MS, world.end_ms - STEP_MS
    world.write(point for point in world.expected() if point[1] > begin_ms)
    found = report(world.start_ms, end_ms, from_ms=begin_ms)
    result = repair(world, capsys, tmp_path, found, "--json")
    assert result.code == 0, result.out + result.err
    (query,) = json.loads(result.out)["queries"]
    assert query["from_ms"] == begin_ms


def test_a_folder_is_no_report(world: World, capsys: Capture, tmp_path: Path) -> None:
    result = world.run(capsys, "repair", str(tmp_path))
    assert result.code == 2
    assert one_line(result)


@pytest.mark.parametrize(
    ("change", "who"),
    [
        ("extract.prometheus_url", "Prometheus"),
        ("load.influxdb.url", "InfluxDB"),
        ("pipeline.redis_url", "Redis"),
    ],
)
@pytest.mark.parametrize("command", ["repair", "verify", "recount", "extract"])
def test_a_server_that_is_away_is_named(
    world: World, capsys: Capture, tmp_path: Path, change: str, who: str, command: str
) -> None:
    scheme = "redis" if who == "Redis" else "http"
    world.changes = {change: f"{scheme}://127.0.0.1:{closed_port()}"}
    bounds = [str(world.start_ms / 1000), str(world.end_ms / 1000)]
    options = ["--from", bounds[0], "--to", bounds[1]]
    if command == "repair":
        found = report(world.start_ms, world.end_ms, [[world.start_ms, world.end_ms]])
        result = repair(world, capsys, tmp_path, found)
    elif command == "extract":
        result = world.run(capsys, "extract", "again", "--query", "raw", *options)
    else:
        result = world.run(capsys, command, "--repair", *options)
    assert result.code == 3, result.err
    assert f"{who} " in result.err
    assert "Traceback" not in result.err


def test_a_redis_that_goes_away_while_it_waits_is_waited_for(
    world: World,
    capsys: Capture,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load_settings(world.config())
    (query,) = settings.extract.queries
    feed = Feed("raw", "hot", "select", query.fingerprint("hot"))
    windows = WindowSet(redis_client, Keys(world.namespace))
    windows.plan(feed, world.start_ms, world.end_ms)
    window = windows.lease(feed, "live", 10**12, 10**12)
    assert window is not None
    assert windows.commit(feed, window, []) == "committed"
    status, tries = WindowSet.status, 0

    def flaky(self: WindowSet) -> Any:
        """Away at the first two questions of the wait; an extractor has done it by the fourth."""
        nonlocal tries
        found = status(self)
        if not found["raw@hot"].backlog:
            return found
        tries += 1
        if tries in (1, 2):
            raise redis.ConnectionError("Connection refused")
        if tries == 3:
            again = windows.lease(feed, "live", 10**12, 10**12)
            assert again is not None
            assert windows.commit(feed, again, []) == "committed"
        return found

    monkeypatch.setattr(WindowSet, "status", flaky)
    result = world.run(
        capsys,
        "extract",
        *("again", "--query", "raw", "--wait-seconds", "60"),
        *("--from", str(world.start_ms / 1000), "--to", str(world.end_ms / 1000)),
    )
    assert result.code == 0, result.err
    assert result.err.count("Connection refused") == 1
    assert windows.status()["raw@hot"].backlog == []
