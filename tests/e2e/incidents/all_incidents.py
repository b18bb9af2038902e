"""What can go wrong, how it is repaired, and which alerts report it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from common.state.dead_letters.kept import DeadLetters
from common.state.keys import POINTS
from common.state.windows import Recheck, WindowSet
from devtools.chaos.rules import Rule
from monitoring.thresholds import ETL_METRICS
from services.loader.sealing.seals import MEASUREMENT as SEALS
from tests.e2e.incidents.alert_world import KEYS, RECHECK_AFTER_SECONDS, WRITE, AlertWorld, Incident
from tests.e2e.incidents.query_incidents import MISSPELT, ODD_QUERIES
from tests.e2e.incidents.redis_incidents import DISK, FOREIGN_JOB, HANGING, LOST, MEMORY, PAYLOADS
from tests.e2e.incidents.verify_incidents import ADDED, DELETED, UNREADABLE, VERIFIER_AWAY

# A metric with a fifth of all samples: enough for an alert, not enough for the loader to pause.
SPOILT = "http_requests_total"
# Two targets on either side, and nothing to say which goes with which.
AMBIGUOUS: dict[str, Any] = {
    "name": "ambiguous",
    "expr": "up / on () up",
    "step": "1s",
    "settle_seconds": 0.1,
}
CORRECTED = {"name": "ambiguous", "expr": "up / on (job, instance) up", "step": "1s"}


# --- the simulated process, by its scenarios ----------------------------------------------------


def _begin_anew(world: AlertWorld) -> None:
    """A restart ends a scenario, and its figures of the last minute are those since the start."""
    world.stack.simulator.restart()


def _young(scenario: str) -> Callable[[AlertWorld], None]:
    """For what shows in the mean of a minute: a process that has no better time behind it."""

    def cause(world: AlertWorld) -> None:
        _begin_anew(world)
        world.scenario(scenario)

    return cause


def _scenario(name: str) -> Callable[[AlertWorld], None]:
    return lambda world: world.scenario(name)


PROCESS = {"job": ETL_METRICS}

LOW_THROUGHPUT = Incident(
    "few records", {"EtlLowThroughput": PROCESS}, _young("low-throughput"), _begin_anew
)
SLOW = Incident("slow files", {"EtlExcessiveProcessingTime": PROCESS}, _young("slow"), _begin_anew)
FAILURES = Incident(
    "a burst of failures",
    {"EtlHighFailureRate": PROCESS},
    _scenario("failure-burst"),
    _scenario("recover"),
)
STALL = Incident(
    "a stalled process", {"EtlNoSuccess": PROCESS}, _scenario("stall"), _scenario("recover")
)
OUTAGE = Incident(
    "an outage", {"EtlHealthCheckFailed": PROCESS}, _scenario("outage"), _scenario("recover")
)


def _take_log_away(world: AlertWorld) -> None:
    folder = world.stack.etl_log_path.parent
    folder.rename(folder.with_name("elsewhere"))


def _bring_log_back(world: AlertWorld) -> None:
    folder = world.stack.etl_log_path.parent
    folder.with_name("elsewhere").rename(folder)


NO_LOG = Incident(
    "a log that is mounted elsewhere",
    {"EtlProcessLogUnreadable": PROCESS},
    _take_log_away,
    _bring_log_back,
)

# --- the stages and their sources ---------------------------------------------------------------


def _bad_query(world: AlertWorld) -> None:
    extractor = world.service("extractor")
    extractor.stop()
    world.until(
        lambda: world.fires("EtlStageDown", {"job": "extractor"}),
        "an alert reports the missing stage",
    )
    world.queries(lambda queries: queries.append(AMBIGUOUS))
    extractor.start()


def _corrected_query(world: AlertWorld) -> None:
    world.service("extractor").stop()
    world.queries(lambda queries: queries.__setitem__(queries.index(AMBIGUOUS), CORRECTED))
    world.service("extractor").start()


EXTRACTOR = Incident(
    "an extractor that is stopped, and comes back with a query that cannot be evaluated or wait",
    {
        "EtlSettleTooShort": {"query": "ambiguous", "tier": "hot"},
        "EtlStageDown": {"job": "extractor"},
        "EtlWindowFailing": {"query": "ambiguous", "tier": "hot"},
    },
    _bad_query,
    _corrected_query,
)


FROZEN = Incident(
    "a transformer that is frozen",
    {"EtlStageDown": {"job": "transformer"}},
    lambda world: world.service("transformer").pause(),
    lambda world: world.service("transformer").resume(),
)


def _forget_history(world: AlertWorld) -> None:
    """Prometheus loses its volume while the extractor is away: its backlog is nowhere any more."""
    extractor, prometheus = world.service("extractor"), world.stack.prometheus
    extractor.stop()
    prometheus.kill()
    prometheus.forget_data()
    prometheus.start()
    world.until(lambda: world.value("max(etl_gaps_declared)") is not None, "gaps are counted anew")
    extractor.start()


GAP = Incident(
    "a Prometheus that lost its data",
    {"EtlExtractionGap": {"tier": "hot"}},
    _forget_history,
    lambda world: None,
)


def _spoil_source(world: AlertWorld) -> None:
    world.source.ahead_seconds, world.source.alternates = 60.0, True


def _mend_source(world: AlertWorld) -> None:
    """What was seen of several servers is remembered for minutes: by a process that goes on."""
    world.source.ahead_seconds, world.source.alternates = 0.0, False
    world.restart("extractor")


SOURCE = Incident(
    "a balancer before two Prometheus, whose clock is wrong",
    {"EtlClocksDiffer": {"clock": "own"}, "EtlSourceAlternates": {}},
    _spoil_source,
    _mend_source,
)

# --- the sink -----------------------------------------------------------------------------------


def _heal(world: AlertWorld) -> None:
    world.sink_heals()


REFUSED = Incident(
    "a token that the sink refuses",
    {
        "EtlSinkRefusesUs": {},
        "EtlStageStalled": {"job": "loader"},
        "EtlOldestEntryTooOld": {"stream": POINTS},
        "EtlBackPressureLasting": {},
        "EtlBacklogGrowing": {"tier": "hot"},
        "EtlFreshnessBudgetBurningFast": {},
        "EtlFreshnessBudgetBurningSlowly": {},
    },
    lambda world: world.sink_answers(401),
    _heal,
)
FAILING = Incident(
    "a sink that fails", {"EtlCircuitOpen": {}}, lambda world: world.sink_answers(500), _heal
)


def _come_and_go(world: AlertWorld) -> None:
    """Single failures, each of which opens the circuit; a post that passes closes it."""

    def flaps() -> bool:
        world.sink_answers(500, times=1)
        world.until(lambda: not world.proxies.left("influxdb"), "a post fails")
        passed = world.value("sum(etl_loaded_samples_total)")
        world.until(lambda: world.value("sum(etl_loaded_samples_total)") != passed, "a post passes")
        return world.fires("EtlCircuitFlapping", {})

    world.until(flaps, "an alert reports it")


FLAPPING = Incident(
    "a sink that comes and goes", {"EtlCircuitFlapping": {}}, _come_and_go, lambda world: None
)


def _conflict(world: AlertWorld) -> None:
    """A measurement holds integers all at once; our floats are refused from now on."""

    def taken() -> bool:
        world.drop_measurement(SPOILT)
        # Between the two a float of ours may have come first.
        return world.write_line(f"{SPOILT} value=1i")

    world.until(taken, "an integer is first")


def _end_conflict(world: AlertWorld) -> None:
    """And replay what was set aside: the first line that is taken ends that for all others."""
    world.drop_measurement(SPOILT)
    letters = DeadLetters(world.redis, KEYS)

    def none_left() -> bool:
        replayed = [letters.replay(letter) for letter in letters]
        return not replayed

    world.until(none_left, "no dead letters are left")


BAD_POINTS = Incident(
    "a measurement whose field has another type",
    {"EtlDeadLettersAppearing": {}, "EtlDeadLettersNearCap": {}, "EtlRejectedShareHigh": {}},
    _conflict,
    _end_conflict,
)


def _spoil_seals(world: AlertWorld) -> None:
    """Somebody else's measurement has the name of ours, and its fields other types."""

    def taken() -> bool:
        world.drop_measurement(SEALS)
        return world.write_line(f'{SEALS} points="many"')

    world.until(taken, "a text is first")


