"""The load handler by the messages of the sink, whatever their status."""

from __future__ import annotations

import json
import random

import pytest

from common.state.verdict import Pause, Retry, Settle
from services.loader.responses import Outcome, classify
from tests.doubles.loading import DAY_SECONDS, NOW_MS, Bench, dead, entry, lines, old, tier


def respond(status: int, message: str) -> Outcome:
    return classify(status, {}, json.dumps({"error": message}).encode(), now_seconds=0.0)


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("status", [403, 422])
def test_points_too_old_for_iox_are_found_in_few_posts(status: int, configured: bool) -> None:
    """Its message gives no count, and nothing of the body is written."""
    retention_seconds = DAY_SECONDS if configured else None
    bench = Bench(tiers={"hot": tier(retention_seconds=retention_seconds)})
    text = [*lines(3000), *lines(1000, at_ms=old(3))]
    bench.sink.judge = lambda some: (
        respond(status, "dml handler error: data in table m is outside of the retention period")
        if set(some) & set(text[3000:])
        else None
    )
    (verdict,) = bench.handle(entry("1", text))
    assert isinstance(verdict, Settle)
    assert verdict.loaded == 3000
    assert verdict.drops == ({"beyond_retention": 1000} if configured else {})
    assert sum(one.samples for one in verdict.dead) == (0 if configured else 1000)
    assert len(bench.sink.bodies) < 60


def test_points_outside_the_write_window_are_dead_letters_of_their_own() -> None:
    """Of 1.12. They are young, but no clock is wrong."""
    bench = Bench(tiers={"hot": tier(retention_seconds=7 * DAY_SECONDS)})
    text = lines(2000)
    late, early = set(text[:300]), set(text[1900:])

    def judge(some: list[bytes]) -> Outcome | None:
        count = len((late | early).intersection(some))
        return None if not count else respond(400, (
            f"partial write: dropped 0 points outside retention policy of duration 168h0m0s and "
            f"{count} points outside write window (-1m0s to 1m0s) dropped={count}"
        ))  # fmt: skip

    bench.sink.judge = judge
    shuffled = random.Random(4).sample(text, len(text))
    (verdict,) = bench.handle(entry("1", shuffled))
    (letter,) = dead(verdict)
    assert letter.reason == "outside_write_window"
    assert set(letter.payload.splitlines()) == late | early
    assert bench.metric("etl_sink_paused") == 0
    assert bench.points == 1600
    assert len(bench.sink.bodies) < 80


def test_what_waits_for_another_node_is_written() -> None:
    bench = Bench()
    bench.sink.judge = lambda _: respond(500, "write failed: hinted handoff queue not empty")
    assert bench.handle(entry("1", lines(40))) == [Settle(loaded=40)]


def test_a_conflict_that_a_server_reports_as_its_own_failure_costs_only_its_lines() -> None:
    bench = Bench()
    text = [*lines(500), *lines(20, "typed"), *lines(500, start=500)]
    bench.sink.judge = lambda some: (
        respond(500, (
            "unexpected error writing points to database: partial write: field type conflict: "
            'input field "value" on measurement "typed" is type float, already exists as integer'
        )) if any(line.startswith(b"typed") for line in some) else None
    )  # fmt: skip
    (verdict,) = bench.handle(entry("1", text))
    assert isinstance(verdict, Settle)
    assert verdict.loaded == 1000
    assert [(one.reason, one.samples) for one in verdict.dead] == [("rejected", 20)]


# -- limits that name what they concern ----------------------------------------------------------


class ValuesPerTag:
    """As 1.x with ``max-values-per-tag``: new values are dropped, all else is written."""

    def __init__(self, most: int | None) -> None:
        self.most = most
        self.known: set[bytes] = set()

    def __call__(self, text: list[bytes]) -> Outcome | None:
        dropped = []
        for line in text:
            if not line.startswith(b"cpu,host="):
                continue
            host = line.split(b" ", 1)[0]
            if host in self.known or self.most is None or len(self.known) < self.most:
                self.known.add(host)
            else:
                dropped.append(line)
        if not dropped:
            return None
        value = dropped[0].split(b"host=")[1].split(b" ")[0].decode()
        return respond(400, (
            f"partial write: max-values-per-tag limit exceeded ({self.most}/{self.most}): "
            f'measurement="cpu" tag="host" value="{value}" dropped={len(dropped)}'
        ))  # fmt: skip


def cpu(hosts: int, count: int) -> list[bytes]:
    return [b"cpu,host=%d value=%d.5 %d" % (i % hosts, i, NOW_MS + i) for i in range(count)]


def test_a_limit_that_names_a_tag_makes_dead_letters_of_its_lines_and_stops_nothing() -> None:
    bench = Bench()
    bench.sink.judge = ValuesPerTag(30)
    text = [*lines(1000), *cpu(40, 800), *lines(1000, start=1000)]
    first, second = bench.handle(entry("1", text), entry("2", lines(10, "k")))
    assert isinstance(first, Settle)
    assert first.loaded == 2600
    assert {one.reason for one in first.dead} == {"limit"}
    assert sorted(line for one in first.dead for line in one.payload.splitlines()) == sorted(
        line for line in text if line.startswith(tuple(b"cpu,host=%d " % i for i in range(30, 40)))
    )
    assert "max-values-per-tag" in first.dead[0].detail
    assert second == Settle(loaded=10)
    assert bench.metric("etl_sink_paused") == 0
    assert bench.metric("etl_sink_limited_lines_total") == 200
    assert bench.metric("etl_sink_rejected_share") == 0
    assert len(bench.sink.bodies) < 60


def test_what_is_held_by_a_limit_waits_alone_and_is_written_when_there_is_room() -> None:
    bench = Bench(on_limit="hold", backoff_max_seconds=20)
    limit = ValuesPerTag(3)
    bench.sink.judge = limit
    held = entry("1", [*lines(100), *cpu(5, 50)])
    first, second = bench.handle(held, entry("2", lines(10, "k")))
    assert isinstance(first, Retry)
    assert first.after_seconds == 20
    assert 'measurement="cpu" tag="host"' in first.reason
    assert second == Settle(loaded=10)
    assert bench.handler.check() is None
    assert isinstance(bench.handle(held)[0], Retry)
    bench.sink.bodies.clear()
    limit.most = None
    assert bench.handle(held) == [Settle(loaded=150)]
    assert [len(text) for text in bench.sink.posted] == [20], "the rest had been written"


def test_a_limit_that_names_a_table_concerns_its_lines() -> None:
    bench = Bench()
    text = [*lines(400), *lines(60, "wide"), *lines(400, start=400)]
    bench.sink.judge = lambda some: (
        respond(422, (
            "dml handler error: service limit reached: couldn't create columns in table `wide`; "
            "table contains 200 existing columns, applying this write would result in 201 columns"
        )) if any(line.startswith(b"wide,") for line in some) else None
    )  # fmt: skip
    (verdict,) = bench.handle(entry("1", text))
    assert isinstance(verdict, Settle)
    assert verdict.loaded == 800
    assert [(one.reason, one.samples) for one in verdict.dead] == [("limit", 60)]


def test_a_limit_that_names_nothing_pauses_as_ever() -> None:
    bench = Bench()
    bench.sink.judge = lambda _: respond(
        422, "Update to schema would exceed number of tables limit of 2000 tables"
    )
    (verdict,) = bench.handle(entry("1", lines(300)))
    assert isinstance(verdict, Pause)
    assert bench.metric("etl_sink_pauses_total", cause="capacity") == 1
    assert len(bench.sink.bodies) == 1
