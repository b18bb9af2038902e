"""Faults that make dead letters of good points, or more of them than may be kept."""

from __future__ import annotations

import json

from common.errors import StackError
from common.state.dead_letters.kept import DeadLetters
from devtools.chaos.faults.sink import WRITE, write_integers
from devtools.chaos.kinds import FaultContext, Kind
from devtools.chaos.load import LIMITED, METRICS, ODD
from devtools.chaos.rig import DEAD_LETTERS_MAX, KEYS, PACE, Rig
from devtools.chaos.rules import Rule

LIMIT = "limit"
LIMITED_SCRAPES = 6
# In one window; more causes would share a dead letter.
BAD_AT_ONCE = 12


def limit(context: FaultContext, times: int) -> int:
    """The sink has no room for one more measurement, and names it; everything else flows.

    When there is room again, the dead letters are replayed; every point must be in the sink then.
    """
    rig = context.rig
    for _ in range(times):
        (name,) = rig.exporter.upcoming(LIMITED, 1)
        rig.proxies.rule("influxdb", _no_room(name))
        rig.exporter.invite(LIMITED, 1, scrapes=LIMITED_SCRAPES)
        letters = DeadLetters(rig.redis, KEYS)
        rig.until(
            lambda letters=letters: any(letter.reason == LIMIT for letter in letters),  # type: ignore[misc]
            "a limit of the sink keeps points out",
        )
        # All of its points, and those of everybody else, are judged before there is room again.
        rig.pause((LIMITED_SCRAPES + 1) * PACE.scrape_interval_seconds)
        rig.until_loaded(context.epochs.begin_by_ms, rig.now_ms(), deadline_seconds=60.0)
        rig.proxies.send("influxdb", "clear")
        _replay(rig, letters, name)
        context.apart(longest_seconds=0.5)
    return times


def _no_room(measurement: str) -> Rule:
    """As InfluxDB 3 words it; of a body that it refuses it takes nothing."""
    text = (
        f"dml handler error: couldn't create columns in table `{measurement}`; table contains 250"
        " existing columns, applying this write would result in 251 columns, limit is 250"
    )
    body = json.dumps({"code": "invalid", "message": text})
    return Rule(
        "answer", None, WRITE, min_body_bytes=1, status=400, body=body, holding=f"{measurement},"
    )


def _replay(rig: Rig, letters: DeadLetters, measurement: str) -> None:
    """Replay what the limit kept out, and wait until the sink has all of it."""
    limited = [letter for letter in letters if letter.reason == LIMIT]
    samples = sum(letter.samples for letter in limited)
    if wrong := [letter for letter in limited if letter.measurement != measurement]:
        raise StackError(f"a limit for {measurement} made dead letters of others: {wrong[:3]}")
    if not all(letters.replay(letter) for letter in limited):
        raise StackError("a dead letter was gone before it was replayed")

    def loaded() -> bool:
        found = rig.stack.influx.query(
            f'SELECT COUNT(value) FROM "{measurement}"',
            database=rig.settings.load.influxdb.bucket,
        )
        return bool(found) and found[0]["values"][0][1] == samples

    rig.until(loaded, f"{samples} replayed points of {measurement} are loaded")


def full(context: FaultContext, times: int) -> int:
    """Bad points until no more dead letters may be kept; all else flows; then they are purged."""
    rig = context.rig
    for _ in range(times):
        before = rig.journal.counts()["loader", "dead_letters_full"]

        def at_the_cap(before: int = before) -> bool:
            return rig.journal.counts()["loader", "dead_letters_full"] > before

        while not at_the_cap():
            kept = int(rig.redis.xlen(KEYS.dead))
            write_integers(rig, rig.exporter.upcoming(ODD, BAD_AT_ONCE))
            rig.exporter.invite(ODD, BAD_AT_ONCE, scrapes=1)
            rig.until(
                lambda kept=kept: at_the_cap() or int(rig.redis.xlen(KEYS.dead)) > kept,  # type: ignore[misc]
                "bad points become dead letters, or find them full",
            )
        _others_flow(rig)
        if (purged := context.oracle.purge_letters()) > DEAD_LETTERS_MAX:
            raise StackError(f"{purged} dead letters were kept, {DEAD_LETTERS_MAX} may be")
    return times


def _others_flow(rig: Rig) -> None:
    """Wait until the feeds without bad points are loaded up to now."""
    heads_ms = rig.heads_ms(rig.now_ms())

    def flow() -> bool:
        feeds = rig.feeds().items()
        return all(
            feed.loaded_watermark_ms >= heads_ms[name]
            for name, feed in feeds
            if name != f"{METRICS[0]}@hot"
        )

    rig.until(flow, "all feeds but that of the bad points are loaded up to now")


KINDS = (
    Kind(
        "sink_limit",
        "a limit of the sink that names one measurement; lifted, and its dead letters replayed",
        limit,
        batch=2,
        expected_events=(("loader", "sink_limit_reached"), ("loader", "dead_lettered:limit")),
        slow="each waits until the points that were kept out are loaded",
    ),
    Kind(
        "dead_letters_full",
        f"bad points until {DEAD_LETTERS_MAX} dead letters are kept and more must wait; purged",
        full,
        batch=1,
        expected_events=(("loader", "dead_letters_full"),),
        slow="each fills the dead letters up",
    ),
)
