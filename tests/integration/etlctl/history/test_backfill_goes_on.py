"""Backfills that go on: waiting for them, and listing, pausing, resuming and cancelling them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from common.state.backfills import Backfill
from common.state.status.findings import SERVICES
from common.state.windows import WindowSet
from common.state.workers import Workers
from devtools import PROJECT_ROOT
from etlctl.history.again import Opened
from etlctl.history.state import state_of
from etlctl.history.watch import Watch
from etlctl.times import Clock
from tests.integration.etlctl.history.world import HOUR_MS, STEP_MS, World


@pytest.fixture
def begun(world: World) -> World:
    """A backfill of six hours of each feed is begun."""
    world.plan_feeds()
    assert world.backfill("--from", "2000-01-01T00:00:00Z", "--detach").code == 0
    return world


def waited(world: World, *works: Callable[[], object]) -> tuple[Backfill | None, list[str]]:
    """What a wait ends with, and what it said was the state; at each poll one work is done."""
    said: list[str] = []
    now = [0.0]
    to_do = iter(works)

    def sleep(seconds: float) -> None:
        now[0] += seconds
        next(to_do)()

    opened = [
        Opened(plan.feed.query, plan.feed.tier, [(0, world.origin_ms)], (), 0)
        for plan in world.plans()
    ]
    clock = Clock(monotonic=lambda: now[0], sleep=sleep)
    show = lambda left_ms, text, state: said.append(state)  # noqa: E731
    watch = Watch(WindowSet(world.redis, world.keys), world.begun().id, opened, show, clock)
    return watch.wait(), list(dict.fromkeys(said))


def test_ctrl_c_leaves_it_running_and_says_how_to_end_it(begun: World) -> None:
    begun.run("backfill", "cancel", begun.begun().id)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ETL")}
    arguments = ["backfill", "--from", "2000-01-01T00:00:00Z", "--config", str(begun.config)]
    process = subprocess.Popen(
        [sys.executable, "-m", "etlctl", *arguments],
        cwd=PROJECT_ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "is begun" not in (line := process.stdout.readline()):
        assert line, process.communicate()
    id_ = line.split()[1]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == (
        "The pipeline goes on with it. `etlctl backfill list` shows it;"
        f" `etlctl backfill pause {id_}` and `cancel {id_}` end it.\n"
    )
    assert {one.id: one.state for one in begun.backfills.all()}[id_] == "running"


def test_the_wait_says_what_holds_it_up(begun: World) -> None:
    id_ = begun.begun().id
    workers = Workers(begun.redis, begun.keys)
    found, said = waited(
        begun,
        lambda: workers.report("extractor-1", "extractor", False, {"prometheus": "is away"}),
        lambda: begun.backfills.change(id_, "paused"),
        lambda: begun.backfills.change(id_, "running"),
        lambda: workers.forget("extractor-1"),
        begun.extract,
    )
    assert found is not None
    assert (found.state, found.coming_ms) == ("done", 0)
    assert said == [
        "running",
        "waits: extractor not ready: is away",
        "paused",
        "waits: no extractor runs",
        "done",
    ]


def test_what_is_extracted_is_waited_for_until_it_is_loaded(begun: World) -> None:
    (plan, _) = begun.plans()
    (part,) = [one for one in begun.backfills.parts() if one.feed == "raw@hot"]
    feed = part.of(plan.feed)
    begun.extract(most=1)
    window = begun.windows.lease(feed, "catchup", 0, STEP_MS)
    assert window is not None
    staged = begun.windows.stage(b"x", 1, 60)
    assert begun.windows.commit(feed, window, [staged]) == "committed"
    begun.extract()

    def settle() -> None:
        begun.redis.delete(begun.keys.committed)

    found, said = waited(begun, settle)
    assert found is not None
    assert said == ["loading", "done"]
    assert found.samples == 1


def test_one_that_fails_again_and_again_is_said(begun: World) -> None:
    plan = begun.plans()[0]
    (part,) = [one for one in begun.backfills.parts() if one.feed == "raw@hot"]
    for _ in range(3):
        window = begun.windows.lease(part.of(plan.feed), "catchup", 0, STEP_MS)
        assert window is not None
        assert begun.windows.fail(part.of(plan.feed), window, 0, 0)
    workers = Workers(begun.redis, begun.keys).alive()
    assert state_of(begun.begun(), workers) == "fails: 3 attempts in a row"
    id_ = begun.begun().id
    result = begun.run("status", "--json")
    assert result.code == 1
    document = json.loads(result.out)
    (found,) = [one for one in document["findings"] if one["kind"] == "backfill_fails"]
    assert found["detail"] == f"Backfill {id_} cannot extract raw@hot. Failures in a row: 3."
    assert [one["id"] for one in document["backfills"]] == [id_]


def test_those_that_are_not_over_are_in_the_status(begun: World) -> None:
    for service in SERVICES:
        Workers(begun.redis, begun.keys).report(f"{service}-1", service, True, {})
    id_ = begun.begun().id
    result = begun.run("status")
    assert result.code == 0, result.out
    said = f"Backfill {id_}: 0 % of 11h55m, 0 samples, "
    assert f"\n{said}running.\n" in result.out
    begun.run("backfill", "pause", id_)
    result = begun.run("status")
    assert (result.code, f"\n{said}paused.\n" in result.out) == (0, True)
    begun.run("backfill", "cancel", id_)
    assert id_ not in begun.run("status").out


def test_what_could_not_be_had_is_said_at_the_end(world: World) -> None:
    world.plan_feeds()
    plan = world.plans()[0]
    start_ms = world.origin_ms - HOUR_MS

    def lose() -> None:
        """What the source has deleted meanwhile is left out, the rest is extracted."""
        for part in world.backfills.parts():
            feed = part.of(plan.feed)
            if part.start_ms == start_ms and part.coming and not part.left_out:
                window = world.windows.lease(feed, "catchup", 0, 240 * STEP_MS)
                assert window is not None
                world.windows.declare_gap(feed, window, start_ms + 600_000, "deleted")
                world.windows.retry(feed, window, 0.0)
        world.extract(plans=[plan])

    with world.meanwhile(lose):
        result = world.backfill("--from", str(start_ms / 1000), "--query", "raw")
    assert result.code == 1
    assert "Extracted and loaded: 50m of 1h, 0 samples.\n" in result.out
    assert "10m could not be had: Prometheus no longer has all that the query" in result.out


def test_one_that_is_cancelled_ends_the_wait(world: World) -> None:
    world.plan_feeds()

    def cancel() -> None:
        for one in world.backfills.all():
            world.backfills.change(one.id, "cancelled")

    with world.meanwhile(cancel):
        result = world.backfill("--from", str((world.origin_ms - HOUR_MS) / 1000))
    assert result.code == 1
    assert "2h is not extracted: it was cancelled, or its query removed." in result.out


def test_they_are_listed(begun: World) -> None:
    begun.extract(most=3)
    id_ = begun.begun().id
    (found,) = begun.listed()
    assert (found["id"], found["state"], found["order"]) == (id_, "running", "newest")
    assert found["feeds"] == ["raw@hot", "mean@hot"]
    assert found["extracted_ms"] == found["total_ms"] - found["coming_ms"] > 0
    result = begun.run("backfill", "list")
    (row,) = [line for line in result.out.splitlines() if id_ in line]
    assert f"{100 * found['extracted_ms'] // found['total_ms']} %" in row
    assert "running" in row


def test_without_any_the_list_is_empty(world: World) -> None:
    assert world.listed() == []
    assert world.run("backfill", "list").out == "There is no backfill.\n"


def test_one_is_paused_resumed_and_cancelled(begun: World) -> None:
    id_ = begun.begun().id
    result = begun.run("backfill", "pause", id_)
    assert (result.code, begun.begun().state) == (0, "paused")
    assert f"{id_} is paused; `etlctl backfill resume {id_}` goes on with it." in result.out
    assert begun.extract() == 0

    assert begun.run("backfill", "resume", id_).out == f"{id_} is running.\n"
    assert begun.extract(most=1) == 1

    result = begun.run("backfill", "cancel", id_)
    assert (result.code, begun.begun().state) == (0, "cancelled")
    assert "what was extracted of it stays loaded" in result.out
    assert begun.extract() == 0


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
def test_one_that_is_over_or_unknown_is_refused(begun: World, verb: str) -> None:
    result = begun.run("backfill", verb, "nope")
    assert result.code == 2
    assert "nope: there is no such backfill; see `etlctl backfill list`" in result.err
    begun.extract()
    id_ = begun.begun().id
    result = begun.run("backfill", verb, id_)
    assert (result.code, begun.begun().state) == (1, "done")
    assert f"{id_}: is over already" in result.err


def test_a_redis_that_is_away_meanwhile_is_waited_for(
    begun: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redis.exceptions import ConnectionError as Away

    whole = begun.windows.status
    answers = [Away("gone"), Away("gone")]

    def status(self: WindowSet) -> object:
        if answers:
            raise answers.pop()
        return whole()

    monkeypatch.setattr(WindowSet, "status", status)
    found, said = waited(begun, lambda: None, begun.extract)
    assert found is not None
    assert said == ["waits: Redis cannot be reached: gone", "done"]
