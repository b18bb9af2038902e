"""What can go wrong with the proof that the sink holds what the source holds."""

from __future__ import annotations

from common.state.windows import Feed, WindowSet
from devtools.chaos.rules import Rule
from tests.e2e.incidents.alert_world import KEYS, AlertWorld, Incident

# One that nothing else is about.
DAMAGED = "up"
# A value that it never has.
FOREIGN = -12345


def _proven(world: AlertWorld) -> bool:
    """Whether something was proven, and nothing differs."""
    young = world.value("min(time() - etl_verified_timestamp_seconds)")
    return young is not None and young < 30 and not world.value("max(etl_verify_differing_points)")


def _damage(world: AlertWorld) -> None:
    """Somebody deletes points that were loaded, and that are compared later."""
    world.until(lambda: _proven(world), "the sink is proven up to now")

    def found() -> bool:
        world.drop_measurement(DAMAGED)
        return world.fires("EtlVerifyRepairs", {})

    world.until(found, "an alert reports what is missing again and again")


def _extract_again(world: AlertWorld) -> None:
    windows = WindowSet(world.redis, KEYS)
    for feed in windows.status().values():
        ours = Feed(feed.query, feed.tier, "", feed.fingerprint)
        windows.reopen(ours, feed.origin_ms, feed.watermark_ms)


DELETED = Incident(
    "points that somebody deletes again and again",
    {"EtlVerifyRepairs": {"tier": "hot"}},
    _damage,
    _extract_again,
)


def _add(world: AlertWorld) -> None:
    """Somebody writes points into a series that is loaded."""
    world.until(lambda: _proven(world), "the sink is proven up to now")
    tags = world.sink(f'SELECT * FROM "{DAMAGED}" GROUP BY * LIMIT 1')[0]["tags"]
    key = ",".join([DAMAGED, *(f"{name}={tag}" for name, tag in tags.items() if tag)])

    def found() -> bool:
        assert world.write_line(f"{key} value={FOREIGN}")
        return world.fires("EtlVerifyDiffers", {})

    world.until(found, "an alert reports what should not be there")


def _take_away(world: AlertWorld) -> None:
    for series in world.sink(f'SELECT value FROM "{DAMAGED}" WHERE value = {FOREIGN}'):
        for time, _ in series["values"]:
            world.sink(f"DELETE FROM \"{DAMAGED}\" WHERE time = '{time}'")


ADDED = Incident(
    "points that somebody added", {"EtlVerifyDiffers": {"tier": "hot"}}, _add, _take_away
)


def _hide_sink(world: AlertWorld) -> None:
    """The sink takes points and cannot be asked for them."""
    world.proxies.rule("influxdb", Rule("answer", None, "/query", status=500, body="{}"))


UNREADABLE = Incident(
    "a sink that cannot be read",
    {"EtlVerifyBehind": {"tier": "hot"}, "EtlHealthCheckFailed": {"job": "verifier"}},
    _hide_sink,
    lambda world: world.sink_heals(),
)


VERIFIER_AWAY = Incident(
    "a verifier that is frozen",
    {"EtlMetricsEndpointUnavailable": {"job": "verifier"}},
    lambda world: world.service("verifier").pause(),
    lambda world: world.service("verifier").resume(),
)