UNSEALED = Incident(
    "a foreign measurement of the seals' name",
    {"EtlSealsNotWritten": {}},
    _spoil_seals,
    lambda world: world.drop_measurement(SEALS),
)


def _shorten_retention(world: AlertWorld) -> None:
    """The bucket is said to keep points for less time than they are on their way."""
    loader = world.service("loader")
    loader.stop()
    world.hot_retention("1s")
    loader.start()


def _lift_retention(world: AlertWorld) -> None:
    loader = world.service("loader")
    loader.stop()
    world.hot_retention(None)
    loader.start()


def _reach_a_limit(world: AlertWorld) -> None:
    """The sink takes no new column, and says of which measurement."""
    message = (
        f"dml handler error: service limit reached: couldn't create columns in table `{SPOILT}`; "
        "table contains 200 existing columns, applying this write would result in 201 columns"
    )
    body = json.dumps({"code": "invalid", "message": message})
    world.proxies.rule("influxdb", Rule("answer", None, WRITE, status=422, body=body))


LIMITED = Incident(
    "a limit that names a measurement",
    {"EtlSinkLimitReached": {}},
    _reach_a_limit,
    lambda world: world.sink_heals(),
)

TOO_LATE = Incident(
    "a bucket that keeps points for a second",
    {"EtlSamplesBeyondRetention": {}},
    _shorten_retention,
    _lift_retention,
)


