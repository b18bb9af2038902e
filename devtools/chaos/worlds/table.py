"""The worlds that a run may be done in: what there is, and which faults are done to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from devtools.chaos.faults import (
    backfill,
    failover,
    letters,
    process,
    push,
    redis,
    replicas,
    rq,
    sink,
    source,
)
from devtools.chaos.kinds import Kind
from devtools.chaos.rig import PAST_SECONDS, Rig
from devtools.chaos.suite import REQUIRED_EVENTS
from devtools.chaos.worlds.failover import failing_over
from devtools.chaos.worlds.pair import PairRig
from devtools.chaos.worlds.push import PushRig

KINDS: tuple[Kind, ...] = (
    *process.KINDS,
    *redis.KINDS,
    *rq.KINDS,
    *sink.KINDS,
    *letters.KINDS,
    *source.KINDS,
    *backfill.KINDS,
)
SERIES, SERIES_OF_OTHERS = 2_800, 400
PAST_OF_OTHERS_SECONDS = 300


@dataclass(frozen=True, slots=True)
class World:
    """``times``: how often each kind is done in a full run. ``rig`` is given the seed and options.

    ``required_events``: of those that every run must have seen, these can be expected.
    """

    name: str
    what: str
    rig: Callable[..., AbstractContextManager[Rig]]
    kinds: tuple[Kind, ...]
    times: Mapping[str, int]
    series: int = SERIES_OF_OTHERS
    past_seconds: int = PAST_OF_OTHERS_SECONDS
    required_events: tuple[str, ...] = ("entry_claimed",)


def _world(
    name: str,
    what: str,
    rig: Callable[..., AbstractContextManager[Rig]],
    own: tuple[Kind, ...],
    others: Mapping[str, int],
) -> World:
    """One with all kinds of its own, and some of the others."""
    kinds = (*own, *(kind for kind in KINDS if kind.name in others))
    return World(name, what, rig, kinds, {kind.name: kind.times for kind in own} | {**others})


ONE = "one"
WORLDS: Mapping[str, World] = {
    world.name: world
    for world in (
        World(
            ONE,
            "one Prometheus that is asked, one Redis",
            Rig,
            KINDS,
            {kind.name: kind.times for kind in KINDS},
            SERIES,
            PAST_SECONDS,
            tuple(REQUIRED_EVENTS),
        ),
        _world(
            "push",
            "Prometheus pushes, too (extract.push)",
            PushRig,
            push.KINDS,
            {
                "kill_extractor": 7,
                "kill_transformer": 4,
                "kill_loader": 4,
                "sigterm": 7,
                "sigstop": 7,
                "redis_kill": 7,
                "redis_rollback": 7,
                "redis_out_of_memory": 10,
                "redis_cut": 10,
                "redis_lost": 1,
                "influx_kill": 4,
                "sink_answer_lost": 10,
                "bad_point": 5,
                "prometheus_kill": 1,
                "prometheus_away": 10,
            },
        ),
        _world(
            "replicas",
            "two Prometheus that scrape the same (extract.replicas)",
            PairRig,
            replicas.KINDS,
            {
                "kill_extractor": 7,
                "kill_transformer": 4,
                "kill_loader": 4,
                "sigstop": 7,
                "redis_kill": 4,
                "redis_cut": 10,
                "sink_answer_lost": 10,
                "backfill_paused": 1,
            },
        ),
        _world(
            "failover",
            "Redis with two replicas and three Sentinels",
            failing_over,
            failover.KINDS,
            {
                "kill_extractor": 4,
                "kill_transformer": 4,
                "kill_loader": 4,
                "sigstop": 4,
                "hurt_verifier": 4,
                "sink_answer_lost": 10,
                "bad_point": 5,
                "prometheus_away": 10,
                "backfill_paused": 1,
            },
        ),
    )
}
