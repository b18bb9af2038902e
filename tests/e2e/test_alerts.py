"""Every alert of monitoring/ fires in a real Prometheus for a real cause, and clears after it.

Causes that do not hinder each other happen at once; each alert is then a test of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from common.errors import StackError
from common.state.keys import GROUP, POINTS
from devtools.servers.binaries import Toolbox
from monitoring.catalogue import all_alerts
from monitoring.thresholds import ETL_METRICS, Thresholds
from tests.e2e.alert_world import KEYS, QUICK, AlertWorld, Labels, alert_world, among

pytestmark = pytest.mark.timeout(300)

# A metric with a fifth of all samples: enough to be told, not enough for the loader to hold.
SPOILT = "http_requests_total"
# Two targets on either side, and nothing to tell which goes with which.
AMBIGUOUS: dict[str, Any] = {"name": "ambiguous", "expr": "up / on () up", "step": "1s"}
CORRECTED = {**AMBIGUOUS, "expr": "up / on (job, instance) up"}
WATCHDOG = "EtlWatchdog"


@dataclass(frozen=True)
class Incident:
    """What goes wrong, how it is repaired, and which alerts tell of it: name → some labels.

    ``cause`` may wait for what it needs, ``repair`` leaves nothing of it behind.
    """

    name: str
    alerts: Mapping[str, Labels]
    cause: Callable[[AlertWorld], None]
    repair: Callable[[AlertWorld], None]

    def found_in(self, alerts: Sequence[Labels]) -> set[str]:
        """Which of its alerts are among these."""
        return {name for name, labels in self.alerts.items() if among(alerts, name, labels)}


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
        lambda: world.fires("EtlStageDown", {"job": "extractor"}), "the missing stage is told"
    )
    world.queries(lambda queries: queries.append(AMBIGUOUS))
    extractor.start()


def _corrected_query(world: AlertWorld) -> None:
    world.service("extractor").stop()
    world.queries(lambda queries: queries.__setitem__(queries.index(AMBIGUOUS), CORRECTED))
    world.service("extractor").start()


EXTRACTOR = Incident(
    "an extractor that is stopped, and comes back with a query that cannot be evaluated",
    {
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
    """Prometheus loses its volume while the extractor is away: what it owes is nowhere any more."""
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

    world.until(flaps, "flapping is told")


FLAPPING = Incident(
    "a sink that comes and goes", {"EtlCircuitFlapping": {}}, _come_and_go, lambda world: None
)


def _conflict(world: AlertWorld) -> None:
    """A measurement holds integers all at once; our floats are refused from now on."""

    def taken() -> bool:
        world.drop_measurement(SPOILT)
        # Between the two a float of ours may have come first.
        return world.write_integer(SPOILT)

    world.until(taken, "an integer is first")


BAD_POINTS = Incident(
    "a measurement whose field has another type",
    {"EtlDeadLettersAppearing": {}, "EtlRejectedShareHigh": {}},
    _conflict,
    lambda world: world.drop_measurement(SPOILT),
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


TOO_LATE = Incident(
    "a bucket that keeps points for a second",
    {"EtlSamplesBeyondRetention": {}},
    _shorten_retention,
    _lift_retention,
)

# --- Redis and the books ------------------------------------------------------------------------


def _fill_redis(world: AlertWorld) -> None:
    used = int(world.redis.info("memory")["used_memory"])
    world.redis.config_set("maxmemory", int(used / 0.9))


def _lift_limit(world: AlertWorld) -> None:
    world.redis.config_set("maxmemory", 0)


MEMORY = Incident(
    "a Redis that is nearly full",
    {"EtlRedisMemoryHigh": {}},
    _fill_redis,
    _lift_limit,
)


def _delete_pending(world: AlertWorld) -> None:
    """Somebody deletes entries by hand while the loader, which is refused, has given them back.

    What they held cannot be brought back, so the ledger stays wrong: until Redis is new.
    """
    stream = KEYS.stream(POINTS)

    def pending() -> list[bytes]:
        found: Any = world.redis.xpending_range(stream, GROUP, "-", "+", 100)
        return [entry["message_id"] for entry in found]

    world.sink_answers(401)
    # What is pending before may have been posted already, and be settled yet.
    world.until(lambda: world.service("loader").probe() is not None, "the loader is held")
    world.until(pending, "entries are pending")
    for id_ in pending():
        world.redis.xdel(stream, id_)
    world.sink_heals()
    for alert in ("EtlLedgerOutOfBalance", "EtlPendingEntriesDeleted"):
        world.until(lambda alert=alert: world.fires(alert, {}), f"{alert} is told")  # type: ignore[misc]
    world.stack.redis.kill()


def _new_redis(world: AlertWorld) -> None:
    world.stack.redis.forget_data()
    world.stack.redis.start()
    world.until(
        lambda: world.value("max(etl_ledger_imbalance_samples)") == 0, "the new books balance"
    )
    # Not before: whoever is stopped until then has no feed, and owes nothing.
    world.until(lambda: world.value("min(etl_gaps_declared)") == 0, "the feeds are planned anew")


LOST = Incident(
    "entries deleted by hand, and a Redis that is away",
    {
        "EtlLedgerOutOfBalance": {},
        "EtlPendingEntriesDeleted": {"stage": "loader"},
        "EtlRedisUnreachable": {},
    },
    _delete_pending,
    _new_redis,
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
    (LOW_THROUGHPUT, REFUSED),
    (SLOW, EXTRACTOR),
    (FAILURES, FAILING),
    (STALL, FLAPPING),
    (OUTAGE, BAD_POINTS),
    (NO_LOG, MEMORY),
    (TOO_LATE,),
    (FROZEN, NO_METRICS),
    (LOST,),
    (GAP,),
)
INCIDENTS = tuple(incident for episode in EPISODES for incident in episode)
# (incident, alert) in the order in which they are lived through.
CASES = [(incident, alert) for incident in INCIDENTS for alert in incident.alerts]


@dataclass
class Story:
    """What came of an incident: which of its alerts fired, and which of them cleared."""

    fired: set[str] = field(default_factory=set)
    cleared: set[str] = field(default_factory=set)
    problem: str = ""


class Stories:
    """Each episode is lived through once, when the first of its alerts is asked for."""

    def __init__(self, world: AlertWorld) -> None:
        self._world = world
        self._told: dict[str, Story] = {}

    def of(self, incident: Incident) -> Story:
        """The story of an incident."""
        if incident.name not in self._told:
            self._live_through(next(episode for episode in EPISODES if incident in episode))
        return self._told[incident.name]

    def _live_through(self, episode: tuple[Incident, ...]) -> None:
        world = self._world
        stories = [(incident, Story()) for incident in episode]
        self._told |= {incident.name: story for incident, story in stories}
        names = ", ".join(incident.name for incident in episode)

        def none_fires() -> bool:
            """And who has fired and does not any more has cleared."""
            alerts = world.alerts()
            for incident, story in stories:
                firing = incident.found_in(alerts)
                story.cleared = incident.alerts.keys() - firing
            return all(story.cleared == incident.alerts.keys() for incident, story in stories)

        def all_fired() -> bool:
            world.alerts()
            for incident, story in stories:
                story.fired = incident.found_in(world.seen)
            return all(story.fired == incident.alerts.keys() for incident, story in stories)

        world.until(none_fires, f"what came before {names} is over")
        world.seen.clear()
        problems = []
        try:
            for incident in episode:
                incident.cause(world)
            world.until(all_fired, f"the alerts of {names}")
        except StackError as error:
            problems.append(str(error))
        finally:
            for incident in episode:
                incident.repair(world)
        try:
            world.until(none_fires, f"the end of the alerts of {names}")
        except StackError as error:
            problems.append(str(error))
        for _, story in stories:
            story.problem = "; ".join(problems)


@pytest.fixture(scope="module")
def world(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlertWorld]:
    with alert_world(tmp_path_factory.mktemp("alerts") / "run", toolbox) as started:
        yield started


@pytest.fixture(scope="module")
def stories(world: AlertWorld) -> Stories:
    return Stories(world)


def test_every_alert_has_a_cause() -> None:
    told = {name for incident in INCIDENTS for name in incident.alerts}
    assert told | {WATCHDOG} == {alert.name for alert in all_alerts(Thresholds())}


def test_nothing_but_the_watchdog_fires_while_all_is_well(world: AlertWorld) -> None:
    """For as long as any alert waits until it fires."""
    longest_seconds = max(alert.for_seconds for alert in all_alerts(QUICK))
    quiet_at: list[float] = []

    def quiet() -> bool:
        if [alert["alertname"] for alert in world.alerts()] != [WATCHDOG]:
            quiet_at.clear()
            return False
        quiet_at.append(world.now_seconds())
        return quiet_at[-1] - quiet_at[0] > longest_seconds

    world.until(quiet, "quiet, for as long as any alert waits")


@pytest.mark.parametrize(
    ("incident", "alert"), CASES, ids=[f"{alert}: {incident.name}" for incident, alert in CASES]
)
def test_it_fires_and_clears(stories: Stories, incident: Incident, alert: str) -> None:
    story = stories.of(incident)
    assert alert in story.fired, story.problem
    assert alert in story.cleared, story.problem


def test_the_watchdog_fires_through_it_all(world: AlertWorld) -> None:
    assert world.fires(WATCHDOG, {})