def _hide_retention(world: AlertWorld) -> None:
    """An InfluxDB 3 takes the sink's place, and the token may not read how long it keeps points."""
    for path, status, body in (
        ("/ping", 200, '{"version": "3.5.0"}'),
        ("/api/v3/query_sql", 403, '{"error": "no permission"}'),
        ("/api/v3/write_lp", 204, ""),
    ):
        world.proxies.rule("influxdb", Rule("answer", None, path, status=status, body=body))
    world.restart("loader")
    # It asks when it has something to write; a source whose clock is wrong gives it nothing.
    world.until(lambda: world.value("max(etl_sink_retention_unknown)"), "the loader has asked")


def _show_retention(world: AlertWorld) -> None:
    world.sink_heals()
    world.restart("loader")


NO_RETENTION = Incident(
    "a sink that does not say how long it keeps points",
    {"EtlSinkRetentionUnknown": {"tier": "hot"}},
    _hide_retention,
    _show_retention,
)


def _change_what_was_committed(world: AlertWorld) -> None:
    """The last recount of a range finds what no recount before it found."""
    every = WindowSet(world.redis, KEYS).status()
    known = {name: one for name, one in every.items() if one.watermark_ms > one.origin_ms}
    # Not of a query that an earlier incident has taken out: nobody recounts that.
    feed = max(known, key=lambda name: known[name].planned_ms)
    found = known[feed]
    last = len(RECHECK_AFTER_SECONDS) - 1
    bounds = found.origin_ms, found.watermark_ms
    world.redis.zadd(KEYS.rechecks(feed), {Recheck(*bounds, 1, round=last, since=last).member: 0})


RECOUNT = Incident(
    "a range that differs at each recount",
    {"EtlRecheckAbandoned": {}},
    _change_what_was_committed,
    lambda world: None,
)


def _start_etl_metrics(world: AlertWorld) -> None:
    world.etl_metrics.start()


NO_METRICS = Incident(
    "an etl-metrics that is stopped",
    {"EtlMetricsEndpointUnavailable": PROCESS},
    lambda world: world.etl_metrics.kill(),
    _start_etl_metrics,
)

# What happens at once, in this order: the last ones leave a pipeline without its past.
EPISODES: tuple[tuple[Incident, ...], ...] = (
    (ADDED,),
    (DELETED,),
    (UNREADABLE,),
    (LOW_THROUGHPUT, REFUSED),
    (SLOW, EXTRACTOR, ODD_QUERIES),
    (FAILURES, PAYLOADS, FAILING),
    (STALL, FLAPPING),
    (OUTAGE, BAD_POINTS, UNSEALED),
    (NO_LOG, MEMORY, DISK, MISSPELT),
    (TOO_LATE, RECOUNT, FOREIGN_JOB),
    (LIMITED,),
    (NO_RETENTION, SOURCE),
    (FROZEN, NO_METRICS, VERIFIER_AWAY),
    (HANGING,),
    (LOST,),
    (GAP,),
)
INCIDENTS = tuple(incident for episode in EPISODES for incident in episode)
